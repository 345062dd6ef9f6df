"""The OpenAI dialect: routes and shapes, no logic."""

from __future__ import annotations

import hashlib
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from flask import Blueprint, Response

from server import VERSION
from server.api import caller, refusal, sse
from server.api.choice import CHAT, TEXT, Choice, Shape
from server.api.together import Together
from server.engine.client import Generation
from server.errors import ModelNotFound, TavernkeepError
from server.events import Finished, Generate, ModelInfo, TextPiece
from server.request import openai as openai_json
from server.request.prepare import Prepared
from server.request.text_request import TextRequest

if TYPE_CHECKING:
    from server.controller import Controller

Json = dict[str, Any]
Answer = Response | tuple[Json, int, dict[str, str]]


def blueprint(controller: Controller) -> Blueprint:
    """The routes, answering from ``controller``."""
    routes = Blueprint("openai", __name__)

    @routes.get("/v1/models")
    @routes.get("/models")
    def models() -> Json:
        return {"object": "list", "data": listed()}

    @routes.get("/v1/models/<path:name>")
    @routes.get("/models/<path:name>")
    def model(name: str) -> Json:
        for entry in listed():
            if entry["id"] == name:
                return entry
        raise ModelNotFound(f"There is no model {name[:100]!r} here.", "/v1/models names those there are.")

    def listed() -> list[Json]:
        """The loaded model, then the library's others."""
        loaded = controller.loaded_model()
        others = [name for name in controller.library() if name != loaded.name]
        entry = {"object": "model", "created": controller.loaded_at(), "owned_by": "tavernkeep"}
        return [{"id": name, **entry, "loaded": name == loaded.name} for name in (loaded.name, *others)]

    @routes.post("/v1/chat/completions")
    @routes.post("/chat/completions")
    def chat_completions() -> Answer:
        body = caller.body()
        with controller.wanted(body.get("model")):
            return answer([openai_json.read_chat(body, controller.sampler_defaults())], CHAT)

    @routes.post("/v1/completions")
    @routes.post("/v1/completion")
    @routes.post("/completions")
    def completions() -> Answer:
        body = caller.body()
        with controller.wanted(body.get("model")):
            return answer(openai_json.read_completions(body, controller.sampler_defaults()), TEXT)

    def answer(requests: Sequence[TextRequest], shape: Shape) -> Answer:
        """Each request's prompt is answered ``best_of`` times, and the best ``n`` of these answers are given."""
        first = requests[0]
        compares = first.best_of > first.n
        asked = [replace(each, logprobs=max(each.logprobs, 0)) if compares else each for each in requests]
        prepared = [controller.prepare(each) for each in asked]
        client = caller.client()
        begin = [
            partial(controller.generate, _another(each, again), first.genkey, client, shape.route)
            for each in prepared
            for again in range(first.best_of)
        ]
        model = controller.loaded_model()
        head = {
            "id": f"{shape.id_prefix}{uuid.uuid4().hex[:24]}",
            "object": shape.chunk_kind if first.stream else shape.kind,
            "created": int(time.time()),
            "model": model.name,
            "system_fingerprint": _fingerprint(model),
        }
        echoed = [_echoed(each, controller.detokenize) for each in requests]
        headers = caller.notices(prepared[0])
        together = Together(begin)

        def choice(place: int, index: int) -> Choice:
            """What the reply at ``place`` is to the client: the choice ``index``."""
            prompt = place // first.best_of
            return Choice(
                index,
                together.begun[place],
                shape,
                caller.parser(first),
                echoed=echoed[prompt],
                shows_thought=prepared[prompt].shows_thought,
                tells=first.logprobs >= 0,
            )

        if first.stream:
            stream = _Stream(together, head, choice, prepared, first)
            return sse.response(together, stream.frames(caller.gone()), headers)
        if sse.collect(together, caller.gone(), _until_called(together, first)) is None:
            return Response(status=caller.CLIENT_GONE)
        chosen = _best(together.begun, first)
        choices = [choice(place, index).whole(_end_of(together.begun[place])) for index, place in enumerate(chosen)]
        ends = [_end_of(each) for each in together.begun]
        return {**head, "choices": choices, **_figures(ends[:: first.best_of], ends, prepared)}, 200, headers

    return routes


def _another(prepared: Prepared, again: int) -> Prepared:
    """The same once more. A seed that was asked for is another one each time, or all would be the same."""
    if not again:
        return prepared

    def build(request_id: int) -> Generate:
        request = prepared.build(request_id)
        seed = request.sampling.seed
        return replace(request, sampling=replace(request.sampling, seed=seed + again if seed >= 0 else seed))

    return replace(prepared, build=build)


def _echoed(request: TextRequest, detokenize: Callable[[tuple[int, ...]], str]) -> str:
    if not request.echo:
        return ""
    return request.prompt if isinstance(request.prompt, str) else detokenize(request.prompt)


def _best(replies: Sequence[Generation], request: TextRequest) -> list[int]:
    """The places of those that are given to the client: of each prompt the likeliest per token, likeliest first."""
    if request.best_of == request.n:
        return list(range(len(replies)))
    chosen: list[int] = []
    for start in range(0, len(replies), request.best_of):
        places = range(start, min(start + request.best_of, len(replies)))
        chosen += sorted(places, key=lambda place: -_likelihood(replies[place]))[: request.n]
    return chosen


def _likelihood(reply: Generation) -> float:
    """The mean logarithm of probability of its own tokens."""
    count = max(_end_of(reply).completion_tokens, 1)
    return sum(entry.logprob or 0.0 for entry in reply.logprobs[-count:]) / count


def _end_of(reply: Generation) -> Finished:
    assert reply.finished
    return reply.finished


def _until_called(together: Together, request: TextRequest) -> Callable[[TextPiece], object]:
    """Ends a reply that is not streamed when the one call that is wanted is there."""
    if not request.chat or request.chat.parallel or not caller.parser(request):
        return bool
    parsers = [caller.parser(request) for _ in range(request.best_of)]

    def look(piece: TextPiece) -> None:
        place = together.place(piece.request_id)
        parser = parsers[place]
        assert parser
        parser.push(piece.text)
        if parser.done:
            together.begun[place].cancel()

    return look


class _Stream:
    """The frames of streamed choices, live and mixed as they come."""

    def __init__(
        self,
        together: Together,
        head: Json,
        choice: Callable[[int, int], Choice],
        prepared: Sequence[Prepared],
        request: TextRequest,
    ) -> None:
        self._together = together
        self._head = {**head, **({"usage": None} if request.include_usage else {})}
        self._choice = choice
        self._prepared = prepared
        self._include_usage = request.include_usage
        self._again = request.best_of
        self._choices: dict[int, Choice] = {}
        self._ends: dict[int, Finished] = {}

    def frames(self, gone: Callable[[], bool]) -> Iterator[bytes]:
        yield from (self._chunk(part) for place in range(len(self._together.begun)) for part in self._begin(place))
        yield from sse.stream(self._together, gone, self._piece, self._end, _error_frame)

    def _begin(self, place: int) -> Iterator[Json]:
        """What a choice begins with, unless it has begun already."""
        if place not in self._choices:
            self._choices[place] = self._choice(place, place)
            yield from self._choices[place].beginning()

    def _piece(self, piece: TextPiece) -> bytes:
        place = self._together.place(piece.request_id)
        return b"".join(map(self._chunk, [*self._begin(place), *self._choices[place].pieces(piece)]))

    def _end(self, finished: Finished) -> bytes:
        place = self._together.place(finished.request_id)
        self._ends[place] = finished
        parts = [*self._begin(place), *self._choices[place].end(finished)]
        last = parts.pop()
        chunks = b"".join(map(self._chunk, parts))
        if self._together.left:
            return chunks + self._chunk(last)
        ends = [self._ends[each] for each in sorted(self._ends)]
        figures = _figures(ends[:: self._again], ends, self._prepared)
        timings = {"timings": figures["timings"]}
        if not self._include_usage:
            return chunks + sse.data_frame({**self._head, "choices": [last], **timings}) + sse.DONE
        return chunks + self._chunk(last) + sse.data_frame({**self._head, "choices": [], **figures}) + sse.DONE

    def _chunk(self, choice: Json) -> bytes:
        return sse.data_frame({**self._head, "choices": [choice]})


def _fingerprint(model: ModelInfo) -> str:
    """The same for the same model with the same context in the same version."""
    facts = (VERSION, model.name, model.size, model.quantisation, model.context, model.devices)
    return f"fp_{hashlib.sha256(repr(facts).encode()).hexdigest()[:10]}"


def _figures(prompts: Sequence[Finished], ends: Sequence[Finished], prepared: Sequence[Prepared]) -> Json:
    """Token counts as OpenAI has them, and llama-server's ``timings``, where what ran at the same time counts once.

    ``prompts`` are the first reply to each prompt, so that it is counted once, and ``ends`` all replies. ``trimmed`` is
    ours, and only there when something was left out of a prompt.
    """
    prompt_tokens = sum(end.prompt_tokens for end in prompts)
    cached = sum(end.cached_tokens for end in prompts)
    written = sum(end.completion_tokens for end in ends)
    trimmed = next((each.trimmed for each in prepared if each.trimmed), None)
    drafted, accepted = (sum(numbers) for numbers in zip(*((end.drafted, end.accepted) for end in ends), strict=True))
    guessed = {"draft_n": drafted, "draft_n_accepted": accepted} if drafted else {}
    return {
        "usage": {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": written,
            "total_tokens": prompt_tokens + written,
            "prompt_tokens_details": {"cached_tokens": cached},
            "completion_tokens_details": {"reasoning_tokens": sum(end.thought_tokens for end in ends)},
            **({"trimmed": asdict(trimmed)} if trimmed else {}),
        },
        "timings": {
            "cache_n": cached,
            **_speed("prompt", prompt_tokens - cached, max(end.prompt_seconds for end in ends)),
            **_speed("predicted", written, max(end.decode_seconds for end in ends)),
            **guessed,
        },
    }


def _speed(what: str, tokens: int, seconds: float) -> Json:
    return {
        f"{what}_n": tokens,
        f"{what}_ms": round(seconds * 1000, 3),
        f"{what}_per_token_ms": round(seconds * 1000 / tokens, 3) if tokens else 0.0,
        f"{what}_per_second": round(tokens / seconds, 3) if seconds else 0.0,
    }


def _error_frame(error: TavernkeepError) -> bytes:
    return sse.data_frame({"error": refusal.error_object(error)})
