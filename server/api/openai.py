"""The OpenAI dialect: routes and shapes, no logic."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from flask import Blueprint, Response

from server.api import caller, logprobs, refusal, sse
from server.engine.client import Generation
from server.errors import TavernkeepError
from server.events import Finished, FinishReason, TextPiece, TokenLogprob
from server.reply.parts import Arguments, CallBegun, Content, Part, gathered
from server.reply.tool_calls import ToolCallParser
from server.request import openai as openai_json
from server.request.prepare import Prepared
from server.request.text_request import TextRequest
from server.snapshot import Trimmed

if TYPE_CHECKING:
    from server.controller import Controller

Json = dict[str, Any]
Answer = Response | tuple[Json, int, dict[str, str]]


@dataclass(frozen=True)
class Shape:
    """How one of the two routes words a choice: in a stream's first, middle and last chunk."""

    route: str
    id_prefix: str
    kind: str
    chunk_kind: str
    first: Json | None
    said: Callable[[str], Json]
    thought: Callable[[str], Json]
    last: Json
    logprobs: Callable[[Sequence[TokenLogprob], int], Json | None]


CHAT = Shape(
    route="/v1/chat/completions",
    id_prefix="chatcmpl-",
    kind="chat.completion",
    chunk_kind="chat.completion.chunk",
    first={"delta": {"role": "assistant", "content": ""}},
    said=lambda text: {"delta": {"content": text}},
    thought=lambda text: {"delta": {"reasoning_content": text}},
    last={"delta": {}},
    logprobs=lambda entries, _offset: logprobs.of_chat(entries),
)
TEXT = Shape(
    route="/v1/completions",
    id_prefix="cmpl-",
    kind="text_completion",
    chunk_kind="text_completion",
    first=None,
    said=lambda text: {"text": text},
    thought=lambda text: {"text": "", "reasoning": text},  # OpenRouter's name; only for those who ask for it
    last={"text": ""},
    logprobs=logprobs.of_text,
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
    def chat_completions() -> Answer:
        return answer(openai_json.read_chat(caller.body(), controller.sampler_defaults()), CHAT)

    @routes.post("/v1/completions")
    @routes.post("/v1/completion")
    @routes.post("/completions")
    def completions() -> Answer:
        return answer(openai_json.read_completion(caller.body()), TEXT)

    def answer(request: TextRequest, shape: Shape) -> Answer:
        prepared = controller.prepare(request)
        generation = controller.generate(prepared, request.genkey, caller.client(), shape.route)
        head = {
            "id": f"{shape.id_prefix}{uuid.uuid4().hex[:24]}",
            "object": shape.chunk_kind if request.stream else shape.kind,
            "created": int(time.time()),
            "model": controller.loaded_model().name,
        }
        headers = caller.notices(prepared)
        parser = caller.parser(request)
        if request.stream:
            stream = _Stream(generation, head, shape, prepared, parser, include_usage=request.include_usage)
            return sse.response(generation, stream.frames(caller.gone()), headers)
        finished = sse.collect(generation, caller.gone(), _until_called(generation, request))
        if finished is None:
            return Response(status=caller.CLIENT_GONE)
        choice = _whole_choice(generation, finished, shape, prepared, parser)
        return {**head, "choices": [choice], "usage": _usage(finished, prepared.trimmed)}, 200, headers

    return routes


def _until_called(generation: Generation, request: TextRequest) -> Callable[[TextPiece], object]:
    """Ends a reply that is not streamed when the one call that is wanted is there."""
    parser = caller.parser(request)
    if not parser or not request.chat or request.chat.parallel:
        return bool

    def look(piece: TextPiece) -> None:
        parser.push(piece.text)
        if parser.done:
            generation.cancel()

    return look


def _whole_choice(
    generation: Generation, finished: Finished, shape: Shape, prepared: Prepared, parser: ToolCallParser | None
) -> Json:
    thought = generation.thought if prepared.shows_thought else ""
    if shape is TEXT:
        part: Json = {"text": generation.text, **({"reasoning": thought} if thought else {})}
        return _choice(part, sse.finish_word(finished), shape.logprobs(generation.logprobs, 0))
    parts: list[Part] = [Content(generation.text)]
    if parser:
        parts = [*parser.push(generation.text), *parser.finish(complete=_complete(finished))]
    content, calls = gathered(parts)
    message: Json = {"role": "assistant", "content": content or (None if calls else "")}
    if thought:
        message["reasoning_content"] = thought
    if calls:
        message["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in calls
        ]
    finish = _finish_word(finished, parser if calls else None)
    return _choice({"message": message}, finish, shape.logprobs(generation.logprobs, 0))


class _Stream:
    """The frames of a streamed reply, live: text while no call has begun, then calls as they are written."""

    def __init__(
        self,
        generation: Generation,
        head: Json,
        shape: Shape,
        prepared: Prepared,
        parser: ToolCallParser | None,
        *,
        include_usage: bool,
    ) -> None:
        self._generation = generation
        self._head = head
        self._shape = shape
        self._prepared = prepared
        self._parser = parser
        self._include_usage = include_usage
        self._called = False
        self._told = 0  # letters

    def frames(self, gone: Callable[[], bool]) -> Iterator[bytes]:
        if self._shape.first:
            yield self._chunk(self._shape.first)
        yield from sse.stream(self._generation, gone, self._piece, self._end, _error_frame)

    def _piece(self, piece: TextPiece) -> bytes:
        return b"".join(map(self._token, logprobs.token_by_token(piece)))

    def _token(self, piece: TextPiece) -> bytes:
        thought = self._shape.thought(piece.thought) if piece.thought and self._prepared.shows_thought else None
        parts: Sequence[Part] = [Content(piece.text)] if piece.text else []
        if self._parser:
            parts = self._parser.push(piece.text)
            if self._parser.done:
                self._generation.cancel()  # one call was wanted, and here it is
        return (self._chunk(thought) if thought else b"") + self._parts(parts, piece.logprobs)

    def _end(self, finished: Finished) -> bytes:
        rest = self._parts(self._parser.finish(complete=_complete(finished))) if self._parser else b""
        last = self._chunk(self._shape.last, _finish_word(finished, self._parser if self._called else None))
        usage = b""
        if self._include_usage:
            figures = _usage(finished, self._prepared.trimmed)
            usage = sse.data_frame({**self._head, "choices": [], "usage": figures})
        return rest + last + usage + sse.DONE

    def _parts(self, parts: Sequence[Part], told: Sequence[TokenLogprob] = ()) -> bytes:
        """The chunks of ``parts``. Probabilities go with the first, or with an empty one where there is none."""
        self._called = self._called or any(isinstance(part, CallBegun) for part in parts)
        if told and not parts:
            parts = [Content("")]
        found = self._shape.logprobs(told, self._told)
        self._told += sum(len(part.text) for part in parts if isinstance(part, Content))
        return b"".join(
            self._chunk(_delta(part, self._shape), told=None if at else found) for at, part in enumerate(parts)
        )

    def _chunk(self, part: Json, reason: str | None = None, told: Json | None = None) -> bytes:
        return sse.data_frame({**self._head, "choices": [_choice(part, reason, told)]})


def _delta(part: Part, shape: Shape) -> Json:
    if isinstance(part, Content):
        return shape.said(part.text)
    call: Json = {"index": part.index}
    if isinstance(part, CallBegun):
        call |= {"id": part.id, "type": "function", "function": {"name": part.name, "arguments": ""}}
    elif isinstance(part, Arguments):
        call["function"] = {"arguments": part.text}
    return {"delta": {"tool_calls": [call]}}


def _complete(finished: Finished) -> bool:
    return finished.reason is FinishReason.STOP


def _finish_word(finished: Finished, called: ToolCallParser | None) -> str:
    """Calls end a reply as such, unless something cut them off. ``called`` is what has found some."""
    if called is None:
        return sse.finish_word(finished)
    if called.done:
        return "tool_calls"
    cut_off = called.cut_off or finished.reason is not FinishReason.STOP
    return "length" if cut_off else "tool_calls"


def _choice(part: Json, reason: str | None, told: Json | None = None) -> Json:
    return {"index": 0, **part, "logprobs": told, "finish_reason": reason}


def _usage(finished: Finished, trimmed: Trimmed | None) -> Json:
    """Token counts. ``trimmed`` is ours, and only there when something was left out of the prompt."""
    return {
        "prompt_tokens": finished.prompt_tokens,
        "completion_tokens": finished.completion_tokens,
        "total_tokens": finished.prompt_tokens + finished.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": finished.cached_tokens},
        **({"trimmed": asdict(trimmed)} if trimmed else {}),
    }


def _error_frame(error: TavernkeepError) -> bytes:
    return sse.data_frame({"error": refusal.error_object(error)})
