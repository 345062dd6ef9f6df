"""A reply as blocks that open, grow and close: thoughts, text, calls. For the dialects that word replies this way."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from server.api import caller
from server.engine.client import Generation
from server.events import Finished, FinishReason, TextPiece, TokenLogprob
from server.reply.parts import Arguments, CallBegun, Content, Part
from server.request.text_request import TextRequest


class Kind(enum.Enum):
    """What a block holds."""

    THOUGHT = "thought"
    TEXT = "text"
    CALL = "call"


@dataclass
class Block:
    """The block ``index`` of a reply: its ``text`` so far, which of a call are the arguments as JSON."""

    index: int
    kind: Kind
    id: str = ""
    name: str = ""
    text: str = ""
    logprobs: list[TokenLogprob] = field(default_factory=list)


class Step(enum.Enum):
    """What happens to a block."""

    OPENED = "opened"
    ADDED = "added"
    CLOSED = "closed"


@dataclass(frozen=True)
class Change:
    """One step of a ``block``; what was ``added`` to it is in its text already."""

    step: Step
    block: Block
    added: str = ""
    logprobs: Sequence[TokenLogprob] = ()


class Blocks:
    """The blocks of the reply to ``request`` that ``generation`` writes."""

    def __init__(self, generation: Generation, request: TextRequest, *, shows_thought: bool) -> None:
        self.all: list[Block] = []
        self._generation = generation
        self._request = request
        self._parser = caller.parser(request)
        self._shows_thought = shows_thought
        self._open: Block | None = None

    @property
    def calls(self) -> list[Block]:
        return [block for block in self.all if block.kind is Kind.CALL]

    def cut_off(self, finished: Finished) -> bool:
        """Whether the reply ended before the model was done with it."""
        if self._parser and self._parser.done:
            return False
        return finished.reason is not FinishReason.STOP or bool(self._parser and self._parser.cut_off)

    def complete(self, finished: Finished) -> Blocks:
        """Those of the whole reply: what it said first may have turned out to be a thought."""
        reply = self._generation
        piece = TextPiece(finished.request_id, reply.text, reply.tokens, reply.thought, logprobs=tuple(reply.logprobs))
        blocks = Blocks(reply, self._request, shows_thought=self._shows_thought)
        blocks.take(piece)
        blocks.finish(finished)
        return blocks

    def take(self, piece: TextPiece) -> list[Change]:
        """What a piece of the reply changes."""
        return list(self._take(piece))

    def finish(self, finished: Finished) -> list[Change]:
        """What the end of the reply changes. A reply that said nothing at all has an empty text."""
        return list(self._finish(finished))

    def _take(self, piece: TextPiece) -> Iterator[Change]:
        if piece.thought and self._shows_thought:
            yield from self._add(Kind.THOUGHT, piece.thought)
        parts: Sequence[Part] = [Content(piece.text)] if piece.text else []
        if self._parser:
            parts = self._parser.push(piece.text)
            if self._parser.done:
                self._generation.cancel()  # one call was wanted, and here it is
        yield from self._parts(parts, piece.logprobs)

    def _finish(self, finished: Finished) -> Iterator[Change]:
        if self._parser:
            yield from self._parts(self._parser.finish(complete=finished.reason is FinishReason.STOP))
        if not any(block.kind is not Kind.THOUGHT for block in self.all):
            yield from self._add(Kind.TEXT, "")
        yield from self._close()

    def _parts(self, parts: Sequence[Part], told: Sequence[TokenLogprob] = ()) -> Iterator[Change]:
        for part in parts:
            if isinstance(part, Content):
                yield from self._add(Kind.TEXT, part.text, told)
                told = ()
            elif isinstance(part, CallBegun):
                yield from self._begin(Block(len(self.all), Kind.CALL, part.id, part.name))
            elif isinstance(part, Arguments) and self._open:
                yield self._grown(self._open, part.text)

    def _add(self, kind: Kind, text: str, told: Sequence[TokenLogprob] = ()) -> Iterator[Change]:
        if self._open is None or self._open.kind is not kind:
            if kind is Kind.TEXT and self.calls and not text.strip():
                return  # blanks between calls
            yield from self._begin(Block(len(self.all), kind))
        if self._open and (text or told):
            yield self._grown(self._open, text, told)

    def _begin(self, block: Block) -> Iterator[Change]:
        yield from self._close()
        self.all.append(block)
        self._open = block
        yield Change(Step.OPENED, replace(block))  # as it is now

    def _grown(self, block: Block, text: str, told: Sequence[TokenLogprob] = ()) -> Change:
        block.text += text
        block.logprobs += told
        return Change(Step.ADDED, block, text, told)

    def _close(self) -> Iterator[Change]:
        if self._open:
            yield Change(Step.CLOSED, self._open)
        self._open = None
