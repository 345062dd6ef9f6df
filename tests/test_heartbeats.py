"""Comment lines while a long prompt is read, so that no client takes the silence for a dead server."""

from __future__ import annotations

import json
from typing import Any

import pytest

from server.api import sse
from tests.conftest import Server, read_to_end

CHAT = [{"role": "user", "content": "a story " * 250}]
ROUTES = [  # prompts of their own, because one that was read before is not read again
    ("/v1/chat/completions", {"messages": CHAT, "max_tokens": 3, "stream": True}),
    ("/v1/completions", {"prompt": "one tale " * 250, "max_tokens": 3, "stream": True}),
    ("/api/extra/generate/stream/", {"prompt": "my diary " * 250, "max_length": 3}),
]


@pytest.mark.parametrize(("route", "body"), ROUTES, ids=[route for route, _ in ROUTES])
def test_a_silence_is_filled_with_comments(
    server: Server, monkeypatch: pytest.MonkeyPatch, route: str, body: dict[str, Any]
) -> None:
    """CHIM skips lines that do not begin with its ``data: {``, and its socket gives up after a minute of silence."""
    monkeypatch.setattr(sse, "PING_SECONDS", 0.0)
    lines = read_to_end(server.send_raw(route, body, "Connection: close")).split(b"\n")
    comments = [at for at, line in enumerate(lines) if line == b": ping"]
    data = [at for at, line in enumerate(lines) if line.startswith(b"data: {")]
    assert comments
    assert all(lines[at + 1] == b"" for at in comments), "a comment is an event of its own"
    assert all(json.loads(lines[at][6:]) for at in data)


def test_a_short_silence_needs_no_comment(server: Server) -> None:
    body = {"prompt": "Hi", "max_length": 3}
    assert b": ping" not in read_to_end(server.send_raw("/api/extra/generate/stream", body, "Connection: close"))
