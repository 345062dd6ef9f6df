"""What the whole PC is doing: processor and memory. Asked by the controller with every snapshot."""

from __future__ import annotations

import contextlib
import os
import threading
import time

import psutil

from server.snapshot import MachineUse

SECONDS_BETWEEN = 1.0


class Machine:
    """Measures at most once a second, however often it is asked. Safe from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._measured = 0.0
        self._use = MachineUse()
        psutil.cpu_percent()  # measures from one call to the next

    def use(self, engine: int | None) -> MachineUse:
        """What is used now; the memory of this process and of the ``engine``, a process id, counts as our own."""
        with self._lock:
            now = time.monotonic()
            if now - self._measured >= SECONDS_BETWEEN:
                self._measured = now
                memory = psutil.virtual_memory()
                engines = _resident(engine) if engine else 0
                self._use = MachineUse(
                    psutil.cpu_percent() / 100,
                    memory.total - memory.available,
                    memory.total,
                    own=_resident(os.getpid()) + engines,
                    engine=engines,
                )
            return self._use


def _resident(pid: int) -> int:
    """Bytes of RAM of a process; 0 when it has ended."""
    with contextlib.suppress(psutil.Error):
        return int(psutil.Process(pid).memory_info().rss)
    return 0
