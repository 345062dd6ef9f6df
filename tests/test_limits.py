"""What is too much of a request, over real HTTP: each limit is an error in words, in the shapes of both dialects."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.conftest import Reply, Server, read_to_end

KOBOLD, OPENAI = "/api/v1/generate", "/v1/chat/completions"
ROUTES = [(KOBOLD, {"prompt": "a", "max_length": 1}), (OPENAI, {"messages": [{"role": "user", "content": "a"}]})]
in_both_dialects = pytest.mark.parametrize(("route", "body"), ROUTES, ids=["kobold", "openai"])


def said(reply: Reply, status: int = 400) -> str:
    assert reply.status == status, reply.body[:300]
    assert reply.json["detail"]["msg"] == reply.json["error"]["message"]
    return str(reply.json["error"]["message"])


@in_both_dialects
@pytest.mark.parametrize("name", ["stop", "banned_strings"])
def test_more_texts_to_look_for_than_anybody_needs(server: Server, route: str, body: Any, name: str) -> None:
    most = {"stop": 256, "banned_strings": 768}[name]
    few = [f"never {index}" for index in range(most)]
    assert server.post(route, {**body, "max_tokens": 1, name: few}).status == 200
    assert f"at most {most} texts" in said(server.post(route, {**body, name: [*few, "x"]}))
    assert "of 1000 characters" in said(server.post(route, {**body, name: ["x" * 1001]}))


@in_both_dialects
def test_json_that_is_nested_too_deeply(server: Server, route: str, body: Any) -> None:
    deep = b'{"prompt": ' + b"[" * 300 + b"]" * 300 + b"}"
    assert "nested deeper than 200 levels" in said(server.post(route, deep))
    assert "nested deeper" in said(server.post(route, b"[" * 1_000_000))


@in_both_dialects
def test_numbers_without_bounds(server: Server, route: str, body: Any) -> None:
    assert "too many digits" in said(server.post(route, b'{"max_tokens": ' + b"9" * 10_000 + b"}"))
    assert "too large" in said(server.post(route, b'{"temperature": 1e999}'))
    assert "NaN is no number" in said(server.post(route, b'{"temperature": NaN}'))


@pytest.mark.parametrize("route", [KOBOLD, OPENAI])
def test_a_body_over_32_mb(server: Server, route: str) -> None:
    assert "larger than 32 MB" in said(server.post(route, b" " * (32 * 1024 * 1024 + 1)), 413)


def test_headers_over_64_kib(server: Server) -> None:
    with server.connect() as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-Long: " + b"x" * 70_000 + b"\r\n\r\n")
        answer = read_to_end(connection)
    assert b" 431 " in answer.splitlines()[0]
    told = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert "over 64 KiB of headers" in told["detail"]["msg"]
    assert told["error"]["message"] == told["detail"]["msg"]


def test_pictures(server: Server) -> None:
    many = {"prompt": "a", "images": ["aaaa"] * 17}
    assert "16 are the most" in said(server.post(KOBOLD, many))
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aaaa"}}
    chat = {"messages": [{"role": "user", "content": [picture]}]}
    assert "reads text only" in said(server.post(OPENAI, chat))
