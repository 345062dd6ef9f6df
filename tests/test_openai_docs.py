"""docs/openai.md tells the truth: every parameter of the official packages is there, and does what the page says."""

from __future__ import annotations

import json
import re
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from anthropic.types import message_create_params
from openai.types import completion_create_params, embedding_create_params
from openai.types.chat import completion_create_params as chat_params
from openai.types.responses import response_create_params

from server.errors import BadRequest
from server.request.anthropic import read_messages
from server.request.embeddings import read_embeddings
from server.request.openai import read_chat, read_completions
from server.request.responses import read_response
from tests.conftest import Server

PAGE = Path(__file__).resolve().parent.parent / "docs" / "openai.md"
HI: Any = {"messages": [{"role": "user", "content": "Hi"}]}
READERS: dict[str, tuple[Callable[[dict[str, Any]], Any], dict[str, Any], Any]] = {
    "/v1/chat/completions": (lambda body: read_chat(body, {}), HI, chat_params.CompletionCreateParamsBase),
    "/v1/completions": (
        lambda body: read_completions(body, {}),
        {"prompt": "Hi"},
        completion_create_params.CompletionCreateParamsBase,
    ),
    "/v1/responses": (
        lambda body: read_response(body, {}),
        {"input": "Hi"},
        response_create_params.ResponseCreateParamsBase,
    ),
    "/v1/embeddings": (read_embeddings, {"input": "Hi"}, embedding_create_params.EmbeddingCreateParams),
    "/v1/messages": (lambda body: read_messages(body, {}), HI, message_create_params.MessageCreateParamsBase),
}
ELSEWHERE = ("model",)  # read by the routes: see test_library.py


def rows() -> list[tuple[str, str, str, Any]]:
    """Route, parameter, what the page says of it, and the example."""
    found, route = [], ""
    for line in PAGE.read_text("utf-8").splitlines():
        heading = re.match(r"## POST (\S+)", line)
        route = heading[1] if heading else route
        row = re.match(r"\| `(\w+)` \| (\w+) \| `(.+?)` \|", line)
        if row:
            found.append((route, row[1], row[2], json.loads(row[3])))
    return found


def those(*kinds: str) -> list[Any]:
    return [pytest.param(*row, id=f"{row[0]} {row[1]}") for row in rows() if row[2] in kinds]


@pytest.mark.parametrize("route", READERS)
def test_every_parameter_of_the_reference_is_on_the_page(route: str) -> None:
    official = set(typing.get_type_hints(READERS[route][2])) | {"stream"} - ({"stream"} if "embed" in route else set())
    assert {name for at, name, _, _ in rows() if at == route} == official


@pytest.mark.parametrize(("route", "name", "kind", "example"), those("supported", "ignored"))
def test_what_is_supported_changes_the_request_and_what_is_ignored_does_not(
    route: str, name: str, kind: str, example: Any
) -> None:
    read, least, _ = READERS[route]
    without = read({**least, **{key: value for key, value in example.items() if key != name}})
    changed = without_notes(read({**least, **example})) != without_notes(without)
    assert changed == (kind == "supported" and name not in ELSEWHERE)


def without_notes(request: Any) -> str:
    """All that a request asks for, without the names of what is ignored."""
    return re.sub(r"unsupported=\([^)]*\)", "", repr(request))


@pytest.mark.parametrize(("route", "name", "kind", "example"), those("refused"))
def test_what_is_refused_is_named(route: str, name: str, kind: str, example: Any) -> None:
    read, least, _ = READERS[route]
    with pytest.raises(BadRequest) as caught:
        read({**least, **example})
    assert caught.value.param == name


@pytest.mark.parametrize("kind", ["supported", "ignored"])
def test_the_real_server_takes_every_example(server: Server, kind: str) -> None:
    short = {"max_tokens": 2, "max_output_tokens": 2}
    for route, name, said, example in rows():
        if said != kind or route == "/v1/embeddings" or name == "suffix":  # tests of their own have the models for them
            continue
        limit = {key: value for key, value in short.items() if (key == "max_tokens") == ("responses" not in route)}
        reply = server.post(route, {**READERS[route][1], **limit, **example})
        assert reply.status == 200, f"{route} {name}: {reply.body!r}"
