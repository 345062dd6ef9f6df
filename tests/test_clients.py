"""The programs that people connect: what they are told, their requests over real HTTP, and Mantella's file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from server import clients
from server.controller import Controller
from server.errors import TavernkeepError
from server.events import EngineState
from server.snapshot import ClientGuide
from tests.conftest import Server, settings_for_tests

ADDRESS = "http://127.0.0.1:5001"
INI = b"[LLM]\r\n; llm_api\r\n;   default = OpenRouter\r\nllm_api = OpenRouter\r\n\r\nmodel = x \\# y\r\n"


def talkative(name: str) -> dict[str, Any]:
    """A program's preset, with a request that even a small model has something to say to."""
    told = clients._read(name)
    return {**told, "body": {**told["body"], "ban_eos_token": True, "seed": 7}}


@pytest.mark.parametrize("name", clients.ORDER)
def test_each_program_hears_the_reply_to_the_request_it_makes(
    server: Server, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = talkative(name)
    told.pop("origin", None)  # of a page that is not allowed
    monkeypatch.setattr(clients, "_read", lambda _: told)
    trial = server.controller.try_client(name)
    assert trial.text.strip()
    assert trial.first > 0
    assert trial.speed > 0


@pytest.mark.parametrize("guide", clients.guides(), ids=lambda guide: guide.key)
def test_each_program_is_told_the_address_and_some_advice(guide: ClientGuide) -> None:
    assert any("{address}" in value for _field, value in guide.fields)
    assert guide.name
    assert guide.where.endswith(":")
    assert all(line.endswith(".") for line in guide.advice)


def test_a_refusal_is_told_in_the_servers_words(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "_read", lambda _: {"path": "/v1/chat/completions", "body": {"messages": 3}})
    with pytest.raises(TavernkeepError, match="messages"):
        server.controller.try_client("mantella")


def test_a_web_page_is_refused_until_it_is_allowed(own_server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    told = talkative("koboldai_lite")
    monkeypatch.setattr(clients, "_read", lambda _: told)
    own_server.controller.start(settings_for_tests())
    own_server.wait_for(EngineState.READY)
    with pytest.raises(TavernkeepError, match=r"Web pages from https://lite\.koboldai\.net .* allow it"):
        own_server.controller.try_client("koboldai_lite")
    own_server.controller.stop()
    own_server.controller.start(settings_for_tests(alloworigins="https://lite.koboldai.net"))
    own_server.wait_for(EngineState.READY)
    assert own_server.controller.try_client("koboldai_lite").text


def test_a_server_that_is_not_there_is_told() -> None:
    with pytest.raises(TavernkeepError, match="Press Start"):
        Controller().try_client("mantella")


def test_mantellas_file_names_this_server_and_nothing_else_in_it_changes(tmp_path: Path) -> None:
    file = tmp_path / "config.ini"
    file.write_bytes(INI)
    copy = clients.write_mantella_config(str(tmp_path), ADDRESS)
    assert file.read_bytes() == INI.replace(b"llm_api = OpenRouter", b"llm_api = http://127.0.0.1:5001/v1")
    assert (tmp_path / copy).read_bytes() == INI
    again = clients.write_mantella_config(str(tmp_path), "http://127.0.0.1:5002")
    assert again != copy
    assert (tmp_path / copy).read_bytes() == INI
    assert sorted(found.name for found in tmp_path.iterdir()) == sorted(["config.ini", copy, again])


@pytest.mark.parametrize(("content", "sentence"), [(None, "There is no config.ini"), (b"[Other]\nx = 1\n", "no line")])
def test_a_folder_that_is_not_mantellas_is_told_and_left_alone(tmp_path: Path, content: Any, sentence: str) -> None:
    if content:
        (tmp_path / "config.ini").write_bytes(content)
    with pytest.raises(TavernkeepError, match=sentence):
        clients.write_mantella_config(str(tmp_path), ADDRESS)
    assert len(list(tmp_path.iterdir())) == bool(content)
