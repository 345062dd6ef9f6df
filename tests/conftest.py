"""What the tests share: the starter model, a server that runs it over real HTTP, and waiting without guessing."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import signal
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from server.controller import Controller
from server.engine.neighbours import waiting_environment
from server.events import EngineState
from server.model.library import STARTER
from server.prompt.jinja import Renderer
from server.settings import Settings
from server.snapshot import Snapshot

PATIENCE = 60.0

os.environ.update(waiting_environment(game_mode=False))  # for tests that load a model in their own process


def wait_until(condition: Callable[[], Any], what: str, seconds: float = PATIENCE) -> Any:
    """Poll until ``condition`` gives something true, and return that; fail with ``what`` when time runs out."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.01)
    raise AssertionError(f"still waiting after {seconds:g} s for: {what}")


@dataclass(frozen=True)
class Reply:
    """An HTTP answer: status, headers, and the body as bytes."""

    status: int
    headers: Any
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Server:
    """A running server under test, called over real HTTP."""

    def __init__(self, controller: Controller) -> None:
        self.controller = controller

    @property
    def base(self) -> str:
        return self.controller.snapshot().address

    @property
    def port(self) -> int:
        port = urlsplit(self.base).port
        assert port
        return port

    def snapshot(self) -> Snapshot:
        return self.controller.snapshot()

    def wait_for(self, state: EngineState) -> Snapshot:
        wait_until(lambda: self.snapshot().state is state, f"state {state.value}, now {self.snapshot()}")
        return self.snapshot()

    def wait_until_quiet(self) -> None:
        wait_until(lambda: not self.snapshot().requests and not self.snapshot().stats.running, "no running requests")

    def request(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Reply:
        """A request with exactly these bytes; header names are written with underscores."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(self.base + path, data=body, headers=sent, method=method)
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                return Reply(answer.status, answer.headers, answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return Reply(error.code, error.headers, error.read())

    def get(self, path: str, **headers: str) -> Reply:
        return self.request("GET", path, **headers)

    def post(self, path: str, body: Any = None, **headers: str) -> Reply:
        data = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else b""
        return self.request("POST", path, data, **headers)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)

    def send_raw(self, path: str, body: Any, *headers: str) -> socket.socket:
        """A hand-written HTTP/1.1 POST, as CHIM sends it; returns the open socket."""
        data = json.dumps(body).encode()
        lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(data)}", *headers, "", ""]
        connection = self.connect()
        connection.sendall("\r\n".join(lines).encode() + data)
        return connection


def engine_pid(server: Server) -> int:
    """The one child of this process that runs the worker for ``server``."""
    engine = server.controller._host.engine
    assert engine
    return engine.pid


def read_to_end(connection: socket.socket) -> bytes:
    """Everything the server sends until it closes the connection."""
    with connection:
        return b"".join(iter(lambda: connection.recv(65536), b""))


@contextlib.contextmanager
def small_disk(size: int) -> Iterator[None]:
    """No file of this process can grow over ``size`` bytes, as on a disk that is nearly full."""
    resource = pytest.importorskip("resource", reason="Windows has no such limit")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # then a write fails as it does on a full disk
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)


def settings_for_tests(**changes: Any) -> Settings:
    """The starter model on a free port, with as few threads as the machine can spare."""
    return Settings(**{"model": str(STARTER), "port": 0, "contextsize": 2048, "threads": 2, **changes})


def pytest_collection_finish() -> None:
    """What was imported stays; the garbage collector need not look at it again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def own_memory(tmp_path_factory: pytest.TempPathFactory) -> None:
    """No test reads or writes what the user's own window remembers, nor leaves logs with the user's."""
    os.environ["XDG_CONFIG_HOME"] = str(tmp_path_factory.mktemp("config"))
    os.environ["XDG_STATE_HOME"] = str(tmp_path_factory.mktemp("state"))


@pytest.fixture(scope="session")
def starter_model() -> Path:
    if not STARTER.is_file():
        pytest.fail("The starter model is missing; `python3 bootstrap.py test` fetches it.")
    return STARTER


@pytest.fixture(scope="session")
def renderer() -> Iterator[Renderer]:
    """One process for all templates that behave; the others get one of the test's own."""
    with closing(Renderer()) as renderer:
        yield renderer


@pytest.fixture(scope="session")
def shared_server(starter_model: Path) -> Iterator[Server]:
    """One server with the starter model for all tests that leave it as they found it."""
    server = Server(Controller())
    server.controller.start(settings_for_tests())
    server.wait_for(EngineState.READY)
    yield server
    server.controller.stop()


@pytest.fixture
def server(shared_server: Server) -> Iterator[Server]:
    """The shared server, quiet again after the test."""
    yield shared_server
    shared_server.wait_until_quiet()


@pytest.fixture
def own_server(starter_model: Path) -> Iterator[Server]:
    """A server of the test's own, not started yet, for tests that break or change it."""
    server = Server(Controller())
    yield server
    server.controller.stop()
