"""Tokens per second over the last moment, for the window and ``/api/extra/perf``."""

from __future__ import annotations

from collections import deque

WINDOW_SECONDS = 1.0


class SpeedMeter:
    """Remembers the steps of the last second: when each ended, how long it took, what it decoded."""

    def __init__(self) -> None:
        self._steps: deque[tuple[float, float, int, int]] = deque()

    def record(self, ended: float, seconds: float, prompt_tokens: int, reply_tokens: int) -> None:
        self._steps.append((ended, seconds, prompt_tokens, reply_tokens))

    def prompt_speed(self, now: float) -> float:
        """Prompt tokens per second of the steps that read any; 0 when none did."""
        return self._speed(now, 2)

    def decode_speed(self, now: float) -> float:
        """Reply tokens per second, all sequences together; 0 when none ran."""
        return self._speed(now, 3)

    def _speed(self, now: float, column: int) -> float:
        while self._steps and self._steps[0][0] < now - WINDOW_SECONDS:
            self._steps.popleft()
        counted = [(step[1], step[column]) for step in self._steps if step[column]]
        seconds = sum(duration for duration, _ in counted)
        return sum(tokens for _, tokens in counted) / seconds if seconds else 0.0
