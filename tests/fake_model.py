"""A scripted stand-in for the engine's ``Model``: every prompt has its reply written down beforehand.

Tokens 0 to 255 are single bytes, so that text is tokenized by encoding it. The model is strict: it fails the test when
a batch is larger than promised, when a slot's KV cache gets a gap, when more cells are used than there are, when cells
are moved, saved or loaded as llama.cpp could not, when logits are read that nobody asked for, and when two sequences
are mixed up.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Iterable
from collections.abc import Sequence as ReadOnly
from dataclasses import dataclass, field, replace

from server.engine.batch import Batch
from server.engine.drafts import Drafts
from server.engine.speculation import DraftRequest, Payoff, Step
from server.events import Generate, ModelInfo, TokenLogprob

END = 256
IM_END = 257
THINK, END_THINK = 259, 260
LONG_PIECES = {258: b"no more### and then some"}
SPECIAL_TEXTS = {"<|im_end|>": IM_END, "<THINK>": THINK, "</THINK>": END_THINK}

INSTEAD = tuple(b"0123456789")  # drawn in place of a token that is banned

SLOTS_PER_SEQUENCE = 2
LARGEST_BLOCK = 128

PLAIN_TEMPLATE = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:"
TINY = ModelInfo(
    name="tiny",
    path="/models/tiny.gguf",
    architecture="llama",
    parameters=1,
    size=1,
    quantisation="F16",
    layers=1,
    trained_context=100,
    context=100,
    chat_template=PLAIN_TEMPLATE,
    bos_text="<s>",
    eos_text="</s>",
    devices=("CPU",),
    cpu_variant="",
)

Scripts = dict[str, str | Iterable[int]]


def tokens_of(text: str) -> tuple[int, ...]:
    """One token per byte."""
    return tuple(text.encode())


def _in_tokens(scripts: Scripts) -> dict[tuple[int, ...], tuple[int, ...]]:
    return {
        tokens_of(prompt): tokens_of(reply) if isinstance(reply, str) else tuple(reply)
        for prompt, reply in scripts.items()
    }


@dataclass(eq=False)
class Cell:
    """One cell of the KV cache: a token, where it stands, and a fingerprint of all that it was computed from.

    ``moved`` since the last decode, which is what makes up for it.
    """

    token: int
    position: int
    past: int
    moved: bool = False


class FakeKV:
    """The KV cache: a slot is a list of cells, and a cell that was copied is the same object in both.

    ``held`` are the cells of each slot, ``saved`` and ``loaded`` the ranges that went to RAM and came back.
    """

    def __init__(self, cells: int, slots: int, *, can_trim: bool = True, can_shift: bool = True) -> None:
        self.cells = cells
        self.slots = slots
        self.can_trim = can_trim
        self.can_shift = can_shift and can_trim
        self.held: list[list[Cell]] = [[] for _ in range(slots)]
        self.saved: list[tuple[int, int]] = []
        self.loaded: list[tuple[int, int]] = []
        self.cuts = 0

    @property
    def used(self) -> int:
        """How many cells are not free."""
        return len({id(cell) for slot in self.held for cell in slot})

    def tokens(self, slot: int) -> tuple[int, ...]:
        return tuple(cell.token for cell in self.held[slot])

    def holds(self, text: str) -> bool:
        """Whether a slot begins with this text."""
        tokens = tokens_of(text)
        return any(self.tokens(slot)[: len(tokens)] == tokens for slot in range(self.slots))

    def forget(self, slot: int) -> None:
        self.held[slot] = []

    def trim(self, slot: int, length: int) -> None:
        assert self.can_trim, "this model's memory cannot be trimmed"
        assert length >= 0, "a trim to less than nothing"
        del self.held[slot][length:]

    def copy(self, source: int, target: int, length: int) -> None:
        assert self.can_trim, "this model's memory cannot be copied"
        assert not self.held[target], "a copy into a slot that is not empty"
        assert 0 < length <= len(self.held[source]), "more is copied than there is"
        self.held[target] = self.held[source][:length]

    def cut(self, slot: int, start: int, end: int) -> None:
        assert self.can_shift, "this model cannot shift"
        cells = self.held[slot]
        assert 0 <= start < end <= len(cells), "a cut out of what is not there"
        others = {id(cell) for other in self.held if other is not cells for cell in other}
        assert not any(id(cell) in others for cell in cells[end:]), "cells are moved that another slot holds too"
        for cell in cells[end:]:
            cell.position -= end - start
            cell.moved = True
        del cells[start:end]
        self.cuts += 1

    def unshare(self, slot: int, start: int, end: int) -> None:
        assert self.can_shift, "there is no need of own cells"
        cells = self.held[slot][start:end]
        assert not any(cell.moved for cell in cells), "cells are saved before a decode has made up for their move"
        self.held[slot][start:end] = [replace(cell) for cell in cells]
        self.check_room()

    def save(self, slot: int, start: int, end: int) -> bytes:
        cells = self.held[slot][start:end]
        assert self.can_trim, "this model's memory cannot be saved in parts"
        assert 0 < len(cells) == end - start <= LARGEST_BLOCK, "a save of what is not there"
        assert not any(cell.moved for cell in cells), "cells are saved before a decode has made up for their move"
        self.saved.append((start, end))
        return array("q", [start, *(number for cell in cells for number in (cell.token, cell.past))]).tobytes()

    def load(self, slot: int, start: int, end: int, data: bytes) -> None:
        first, *numbers = array("q", data)
        cells = [
            Cell(token, first + index, past)
            for index, (token, past) in enumerate(zip(numbers[::2], numbers[1::2], strict=True))
        ]
        assert start == first == len(self.held[slot]), "a block is loaded into the wrong place"
        assert start < end <= start + len(cells), "more is loaded than was saved"
        assert len(cells) <= self.cells - self.used, "no free cells to load a block into"
        self.held[slot] += cells[: end - start]
        self.loaded.append((start, end))

    def append(self, slot: int, position: int, token: int) -> None:
        """What a decode does."""
        cells = self.held[slot]
        assert position == len(cells), "a gap or an overlap in the KV cache"
        cells.append(Cell(token, position, _past(cells, position, token)))

    def make_up_for_moves(self) -> None:
        for slot in self.held:
            for cell in slot:
                cell.moved = False

    def check_room(self) -> None:
        assert self.used <= self.cells, "the KV cache overflows"

    def check_slot(self, slot: int, length: int) -> None:
        """The first ``length`` cells stand where they should, and were computed one after the other.

        A cut leaves cells that were computed from what is gone: after the first one only positions can be checked.
        """
        cells = self.held[slot]
        assert all(cell.position == index for index, cell in enumerate(cells)), "cells that do not stand in a row"
        if not self.cuts:
            computed = (_past(cells, index, cells[index].token) for index in range(length))
            assert all(cell.past == past for cell, past in zip(cells, computed, strict=False)), "cells of another text"


def _past(cells: list[Cell], index: int, token: int) -> int:
    return hash((cells[index - 1].past if index else 0, token))


@dataclass(frozen=True)
class Part:
    """What one batch held of one slot: the tokens, and whether logits were asked for after the last of them."""

    slot: int
    tokens: tuple[int, ...]
    logits: bool


@dataclass
class ScriptedSampler:
    """Where one request stands in its script, and how each token was drawn: ``constrained``, and ``also`` which.

    ``furthest`` is how many tokens it has ever had, before some of them were taken back.
    """

    request: Generate
    reply: tuple[int, ...]
    seed: int
    given: int = 0
    furthest: int = 0
    draws: list[tuple[bool, frozenset[int]]] = field(default_factory=list)

    @property
    def prompt(self) -> tuple[int, ...]:
        return self.request.prompt

    def follows(self, seen: tuple[int, ...], context: int) -> bool:
        """Whether the next token is due after ``seen``: all so far, or what shifts have left of it."""
        so_far = self.prompt + self.reply[: self.given]
        self.furthest = max(self.furthest, self.given)
        if len(self.prompt) + self.furthest <= context:
            return seen == so_far
        kept = min(self.request.keep, context // 2)
        rest = seen[kept:]
        return self.request.shift and seen[:kept] == so_far[:kept] and len(rest) > 0 and rest == so_far[-len(rest) :]


class FakeVocabulary:
    """A token is a byte; END ends a reply, and those of SPECIAL_TEXTS are special tokens with a text."""

    def tokenize(self, text: str, *, special: bool) -> list[int]:
        parts = re.split("(" + "|".join(map(re.escape, SPECIAL_TEXTS)) + ")", text)
        return [
            token for part in parts for token in ([SPECIAL_TEXTS[part]] if part in SPECIAL_TEXTS else tokens_of(part))
        ]

    def piece(self, token: int) -> bytes:
        return bytes([token]) if token < END else LONG_PIECES.get(token, b"")

    def spelling(self, token: int) -> bytes:
        return next((text.encode() for text, known in SPECIAL_TEXTS.items() if known == token), self.piece(token))

    def is_end(self, token: int) -> bool:
        return token == END

    def stop_tokens(self, stop: ReadOnly[str]) -> frozenset[int]:
        return frozenset(SPECIAL_TEXTS[text] for text in stop if text in SPECIAL_TEXTS)

    def unwritten_in(self, stop: ReadOnly[str]) -> dict[int, str]:
        named = {token: text for text, token in SPECIAL_TEXTS.items()}
        return {token: named[token] for text in stop if text not in SPECIAL_TEXTS for token in self._special_in(text)}

    def _special_in(self, text: str) -> list[int]:
        return [token for token in self.tokenize(text, special=False) if token > END]

    def shown_tokens(self, texts: ReadOnly[str]) -> dict[int, bytes]:
        return {SPECIAL_TEXTS[text]: text.encode() for text in texts if text in SPECIAL_TEXTS}


class FakeSamplers:
    """Draws what the script says. ``made`` are the samplers of all requests, in the order they started."""

    def __init__(self, scripts: Scripts, kv: FakeKV) -> None:
        self.made: list[ScriptedSampler] = []
        self.logits: dict[int, tuple[int, int]] = {}
        self._scripts = _in_tokens(scripts)
        self._kv = kv

    def make(self, request: Generate, seed: int) -> ScriptedSampler:
        self.made.append(ScriptedSampler(request, self._scripts[request.prompt], seed))
        return self.made[-1]

    def sample(
        self,
        sampler: ScriptedSampler,
        index: int,
        *,
        constrained: bool = True,
        also: frozenset[int] = frozenset(),
        banned: frozenset[int] = frozenset(),
        guide: tuple[int, float] | None = None,
    ) -> int:
        assert sampler.follows(self._seen(index), self._kv.cells), "the slot holds another sequence"
        guidance = sampler.request.guidance
        assert (guidance is None) == (guide is None), "guidance that was not asked for, or none that was"
        if guidance and guide:
            assert guide[1] == guidance.scale
            said = sampler.reply[: sampler.given]
            assert self._seen(guide[0]) == guidance.negative + said, "the guide has read something else"
        token = sampler.reply[sampler.given] if sampler.given < len(sampler.reply) else END
        if token in banned:
            token = next(other for other in INSTEAD if other not in banned)
            sampler.reply = (*sampler.reply[: sampler.given], token, *sampler.reply[sampler.given + 1 :])
        sampler.given += 1
        sampler.draws.append((constrained, also))
        return token

    def _seen(self, index: int) -> tuple[int, ...]:
        """What the model had read when it gave these logits."""
        assert index in self.logits, "logits that were not asked for"
        slot, length = self.logits[index]
        self._kv.check_slot(slot, length)
        return self._kv.tokens(slot)[:length]

    def rewind(self, sampler: ScriptedSampler, count: int) -> None:
        assert 0 < count <= sampler.given, "more is taken back than was drawn"
        sampler.given -= count

    def logprobs(self, index: int, token: int, most: int) -> TokenLogprob:
        assert index in self.logits, "logits that were not asked for"
        return TokenLogprob(bytes([token]), -1.0, ((b"?", -0.5),) * most)

    def gave_up(self, sampler: ScriptedSampler) -> bool:
        return False

    def accept(self, sampler: ScriptedSampler, token: int) -> None:
        """The script goes on after a token that nobody drew."""
        sampler.reply = (*sampler.reply[: sampler.given], token, *sampler.reply[sampler.given :])
        sampler.given += 1


class FakeModel:
    """Answers ``scripts[prompt]`` and then END. ``batches`` are all batches that were decoded to their end.

    ``during_decode`` is called in each decode, as if by another thread; an interruption then leaves half of the batch.
    """

    def __init__(
        self,
        scripts: Scripts,
        *,
        context: int = 200,
        batch: int = 16,
        sequences: int = 4,
        draft_room: int = 0,
        can_trim: bool = True,
        can_shift: bool = True,
    ) -> None:
        slots = SLOTS_PER_SEQUENCE * sequences if can_trim else sequences
        self.context = context
        self.batch = batch
        self.sequences = sequences
        self.draft_room = draft_room
        self.threads = 0
        self.vocabulary = FakeVocabulary()
        self.kv = FakeKV(context, slots, can_trim=can_trim, can_shift=can_shift)
        self.samplers = FakeSamplers(scripts, self.kv)
        self.batches: list[list[Part]] = []
        self.during_decode: Callable[[], None] = lambda: None
        self._interrupted = False

    def interrupt(self, wanted: bool) -> None:
        self._interrupted = wanted

    def decode(self, batch: Batch) -> bool:
        assert 0 < batch.size <= self.batch + self.sequences + self.draft_room, f"a batch of {batch.size} tokens"
        self.samplers.logits = {}
        moved = any(cell.moved for slot in self.kv.held for cell in slot)
        self.kv.make_up_for_moves()
        self.during_decode()
        if self._interrupted:
            assert self.kv.can_trim, "half a batch cannot be taken back from this model's memory"
            assert not moved, "an interruption may leave cells that are moved by half"
            self._fill(batch, batch.size // 2)
            return False
        parts = self._fill(batch, batch.size)
        wanted = {index: int(batch.slots[index]) for index in range(batch.size) if batch.wants_logits[index]}
        self.samplers.logits = {index: (slot, int(batch.positions[index]) + 1) for index, slot in wanted.items()}
        self.batches.append([Part(slot, tuple(tokens), slot in wanted.values()) for slot, tokens in parts.items()])
        return True

    def _fill(self, batch: Batch, count: int) -> dict[int, list[int]]:
        parts: dict[int, list[int]] = {}
        for index in range(count):
            slot, token = int(batch.slots[index]), int(batch.tokens[index])
            self.kv.append(slot, int(batch.positions[index]), token)
            parts.setdefault(slot, []).append(token)
        self.kv.check_room()
        return parts


class FakeDrafter:
    """Guesses what the scripts say; ``change`` may make another guess of a right one.

    ``requests`` are all it was asked, ``forgotten`` the slots whose sequence has ended.
    """

    def __init__(self, scripts: Scripts, change: Callable[[list[int]], list[int]] = lambda guess: guess) -> None:
        self.requests: list[DraftRequest] = []
        self.forgotten: list[int] = []
        self._scripts = _in_tokens(scripts)
        self._change = change

    def propose(self, requests: ReadOnly[DraftRequest]) -> list[list[int]]:
        self.requests += requests
        assert all(request.most >= 0 for request in requests), "less than nothing is wanted"
        return [self._change(self._foresee(request.tokens))[: request.most] for request in requests]

    def forget(self, slot: int) -> None:
        self.forgotten.append(slot)

    def _foresee(self, tokens: list[int]) -> list[int]:
        for prompt, reply in self._scripts.items():
            text = [*prompt, *reply, END]
            if len(tokens) >= len(prompt) and text[: len(tokens)] == tokens:
                return text[len(tokens) :]
        return []


class AlwaysPays(Payoff):
    """Finds that drafts of full length always pay. ``steps`` is what it was told of them."""

    def __init__(self, most: int) -> None:
        super().__init__(most)
        self.steps: list[Step] = []

    def draft_limit(self, running: int) -> int:
        return self._most

    def record(self, step: Step) -> None:
        self.steps.append(step)


def eager_drafts(drafter: FakeDrafter, payoff: AlwaysPays, *, room: int, context: int) -> Drafts:
    """Drafts that are tried in every step."""
    drafts = Drafts(drafter, most=payoff._most, room=room, context=context)
    drafts._payoff = payoff
    return drafts
