"""One choice of a reply in OpenAI's words, whole or chunk by chunk. Made by the OpenAI dialect."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from server.api import logprobs, sse
from server.engine.client import Generation
from server.events import Finished, FinishReason, TextPiece, TokenLogprob
from server.reply.parts import Arguments, CallBegun, Content, Part, gathered
from server.reply.tool_calls import ToolCallParser

Json = dict[str, Any]


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


class Choice:
    """The choice ``index`` of a request, while ``generation`` writes it: text while no call has begun, then calls.

    Before its text stands ``echoed``. ``tells``: probabilities are wanted.
    """

    def __init__(
        self,
        index: int,
        generation: Generation,
        shape: Shape,
        parser: ToolCallParser | None,
        *,
        echoed: str = "",
        shows_thought: bool,
        tells: bool,
    ) -> None:
        self.generation = generation
        self._index = index
        self._shape = shape
        self._parser = parser
        self._echoed = echoed
        self._shows_thought = shows_thought
        self._tells = tells
        self._called = False
        self._told = 0  # letters

    def whole(self, finished: Finished) -> Json:
        """All of it, when it has ended."""
        generation = self.generation
        thought = generation.thought if self._shows_thought else ""
        told = self._shape.logprobs(generation.logprobs, 0) if self._tells else None
        if self._shape is TEXT:
            part: Json = {"text": self._echoed + generation.text, **({"reasoning": thought} if thought else {})}
            return self._worded(part, sse.finish_word(finished), told)
        parts: list[Part] = [Content(generation.text)]
        if self._parser:
            parts = [*self._parser.push(generation.text), *self._parser.finish(complete=_complete(finished))]
        content, calls = gathered(parts)
        message: Json = {"role": "assistant", "content": content or (None if calls else ""), "refusal": None}
        if thought:
            message["reasoning_content"] = thought
        if calls:
            message["tool_calls"] = [
                {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
                for call in calls
            ]
        return self._worded({"message": message}, _finish_word(finished, self._parser if calls else None), told)

    def beginning(self) -> Iterator[Json]:
        """What is sent before anything is said."""
        if self._shape.first:
            yield self._worded(self._shape.first)
        if self._echoed:
            yield self._worded(self._shape.said(self._echoed))

    def pieces(self, piece: TextPiece) -> Iterator[Json]:
        """What a piece adds."""
        for each in logprobs.token_by_token(piece):
            yield from self._piece(each)

    def _piece(self, piece: TextPiece) -> Iterator[Json]:
        if piece.thought and self._shows_thought:
            yield self._worded(self._shape.thought(piece.thought))
        parts: Sequence[Part] = [Content(piece.text)] if piece.text else []
        if self._parser:
            parts = self._parser.push(piece.text)
            if self._parser.done:
                self.generation.cancel()  # one call was wanted, and here it is
        yield from self._parts(parts, piece.logprobs if self._tells else ())

    def end(self, finished: Finished) -> Iterator[Json]:
        """What is sent when it has ended, with the reason."""
        if self._parser:
            yield from self._parts(self._parser.finish(complete=_complete(finished)))
        yield self._worded(self._shape.last, _finish_word(finished, self._parser if self._called else None))

    def _parts(self, parts: Sequence[Part], told: Sequence[TokenLogprob] = ()) -> Iterator[Json]:
        """Probabilities go with the first of ``parts``, or with an empty one where there is none."""
        self._called = self._called or any(isinstance(part, CallBegun) for part in parts)
        if told and not parts:
            parts = [Content("")]
        found = self._shape.logprobs(told, self._told)
        self._told += sum(len(each.token.decode("utf-8", "replace")) for each in told)
        for at, part in enumerate(parts):
            yield self._worded(_delta(part, self._shape), told=None if at else found)

    def _worded(self, part: Json, reason: str | None = None, told: Json | None = None) -> Json:
        return {"index": self._index, **part, "logprobs": told, "finish_reason": reason}


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
