"""The OpenAI dialect: routes and shapes, no logic."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flask import Blueprint, Response

from server.api import caller, sse
from server.engine.client import Generation
from server.errors import BadRequest, TavernkeepError
from server.events import Finished
from server.request import openai as openai_json
from server.request.text_request import TextRequest

if TYPE_CHECKING:
    from server.controller import Controller

Json = dict[str, Any]


@dataclass(frozen=True)
class Shape:
    """How one of the two routes words a choice: whole, and in a stream's first, middle and last chunk."""

    route: str
    id_prefix: str
    kind: str
    chunk_kind: str
    whole: Callable[[str], Json]
    first: Json | None
    piece: Callable[[str], Json]
    last: Json


CHAT = Shape(
    route="/v1/chat/completions",
    id_prefix="chatcmpl-",
    kind="chat.completion",
    chunk_kind="chat.completion.chunk",
    whole=lambda text: {"message": {"role": "assistant", "content": text}},
    first={"delta": {"role": "assistant", "content": ""}},
    piece=lambda text: {"delta": {"content": text}},
    last={"delta": {}},
)
TEXT = Shape(
    route="/v1/completions",
    id_prefix="cmpl-",
    kind="text_completion",
    chunk_kind="text_completion",
    whole=lambda text: {"text": text},
    first=None,
    piece=lambda text: {"text": text},
    last={"text": ""},
)


def blueprint(controller: Controller) -> Blueprint:
    """The routes, answering from ``controller``."""
    routes = Blueprint("openai", __name__)

    @routes.get("/v1/models")
    @routes.get("/models")
    def models() -> Json:
        model = controller.loaded_model()
        entry = {
            "id": model.name,
            "object": "model",
            "created": controller.loaded_at(),
            "owned_by": "tavernkeep",
        }
        return {"object": "list", "data": [entry]}

    @routes.post("/v1/chat/completions")
    @routes.post("/chat/completions")
    def chat_completions() -> Json | Response:
        return answer(openai_json.read_chat(caller.body()), CHAT)

    @routes.post("/v1/completions")
    @routes.post("/completions")
    def completions() -> Json | Response:
        return answer(openai_json.read_completion(caller.body()), TEXT)

    def answer(request: TextRequest, shape: Shape) -> Json | Response:
        generation = controller.generate(request, caller.client(), shape.route)
        head = {
            "id": f"{shape.id_prefix}{uuid.uuid4().hex[:24]}",
            "object": shape.chunk_kind if request.stream else shape.kind,
            "created": int(time.time()),
            "model": controller.loaded_model().name,
        }
        if request.stream:
            return sse.response(generation, _frames(generation, caller.gone(), head, shape, request.include_usage))
        finished = sse.collect(generation, caller.gone())
        if finished is None:
            return Response(status=caller.CLIENT_GONE)
        choice = _choice(shape.whole(generation.text), sse.finish_word(finished))
        return {**head, "choices": [choice], "usage": _usage(finished)}

    return routes


def _frames(
    generation: Generation, gone: Callable[[], bool], head: Json, shape: Shape, include_usage: bool
) -> Iterator[bytes]:
    def chunk(part: Json, reason: str | None = None) -> bytes:
        return sse.data_frame({**head, "choices": [_choice(part, reason)]})

    def end(finished: Finished) -> bytes:
        usage = sse.data_frame({**head, "choices": [], "usage": _usage(finished)}) if include_usage else b""
        return chunk(shape.last, sse.finish_word(finished)) + usage + sse.DONE

    if shape.first:
        yield chunk(shape.first)
    yield from sse.stream(generation, gone, lambda text: chunk(shape.piece(text)), end, _error_frame)


def _choice(part: Json, reason: str | None) -> Json:
    return {"index": 0, **part, "logprobs": None, "finish_reason": reason}


def _usage(finished: Finished) -> Json:
    return {
        "prompt_tokens": finished.prompt_tokens,
        "completion_tokens": finished.completion_tokens,
        "total_tokens": finished.prompt_tokens + finished.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": finished.cached_tokens},
    }


def _error_frame(error: TavernkeepError) -> bytes:
    return sse.data_frame({"error": error_object(error)})


def error_object(error: TavernkeepError) -> Json:
    """An error as OpenAI words it; ``param`` names the field at fault, if one is."""
    param = error.param if isinstance(error, BadRequest) else None
    return {"message": str(error), "type": error.code, "param": param, "code": error.code}
