"""What the launcher and the engine hold: memory, files, threads, processes, connections; and a probe of how soon a
status request is answered. Used by :mod:`bench.soak`.
"""

from __future__ import annotations

import http.client
import multiprocessing
import time
from collections import Counter
from dataclasses import dataclass
from multiprocessing.connection import Connection

import psutil

MIB = 2**20
PROBED = ("/health", "/api/extra/perf")
PROBE_PAUSE = 0.05


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


class Probe:
    """Asks for the status again and again, in a process of its own: the load's own work must not count."""

    def __init__(self, port: int, key: str) -> None:
        context = multiprocessing.get_context("spawn")
        self._ours, theirs = context.Pipe()
        self._process = context.Process(target=_probe, args=(port, key, theirs), daemon=True)
        self._process.start()
        theirs.close()
        self._ours.recv()

    def stop(self) -> list[float]:
        """Milliseconds that each answer took; a missing answer counts as a minute."""
        self._ours.send(None)
        taken: list[float] = self._ours.recv()
        self._process.join()
        return taken


def _probe(port: int, key: str, pipe: Connection) -> None:
    pipe.send(None)
    taken = []
    while not pipe.poll(PROBE_PAUSE):
        for path in PROBED:
            taken.append(1000 * _seconds(port, key, path))
    pipe.send(taken)


def _seconds(port: int, key: str, path: str) -> float:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    began = time.perf_counter()
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {key}", "Connection": "close"})
        with connection.getresponse() as response:
            response.read()
    except (OSError, http.client.HTTPException):
        return 60.0
    finally:
        connection.close()
    return time.perf_counter() - began
