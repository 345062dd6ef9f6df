"""What is counted of replies, for ``/metrics``. Kept by the ledger."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass

from server.events import Finished

FIRST_TOKEN_BOUNDS = (0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)
DURATION_BOUNDS = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0, 120.0, 300.0)


@dataclass(frozen=True)
class Spread:
    """How many values, in seconds, lie below each of ``bounds`` and above the one before; the last count has those
    above all of them. ``total`` is the sum of all values."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    total: float = 0.0

    @classmethod
    def empty(cls, bounds: tuple[float, ...]) -> Spread:
        return cls(bounds, (0,) * (len(bounds) + 1))

    def with_value(self, value: float) -> Spread:
        """The same and one more."""
        counts = list(self.counts)
        counts[bisect_left(self.bounds, value)] += 1
        return Spread(self.bounds, tuple(counts), self.total + value)


@dataclass(frozen=True)
class Counted:
    """Replies since the launcher started, by route and how they ended: a finish reason, or "error". The times of those
    that were finished are in seconds: waiting and reading until the ``first_token``, all until the end; and the sums of
    the time that prompts were ``reading`` and replies were ``writing``."""

    endings: tuple[tuple[str, str, int], ...]
    first_token: Spread
    duration: Spread
    reading: float
    writing: float


class Tally:
    """Not safe from several threads by itself: the ledger's lock guards it."""

    def __init__(self) -> None:
        self._endings: Counter[tuple[str, str]] = Counter()
        self._first_token = Spread.empty(FIRST_TOKEN_BOUNDS)
        self._duration = Spread.empty(DURATION_BOUNDS)
        self._reading = self._writing = 0.0

    def add(self, route: str, finished: Finished | None) -> None:
        """A reply has ended; without ``finished`` with an error."""
        self._endings[route, finished.reason.value if finished else "error"] += 1
        if finished:
            first = finished.queue_seconds + finished.prompt_seconds
            self._first_token = self._first_token.with_value(first)
            self._duration = self._duration.with_value(first + finished.decode_seconds)
            self._reading += finished.prompt_seconds
            self._writing += finished.decode_seconds

    def counted(self) -> Counted:
        """All until now."""
        endings = tuple((route, ending, count) for (route, ending), count in sorted(self._endings.items()))
        return Counted(endings, self._first_token, self._duration, self._reading, self._writing)
