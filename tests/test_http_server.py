"""The HTTP server by itself, with small WSGI apps over real sockets."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
from waitress.channel import ClientDisconnected

from server.api import http_server
from server.api.connections import FARTHEST_BEHIND, Channel, Limits
from server.api.http_server import SPARE_THREADS, HttpServer
from server.errors import PortInUse
from tests.conftest import read_to_end, wait_until

Start = Callable[..., Any]


def hello(environ: dict[str, Any], start_response: Start) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
    return [b"hello"]


@pytest.fixture
def serve() -> Iterator[Callable[..., HttpServer]]:
    servers: list[HttpServer] = []

    def start(app: Any, host: str = "127.0.0.1", port: int = 0, streams: int = 4, **limits: float) -> HttpServer:
        servers.append(HttpServer(app, host, port, streams, Limits(**{"connections": 100, **limits})))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def ask(port: int, *headers: str, host: str = "127.0.0.1", version: str = "1.1") -> bytes:
    connection = socket.create_connection((host, port), timeout=20)
    connection.sendall("\r\n".join([f"GET / HTTP/{version}", "Host: x", *headers, "", ""]).encode())
    return read_to_end(connection)


def connect(port: int, sent: str = "", receive_buffer: int = 0) -> socket.socket:
    """A connection on which so much of a request was sent."""
    connection = socket.socket()
    connection.settimeout(20)
    if receive_buffer:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    connection.connect(("127.0.0.1", port))
    connection.sendall(sent.replace("\n", "\r\n").encode())
    return connection


GET = "GET / HTTP/1.1\nHost: x\n\n"
POST = "POST / HTTP/1.1\nHost: x\nContent-Length: 0\n\n"
HALF_HEADERS = "POST / HTTP/1.1\nHost: x\nContent-Le"
HALF_BODY = "POST / HTTP/1.1\nHost: x\nContent-Length: 100\n\nhalf"


def say_hello(connection: socket.socket) -> None:
    """A request on a connection that stays."""
    connection.sendall(GET.replace("\n", "\r\n").encode())
    received = b""
    while not received.endswith(b"hello"):
        received += connection.recv(4096)


def test_localhost_is_served_on_both_families(serve: Any) -> None:
    server = serve(hello)
    assert ask(server.port, "Connection: close").endswith(b"hello")
    if socket.has_ipv6 and os.path.exists("/proc/net/if_inet6") and os.path.getsize("/proc/net/if_inet6"):
        assert ask(server.port, "Connection: close", host="::1").endswith(b"hello")


def test_a_port_in_use_is_named_with_the_program_that_holds_it(serve: Any) -> None:
    server = serve(hello)
    with pytest.raises(PortInUse, match=rf"Port {server.port} is already used by .*\(process {os.getpid()}\)"):
        serve(hello, port=server.port)


def test_every_piece_of_a_stream_leaves_at_once(serve: Any) -> None:
    gate = threading.Event()

    def app(environ: dict[str, Any], start_response: Start) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Type", "text/event-stream")])
        yield b"first\n\n"
        assert gate.wait(20)
        yield b"second\n\n"

    connection = socket.create_connection(("127.0.0.1", serve(app).port), timeout=20)
    connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    received = b""
    while b"first" not in received:
        received += connection.recv(4096)
    assert b"second" not in received
    gate.set()
    assert read_to_end(connection).endswith(b"second\n\n")


def test_a_stream_is_chunked_unless_the_client_wants_the_connection_closed(serve: Any) -> None:
    def app(environ: dict[str, Any], start_response: Start) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Type", "text/event-stream")])
        yield b"a"

    port = serve(app).port
    assert ask(port).endswith(b"1\r\na\r\n0\r\n\r\n")
    assert ask(port, "Connection: close").endswith(b"\r\n\r\na")
    assert ask(port, version="1.0").endswith(b"\r\n\r\na")


def test_an_app_sees_at_once_that_its_client_has_left(serve: Any) -> None:
    waiting, left = threading.Event(), threading.Event()

    def app(environ: dict[str, Any], start_response: Start) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Type", "text/event-stream")])
        waiting.set()
        wait_until(environ["waitress.client_disconnected"], "the client to leave", 20)
        left.set()
        yield b""

    connection = socket.create_connection(("127.0.0.1", serve(app).port), timeout=20)
    connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert waiting.wait(20)
    connection.close()
    assert left.wait(20)


def test_open_streams_leave_threads_for_status_requests(serve: Any) -> None:
    gate = threading.Event()

    def app(environ: dict[str, Any], start_response: Start) -> Iterable[bytes]:
        if environ["PATH_INFO"] != "/stream":
            return hello(environ, start_response)
        start_response("200 OK", [("Content-Type", "text/event-stream")])
        return stream()

    def stream() -> Iterator[bytes]:
        yield b"x"
        gate.wait(20)

    server = serve(app, streams=8)
    connections = [socket.create_connection(("127.0.0.1", server.port), timeout=20) for _ in range(8)]
    for connection in connections:
        connection.sendall(b"POST /stream HTTP/1.1\r\nHost: x\r\n\r\n")
        assert connection.recv(4096)
    assert ask(server.port, "Connection: close").endswith(b"hello")
    gate.set()
    for connection in connections:
        connection.close()


@pytest.mark.parametrize("half", ["", HALF_HEADERS, HALF_BODY])
def test_requests_that_never_end_do_not_stop_a_whole_one(serve: Any, half: str) -> None:
    server = serve(hello, connections=5)
    with contextlib.ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(connect(server.port, half))
        assert ask(server.port, "Connection: close").endswith(b"hello")


def test_the_connection_that_has_been_idle_longest_gives_way_to_a_new_one(serve: Any) -> None:
    server = serve(hello, connections=2)
    with connect(server.port) as first, connect(server.port) as second:
        for connection in (first, second):
            say_hello(connection)
            wait_until(lambda: all(channel.quiet for channel in server._channels()), "its thread to be done with it")
        assert ask(server.port, "Connection: close").endswith(b"hello")
        assert first.recv(4096) == b""
        say_hello(second)


def test_a_reply_that_runs_gives_way_to_nobody(serve: Any) -> None:
    gate = threading.Event()

    def app(environ: dict[str, Any], start_response: Start) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Type", "text/event-stream")])
        yield b"first"
        assert gate.wait(20)
        yield b"last"

    server = serve(app, connections=3)
    with contextlib.ExitStack() as stack:
        stream = stack.enter_context(connect(server.port, GET.replace("\n\n", "\nConnection: close\n\n")))
        assert stream.recv(4096)
        half_open = [stack.enter_context(connect(server.port, HALF_HEADERS)) for _ in range(10)]
        assert half_open[0].recv(1) == b""
        gate.set()
        assert read_to_end(stream).endswith(b"last")


def test_a_request_that_trickles_in_is_refused_when_its_time_is_up(serve: Any) -> None:
    server = serve(hello, arriving=0.3)
    with connect(server.port, HALF_BODY) as connection:
        connection.settimeout(0.1)

        def answer() -> bytes:
            connection.sendall(b"x")
            with contextlib.suppress(TimeoutError):
                return connection.recv(4096)
            return b""

        received = wait_until(answer, "a refusal", 20)
        connection.settimeout(20)
        received += read_to_end(connection)  # the headers may come alone
    assert received.startswith(b"HTTP/1.1 408 Request Timeout")
    assert b"The request had not all arrived after 0.3 seconds." in received


def test_an_idle_connection_is_closed_when_its_time_is_up(serve: Any) -> None:
    with connect(serve(hello, idle=0.3).port) as connection:
        say_hello(connection)
        assert connection.recv(4096) == b""


def test_readers_that_do_not_read_hold_no_threads(serve: Any) -> None:
    left = threading.Semaphore(0)

    def app(environ: dict[str, Any], start_response: Start) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Type", "text/event-stream")])
        try:
            while True:
                yield bytes(65536)
        except GeneratorExit:
            left.release()
            raise

    server = serve(app, streams=2)
    readers = SPARE_THREADS + 4
    with contextlib.ExitStack() as stack:
        for _ in range(readers):
            stack.enter_context(connect(server.port, POST, receive_buffer=4096))
        for _ in range(readers):
            assert left.acquire(timeout=20)


def test_a_reader_that_takes_nothing_is_left_when_its_time_is_up(serve: Any) -> None:
    asked = threading.Event()

    def app(environ: dict[str, Any], start_response: Start) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Length", str(4 * FARTHEST_BEHIND))])
        asked.set()
        return [bytes(4 * FARTHEST_BEHIND)]

    server = serve(app, stalled=0.3)
    with connect(server.port, POST, receive_buffer=4096):
        assert asked.wait(20)
        wait_until(lambda: not server.connections, "the connection to be ended", 20)


def test_a_scanner_that_leaves_before_its_refusal_is_no_fault(
    serve: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    refused = threading.Event()

    def gone(channel: Channel, data: bytes) -> int:
        refused.set()
        raise ClientDisconnected

    monkeypatch.setattr(Channel, "write_soon", gone)
    server = serve(hello)
    with connect(server.port, "\x16\x03\x01\n\n"):
        assert refused.wait(20)
        wait_until(lambda: not server.connections, "the connection to be ended", 20)
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


def test_requests_that_wait_leave_threads_for_those_that_look(serve: Any) -> None:
    gate = threading.Event()

    def app(environ: dict[str, Any], start_response: Start) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] == "POST":
            gate.wait(20)
        return hello(environ, start_response)

    server = serve(app, streams=1)
    with contextlib.ExitStack() as stack:
        for _ in range(SPARE_THREADS + 10):
            stack.enter_context(connect(server.port, POST))
        assert ask(server.port, "Connection: close").endswith(b"hello")
        gate.set()


def test_twenty_starts_and_stops_leave_no_thread_behind() -> None:
    before = threading.active_count()
    for _ in range(20):
        server = HttpServer(hello, "127.0.0.1", 0, 2)
        assert ask(server.port, "Connection: close").endswith(b"hello")
        server.close()
    wait_until(lambda: threading.active_count() <= before, "the threads to end")


# --- the port is lost ---


def lose_port(server: HttpServer) -> None:
    """As when the system takes a listening socket away."""
    for listener in server._listeners:
        listener.socket.shutdown(socket.SHUT_RDWR)


def answers(server: HttpServer) -> bool:
    with contextlib.suppress(OSError):
        return ask(server.port, "Connection: close").endswith(b"hello")
    return False


def test_a_port_that_was_lost_is_opened_again(serve: Any) -> None:
    server = serve(hello)
    lose_port(server)
    wait_until(lambda: answers(server), "the port to be open again")
    assert server.problem == ""


def test_a_port_that_another_program_takes_meanwhile_is_told_of_until_it_is_free(
    serve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(hello)
    others: list[socket.socket] = []

    def too_late(family: socket.AddressFamily, host: str, port: int) -> socket.socket:
        if not others:
            others.append(socket.create_server((host, port), family=family))
        return bind(family, host, port)

    bind = http_server._bind
    monkeypatch.setattr(http_server, "_bind", too_late)
    lose_port(server)
    wait_until(lambda: server.problem, "the problem")
    assert f"Port {server.port} is already used by" in server.problem
    others[0].close()
    wait_until(lambda: answers(server), "the port to be open again")
    assert server.problem == ""


def test_requests_that_wait_for_a_thread_are_nothing_to_tell(serve: Any, caplog: pytest.LogCaptureFixture) -> None:
    """waitress would warn of the depth of its queue for each of them."""
    free = threading.Event()

    def slow(environ: dict[str, Any], start_response: Start) -> Iterable[bytes]:
        free.wait(20)
        return hello(environ, start_response)

    server = serve(slow)
    waiting = [connect(server.port, GET) for _ in range(3 * http_server.LOOKING_THREADS)]
    looking = server._server.task_dispatcher._looking
    wait_until(lambda: len(looking.queue) >= http_server.LOOKING_THREADS, "a queue")
    free.set()
    for connection in waiting:
        connection.close()
    assert [record.getMessage() for record in caplog.records if record.name == "waitress.queue"] == []
