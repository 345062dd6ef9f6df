"""Texts that a reply must never say: what may leave, and how far a reply must go back when it has written one."""

from __future__ import annotations

import codecs
from collections.abc import Iterable
from dataclasses import dataclass, replace

from server.engine.marks import Marks
from server.engine.token_stream import Said, StreamState, TokenStream

BREAK = "\0"  # in no text that anyone bans


@dataclass(frozen=True)
class _Step:
    """What one token did: the ``said`` it released, and how things stood before it. ``start`` and ``end``: its letters
    in the text that is held."""

    start: int
    end: int
    said: Said
    decoder: tuple[bytes, int]
    stream: StreamState


class BannedTexts:
    """What a ``stream`` releases waits here, token by token, while it may still become one of ``texts``.

    Upper and lower case count the same. A text that is banned is looked for in what the tokens spell, so that it is
    known exactly which token began it. Thoughts are not part of the reply, so in them all may be written. The letters
    that left last are kept: after other tokens were taken back a text may begin in them. What left stays, and the
    reply goes on behind it.
    """

    def __init__(self, texts: Iterable[str], stream: TokenStream) -> None:
        self._marks = Marks(map(_folded, texts))
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="ignore")
        self._steps: list[_Step] = []
        self._text = ""

    def push(self, piece: bytes, said: Said, before: StreamState) -> Said:
        """Take a token's bytes and what the stream released for it; return what may leave now.

        ``before`` is where the stream stood before the token.
        """
        decoder = self._decoder.getstate()
        thinking = self._stream.thinking or before.stream["thinking"]
        start = len(self._text)
        self._text += BREAK if thinking else _folded(self._decoder.decode(piece))
        self._steps.append(_Step(start, len(self._text), said, decoder, before))
        return Said() if self._marks.first(self._text) else self._release(self._marks.undecided(self._text))

    def written(self) -> int:
        """How many of the last tokens must be taken back because one of the texts is complete; 0 if none is."""
        found = self._marks.first(self._text)
        if not found:
            return 0
        return sum(step.end > found[0] for step in self._steps)

    def take_back(self, count: int) -> None:
        """The last ``count`` tokens have never been, for the stream neither."""
        first = self._steps[-count]
        self._stream.restore(first.stream)
        self._decoder.setstate(first.decoder)
        self._text = self._text[: first.start]
        del self._steps[-count:]

    def finish(self) -> Said:
        """The reply is over: what was held back has not become one of the texts."""
        return self._release(len(self._text))

    def _release(self, end: int) -> Said:
        """What was said by the tokens whose letters all stand before ``end``."""
        said = Said()
        while self._steps and self._steps[0].end <= end:
            said = said.then(self._steps.pop(0).said)
        left = self._steps[0].start if self._steps else len(self._text)
        gone = max(left - self._marks.longest + 1, 0)
        self._text = self._text[gone:]
        self._steps = [replace(step, start=step.start - gone, end=step.end - gone) for step in self._steps]
        return said


def _folded(text: str) -> str:
    """In lower case, with as many letters as before."""
    lower = text.lower()
    return lower if len(lower) == len(text) else "".join(low if len(low := c.lower()) == 1 else c for c in text)
