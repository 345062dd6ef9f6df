"""The Anthropic dialect: ``/v1/messages``. Routes and shapes, no logic."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from flask import Blueprint, Response

from server import json_text
from server.api import caller, sse
from server.api.blocks import Block, Blocks, Change, Kind, Step
from server.engine.client import Generation
from server.errors import TavernkeepError
from server.events import Finished, TextPiece
from server.request import anthropic as anthropic_json
from server.request.prepare import Prepared
from server.request.text_request import TextRequest

if TYPE_CHECKING:
    from server.controller import Controller

Json = dict[str, Any]

NAME = "anthropic"
ROUTE = "/v1/messages"
PING = b'event: ping\ndata: {"type": "ping"}\n\n'
ERRORS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
}


def blueprint(controller: Controller) -> Blueprint:
    """The routes, answering from ``controller``."""
    routes = Blueprint(NAME, __name__)

    @routes.post(ROUTE)
    def messages() -> Response | tuple[Json, int, dict[str, str]]:
        body = caller.body()
        with controller.wanted(body.get("model")):
            request = anthropic_json.read_messages(body, controller.sampler_defaults())
            prepared = controller.prepare(request)
            generation = controller.generate(prepared, request.genkey, caller.client(), ROUTE)
        message = _Message(generation, prepared, request, controller.loaded_model().name)
        headers = caller.notices(prepared)
        if request.stream:
            return sse.response(generation, message.frames(caller.gone()), headers)
        finished = sse.collect(generation, caller.gone(), message.blocks.take)
        if finished is None:
            return Response(status=caller.CLIENT_GONE)
        return message.whole(finished), 200, headers

    @routes.post(f"{ROUTE}/count_tokens")
    def count_tokens() -> Json:
        request = anthropic_json.read_messages(caller.body(), controller.sampler_defaults())
        return {"input_tokens": len(controller.prepare(request).tokens)}

    return routes


def error_body(error: TavernkeepError, status: int) -> Json:
    """An error as Anthropic words it."""
    return {"type": "error", "error": {"type": ERRORS.get(status, "api_error"), "message": str(error)}}


class _Message:
    """The message that a generation writes, in ``blocks``."""

    def __init__(self, generation: Generation, prepared: Prepared, request: TextRequest, model: str) -> None:
        self._generation = generation
        self._prepared = prepared
        self._stops = request.stop
        self.blocks = Blocks(generation, request, shows_thought=prepared.shows_thought)
        self._head = {"id": f"msg_{uuid.uuid4().hex[:24]}", "type": "message", "role": "assistant", "model": model}

    def whole(self, finished: Finished) -> Json:
        self.blocks = self.blocks.complete(finished)
        content = [_worded(block) for block in self.blocks.all]
        return {**self._head, "content": content, **self._ending(finished), "usage": _usage(finished)}

    def frames(self, gone: Callable[[], bool]) -> Iterator[bytes]:
        usage = {"input_tokens": len(self._prepared.tokens), "output_tokens": 0}
        begun: Json = {**self._head, "content": [], "stop_reason": None, "stop_sequence": None, "usage": usage}
        yield _frame("message_start", message=begun)
        yield from sse.stream(self._generation, gone, self._piece, self._end, _error_frame, ping=PING)

    def _piece(self, piece: TextPiece) -> bytes:
        return b"".join(map(_changed, self.blocks.take(piece)))

    def _end(self, finished: Finished) -> bytes:
        rest = b"".join(map(_changed, self.blocks.finish(finished)))
        last = _frame("message_delta", delta=self._ending(finished), usage=_usage(finished))
        return rest + last + _frame("message_stop")

    def _ending(self, finished: Finished) -> Json:
        """Why it ended, in Anthropic's words."""
        text = finished.stop_text if finished.stop_text in self._stops else ""
        if self.blocks.cut_off(finished):
            reason = "max_tokens"
        elif self.blocks.calls:
            reason = "tool_use"
        else:
            reason = "stop_sequence" if text else "end_turn"
        return {"stop_reason": reason, "stop_sequence": text if reason == "stop_sequence" else None}


def _worded(block: Block) -> Json:
    if block.kind is Kind.THOUGHT:
        return {"type": "thinking", "thinking": block.text, "signature": ""}
    if block.kind is Kind.TEXT:
        return {"type": "text", "text": block.text, "citations": None}
    return {"type": "tool_use", "id": block.id, "name": block.name, "input": _input(block.text)}


def _input(arguments: str) -> Any:
    """What a call was given; a call that was cut off may have anything but JSON."""
    try:
        return json_text.loads(arguments or "{}")
    except ValueError:
        return {}


def _changed(change: Change) -> bytes:
    block = change.block
    if change.step is Step.OPENED:
        return _frame("content_block_start", index=block.index, content_block=_worded(block))
    if change.step is Step.CLOSED:
        return _frame("content_block_stop", index=block.index)
    kinds = {
        Kind.THOUGHT: ("thinking", "thinking"),
        Kind.TEXT: ("text", "text"),
        Kind.CALL: ("input_json", "partial_json"),
    }
    name, field = kinds[block.kind]
    return _frame("content_block_delta", index=block.index, delta={"type": f"{name}_delta", field: change.added})


def _usage(finished: Finished) -> Json:
    """Token counts: what was cached is not part of the input here."""
    return {
        "input_tokens": finished.prompt_tokens - finished.cached_tokens,
        "cache_read_input_tokens": finished.cached_tokens,
        "cache_creation_input_tokens": 0,
        "output_tokens": finished.completion_tokens,
    }


def _frame(name: str, **data: Any) -> bytes:
    return f"event: {name}\ndata: {json.dumps({'type': name, **data})}\n\n".encode()


def _error_frame(error: TavernkeepError) -> bytes:
    return _frame("error", error=error_body(error, error.status)["error"])
