"""Servers as processes: started, waited for, looked at, ended; and the busy processes that stand for a game."""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Sequence as ReadOnly
from pathlib import Path
from typing import Any

import psutil

from bench.client import Client, Reply
from bench.peers import ROOT, Peer, Setup

LOADING_SECONDS = 600
ENDING_SECONDS = 20
LAST_LINES = 15
# The thread ends the process when its starter is gone, however that ended.
GAME = """
import os, sys, threading
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
while True: pass
"""


class Process:
    """A process and all that it starts. What it prints goes to ``log``, unless it is ``piped``."""

    def __init__(
        self,
        name: str,
        command: list[str],
        log: Path,
        *,
        piped: bool = False,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.log = log
        with log.open("wb") as file:
            source, sink = (subprocess.PIPE, subprocess.PIPE) if piped else (subprocess.DEVNULL, file)
            self.popen = subprocess.Popen(command, cwd=ROOT, env=environment, stdin=source, stdout=sink, stderr=file)

    def memory(self) -> float:
        """MiB of resident memory, the model's file among it.

        Proportional figures would divide that file among all servers that are loaded side by side.
        """
        return sum(process.memory_info().rss for process in self._tree()) / 2**20

    def cpu_seconds(self) -> float:
        """Processor time it has used so far."""
        return sum(sum(process.cpu_times()[:2]) for process in self._tree())

    def end(self) -> None:
        """Ask it to end; whatever is still there later is killed."""
        tree = self._tree()
        self.popen.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.popen.wait(ENDING_SECONDS)
        for process in tree:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    def give_up(self, what: str) -> None:
        """End the program, with the last lines the process printed."""
        lines = self.log.read_text("utf-8", "replace").splitlines()[-LAST_LINES:]
        sys.exit("\n".join([*lines, f"{self.name} {what}."]))

    def _tree(self) -> list[psutil.Process]:
        if self.popen.poll() is not None:
            return []
        process = psutil.Process(self.popen.pid)
        return [process, *process.children(recursive=True)]


class Server(Process):
    """A server that is ready, with the client that drives it. ``short`` counts replies that it ended too early."""

    def __init__(self, peer: Peer, setup: Setup, folder: Path, environment: Mapping[str, str] | None = None) -> None:
        self.port = _free_port()
        command = peer.command(setup, self.port)
        super().__init__(peer.name, command, folder / f"{peer.name}.log", environment=environment)
        self._client = Client(self.port, peer.fields)
        self.replies = self.short = 0
        try:
            self._wait_until_ready(self.port, peer.health)
        except BaseException:
            self.end()
            raise

    def stream(self, prompt: str, tokens: int, go_on: Callable[[int], bool] = lambda _: True, **fields: Any) -> Reply:
        """A streamed reply, see :meth:`~bench.client.Client.stream`."""
        return self._counted(self._client.stream(prompt, tokens, go_on, **fields), tokens)

    def whole(self, prompt: str, tokens: int) -> Reply:
        """A reply in one piece."""
        return self._counted(self._client.whole(prompt, tokens), tokens)

    def _counted(self, reply: Reply, tokens: int) -> Reply:
        self.replies += 1
        self.short += reply.complete and reply.tokens < tokens
        return reply

    def _wait_until_ready(self, port: int, path: str) -> None:
        deadline = time.monotonic() + LOADING_SECONDS
        while time.monotonic() < deadline:
            if self.popen.poll() is not None:
                self.give_up("ended while it was starting")
            with contextlib.suppress(OSError, http.client.HTTPException):
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
                connection.request("GET", path)
                with connection.getresponse() as response:
                    if response.status == http.client.OK:
                        return
            time.sleep(0.1)
        self.give_up(f"was not ready after {LOADING_SECONDS} seconds")


class CpuWatch:
    """Whether the machine was really the driven server's: what the loaded ones used meanwhile, and what others did."""

    def __init__(self) -> None:
        self._loaded = self._loaded_seconds = 0.0
        self._strange = self._quiet_seconds = 0.0

    @contextlib.contextmanager
    def driving(self, server: Process, servers: ReadOnly[Process], *, quiet: bool) -> Iterator[None]:
        """Measure while the block runs; ``quiet`` says that no game runs beside it."""
        idle = [other for other in servers if other is not server]
        began, loaded, ours, everyone = time.monotonic(), _used(idle), _used(servers), _used_by_all()
        try:
            yield
        finally:
            seconds = time.monotonic() - began
            self._loaded += _used(idle) - loaded
            self._loaded_seconds += seconds * len(idle)
            if quiet:
                self._strange += _used_by_all() - everyone - (_used(servers) - ours)
                self._quiet_seconds += seconds

    def sentences(self) -> list[str]:
        """What was seen."""
        found = []
        if self._loaded_seconds:
            share = self._loaded / self._loaded_seconds
            found.append(f"Servers that were loaded but not driven used {share:.1%} of a core each.")
        if self._quiet_seconds:
            share = self._strange / self._quiet_seconds
            found.append(
                f"While the machine was meant to be quiet, the client and other programs used {share:.0%} of a core."
            )
        return found


@contextlib.contextmanager
def game(processes: int) -> Iterator[None]:
    """That many processes that want a core each, as long as the block runs."""
    command = [sys.executable, "-c", GAME]
    running = [subprocess.Popen(command, stdin=subprocess.PIPE) for _ in range(processes)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.communicate()


@contextlib.contextmanager
def home() -> Iterator[dict[str, str]]:
    """A user's environment in which nothing has ever been started."""
    with tempfile.TemporaryDirectory(prefix="tavernkeep-bench-") as folder:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("XDG_")}
        yield {**kept, "HOME": folder}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _used(processes: ReadOnly[Process]) -> float:
    return sum(process.cpu_seconds() for process in processes)


def _used_by_all() -> float:
    times = psutil.cpu_times()
    return times.user + times.system + getattr(times, "nice", 0.0)


@contextlib.contextmanager
def display() -> Iterator[None]:
    """A virtual display."""
    from pyvirtualdisplay.display import Display

    # Without the argument it starts anew when its last client leaves, and turns away who comes just then.
    with Display(visible=False, size=(1600, 1000), backend="xvfb", extra_args=["-noreset"]):
        yield
