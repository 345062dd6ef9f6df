"""Who is calling, read from Flask's request: body, client name, and whether the connection still stands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import request

from server.request.fields import parse_body
from server.request.prepare import Prepared

CLIENT_GONE = 499  # nginx's status for a client that closed its connection: nobody reads it, but the log does


def body() -> dict[str, Any]:
    """The JSON object of the request, whatever its Content-Type."""
    return parse_body(request.get_data())


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


def gone() -> Callable[[], bool]:
    """A test that tells whether the client has closed its connection; usable after the request context is gone."""
    disconnected: Callable[[], bool] = request.environ.get("waitress.client_disconnected", lambda: False)
    return disconnected
