"""What the launcher and the engine hold: memory, files, threads, processes, connections. Used by :mod:`bench.soak`."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import psutil

MIB = 2**20


@dataclass(frozen=True)
class Holdings:
    """What one process holds. ``uss`` is memory that no other process shares; both in MiB."""

    pid: int
    rss: float
    uss: float
    files: int
    threads: int
    children: int
    connections: tuple[tuple[str, int], ...]


def holdings(process: psutil.Process) -> Holdings:
    """Look at a process."""
    memory = process.memory_full_info()
    states = Counter(each.status for each in process.net_connections("tcp"))
    return Holdings(
        process.pid,
        memory.rss / MIB,
        memory.uss / MIB,
        getattr(process, "num_handles" if psutil.WINDOWS else "num_fds")(),
        process.num_threads(),
        len(process.children(recursive=True)),
        tuple(sorted(states.items())),
    )


def engine_of(launcher: psutil.Process) -> psutil.Process:
    """The engine process. Raises :class:`psutil.NoSuchProcess` while there is none."""
    for child in launcher.children():
        if "server.engine.worker" in child.cmdline():
            return child
    raise psutil.NoSuchProcess(launcher.pid, msg="there is no engine process")
