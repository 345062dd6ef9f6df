"""OpenAI's Responses dialect: ``/v1/responses``, which keeps nothing. Routes and shapes, no logic."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from flask import Blueprint, Response

from server.api import caller, logprobs, refusal, sse
from server.api.blocks import Block, Blocks, Change, Kind, Step
from server.engine.client import Generation
from server.errors import TavernkeepError
from server.events import Finished, TextPiece
from server.request import responses as responses_json
from server.request.prepare import Prepared
from server.request.text_request import TextRequest

if TYPE_CHECKING:
    from server.controller import Controller

Json = dict[str, Any]

ROUTE = "/v1/responses"
PREFIXES = {Kind.THOUGHT: "rs", Kind.TEXT: "msg", Kind.CALL: "fc"}
GROWTHS = {Kind.THOUGHT: "reasoning_text", Kind.TEXT: "output_text", Kind.CALL: "function_call_arguments"}
REPEATED: Json = {  # what a response repeats of its request, and what that means where it is not there
    "instructions": None,
    "max_output_tokens": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "reasoning": None,
    "temperature": None,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": None,
    "top_p": None,
    "truncation": "auto",
    "user": None,
}


def blueprint(controller: Controller) -> Blueprint:
    """The routes, answering from ``controller``."""
    routes = Blueprint("responses", __name__)

    @routes.post(ROUTE)
    @routes.post("/responses")
    def responses() -> Response | tuple[Json, int, dict[str, str]]:
        body = caller.body()
        with controller.wanted(body.get("model")):
            request = responses_json.read_response(body, controller.sampler_defaults())
            prepared = controller.prepare(request)
            generation = controller.generate(prepared, request.genkey, caller.client(), ROUTE)
        response = _Response(generation, prepared, request, body, controller.loaded_model().name)
        headers = caller.notices(prepared)
        if request.stream:
            return sse.response(generation, response.frames(caller.gone()), headers)
        finished = sse.collect(generation, caller.gone(), response.blocks.take)
        if finished is None:
            return Response(status=caller.CLIENT_GONE)
        return response.whole(finished), 200, headers

    return routes


class _Response:
    """The response that a generation writes, in ``blocks``."""

    def __init__(
        self, generation: Generation, prepared: Prepared, request: TextRequest, body: Json, model: str
    ) -> None:
        self._generation = generation
        self._id = uuid.uuid4().hex
        self.blocks = Blocks(generation, request, shows_thought=prepared.shows_thought)
        repeated = {name: absent if body.get(name) is None else body[name] for name, absent in REPEATED.items()}
        self._head = {
            "id": f"resp_{self._id}",
            "object": "response",
            "created_at": int(time.time()),
            "model": model,
            **repeated,
            "background": False,
            "error": None,
            "previous_response_id": None,
            "store": False,
        }
        self._sent = 0

    def whole(self, finished: Finished) -> Json:
        self.blocks = self.blocks.complete(finished)
        return self._ended(finished)

    def frames(self, gone: Callable[[], bool]) -> Iterator[bytes]:
        begun = {**self._head, "status": "in_progress", "incomplete_details": None, "output": [], "usage": None}
        yield self._frame("response.created", response=begun)
        yield self._frame("response.in_progress", response=begun)
        yield from sse.stream(self._generation, gone, self._piece, self._end, self._error)

    def _piece(self, piece: TextPiece) -> bytes:
        return b"".join(frame for change in self.blocks.take(piece) for frame in self._changed(change))

    def _end(self, finished: Finished) -> bytes:
        rest = b"".join(frame for change in self.blocks.finish(finished) for frame in self._changed(change))
        ended = self._ended(finished)
        return rest + self._frame(f"response.{ended['status']}", response=ended)

    def _error(self, error: TavernkeepError) -> bytes:
        told = refusal.error_object(error)
        return self._frame("error", **{name: told[name] for name in ("message", "code", "param")})

    def _ended(self, finished: Finished) -> Json:
        cut_off = self.blocks.cut_off(finished)
        return {
            **self._head,
            "status": "incomplete" if cut_off else "completed",
            "incomplete_details": {"reason": "max_output_tokens"} if cut_off else None,
            "output": [self._item(block, "completed") for block in self.blocks.all],
            "usage": _usage(finished),
        }

    def _item(self, block: Block, status: str) -> Json:
        item: Json = {"id": f"{PREFIXES[block.kind]}_{self._id}_{block.index}", "status": status}
        parts = [_part(block)] if status == "completed" else []
        if block.kind is Kind.CALL:
            return {**item, "type": "function_call", "call_id": block.id, "name": block.name, "arguments": block.text}
        if block.kind is Kind.THOUGHT:
            return {**item, "type": "reasoning", "summary": [], "content": parts}
        return {**item, "type": "message", "role": "assistant", "content": parts}

    def _changed(self, change: Change) -> Iterator[bytes]:
        block = change.block
        item = self._item(block, "in_progress" if change.step is Step.OPENED else "completed")
        place: Json = {"item_id": item["id"], "output_index": block.index}
        growth = f"response.{GROWTHS[block.kind]}"
        if block.kind is not Kind.CALL:
            place["content_index"] = 0
        if change.step is Step.ADDED:
            told = {"logprobs": logprobs.entries(change.logprobs)} if block.kind is Kind.TEXT else {}
            yield self._frame(f"{growth}.delta", **place, delta=change.added, **told)
        elif change.step is Step.OPENED:
            yield self._frame("response.output_item.added", output_index=block.index, item=item)
            if block.kind is not Kind.CALL:
                yield self._frame("response.content_part.added", **place, part=_part(block))
        else:
            if block.kind is Kind.CALL:
                yield self._frame(f"{growth}.done", **place, name=block.name, arguments=block.text)
            else:
                told = {"logprobs": logprobs.entries(block.logprobs)} if block.kind is Kind.TEXT else {}
                yield self._frame(f"{growth}.done", **place, text=block.text, **told)
                yield self._frame("response.content_part.done", **place, part=_part(block))
            yield self._frame("response.output_item.done", output_index=block.index, item=item)

    def _frame(self, kind: str, **data: Any) -> bytes:
        event = {"type": kind, "sequence_number": self._sent, **data}
        self._sent += 1
        return f"event: {kind}\ndata: {json.dumps(event)}\n\n".encode()


def _part(block: Block) -> Json:
    if block.kind is Kind.THOUGHT:
        return {"type": "reasoning_text", "text": block.text}
    told = logprobs.entries(block.logprobs)
    return {"type": "output_text", "text": block.text, "annotations": [], "logprobs": told}


def _usage(finished: Finished) -> Json:
    return {
        "input_tokens": finished.prompt_tokens,
        "input_tokens_details": {"cached_tokens": finished.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": finished.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": finished.thought_tokens},
        "total_tokens": finished.prompt_tokens + finished.completion_tokens,
    }
