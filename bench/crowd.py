"""Many streams at once, beside more half requests than the server holds: how soon is a status request answered? Used by
:mod:`bench.soak`.
"""

from __future__ import annotations

import contextlib
import http.client
import multiprocessing
import random
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection

from bench.prompts import prose
from bench.traffic import CROWD, Kind
from bench.visitor import CUT_OFF, KOBOLD, KOBOLD_STREAM, LEFT, Visitor

PATIENCE = 60.0
PROBED = ("/health", "/api/extra/perf")
PROBE_PAUSE = 0.05


class Crowd:
    """``size`` streams that are open until :meth:`leave`; a reply that ends is followed by another."""

    def __init__(self, size: int, seed: str, pay: Callable[[Kind, random.Random], None]) -> None:
        self._size = size
        self._over = threading.Event()
        self._opened = threading.Semaphore(0)
        kind = Kind(CROWD.format(size), 0, self._stream, frozenset((LEFT,)))
        visitors = [random.Random(f"{seed} {number}") for number in range(size)]
        self._threads = [threading.Thread(target=pay, args=(kind, rng)) for rng in visitors]
        for thread in self._threads:
            thread.start()

    def wait(self) -> int:
        """How many are still not open after a minute."""
        deadline = time.monotonic() + PATIENCE
        return sum(not self._opened.acquire(timeout=max(deadline - time.monotonic(), 0)) for _ in range(self._size))

    def leave(self) -> None:
        """Close all connections."""
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _stream(self, visitor: Visitor) -> str:
        body = {"prompt": prose(str(visitor.rng.random()), 20), "max_length": 2000, "ban_eos_token": True}
        while not self._over.is_set():
            with visitor.stream(KOBOLD_STREAM, body) as stream:
                self._opened.release()
                while not self._over.is_set() and stream.read(stream.pieces + 1) == CUT_OFF:
                    pass
                if stream.outcome not in (CUT_OFF, "200"):
                    return stream.outcome
        return LEFT


@contextlib.contextmanager
def half_open(count: int, visitor: Visitor) -> Iterator[None]:
    """Connections that have sent half of a request, as long as the block runs."""
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            connection = stack.enter_context(visitor.connect())
            with contextlib.suppress(ConnectionError):
                connection.sendall(visitor.head("POST", KOBOLD, 100)[:-20])
        yield


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
