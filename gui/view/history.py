"""The speed of the last minutes, for the chart; fed by the app with every tick."""

from __future__ import annotations

from collections import deque
from typing import Final

SECONDS: Final = 180
STEP: Final = 1.0


class History:
    """One sample each STEP seconds, for SECONDS; a sample is the mean of what was seen meanwhile, in tokens/s."""

    def __init__(self) -> None:
        count = int(SECONDS / STEP)
        self.samples: deque[float] = deque([0.0] * count, maxlen=count)
        self.peak = 0.0
        self._seen: list[float] = []
        self._due = 0.0

    def take(self, now: float, speed: float) -> None:
        """See a speed at a time in seconds."""
        self.peak = max(self.peak, speed)
        self._seen.append(speed)
        if now >= self._due:
            self._due = now + STEP
            self.samples.append(sum(self._seen) / len(self._seen))
            self._seen.clear()


def round_top(highest: float) -> float:
    """The smallest of 1, 2 and 5 times a power of ten, from 10 on, that ``highest`` fits under."""
    top, steps = 10.0, (2.0, 2.5, 2.0)
    while top < highest:
        for step in steps:
            top *= step
            if top >= highest:
                break
    return top
