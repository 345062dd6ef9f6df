"""Who is calling and what for, read from Flask's request; and whether the connection still stands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import request

from server import privacy
from server.reply.tool_calls import ToolCallParser
from server.request.fields import Fields, parse_body
from server.request.prepare import Prepared
from server.request.text_request import TextRequest

NO_SLOT = -1
CLIENT_GONE = 499  # nginx's status for a client that closed its connection: nobody reads it, but the log does


def body() -> dict[str, Any]:
    """The JSON object of the request, whatever its Content-Type."""
    data = request.get_data()
    privacy.log_text(f"{client()} sends", data)
    return parse_body(data)


def client() -> str:
    """Address and program of the client, for people and to tell clients apart."""
    program = request.headers.get("User-Agent", "").split(" ")[0][:60]
    return f"{request.remote_addr} {program}".strip()


def notices(prepared: Prepared) -> dict[str, str]:
    """Headers that tell what was not done as it was asked for."""
    headers = {}
    if prepared.trimmed:
        headers["X-Tavernkeep-Trimmed"] = f"messages={prepared.trimmed.messages}; tokens={prepared.trimmed.tokens}"
    if prepared.ignored:
        headers["X-Tavernkeep-Ignored"] = " ".join(prepared.ignored.encode("ascii", "replace").decode().split())[:500]
    return headers


def parser(request: TextRequest) -> ToolCallParser | None:
    """What finds the calls in a reply to a request with tools. One that must look otherwise has none."""
    chat = request.chat
    if not chat or not chat.tools or (request.constraint and not request.forced):
        return None
    return ToolCallParser([tool.name for tool in chat.tools], parallel=chat.parallel, tools=chat.tools)


def fields() -> Fields:
    """The body, as tolerant as KoboldCpp's routes are."""
    return Fields(body(), strict=False)


def slot(asked: Fields, *, absent: int) -> int:
    """The slot that is meant, ``absent`` if none is named. What is no whole number means none, never another one."""
    if asked.raw("slot")[1] is None:
        return absent
    number = asked.optional_number("slot")
    return int(number) if number is not None and number.is_integer() else NO_SLOT


def gone() -> Callable[[], bool]:
    """A test that tells whether the client has closed its connection; usable after the request context is gone."""
    disconnected: Callable[[], bool] = request.environ.get("waitress.client_disconnected", lambda: False)
    return disconnected
