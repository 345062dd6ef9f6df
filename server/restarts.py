"""How often an engine that crashed is started again. Used by the controller and the embedder."""

from __future__ import annotations

import time
from collections import deque
from typing import Final

MOST: Final = 3
WITHIN: Final = 600.0  # seconds
GIVEN_UP: Final = f"It crashed {MOST + 1} times in {WITHIN / 60:.0f} minutes, so it is not started again."


class Restarts:
    """Allows MOST restarts in any WITHIN seconds: what crashes the engine at once would otherwise go on for ever."""

    def __init__(self) -> None:
        self._times: deque[float] = deque()
        self.count = 0

    def allow(self) -> bool:
        """Whether it may be started once more, which is counted."""
        now = time.monotonic()
        while self._times and self._times[0] < now - WITHIN:
            self._times.popleft()
        if len(self._times) >= MOST:
            return False
        self._times.append(now)
        self.count += 1
        return True
