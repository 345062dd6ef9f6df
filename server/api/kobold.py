"""Replies in the KoboldAI and KoboldCpp dialect: routes and shapes, no logic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from flask import Blueprint, Response

from server.api import caller, logprobs, sse
from server.engine.client import Generation
from server.errors import BadRequest, TavernkeepError
from server.events import TextPiece
from server.request import kobold as kobold_json
from server.request.prepare import Prepared

if TYPE_CHECKING:
    from server.controller import Controller


def blueprint(controller: Controller) -> Blueprint:
    """The routes, answering from ``controller``."""
    routes = Blueprint("kobold", __name__)

    @routes.post("/api/v1/generate")
    @routes.post("/api/latest/generate")
    def generate() -> tuple[dict[str, Any], int, dict[str, str]] | Response:
        generation, prepared = start("/api/v1/generate")
        finished = sse.collect(generation, caller.gone())
        if finished is None:
            return Response(status=caller.CLIENT_GONE)
        thought = {"reasoning_content": generation.thought} if prepared.shows_thought else {}
        trimmed = {"trimmed": asdict(prepared.trimmed)} if prepared.trimmed else {}
        result: dict[str, Any] = {
            "text": generation.text,
            "tool_calls": [],
            "finish_reason": sse.finish_word(finished),
            "logprobs": logprobs.both_shapes(generation.logprobs),
            "prompt_tokens": finished.prompt_tokens,
            "completion_tokens": finished.completion_tokens,
            **thought,
            **trimmed,
        }
        return {"results": [result]}, 200, caller.notices(prepared)

    @routes.post("/request")
    def oldest_generate() -> tuple[dict[str, Any], int, dict[str, str]] | Response:
        """The way in before KoboldAI's."""
        generation, prepared = start("/request", {"text": "prompt", "max": "max_length"})
        if sse.collect(generation, caller.gone()) is None:
            return Response(status=caller.CLIENT_GONE)
        return {"data": {"seqs": [generation.text]}}, 200, caller.notices(prepared)

    @routes.post("/api/extra/generate/stream")
    def generate_stream() -> Response:
        generation, prepared = start("/api/extra/generate/stream")
        frames = sse.stream(
            generation,
            caller.gone(),
            on_piece=lambda piece: _frame(piece, prepared.shows_thought),
            on_end=lambda end: sse.message_frame({"token": "", "finish_reason": sse.finish_word(end)}),
            on_error=_error_frame,
        )
        return sse.response(generation, frames, caller.notices(prepared))

    @routes.route("/api/extra/generate/check", methods=["GET", "POST"])
    def check() -> dict[str, Any]:
        reply = controller.reply_of(genkey())
        return {"results": [{"text": reply.text if reply else ""}]}

    @routes.route("/api/extra/last_logprobs", methods=["GET", "POST"])
    def last_logprobs() -> dict[str, Any]:
        reply = controller.reply_of(genkey())
        return {"logprobs": logprobs.both_shapes(reply.logprobs) if reply else None}

    @routes.post("/api/extra/abort")
    def abort() -> dict[str, str]:
        key = genkey()
        stopped = controller.abort(key, caller.client())
        # Strings, not booleans: that is what KoboldCpp sends. Without a key there is always success, even when idle.
        done = "true" if stopped or not key else "false"
        return {"success": done, "done": done}

    def start(route: str, renamed: Mapping[str, str] | None = None) -> tuple[Generation, Prepared]:
        body = {(renamed or {}).get(name, name): value for name, value in caller.body().items()}
        body = {**controller.settings.generation_defaults(), **body}
        request = kobold_json.read_generate(body, shift=not controller.settings.noshift)
        prepared = controller.prepare(request)
        return controller.generate(prepared, request.genkey, caller.client(), route), prepared

    def genkey() -> str:
        """The genkey of an abort or check, which clients also send without any body that can be read."""
        try:
            key = caller.body().get("genkey")
        except BadRequest:
            key = None
        return key if isinstance(key, str) else ""

    return routes


def _frame(piece: TextPiece, shows_thought: bool) -> bytes:
    """A piece of a reply; nothing for a thought, unless the client asked for it."""
    thought = {"reasoning_content": piece.thought} if piece.thought and shows_thought else {}
    if not piece.text and not thought:
        return b""
    return sse.message_frame({"token": piece.text, "finish_reason": None, **thought})


def _error_frame(error: TavernkeepError) -> bytes:
    details = {"message": str(error), "type": error.code, "code": error.code}
    return sse.message_frame({"token": "", "finish_reason": "error", "error": details})
