"""The HTTP server by itself, with small WSGI apps over real sockets."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from server.api.http_server import HttpServer
from server.errors import PortInUse
from tests.conftest import read_to_end, wait_until

Start = Callable[..., Any]


def hello(environ: dict[str, Any], start_response: Start) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
    return [b"hello"]


@pytest.fixture
def serve() -> Iterator[Callable[..., HttpServer]]:
    servers: list[HttpServer] = []

    def start(app: Any, host: str = "127.0.0.1", port: int = 0, streams: int = 4) -> HttpServer:
        servers.append(HttpServer(app, host, port, streams))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def ask(port: int, *headers: str, host: str = "127.0.0.1", version: str = "1.1") -> bytes:
    connection = socket.create_connection((host, port), timeout=20)
    connection.sendall("\r\n".join([f"GET / HTTP/{version}", "Host: x", *headers, "", ""]).encode())
    return read_to_end(connection)


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
        connection.sendall(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
        assert connection.recv(4096)
    assert ask(server.port, "Connection: close").endswith(b"hello")
    gate.set()
    for connection in connections:
        connection.close()


def test_twenty_starts_and_stops_leave_no_thread_behind() -> None:
    before = threading.active_count()
    for _ in range(20):
        server = HttpServer(hello, "127.0.0.1", 0, 2)
        assert ask(server.port, "Connection: close").endswith(b"hello")
        server.close()
    wait_until(lambda: threading.active_count() <= before, "the threads to end")
