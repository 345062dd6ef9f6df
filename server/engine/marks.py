"""Finds the first of several texts in a text that grows. Used for stop texts, tags and banned texts."""

from __future__ import annotations

import re
from collections.abc import Iterable


class Marks:
    """The texts to find; empty ones are none. The ``longest`` has that many letters."""

    def __init__(self, marks: Iterable[str]) -> None:
        self._marks = tuple(filter(None, marks))
        self.longest = max(map(len, self._marks), default=0)
        self._any = re.compile("|".join(map(re.escape, self._marks)))
        self._first = re.compile("|".join(sorted({re.escape(mark[0]) for mark in self._marks})))

    def first(self, text: str) -> tuple[int, int] | None:
        """Start and end of the one that is complete first, so that a reply does not depend on where its tokens end.

        Of those that end together the longest counts.
        """
        if not self._marks or not self._any.search(text):
            return None
        ends = ((start + len(mark), start) for mark in self._marks if (start := text.find(mark)) >= 0)
        end, start = min(ends)
        return start, end

    def undecided(self, text: str) -> int:
        """Where that begins which may become one of them with the next letters; the text's length if there is none."""
        if self.longest > 1:
            for letter in self._first.finditer(text, max(len(text) - self.longest + 1, 0)):
                tail = text[letter.start() :]
                if any(len(tail) < len(mark) and mark.startswith(tail) for mark in self._marks):
                    return letter.start()
        return len(text)
