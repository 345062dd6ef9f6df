"""What happens when the engine dies or hangs, and how a server says goodbye; the real processes, over real HTTP."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from server.engine.client import EngineClient, Generation
from server.errors import EngineDied
from server.events import EngineState, Generate, LoadModel, ModelLoaded
from server.restarts import GIVEN_UP, MOST
from tests.conftest import Reply, Server, engine_pid, read_to_end, settings_for_tests, wait_until

ENDLESS: Any = {"prompt": "Once", "max_tokens": 900, "ignore_eos": True, "stream": True}
LONG: Any = {"prompt": "a wolf and " * 300, "max_tokens": 4, "temperature": 0}

needs_signals = pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot stop a process for a while")


def ready(server: Server, **changes: Any) -> Server:
    server.controller.start(settings_for_tests(**{"contextsize": 2048, **changes}))
    server.wait_for(EngineState.READY)
    return server


def kill_engine(server: Server) -> int:
    pid = engine_pid(server)
    psutil.Process(pid).kill()
    return pid


def back_again(server: Server, dead: int) -> None:
    wait_until(
        lambda: engine_pid(server) not in (0, dead) and server.snapshot().state is EngineState.READY, "its return"
    )


def answers(server: Server) -> bool:
    return server.post("/v1/completions", {"prompt": "a", "max_tokens": 1}).status == 200


def writing(server: Server) -> int:
    return sum(row.completion_tokens > 0 for row in server.snapshot().requests)


def error_at_the_end_of(connection: socket.socket) -> str:
    last = read_to_end(connection).decode().strip().split("\n\n")[-1]
    return str(json.loads(last.removeprefix("data: "))["error"]["code"])


def ask(server: Server, path: str, body: Any) -> tuple[threading.Thread, list[Reply]]:
    """A request that is waited for by somebody else."""
    replies: list[Reply] = []
    asking = threading.Thread(target=lambda: replies.append(server.post(path, body)))
    asking.start()
    return asking, replies


# --- the engine dies ---


def test_an_engine_that_dies_while_it_is_idle_comes_back_with_the_same_model(own_server: Server) -> None:
    address = ready(own_server).base
    dead = kill_engine(own_server)
    back_again(own_server, dead)
    assert own_server.base == address
    assert answers(own_server)
    assert "It was started again" in own_server.get("/health").json["message"]
    assert own_server.snapshot().restarts == 1


def test_one_that_dies_while_it_loads_is_told_and_not_tried_for_ever(own_server: Server) -> None:
    own_server.controller.start(settings_for_tests())
    dead = kill_engine(own_server)
    own_server.wait_for(EngineState.FAILED)
    assert engine_pid(own_server) == dead
    assert "killed" in own_server.get("/health").json["message"]
    assert answers(ready(own_server, port=own_server.port))


def test_a_request_whose_prompt_was_being_read_is_answered_by_the_next_engine(own_server: Server) -> None:
    whole = ready(own_server, nofastforward=True).post("/v1/completions", LONG).json["choices"][0]["text"]
    asking, replies = ask(own_server, "/v1/completions", LONG)
    wait_until(lambda: own_server.snapshot().stats.running, "the prompt to be read")
    kill_engine(own_server)
    asking.join()
    assert replies[0].status == 200
    assert replies[0].json["choices"][0]["text"] == whole


def test_a_request_that_was_being_read_by_two_engines_that_died_is_given_up(own_server: Server) -> None:
    ready(own_server)
    asking, replies = ask(own_server, "/v1/completions", LONG)
    for _ in range(2):
        wait_until(lambda: own_server.snapshot().stats.running, "the prompt to be read")
        dead = kill_engine(own_server)
        back_again(own_server, dead)
    asking.join()
    assert replies[0].status == 503
    assert replies[0].json["error"]["code"] == EngineDied.code


def test_eight_streams_end_with_an_error_and_the_next_ones_are_served(own_server: Server) -> None:
    ready(own_server, contextsize=8192)
    streams = [own_server.send_raw("/v1/completions", ENDLESS, "Connection: close") for _ in range(8)]
    wait_until(lambda: writing(own_server) == 8, "all of them to write")
    dead = kill_engine(own_server)
    assert [error_at_the_end_of(stream) for stream in streams] == [EngineDied.code] * 8
    back_again(own_server, dead)
    assert answers(own_server)


def test_what_waits_behind_a_stream_is_answered_although_the_stream_dies(own_server: Server) -> None:
    ready(own_server)
    stream = own_server.send_raw("/v1/completions", {**ENDLESS, "prompt": "the bear " * 500}, "Connection: close")
    wait_until(lambda: writing(own_server), "the stream")
    asking, replies = ask(own_server, "/api/v1/generate", {"prompt": "a wolf and " * 500, "max_length": 4})
    wait_until(lambda: own_server.snapshot().stats.waiting, "one to wait")
    kill_engine(own_server)
    assert error_at_the_end_of(stream) == EngineDied.code
    asking.join()
    assert replies[0].status == 200


def test_a_request_that_comes_during_the_restart_waits_for_it(own_server: Server) -> None:
    ready(own_server)
    kill_engine(own_server)
    wait_until(lambda: own_server.snapshot().restarting, "the restart")
    assert answers(own_server)


def test_nobody_writes_for_a_client_that_left_during_the_restart(own_server: Server) -> None:
    ready(own_server)
    reading = own_server.send_raw("/v1/completions", {**LONG, "max_tokens": 200, "ignore_eos": True})
    wait_until(lambda: own_server.snapshot().stats.running, "the prompt to be read")
    dead = kill_engine(own_server)
    reading.close()
    back_again(own_server, dead)
    own_server.wait_until_quiet()
    assert own_server.snapshot().written < 200


def test_an_engine_that_dies_again_and_again_is_given_up(own_server: Server) -> None:
    ready(own_server)
    for _ in range(MOST):
        back_again(own_server, kill_engine(own_server))
    kill_engine(own_server)
    own_server.wait_for(EngineState.FAILED)
    assert GIVEN_UP in own_server.get("/health").json["message"]


def test_without_restarts_a_dead_engine_stays_dead_until_the_next_start(own_server: Server) -> None:
    ready(own_server, autorestart=False)
    asking, replies = ask(own_server, "/v1/completions", LONG)
    wait_until(lambda: own_server.snapshot().stats.running, "the prompt to be read")
    kill_engine(own_server)
    own_server.wait_for(EngineState.FAILED)
    asking.join()
    assert replies[0].status == 503
    assert answers(ready(own_server, port=own_server.port))


# --- the engine hangs ---


@needs_signals
def test_an_engine_that_hangs_in_its_work_is_ended_and_the_work_done_by_the_next(own_server: Server) -> None:
    ready(own_server, hangtimeout=5, blasbatchsize=32)
    hanging = engine_pid(own_server)
    asking, replies = ask(own_server, "/v1/completions", LONG)
    wait_until(lambda: own_server.snapshot().stats.running, "the prompt to be read")
    os.kill(hanging, signal.SIGSTOP)
    back_again(own_server, hanging)
    asking.join()
    assert replies[0].status == 200
    assert "hung" in own_server.get("/health").json["message"]
    assert not psutil.pid_exists(hanging)


@needs_signals
def test_an_engine_that_does_not_even_count_tokens_is_ended_too(
    own_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.engine.client.CALL_TIMEOUT", 1.0)
    ready(own_server)
    hanging = engine_pid(own_server)
    os.kill(hanging, signal.SIGSTOP)
    assert own_server.post("/api/extra/tokencount", {"prompt": "a"}).status == 200  # by the next one
    back_again(own_server, hanging)
    assert not psutil.pid_exists(hanging)
    assert own_server.post("/api/extra/tokencount", {"prompt": "a"}).status == 200


def test_an_engine_that_has_nothing_to_do_may_be_silent(own_server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.engine.client.TICK", 0.001)
    ready(own_server, hangtimeout=1)
    idle = engine_pid(own_server)
    for _ in range(20):  # each takes longer than the watch allows a busy engine
        assert own_server.get("/health").status == 200
    assert engine_pid(own_server) == idle


# --- goodbye ---


def test_a_running_reply_may_end_before_the_server_does_and_new_ones_are_refused(own_server: Server) -> None:
    ready(own_server)
    stream = own_server.send_raw("/v1/completions", {**ENDLESS, "max_tokens": 120}, "Connection: close")
    wait_until(lambda: writing(own_server), "the stream")
    closing = threading.Thread(target=own_server.controller.close)
    closing.start()
    wait_until(lambda: own_server.controller._closing, "the goodbye")
    late = own_server.post("/v1/completions", {"prompt": "a", "max_tokens": 1})
    assert late.status == 503
    assert "closing" in late.json["error"]["message"]
    assert read_to_end(stream).endswith(b"data: [DONE]\n\n")
    closing.join()
    assert own_server.snapshot().state is EngineState.IDLE


def test_a_reply_that_takes_too_long_ends_with_an_error_when_the_server_does(
    own_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.controller.FAREWELL", 0.5)
    ready(own_server)
    stream = own_server.send_raw("/v1/completions", ENDLESS, "Connection: close")
    wait_until(lambda: writing(own_server), "the stream")
    own_server.controller.close()
    assert error_at_the_end_of(stream) == EngineDied.code


def test_whoever_stops_a_server_that_says_goodbye_does_not_wait_for_its_replies(own_server: Server) -> None:
    ready(own_server)
    stream = own_server.send_raw("/v1/completions", ENDLESS, "Connection: close")
    wait_until(lambda: writing(own_server), "the stream")
    closing = threading.Thread(target=own_server.controller.close)
    closing.start()
    wait_until(lambda: own_server.controller._closing, "the goodbye")
    own_server.controller.stop()
    assert error_at_the_end_of(stream) == EngineDied.code
    closing.join()


def test_a_server_that_was_closed_can_be_started_again(own_server: Server) -> None:
    ready(own_server).controller.close()
    assert answers(ready(own_server))


# --- memory and time ---


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a process's memory be limited from outside")
def test_too_little_memory_for_the_context_is_told_in_words_and_a_smaller_one_loads(own_server: Server) -> None:
    own_server.controller.start(settings_for_tests(contextsize=262144))  # 6 GB of KV cache
    psutil.Process(engine_pid(own_server)).rlimit(psutil.RLIMIT_AS, (2 << 30, 2 << 30))
    sentence = own_server.wait_for(EngineState.FAILED).sentence
    assert "could not set up a context of 262144 tokens" in sentence
    assert "Choose a smaller context size" in sentence
    assert answers(ready(own_server, port=own_server.port))


def test_a_clock_that_jumps_harms_nobody(own_server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, jumps = time.time, itertools.cycle((0.0, 1e8, -1e8))
    monkeypatch.setattr(time, "time", lambda: clock() + next(jumps))
    ready(own_server)
    for _ in range(3):
        stream = own_server.send_raw("/v1/completions", {**ENDLESS, "max_tokens": 20}, "Connection: close")
        assert read_to_end(stream).endswith(b"data: [DONE]\n\n")
        assert answers(own_server)
    assert own_server.get("/api/extra/perf").json["uptime"] < 1e6


# --- the launcher's side of a process, with stand-ins for the process ---

STAND_IN = """
import pickle, sys
sys.path.insert(0, {root!r})
from server.events import ModelInfo, ModelLoaded, Tokenize, Tokens

def send(event):
    pickle.dump([event], sys.stdout.buffer)
    sys.stdout.buffer.flush()

pickle.load(sys.stdin.buffer)
{then}
"""
SPEC = LoadModel("m.gguf", context=512, gpu_layers=0, threads=1, batch=64, sequences=1)


class Ended:
    """What a client tells of its process and of its replies."""

    def __init__(self) -> None:
        self.exits: list[str] = []
        self.over: list[Generation] = []
        self.loaded = threading.Event()

    def client(self, patience: int = 0) -> EngineClient:
        return EngineClient(
            itertools.count(1),
            on_event=lambda event: self.loaded.set() if isinstance(event, ModelLoaded) else None,
            on_over=self.over.append,
            on_exit=lambda sentence, waiting: bool(self.exits.append(sentence)),
            patience=patience,
        )


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Has every engine process do what the given lines say."""

    def use(then: str) -> None:
        script = tmp_path / "stand_in.py"
        root = str(Path(__file__).resolve().parent.parent)
        script.write_text(STAND_IN.format(root=root, then=then))
        monkeypatch.setattr("server.children.command", lambda module: [sys.executable, str(script)])

    return use


def test_an_engine_whose_step_hangs_is_ended_although_it_goes_on_counting_tokens(
    stand_in: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.engine.client.TICK", 0.1)
    stand_in(
        "send(ModelLoaded(ModelInfo('m', 'm', 'a', 1, 1, 'q', 1, 1, 512, '', '', '', (), '')))\n"
        "while True:\n"
        "    command = pickle.load(sys.stdin.buffer)\n"
        "    if isinstance(command, Tokenize):\n"
        "        send(Tokens(command.call_id, (1,)))\n"
    )
    ended = Ended()
    client = ended.client(patience=10)
    client.start(SPEC)
    assert ended.loaded.wait(20)
    client.submit(lambda number: Generate(number, (1,), 5), most=1, genkey="", client="", route="")
    with contextlib.suppress(EngineDied):
        while True:
            client.tokenize("a", special=False)
    wait_until(lambda: ended.exits, "the end of the process")
    assert "hung" in ended.exits[0]


def test_replies_taken_over_by_an_engine_that_ends_at_once_all_hear_of_it(stand_in: Callable[[str], None]) -> None:
    stand_in("sys.exit(3)")
    ended = Ended()
    generations = [
        Generation(Generate(number, tuple(range(20_000)), 5), lambda _: None, genkey="", client="", route="")
        for number in range(30)
    ]
    ended.client().start(SPEC, generations)
    wait_until(lambda: len(ended.over) == 30, "all replies to end")
    assert all(isinstance(generation.error, EngineDied) for generation in generations)


def test_a_process_that_is_not_wanted_any_more_is_not_started(stand_in: Callable[[str], None]) -> None:
    stand_in("sys.exit(0)")
    client = Ended().client()
    client.close()
    client.start(SPEC)
    assert client.pid == 0
