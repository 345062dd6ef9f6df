"""The models of the folder on the OpenAI API, and the change to the one that a request names."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import openai
import pytest

from server.events import EngineState
from tests import tiny_models
from tests.conftest import Server, settings_for_tests, wait_until

BODY = {"prompt": "Once upon a time", "max_tokens": 2, "temperature": 0}


@pytest.fixture
def folder(tmp_path: Path, starter_model: Path) -> Path:
    for name in ("first.gguf", "second.gguf", "large-00001-of-00002.gguf", "large-00002-of-00002.gguf"):
        (tmp_path / name).symlink_to(starter_model)
    (tmp_path / "odd.gguf").write_bytes(tiny_models.plain("no-such-architecture"))
    return tmp_path


@pytest.fixture
def library(own_server: Server, folder: Path) -> Server:
    """A server that loads what requests name."""
    start(own_server, folder, loadonrequest=True)
    return own_server


def start(server: Server, folder: Path, **changes: Any) -> None:
    server.controller.start(settings_for_tests(model=str(folder / "first.gguf"), contextsize=512, **changes))
    server.wait_for(EngineState.READY)


def answered_by(server: Server, name: str) -> str:
    reply = server.post("/v1/completions", {**BODY, "model": name})
    assert reply.status == 200, reply.body
    model: str = reply.json["model"]
    return model


def test_the_loaded_model_is_listed_first_and_then_the_others(library: Server) -> None:
    with openai.OpenAI(base_url=f"{library.base}/v1", api_key="x", max_retries=0) as client:
        names = [model.id for model in client.models.list()]
        assert names == ["first", "large-00001-of-00002", "odd", "second"]
        assert client.models.retrieve("second").id == "second"
        with pytest.raises(openai.NotFoundError, match="no model 'third'") as caught:
            client.models.retrieve("third")
        assert caught.value.code == "model_not_found"


def test_naming_another_model_loads_it_and_the_next_request_too(library: Server) -> None:
    assert answered_by(library, "second") == "second"
    assert answered_by(library, "anything-else") == "second"
    assert answered_by(library, "first") == "first"


def test_requests_for_several_models_at_once_are_all_answered_by_theirs(library: Server) -> None:
    answers: dict[int, str] = {}
    names = ["second", "first", "second", "first"]

    def ask(at: int) -> None:
        answers[at] = answered_by(library, names[at])

    threads = [threading.Thread(target=ask, args=(at,)) for at in range(len(names))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answers[at] for at in range(len(names))] == names


def test_a_running_reply_ends_before_the_change(library: Server) -> None:
    said: list[Any] = []
    long = {"prompt": "Once", "max_tokens": 150, "ignore_eos": True}
    asking = threading.Thread(target=lambda: said.append(library.post("/v1/completions", long).json))
    asking.start()
    wait_until(lambda: library.snapshot().stats.running, "the long reply")
    assert answered_by(library, "second") == "second"
    asking.join()
    assert said[0]["model"] == "first"
    assert said[0]["usage"]["completion_tokens"] == 150


def test_a_model_that_cannot_be_loaded_is_told_and_the_last_one_comes_back(library: Server) -> None:
    reply = library.post("/v1/completions", {**BODY, "model": "odd"})
    assert reply.status == 503
    assert "odd.gguf was not loaded" in reply.json["error"]["message"]
    library.wait_for(EngineState.READY)
    assert answered_by(library, "any") == "first"


def test_without_the_switch_the_loaded_model_answers_to_every_name(own_server: Server, folder: Path) -> None:
    start(own_server, folder)
    assert answered_by(own_server, "second") == "first"
