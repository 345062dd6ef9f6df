"""The Ollama dialect: routes and shapes, no logic."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flask import Blueprint, Response

from server.api import caller, logprobs, ollama_models, sse
from server.engine.client import Generation
from server.engine.embedder import Embeddings, numbers
from server.errors import NotAvailable, TavernkeepError
from server.events import Finished, FinishReason, TextPiece, TokenLogprob
from server.prompt.message import ToolCall
from server.reply.parts import Content, Part, gathered
from server.reply.tool_calls import ToolCallParser
from server.request import ollama as ollama_json
from server.request.embeddings import read_embeddings
from server.request.fields import Fields
from server.request.ollama import OllamaRequest
from server.request.prepare import Prepared

if TYPE_CHECKING:
    from server.controller import Controller

Json = dict[str, Any]
Answer = Response | tuple[Json, int, dict[str, str]]

NAME = "ollama"
# Clients switch features on by it; it claims what is implemented here: schemas (0.5), tool calls in streams (0.8),
# thinking (0.9), context_length in ps (0.11), dimensions and probabilities (0.12).
OLLAMA_VERSION = "0.12.11"
LINES = "application/x-ndjson"
NANOSECONDS = 10**9
ANY_METHOD = ("GET", "POST", "PUT", "DELETE")
KEEPING_MODELS = ("pull", "push", "create", "copy", "delete", "blobs/<path:digest>")


@dataclass(frozen=True)
class Shape:
    """How one of the two routes words a part of a reply: what is said, what is thought, and calls."""

    route: str
    part: Callable[[str, str, Sequence[ToolCall]], Json]


def blueprint(controller: Controller) -> Blueprint:
    """The routes, answering from ``controller``."""
    routes = Blueprint(NAME, __name__)
    _add_models(routes, controller)
    _add_embeddings(routes, controller)
    _add_replies(routes, controller)
    return routes


def _add_models(routes: Blueprint, controller: Controller) -> None:
    @routes.get("/api/version")
    def version() -> Json:
        return {"version": OLLAMA_VERSION}

    @routes.get("/api/tags")
    def tags() -> Json:
        models = (controller.snapshot().model, controller.embedder.model)
        return {"models": [ollama_models.listed(model) for model in models if model]}

    @routes.get("/api/ps")
    def ps() -> Json:
        settings, model, embedder = controller.settings, controller.snapshot().model, controller.embedder.model
        entries = []
        if model:
            entries.append(ollama_models.running(model, on_gpu=model.gpu_layers > model.layers))
        if embedder:
            on_gpu = settings.embeddingsgpu and len(embedder.devices) > 1
            entries.append(ollama_models.running(embedder, on_gpu=on_gpu))
        return {"models": entries}

    @routes.post("/api/show")
    def show() -> Json:
        body, embedder, writer = caller.body(), controller.embedder.model, controller.snapshot().model
        name = body.get("model") or body.get("name")
        if embedder and ollama_models.is_named(embedder, name) and not ollama_models.is_named(writer, name):
            return ollama_models.described(embedder, {}, embeds=True)
        return ollama_models.described(controller.loaded_model(), controller.sampler_defaults(), embeds=False)

    for path in KEEPING_MODELS:

        @routes.route(f"/api/{path}", endpoint=path.partition("/")[0], methods=ANY_METHOD)
        def keep_models(**_path: str) -> Json:
            raise NotAvailable(
                "This server fetches and keeps no models as Ollama does.",
                "Put the GGUF file on this PC, and choose it when Tavernkeep is started.",
            )


def _add_embeddings(routes: Blueprint, controller: Controller) -> None:
    @routes.post("/api/embed")
    def embed() -> Json | Response:
        started, body = time.monotonic(), caller.body()
        name = Fields(body, strict=True).text("model", "name")
        made = vectors(body)
        if made is None:
            return Response(status=caller.CLIENT_GONE)
        return {
            "model": name or made.model + ollama_models.TAG,
            "embeddings": [numbers(vector) for vector in made.vectors],
            "total_duration": _nanoseconds(time.monotonic() - started),
            "load_duration": 0,
            "prompt_eval_count": made.tokens,
        }

    @routes.post("/api/embeddings")
    def old_embeddings() -> Json | Response:
        body = caller.body()
        made = vectors({**body, "input": Fields(body, strict=True).text("prompt", "input")})
        if made is None:
            return Response(status=caller.CLIENT_GONE)
        return {"embedding": numbers(made.vectors[0]) if made.vectors else []}

    def vectors(body: Json) -> Embeddings | None:
        # Nothing to read asks whether the model is there.
        asked = read_embeddings(body, may_be_empty=True)
        return controller.embedder.embed(
            asked.inputs, caller.gone(), truncate=asked.truncate, dimensions=asked.dimensions
        )


def _add_replies(routes: Blueprint, controller: Controller) -> None:
    @routes.post("/api/generate")
    def generate() -> Answer:
        return answer(ollama_json.read_generate(caller.body(), controller.sampler_defaults()), GENERATE)

    @routes.post("/api/chat")
    def chat() -> Answer:
        return answer(ollama_json.read_chat(caller.body(), controller.sampler_defaults()), CHAT)

    def prepare(asked: OllamaRequest) -> Prepared:
        assert asked.text
        prepared = controller.prepare(asked.text)
        if not asked.context:
            return prepared
        model = controller.loaded_model()
        text = ollama_json.continued(
            asked.text,
            controller.detokenize(asked.context[-model.context :]),  # what is older has no room anyway
            prepared.text,
            model.bos_text,
            stop=prepared.stop,
            shows_thought=prepared.shows_thought,
        )
        return controller.prepare(text)

    def remember(prepared: Prepared, text: str, finished: Finished) -> list[int]:
        """The token ids of prompt and reply. Where the model ended its turn itself, so does the conversation."""
        ended = finished.reason is FinishReason.STOP and not finished.stop_text
        turn = text + (controller.loaded_model().eos_text if ended else "")
        return [*prepared.tokens, *controller.tokenize(turn, special=False)]

    def answer(asked: OllamaRequest, shape: Shape) -> Answer:
        started = time.monotonic()
        model = controller.loaded_model()
        name = asked.model or model.name + ollama_models.TAG
        if asked.text is None:
            loaded = {**_head(name), **shape.part("", "", ()), "done": True, "done_reason": "load"}
            return _one_line(loaded) if asked.stream else (loaded, 200, {})
        prepared = prepare(asked)
        generation = controller.generate(prepared, asked.text.genkey, caller.client(), shape.route)
        parser = caller.parser(asked.text)
        remembering = remember if asked.remembers else None
        reply = _Reply(generation, prepared, shape, model=name, parser=parser, remember=remembering, started=started)
        headers = caller.notices(prepared)
        if asked.stream:
            return sse.response(generation, reply.lines(caller.gone()), headers, LINES)
        finished = sse.collect(generation, caller.gone())
        if finished is None:
            return Response(status=caller.CLIENT_GONE)
        return reply.whole(finished), 200, headers


class _Reply:
    """A reply in Ollama's words: a line of JSON for each piece, or all in one object. Calls come whole, at the end."""

    def __init__(
        self,
        generation: Generation,
        prepared: Prepared,
        shape: Shape,
        *,
        model: str,
        parser: ToolCallParser | None,
        remember: Callable[[Prepared, str, Finished], list[int]] | None,
        started: float,
    ) -> None:
        self._generation = generation
        self._prepared = prepared
        self._shape = shape
        self._model = model
        self._parser = parser
        self._remember = remember
        self._started = started
        self._calls: list[Part] = []

    def lines(self, gone: Callable[[], bool]) -> Iterator[bytes]:
        # Clients parse every line: what breaks the silence must be a piece of the reply, an empty one.
        silence = self._line(self._shape.part("", "", ()))
        return sse.stream(self._generation, gone, self._piece, self._end, _error_line, ping=silence)

    def whole(self, finished: Finished) -> Json:
        parts: list[Part] = [Content(self._generation.text)]
        if self._parser:
            parts = [*self._parser.push(self._generation.text), *self._finish(finished)]
        content, calls = gathered(parts)
        thought = self._generation.thought if self._prepared.shows_thought else ""
        said = self._shape.part(content, thought, calls)
        return {**_head(self._model), **said, **_told(self._generation.logprobs), **self._last(finished)}

    def _piece(self, piece: TextPiece) -> bytes:
        parts: Sequence[Part] = self._parser.push(piece.text) if self._parser else [Content(piece.text)]
        self._calls += (part for part in parts if not isinstance(part, Content))
        said = "".join(part.text for part in parts if isinstance(part, Content))
        thought = piece.thought if self._prepared.shows_thought else ""
        told = _told(piece.logprobs)
        return self._line({**self._shape.part(said, thought, ()), **told}) if said or thought or told else b""

    def _end(self, finished: Finished) -> bytes:
        content, calls = gathered([*self._calls, *self._finish(finished)])
        rest = self._line(self._shape.part(content, "", calls)) if content or calls else b""
        return rest + _line({**_head(self._model), **self._shape.part("", "", ()), **self._last(finished)})

    def _finish(self, finished: Finished) -> list[Part]:
        return self._parser.finish(complete=finished.reason is FinishReason.STOP) if self._parser else []

    def _line(self, part: Json) -> bytes:
        return _line({**_head(self._model), **part, "done": False})

    def _last(self, finished: Finished) -> Json:
        """What only the last object has. Loading is the time until the model began with this request."""
        remembered = {}
        if self._remember:
            remembered = {"context": self._remember(self._prepared, self._generation.text, finished)}
        return {
            "done": True,
            "done_reason": sse.finish_word(finished),
            **remembered,
            "total_duration": _nanoseconds(time.monotonic() - self._started),
            "load_duration": _nanoseconds(finished.queue_seconds),
            "prompt_eval_count": finished.prompt_tokens,
            "prompt_eval_duration": _nanoseconds(finished.prompt_seconds),
            "eval_count": finished.completion_tokens,
            "eval_duration": _nanoseconds(finished.decode_seconds),
        }


def _generated(said: str, thought: str, _calls: Sequence[ToolCall]) -> Json:
    return {"response": said, **({"thinking": thought} if thought else {})}


def _spoken(said: str, thought: str, calls: Sequence[ToolCall]) -> Json:
    message: Json = {"role": "assistant", "content": said}
    if thought:
        message["thinking"] = thought
    # Arguments are an object here; a call that was cut off has none, and cannot be told.
    whole = [(call, arguments) for call in calls if isinstance(arguments := call.parsed_arguments(), dict)]
    if whole:
        message["tool_calls"] = [
            {"id": call.id, "function": {"index": index, "name": call.name, "arguments": arguments}}
            for index, (call, arguments) in enumerate(whole)
        ]
    return {"message": message}


GENERATE = Shape("/api/generate", _generated)
CHAT = Shape("/api/chat", _spoken)


def _told(entries: Sequence[TokenLogprob]) -> Json:
    """Probabilities, where they were asked for."""
    told = logprobs.of_chat(entries)
    return {"logprobs": told["content"]} if told else {}


def _head(model: str) -> Json:
    return {"model": model, "created_at": ollama_models.timestamp(time.time())}


def _nanoseconds(seconds: float) -> int:
    return int(seconds * NANOSECONDS)


def _line(data: Json) -> bytes:
    return json.dumps(data).encode() + b"\n"


def _one_line(data: Json) -> Response:
    return Response(_line(data), content_type=LINES)


def _error_line(error: TavernkeepError) -> bytes:
    return _line({"error": str(error)})
