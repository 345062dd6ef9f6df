"""The engine process from outside: what happens to clients and launcher when a file is bad or the process dies."""

from __future__ import annotations

import json
import logging
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import psutil
import pytest

from server import privacy
from server.errors import ModelLoadError
from server.events import Constraint, ConstraintKind, EngineState, LoadModel
from tests import tiny_models
from tests.conftest import Server, engine_pid, read_to_end, settings_for_tests, wait_until

CHAT: Any = {"messages": [{"role": "user", "content": "Tell me a story."}], "max_tokens": 3000, "stream": True}


def start(server: Server, **changes: Any) -> None:
    server.controller.start(settings_for_tests(contextsize=1024, **changes))


def test_the_model_is_described_when_it_has_loaded(own_server: Server) -> None:
    start(own_server)
    model = own_server.wait_for(EngineState.READY).model
    assert model
    assert model.architecture == "llama"
    assert model.quantisation == "Q4_1"
    assert model.layers == 30
    assert model.trained_context == 8192
    assert model.parameters == 134_515_008
    assert "<|im_start|>" in model.chat_template


def test_what_the_engine_says_of_a_model_stands_in_the_launchers_log(
    own_server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = tmp_path / "mamba.gguf"
    model.write_bytes(tiny_models.recurrent())
    with caplog.at_level(logging.INFO, logger="tavernkeep"):
        own_server.controller.start(settings_for_tests(model=str(model)))
        own_server.wait_for(EngineState.READY)
    assert "a prompt is read again unless it continues what was read last" in caplog.text


def test_health_tells_loading_then_ready_and_progress_only_rises(own_server: Server) -> None:
    start(own_server)
    seen = []
    while (reply := own_server.get("/health")).json["status"] == "loading":
        assert reply.status == 503
        seen.append(reply.json["progress"])
    assert reply.status == 200
    assert reply.json["status"] == "ready"
    assert seen
    assert seen == sorted(seen)
    assert all(0 <= progress <= 1 for progress in seen)


def test_both_dialects_say_in_their_own_shape_that_no_model_is_ready(own_server: Server) -> None:
    start(own_server)
    os.kill(engine_pid(own_server), signal.SIGKILL)
    own_server.wait_for(EngineState.FAILED)
    openai = own_server.post("/v1/chat/completions", CHAT)
    kobold = own_server.post("/api/v1/generate", {"prompt": "a"})
    assert openai.status == kobold.status == own_server.get("/health").status == 503
    assert "killed" in openai.json["error"]["message"]
    assert kobold.json["detail"]["type"] == "service_unavailable"
    assert own_server.get("/health").json["status"] == "failed"
    assert own_server.get("/api/v1/model").json == {"result": "inactive"}


@pytest.mark.parametrize(
    ("path", "frame"), [("/v1/chat/completions", "data: "), ("/api/extra/generate/stream", "data: ")]
)
def test_killing_the_engine_ends_a_stream_with_an_error_frame_and_the_next_load_works(
    own_server: Server, path: str, frame: str
) -> None:
    start(own_server)
    own_server.wait_for(EngineState.READY)
    connection = own_server.send_raw(
        path, {**CHAT, "prompt": "Once", "max_tokens": 900, "ignore_eos": True}, "Connection: close"
    )
    wait_until(lambda: any(row.completion_tokens for row in own_server.snapshot().requests), "the first tokens")
    os.kill(engine_pid(own_server), signal.SIGKILL)
    last = read_to_end(connection).decode().strip().split("\n\n")[-1]
    error = json.loads(last.rpartition(frame)[2])["error"]
    assert error["code"] == "engine_died"
    assert "killed" in error["message"]

    address = own_server.base
    own_server.controller.start(own_server.controller.settings)
    own_server.wait_for(EngineState.READY)
    assert own_server.base == address
    assert own_server.post("/v1/completions", {"prompt": "a", "max_tokens": 1}).status == 200


def test_a_missing_file_is_one_sentence_and_changes_nothing(own_server: Server) -> None:
    start(own_server)
    own_server.wait_for(EngineState.READY)
    with pytest.raises(ModelLoadError, match="There is no file"):
        start(own_server, model="/no/such/model.gguf")
    assert own_server.post("/v1/completions", {"prompt": "a", "max_tokens": 1}).status == 200


def test_a_file_that_is_no_model_is_one_sentence_and_the_port_stays_open(own_server: Server, tmp_path: Path) -> None:
    file = tmp_path / "notes.gguf"
    file.write_text("Dear diary, today I met a dragon.")
    start(own_server, model=str(file))
    assert own_server.snapshot().state is EngineState.FAILED
    assert own_server.get("/health").json["message"] == (
        "notes.gguf is not a GGUF file. Choose a model in the GGUF format."
    )
    start(own_server, port=own_server.port)
    own_server.wait_for(EngineState.READY)


@pytest.mark.parametrize("size", [100, 50_000_000])
def test_a_truncated_file_is_one_sentence(own_server: Server, tmp_path: Path, starter_model: Path, size: int) -> None:
    file = tmp_path / "half.gguf"
    file.write_bytes(starter_model.read_bytes()[:size])
    start(own_server, model=str(file))
    assert "half.gguf is incomplete" in own_server.get("/health").json["message"]


def test_a_file_that_only_llama_cpp_can_refuse_fails_with_its_reason(
    own_server: Server, tmp_path: Path, starter_model: Path
) -> None:
    data = starter_model.read_bytes().replace(
        b"general.architecture\x08\0\0\0\x05\0\0\0\0\0\0\0llama",
        b"general.architecture\x08\0\0\0\x05\0\0\0\0\0\0\0ldama",
    )
    file = tmp_path / "strange.gguf"
    file.write_bytes(data)
    start(own_server, model=str(file))
    failed = own_server.wait_for(EngineState.FAILED)
    assert "could not load strange.gguf" in failed.sentence
    assert "unknown model architecture" in failed.sentence
    assert own_server.get("/health").json["message"] == failed.sentence
    start(own_server, port=own_server.port)
    own_server.wait_for(EngineState.READY)


def test_loading_another_model_swaps_it_behind_the_open_port(
    own_server: Server, tmp_path: Path, starter_model: Path
) -> None:
    start(own_server)
    own_server.wait_for(EngineState.READY)
    first, address = engine_pid(own_server), own_server.base
    other = tmp_path / "Other.gguf"
    other.symlink_to(starter_model)
    own_server.controller.start(
        settings_for_tests(model=str(other), contextsize=1024, port=own_server.controller.settings.port)
    )
    own_server.wait_for(EngineState.READY)
    assert own_server.base == address
    assert not psutil.pid_exists(first)
    assert own_server.get("/v1/models").json["data"][0]["id"] == "Other"


def test_stopping_frees_the_port_and_ends_the_process(own_server: Server) -> None:
    start(own_server)
    own_server.wait_for(EngineState.READY)
    pid, port = engine_pid(own_server), own_server.port
    own_server.controller.stop()
    assert not psutil.pid_exists(pid)
    assert own_server.snapshot().address == ""
    start(own_server, port=port)
    assert own_server.port == port


def test_a_full_queue_says_that_the_server_is_busy(own_server: Server) -> None:
    start(own_server, multiuser=2)
    own_server.wait_for(EngineState.READY)
    endless = {"prompt": "Once", "max_length": 400, "ban_eos_token": True}
    streams = [own_server.send_raw("/api/extra/generate/stream", endless) for _ in range(2)]
    wait_until(lambda: len(own_server.snapshot().requests) == 2, "two requests")
    reply = own_server.post("/api/v1/generate", {"prompt": "a"})
    assert reply.status == 503
    assert "busy" in reply.json["detail"]["msg"]
    for stream in streams:
        stream.close()


def test_more_requests_than_fit_the_context_wait_and_are_all_answered(own_server: Server) -> None:
    start(own_server)
    own_server.wait_for(EngineState.READY)
    body = {"prompt": "word " * 300, "max_length": 200, "ban_eos_token": True}
    streams = [own_server.send_raw("/api/extra/generate/stream", body, "Connection: close") for _ in range(4)]
    wait_until(lambda: own_server.snapshot().stats.waiting, "a request to wait")
    assert all(b'"finish_reason": "length"' in read_to_end(stream) for stream in streams)


def test_a_new_address_ends_streams_with_an_error_frame_and_serves_under_its_own_settings(own_server: Server) -> None:
    start(own_server)
    own_server.wait_for(EngineState.READY)
    endless = {"prompt": "Once", "max_length": 900, "ban_eos_token": True}
    stream = own_server.send_raw("/api/extra/generate/stream", endless, "Connection: close")
    wait_until(lambda: any(row.completion_tokens for row in own_server.snapshot().requests), "the first tokens")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        free = probe.getsockname()[1]
    start(own_server, port=free, password="secret")
    assert b'"finish_reason": "error"' in read_to_end(stream)
    assert own_server.port == free
    assert own_server.post("/api/v1/generate", {"prompt": "a"}).status == 401


def test_another_host_on_the_same_port_is_no_clash_with_ourselves(own_server: Server) -> None:
    start(own_server)
    port = own_server.port
    start(own_server, port=port, host="localhost")
    assert own_server.base == f"http://localhost:{port}"
    own_server.wait_for(EngineState.READY)


def test_a_stopped_engine_cannot_hold_up_the_launcher(own_server: Server) -> None:
    start(own_server)
    own_server.wait_for(EngineState.READY)
    os.kill(engine_pid(own_server), signal.SIGSTOP)
    counting = threading.Thread(target=own_server.post, args=("/api/extra/tokencount", {"prompt": "a " * 1_500_000}))
    counting.start()
    wait_until(own_server.controller._host.engine._writing.locked, "the pipe to be full")
    own_server.controller.stop()
    counting.join()
    assert own_server.snapshot().state is EngineState.IDLE


@pytest.mark.parametrize(
    ("kind", "text", "said"),
    [
        (ConstraintKind.GBNF, 'root ::= "yes" | "no"', ""),
        (ConstraintKind.GBNF, 'root ::= "a" (("b"', "expecting ')' at line 1, column 19, at its end"),
        (ConstraintKind.GBNF, 'root ::= root "a" | "b"', "left-recursive"),
        (ConstraintKind.REGEX, "(yes|no)", ""),
        (ConstraintKind.REGEX, "((a", "unclosed group"),
        (ConstraintKind.JSON_SCHEMA, '{"type": "boolean"}', ""),
        (ConstraintKind.JSON_SCHEMA, '{"enum": []}', "anyOf is empty"),
    ],
)
def test_a_constraint_is_checked_in_the_engine_which_lives_on(
    server: Server, kind: ConstraintKind, text: str, said: str
) -> None:
    engine, pid = server.controller._host.engine, engine_pid(server)
    assert engine
    problem = engine.check_constraint(Constraint(kind, text))
    assert said in problem
    assert bool(problem) == bool(said)
    assert server.post("/v1/completions", {"prompt": "a", "max_tokens": 1}).status == 200
    assert engine_pid(server) == pid


@pytest.mark.parametrize(("sent", "status"), [(b"", 0), (b"\x80\x04\x95\xff", 1)])
def test_the_engine_ends_when_its_launcher_does_even_in_the_middle_of_a_command(
    starter_model: Path, sent: bytes, status: int
) -> None:
    with run_worker(starter_model) as worker:
        assert worker.stdin
        worker.stdin.write(sent)
        worker.stdin.close()
        assert worker.wait(20) == status


def test_a_model_that_cannot_be_loaded_ends_the_engine_without_a_crash(tmp_path: Path) -> None:
    with run_worker(tmp_path / "missing.gguf") as worker:
        assert worker.wait(20) == 0


def test_an_error_in_the_engine_stands_in_the_log_with_where_it_came_from() -> None:
    told = "import logging; logging.basicConfig(); from server.engine import worker; worker._or_leave(lambda: 1 / 0)"
    ended = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "ERROR:tavernkeep.engine:The engine went wrong.\nTraceback" in ended.stderr
    assert f"ZeroDivisionError ({privacy.HIDDEN})" in ended.stderr.splitlines()[-1]


def run_worker(model: Path) -> subprocess.Popen[bytes]:
    """The worker by itself, told to load ``model``."""
    worker = subprocess.Popen(
        [sys.executable, "-m", "server.engine.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    assert worker.stdin
    pickle.dump(LoadModel(str(model), context=256, gpu_layers=0, threads=1, batch=64, sequences=1), worker.stdin)
    worker.stdin.flush()
    return worker
