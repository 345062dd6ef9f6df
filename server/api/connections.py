"""The HTTP server's connections: which of them are ended so that others get through, how a stream is framed, and what
is refused before there is a request. Used by ``http_server``.

Threads and connections are few. Nobody can hold one by sending or reading slowly, or not at all.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from waitress.channel import ClientDisconnected, HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.task import ErrorTask, WSGITask

from server.api import refusal
from server.errors import BadRequest

MIB = 1024 * 1024
MAX_BODY = 33 * MIB
MAX_HEADERS = 64 * 1024
CONNECTIONS = 480  # Windows' select takes 512 sockets, those that listen among them
FARTHEST_BEHIND = 4 * MIB  # which no reader is that reads at all


def most_connections() -> int:
    """How many connections this process can hold at a time; macOS gives a program 256 files in all."""
    if sys.platform == "win32":
        return CONNECTIONS
    import resource

    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return CONNECTIONS if files == resource.RLIM_INFINITY else min(CONNECTIONS, files // 2)


@dataclass(frozen=True)
class Limits:
    """How many ``connections`` may be open; and in seconds how long a request may take to arrive (``arriving``), how
    long a reader may take nothing of what waits for it (``stalled``), and how long a connection may be ``idle``."""

    connections: int
    arriving: float = 60.0
    stalled: float = 60.0
    idle: float = 120.0


class _TooLate:
    """In place of waitress's own errors."""

    code = HTTPStatus.REQUEST_TIMEOUT.value
    reason = HTTPStatus.REQUEST_TIMEOUT.phrase

    def __init__(self, body: str) -> None:
        self.body = body


class _Task(WSGITask):
    def build_response_header(self) -> bytes:
        """A client that asked for ``Connection: close`` gets a stream without chunk sizes, ended by the close: CHIM
        reads its socket line by line."""
        header: bytes = super().build_response_header()
        request: Any = self.request
        if self.chunked_response and request.headers.get("CONNECTION", "").lower() == "close":
            self.chunked_response = False
            header = header.replace(b"Transfer-Encoding: chunked\r\n", b"")
        return header


class _Request(HTTPRequestParser):
    """Waitress reads these of every request, also where they could not be read: of what is no HTTP."""

    command: Any = ""
    path: str = ""


class _Refusal(ErrorTask):
    """What is refused before there is a request: one that is too large or too slow, or no HTTP at all."""

    def execute(self) -> None:
        request: Any = self.request
        error = request.error
        too_large = {
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE: f"The request is larger than {MAX_BODY // MIB} MB.",
            HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: f"The request has over {MAX_HEADERS // 1024} KiB of headers.",
        }
        known = BadRequest(too_large.get(error.code, f"{error.body}."))
        body = json.dumps(refusal.body(known)).encode()
        self.status = f"{error.code} {error.reason}"
        self.response_headers = [("Content-Type", "application/json")]
        self.set_close_on_finish()
        self.content_length = len(body)
        self.write(body)


class Channel(HTTPChannel):
    """One connection. Requests that run end it by themselves; all else :func:`end_overdue` and :func:`make_room` do."""

    task_class = _Task
    error_task_class = _Refusal
    parser_class = _Request

    def __init__(self, *args: Any, **options: Any) -> None:
        self.moved = self.begun = time.monotonic()  # when a byte last came or went; when this request's first byte came
        super().__init__(*args, **options)

    @property
    def quiet(self) -> bool:
        """Whether nothing is being done for the client."""
        return not self.requests and not self.total_outbufs_len

    @property
    def waited_since(self) -> float:
        """Since when it is the client that is waited for: all the time while a request trickles in."""
        return self.begun if self.request else self.moved

    def received(self, data: bytes) -> bool:
        self.moved = time.monotonic()
        before = self.request
        taken = super().received(data)
        if self.request is not before:
            self.begun = self.moved
        return taken

    def send(self, data: bytes, do_close: bool = True) -> int:
        sent = super().send(data, do_close=do_close)
        if sent:
            self.moved = time.monotonic()
        return sent

    def write_soon(self, data: bytes) -> int:
        """A stream whose reader has stopped reading ends here: its thread must not wait for that reader."""
        if self.total_outbufs_len > FARTHEST_BEHIND:
            raise ClientDisconnected
        return super().write_soon(data)

    def end_if_overdue(self, limits: Limits) -> None:
        """End the connection, or refuse the request that is arriving, where it has taken too long."""
        now = time.monotonic()
        if self.total_outbufs_len:
            with self.outbuf_lock:  # else it may have been written this very moment, and not been sent yet
                stalled = self.total_outbufs_len and now - self.moved > limits.stalled
            if stalled:
                self.handle_close()
        elif self.quiet and self.request and now - self.begun > limits.arriving:
            self._refuse_late(limits)
        elif self.quiet and now - self.moved > limits.idle:
            self.handle_close()

    def _refuse_late(self, limits: Limits) -> None:
        lock: Any = self.requests_lock  # type: ignore[attr-defined]
        with lock:
            late: Any = self.request
            late.error = _TooLate(f"The request had not all arrived after {limits.arriving:g} seconds")
            self.request = None
            self.requests = [late]
        self.server.add_task(self)  # type: ignore[arg-type]


def end_overdue(channels: Iterable[Channel], limits: Limits) -> None:
    """End the connections whose time is up. Called by the loop's thread only."""
    for channel in channels:
        channel.end_if_overdue(limits)


def make_room(channels: Iterable[Channel], surplus: int) -> None:
    """End as many of those that wait for their clients, those first that have waited longest."""
    waiting = sorted((channel for channel in channels if channel.quiet), key=lambda channel: channel.waited_since)
    for channel in waiting[:surplus]:
        channel.handle_close()
