"""Errors in the shapes that clients read."""

from __future__ import annotations

from typing import Any

from server.errors import BadRequest, TavernkeepError


def body(error: TavernkeepError, **more: Any) -> dict[str, Any]:
    """Both shapes in one body: OpenAI's ``error`` and KoboldAI's ``detail``; and whatever ``more`` a route has."""
    return {"error": error_object(error), "detail": {"msg": str(error), "type": error.code}, **more}


def error_object(error: TavernkeepError) -> dict[str, Any]:
    """An error as OpenAI words it; ``param`` names the field at fault, if one is. What the client can mend is of one
    type, and ``code`` says more, if there is more to say."""
    kind = BadRequest.code if 400 <= error.status < 500 else error.code
    code = None if error.code == BadRequest.code else error.code
    return {"message": str(error), "type": kind, "param": error.param, "code": code}
