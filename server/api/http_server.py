"""The HTTP server: waitress in a thread of the launcher, every piece of a stream sent at once.

Started and stopped by the controller.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import psutil
from waitress import wasyncore
from waitress.channel import ClientDisconnected
from waitress.server import create_server
from waitress.task import ThreadedTaskDispatcher

from server.api.connections import (
    FARTHEST_BEHIND,
    MAX_BODY,
    MAX_HEADERS,
    Channel,
    Limits,
    end_overdue,
    make_room,
    most_connections,
)
from server.errors import PortInUse, TavernkeepError

SPARE_THREADS = 16
LOOKING_THREADS = 4
LOOKING = ("GET", "HEAD", "OPTIONS")
OWN_SOCKETS = 2  # of each listener: itself, and the pipe that wakes the loop
NEVER = 10 * 365 * 24 * 3600
LOOP_SECONDS = 1.0
DRAIN_SECONDS = 2

log = logging.getLogger("tavernkeep.http")

WsgiApp = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class _Threads(ThreadedTaskDispatcher):
    """Threads for what is to be done, and a few that only answer those who look around, however long the others are
    held up. Tasks are channels here."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self._looking = ThreadedTaskDispatcher()
        self._looking.set_thread_count(LOOKING_THREADS)
        self.set_thread_count(count)

    def add_task(self, task: Any) -> None:
        if task.requests[0].command in LOOKING:
            self._looking.add_task(task)
        else:
            super().add_task(task)

    def shutdown(self, cancel_pending: bool = True, timeout: int = DRAIN_SECONDS) -> bool:
        self._looking.shutdown(cancel_pending, timeout)
        return super().shutdown(cancel_pending, timeout)


class HttpServer:
    """Serves ``app`` from construction until :meth:`close`.

    ``streams`` is how many replies may be open at once: each holds a thread, and others must stay free for status
    requests. ``port`` 0 takes a free one; read it back from :attr:`port`. :attr:`address` is what clients on this PC
    enter; :attr:`problem` says in a sentence why nobody can connect now, "" while they can. Raises :class:`PortInUse`.
    """

    def __init__(self, app: WsgiApp, host: str, port: int, streams: int, limits: Limits | None = None) -> None:
        logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # a request that waits for a thread is no fault
        sockets = _listen(host, port)
        self._limits = limits or Limits(most_connections())
        self.port: int = sockets[0].getsockname()[1]
        self._asked = {(host, port), (host, self.port)}
        name = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
        self.address = f"http://[{name}]:{self.port}" if ":" in name else f"http://{name}:{self.port}"
        self._map: dict[int, Any] = {}
        self._own = len(sockets) * OWN_SOCKETS
        self._server = create_server(
            _headers_first(app),
            map=self._map,
            sockets=sockets,
            _dispatcher=_Threads(streams + SPARE_THREADS),
            channel_request_lookahead=1,
            connection_limit=self._own + self._limits.connections + 1,  # make_room comes before it
            channel_timeout=NEVER,  # that is for Limits to say
            max_request_body_size=MAX_BODY,
            max_request_header_size=MAX_HEADERS,
            outbuf_high_watermark=2 * FARTHEST_BEHIND,  # where a thread would wait
            asyncore_use_poll=True,
            ident=None,
        )
        self._listeners = [entry for entry in self._map.values() if hasattr(entry, "channel_class")]
        for listener in self._listeners:
            listener.channel_class = Channel
            listener.handle_close = partial(wasyncore.dispatcher.close, listener)  # its trigger is still needed
        self.problem = ""
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="http", daemon=True)
        self._thread.start()

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._channels())

    def serves(self, host: str, port: int) -> bool:
        """Whether this is where those who ask for ``host`` and ``port`` should be served."""
        return (host, port) in self._asked

    def allow_streams(self, streams: int) -> None:
        """Change how many replies may be open at once."""
        self._server.task_dispatcher.set_thread_count(streams + SPARE_THREADS)

    def close(self) -> None:
        """Close the port and every connection; returns when that is done."""
        self._stopping.set()
        self._listeners[0].trigger.pull_trigger()
        self._thread.join()

    def _run(self) -> None:
        looked = time.monotonic()
        while not self._stopping.is_set():
            wasyncore.loop(timeout=LOOP_SECONDS, use_poll=True, map=self._map, count=1)
            if time.monotonic() - looked >= LOOP_SECONDS:
                looked = time.monotonic()
                end_overdue(self._channels(), self._limits)
                self._listen_again()
            surplus = len(self._map) - self._own - self._limits.connections
            if surplus > 0:
                make_room(self._channels(), surplus)
        for listener in self._listeners:
            wasyncore.dispatcher.close(listener)  # not listener.close(): the threads still pull its trigger
        self._drain()
        for channel in self._channels():
            channel.handle_close()  # wakes a thread that waits for a slow reader
        for listener in self._listeners:
            listener.pull_trigger = _nothing  # its descriptor may soon be another file's
        wasyncore.close_all(self._map, ignore_all=True)

    def _listen_again(self) -> None:
        """Open the port anew if the system took it away, as some do when a network ends or the PC slept."""
        lost = [listener for listener in self._listeners if listener not in self._map.values()]
        for listener in lost:
            try:
                fresh = _bind(listener.family, listener.sockinfo[3][0], self.port)
            except TavernkeepError as error:
                if not self.problem:
                    log.error("Nobody can connect any more. %s", error)
                self.problem = str(error)
                return
            fresh.setblocking(False)
            listener.set_socket(fresh, self._map)
            listener.accept_connections()
        if lost:
            log.warning("The port %d was lost, and is open again.", self.port)
            self.problem = ""

    def _channels(self) -> list[Channel]:
        return [entry for entry in self._map.values() if isinstance(entry, Channel)]

    def _drain(self) -> None:
        """Let replies that are ending anyway send their last frame, then stop the threads."""
        dispatcher = self._server.task_dispatcher
        closing = threading.Thread(target=dispatcher.shutdown, kwargs={"timeout": DRAIN_SECONDS})
        closing.start()
        while closing.is_alive():
            wasyncore.loop(timeout=0.05, use_poll=True, map=self._map, count=1)
        closing.join()


def _nothing() -> None:
    pass


def _headers_first(app: WsgiApp) -> WsgiApp:
    """Send the headers of a stream before the prompt is read: some clients give up after 15 silent seconds."""

    def wrapped(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        write: Any = None

        def start(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            nonlocal write
            started = start_response(status, headers, *rest)
            if any(name == "Content-Type" and value.startswith("text/event-stream") for name, value in headers):
                write = started
            return started

        body = app(environ, start)
        if write:
            try:
                write(b"")
            except ClientDisconnected:
                getattr(body, "close", _nothing)()  # waitress never saw it; closing is what cancels the generation
                raise
        return body

    return wrapped


def _listen(host: str, port: int) -> list[socket.socket]:
    """The listening sockets: for 127.0.0.1 also [::1] where it can be had, because Windows' localhost means that."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sockets = [_bind(family, host, port)]
    if host == "127.0.0.1" and socket.has_ipv6:
        with contextlib.suppress(TavernkeepError):
            sockets.append(_bind(socket.AF_INET6, "::1", sockets[0].getsockname()[1]))
    return sockets


def _bind(family: socket.AddressFamily, host: str, port: int) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if sys.platform == "win32":
            # There SO_REUSEADDR would let two servers share a port without an error.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise PortInUse(
                f"Port {port} is already used by {_holder(port)}.",
                "Close that program, or choose another port with --port.",
            ) from None
        raise TavernkeepError(
            f"The server cannot listen on {host}, port {port}: {error.strerror}.",
            "Start it with --host and an address that this PC has, or with --host 0.0.0.0 for all of them.",
        ) from None
    return listener


def _holder(port: int) -> str:
    """Name and process id of the program that listens on ``port``, where the system tells."""
    try:
        for connection in psutil.net_connections("tcp"):
            listening = connection.status == psutil.CONN_LISTEN and getattr(connection.laddr, "port", 0) == port
            if listening and connection.pid:
                return f"{psutil.Process(connection.pid).name()} (process {connection.pid})"
    except psutil.Error:
        pass
    return "another program"
