"""The engine's loop: schedule -> decode -> sample -> emit. Runs in the engine process, on its main thread only."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from collections.abc import Sequence as ReadOnly
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

from server.engine.batch import Batch
from server.engine.drafts import Drafts
from server.engine.neighbours import ThreadGovernor
from server.engine.prefix_cache import KVCache, PrefixCache
from server.engine.ram_store import Block
from server.engine.scheduler import Chunk, Scheduler
from server.engine.sequence import Sequence
from server.engine.stats import SpeedMeter
from server.engine.thinking import ThinkingLimit
from server.engine.token_stream import Said, TokenStream
from server.events import EngineEvent, EngineStats, FinishReason, Generate, Refused, SlotState, TextPiece, TokenLogprob

LONGEST_GAP = 0.1
LEAST_READING = 32
FIRST_SHARE = 4
MOST_IN_VAIN = 2000  # tokens taken back, besides as many as a reply may have, before it is given up

log = logging.getLogger("tavernkeep.engine")


class Vocabulary(Protocol):
    """Tokens and text; :class:`~server.engine.llama.vocabulary.Vocabulary` is the real one."""

    def tokenize(self, text: str, *, special: bool) -> list[int]: ...
    def piece(self, token: int) -> bytes: ...
    def spelling(self, token: int) -> bytes: ...
    def is_end(self, token: int) -> bool: ...
    def stop_tokens(self, stop: ReadOnly[str]) -> frozenset[int]: ...
    def shown_tokens(self, texts: ReadOnly[str]) -> dict[int, bytes]: ...
    def unwritten_in(self, stop: ReadOnly[str]) -> dict[int, str]: ...


class Samplers(Protocol):
    """The draw of a token, or one that is given; :class:`~server.engine.llama.samplers.Samplers` is the real one."""

    def make(self, request: Generate, seed: int) -> Any: ...
    def sample(
        self,
        sampler: Any,
        index: int,
        *,
        constrained: bool = True,
        also: frozenset[int] = frozenset(),
        banned: frozenset[int] = frozenset(),
        guide: tuple[int, float] | None = None,
    ) -> int: ...
    def gave_up(self, sampler: Any) -> bool: ...
    def accept(self, sampler: Any, token: int) -> None: ...
    def rewind(self, sampler: Any, count: int) -> None: ...
    def logprobs(self, index: int, token: int, most: int) -> TokenLogprob: ...


class Model(Protocol):
    """What the engine needs of a model; :class:`~server.engine.llama.model.LlamaModel` is the real one."""

    context: int
    batch: int
    sequences: int
    draft_room: int
    threads: int

    @property
    def vocabulary(self) -> Vocabulary: ...
    @property
    def samplers(self) -> Samplers: ...
    @property
    def kv(self) -> KVCache: ...
    def decode(self, batch: Batch) -> bool: ...
    def interrupt(self, wanted: bool) -> None: ...


@dataclass
class Sampled:
    """A sequence whose logits are there: those after its last token at batch ``index``, then those after its draft.

    ``guide`` is where those of its guide are. ``right`` tokens of the draft were drawn as well; ``wrong``: one was not.
    """

    sequence: Sequence
    index: int
    draft: tuple[int, ...]
    guide: int | None = None
    right: int = 0
    wrong: bool = False


class Engine:
    """Continuous batching over one model: every step decodes one batch that all running sequences share."""

    def __init__(
        self,
        model: Model,
        clock: Callable[[], float] = time.perf_counter,
        *,
        cache_ram: int = 0,
        reuse: bool = True,
        drafts: Drafts | None = None,
        governor: ThreadGovernor | None = None,
    ) -> None:
        self._model = model
        self._clock = clock
        self._cache = PrefixCache(model.kv, ram_limit=cache_ram, reuse=reuse)
        self._scheduler = Scheduler(model.sequences, self._cache, share_prefixes=reuse and model.kv.can_trim)
        self._batch = Batch(model.batch + model.sequences + model.draft_room)
        self._drafts = drafts
        self._governor = governor
        self._speed = SpeedMeter()
        self._reading_speed = 0.0
        self._totals = EngineStats(cells_total=model.context)
        self._interruptible: frozenset[int] = frozenset()

    @property
    def idle(self) -> bool:
        return self._scheduler.idle

    def submit(self, request: Generate) -> list[EngineEvent]:
        """Queue a request. A prompt that leaves no room for a reply is refused with a sentence."""
        if not request.prompt:
            return [Refused(request.request_id, "The prompt is empty: the model needs at least one token to continue.")]
        if request.guidance and (not request.guidance.negative or self._model.sequences < len(("prompt", "negative"))):
            return [Refused(request.request_id, "There is no room for a negative prompt, or it is empty.")]
        reply = 1 if request.shift else request.max_tokens
        prompts = [request.prompt, request.guidance.negative] if request.guidance else [request.prompt]
        if sum(len(prompt) + reply for prompt in prompts) > self._model.context:
            numbers = " and ".join(str(len(prompt)) for prompt in prompts)
            return [
                Refused(
                    request.request_id,
                    f"The prompt ({numbers} tokens) and the reply ({reply}) do not fit"
                    f" the context of {self._model.context} tokens.",
                )
            ]
        unwritten = {} if request.render_special else self._model.vocabulary.unwritten_in(request.stop)
        stream = TokenStream(request.stop, request.keep_stop, request.thinking, unwritten.values())
        stand_ins = {token: stream.stand_in(text) for token, text in unwritten.items()}
        self._scheduler.enqueue(Sequence(request, self._clock(), stream, stand_ins=stand_ins))
        return []

    def cancel(self, request_id: int) -> list[EngineEvent]:
        """End a generation now; what was generated so far stands. Unknown ids are already over."""
        sequence = self._scheduler.find(request_id)
        if sequence is None:
            return []
        sequence.finished = FinishReason.CANCELLED
        return self._close(sequence)

    def interrupt(self, request_id: int) -> None:
        """End the running step early if it reads this request's prompt. For another thread, before a cancel."""
        if request_id in self._interruptible:
            self._model.interrupt(True)

    def save_state(self) -> list[Block]:
        """What the KV cache holds of the chat that was used last."""
        return self._cache.newest()

    def load_state(self, blocks: list[Block]) -> int:
        """Keep a saved chat for the prompt that goes on from it; returns how many of its tokens found room."""
        return self._cache.restore(blocks)

    def step(self) -> list[EngineEvent]:
        """Decode one batch and return what came of it."""
        events = [event for sequence in self._scheduler.admit() for event in self._begin(sequence)]
        began = self._clock()
        plan = self._scheduler.plan(self._model.batch, self._reading_beside_replies())
        if self._drafts:
            plan = self._drafts.add_to(plan)
            if not any(chunk.draft for chunk in plan):
                began = self._clock()  # a draft model that is still reading is not what a step takes
        plan = self._scheduler.make_room(plan)
        sampled = self._decode(plan)
        if sampled is None:
            return events
        events += self._tell_prompts(plan)
        events += [event for entry in sampled for event in self._take_tokens(entry)]
        ended = self._clock()
        self._measure(plan, sampled, ended, ended - began)
        return events

    def stats(self) -> EngineStats:
        now = self._clock()
        running = self._scheduler.replies
        return replace(
            self._totals,
            running=len(running),
            waiting=len(self._scheduler.waiting),
            decode_speed=self._speed.decode_speed(now) if running else 0.0,
            prompt_speed=self._speed.prompt_speed(now) if running else 0.0,
            cells_used=self._cache.cells_busy(),
            cells_cached=self._cache.cells_kept(),
            ram_used=self._cache.ram_used,
            threads=self._governor.threads if self._governor else 0,
            slots=self._slots(),
        )

    def _slots(self) -> tuple[SlotState, ...]:
        working = {each.slot: (each.request.request_id, each.reused) for each in self._scheduler.running}
        held = (slot for slot in self._cache.slots if slot.tokens or slot in working)
        return tuple(
            SlotState(slot.number, request, len(slot.tokens), cached)
            for slot in held
            for request, cached in [working.get(slot, (0, 0))]
        )

    def _reading_beside_replies(self) -> int:
        """Prompt tokens for a step that running replies wait for: as many as are read in LONGEST_GAP seconds."""
        most = self._model.batch
        if not self._reading_speed:
            return most // FIRST_SHARE
        return max(min(int(self._reading_speed * LONGEST_GAP), most), min(LEAST_READING, most))

    def _measure(self, plan: list[Chunk], sampled: list[Sampled], ended: float, seconds: float) -> None:
        read = sum(chunk.count for chunk in plan if chunk.count > 1)
        accepted = sum(entry.right for entry in sampled)
        if self._governor:
            self._governor.after_step(ended, seconds, self._batch.size, generation_only=not read)
            self._model.threads = self._governor.threads
        self._speed.record(ended, seconds, read, len(sampled) + accepted)
        if read >= LEAST_READING and seconds:
            self._reading_speed = read / seconds
        if self._drafts:
            rejected = sum(entry.wrong for entry in sampled)
            self._drafts.record(plan, seconds, accepted=accepted, rejected=rejected)

    def _begin(self, sequence: Sequence) -> list[EngineEvent]:
        if sequence.started:  # it goes on after it was preempted
            return []
        sequence.started = self._clock()
        sequence.reused = sequence.cached
        try:
            sequence.sampler = self._model.samplers.make(sequence.request, sequence.seed)
            self._learn_tokens(sequence)
        except Exception:  # one odd request must not end the process for everyone
            log.exception("Request %d could not start.", sequence.request.request_id)
            self._scheduler.remove(sequence)
            return [Refused(sequence.request.request_id, "The sampler settings of this request cannot be used.")]
        totals = self._totals
        self._totals = replace(
            totals,
            prompt_tokens=totals.prompt_tokens + len(sequence.request.prompt),
            cached_tokens=totals.cached_tokens + sequence.reused,
        )
        return []

    def _learn_tokens(self, sequence: Sequence) -> None:
        request, vocabulary = sequence.request, self._model.vocabulary
        sequence.stop_tokens = vocabulary.stop_tokens(request.stop)
        sequence.shown = vocabulary.shown_tokens(request.shown)
        if request.thinking:
            tokenize = partial(vocabulary.tokenize, special=False)
            sequence.thinking = ThinkingLimit(request.thinking, sequence.stream, tokenize)

    def _decode(self, plan: list[Chunk]) -> list[Sampled] | None:
        """Run the planned batch; returns what has logits now, or None when it was interrupted and nothing is done."""
        self._batch.clear()
        lengths = [(chunk.sequence.slot, chunk.sequence.cached) for chunk in plan]
        # llama.cpp, interrupted while it makes up for moved cells, would do that again for some of its layers.
        can_be_undone = self._model.kv.can_trim and not self._cache.shifting
        sampled = []
        for chunk in plan:
            sequence, start = chunk.sequence, chunk.sequence.cached
            tokens = sequence.tokens[start : start + chunk.count]
            complete = sequence.pending == chunk.count
            slot = sequence.slot
            assert slot is not None
            index = self._batch.add(slot.number, tokens, start, logits=complete, every=sequence.tells_prompt)
            for token in chunk.draft:
                self._batch.add(slot.number, [token], start + len(tokens), logits=True)
                tokens.append(token)
            self._cache.extend(slot, tokens)
            if complete:
                sampled.append(Sampled(sequence, index, chunk.draft))
        sampled = _without_guides(sampled)
        if not self._batch.size:
            return sampled
        self._model.interrupt(False)
        if can_be_undone:
            self._interruptible = frozenset(c.sequence.request.request_id for c in plan if c.sequence.reading)
        done = self._model.decode(self._batch)
        self._interruptible = frozenset()
        if done:
            return sampled
        for slot, length in lengths:
            assert slot is not None
            self._cache.trim(slot, length)
        return None

    def _tell_prompts(self, plan: list[Chunk]) -> list[EngineEvent]:
        """The probabilities of the tokens that follow those just read, in the prompts of which they are asked for."""
        events: list[EngineEvent] = []
        ahead = 0
        for chunk in plan:
            if chunk.sequence.tells_prompt:
                events += self._tell_prompt(chunk.sequence, chunk.count, ahead)
            ahead += chunk.count + len(chunk.draft)
        return events

    def _tell_prompt(self, sequence: Sequence, count: int, ahead: int) -> list[EngineEvent]:
        """``count`` tokens of the sequence were read, the first of them at batch entry ``ahead``."""
        request = sequence.request
        prompt, first = request.prompt, request.told_from or 0
        read = sequence.cached
        told: list[TokenLogprob] = []
        if not sequence.told and not first:
            told.append(TokenLogprob(self._model.vocabulary.spelling(prompt[0]), None, ()))
        # A sequence that goes on after it was preempted reads again what it has told.
        for place in range(max(sequence.told, first, read - count + 1, 1), min(read + 1, len(prompt))):
            index = ahead + place - 1 - (read - count)
            told.append(self._model.samplers.logprobs(index, prompt[place], max(request.logprobs, 0)))
        sequence.told = min(read + 1, len(prompt))
        return [TextPiece(request.request_id, "", 0, logprobs=tuple(told))] if told else []

    def _take_tokens(self, entry: Sampled) -> list[EngineEvent]:
        """Draw after the last token, and after each token of the draft while the one before it was guessed right."""
        sequence = entry.sequence
        sequence.first_token = sequence.first_token or self._clock()
        if not sequence.request.max_tokens:
            sequence.finished = FinishReason.LENGTH
            return self._close(sequence)
        said = Said()
        for ahead, guess in enumerate((*entry.draft, None)):
            token = self._next_token(entry, entry.index + ahead)
            said = said.then(self._take_token(sequence, token, entry.index + ahead))
            entry.wrong = guess is not None and token != guess
            if self._take_back(sequence) or sequence.finished or token != guess:
                break
            entry.right += 1
        # The last token is not read yet. What was guessed or written in vain is more than that.
        for each in sequence.with_guide:
            assert each.slot is not None
            self._cache.trim(each.slot, len(each.tokens) - 1)
        if entry.draft:
            self._count_drafts(sequence, len(entry.draft), entry.right)
        events = self._piece(sequence, said)
        if sequence.finished:
            return events + self._close(sequence)
        if len(sequence.tokens) > self._model.context:
            self._shift(sequence)
        return events

    def _next_token(self, entry: Sampled, index: int) -> int:
        """Draw the token after the batch entry ``index``, or take the one that ends a thought in the model's place."""
        sequence, samplers, thinking = entry.sequence, self._model.samplers, entry.sequence.thinking
        token = thinking.next_token() if thinking else None
        if token is not None:
            samplers.accept(sequence.sampler, token)
            return token
        guidance = sequence.request.guidance
        return samplers.sample(
            sequence.sampler,
            index,
            constrained=not sequence.stream.thinking,
            also=thinking.openings if thinking else frozenset(),
            banned=sequence.forbidden.get(sequence.generated, frozenset()),
            guide=(entry.guide, guidance.scale) if guidance and entry.guide is not None else None,
        )

    def _take_token(self, sequence: Sequence, token: int, index: int) -> Said:
        """Add a token to a reply, drawn after the batch entry ``index``; returns what may leave now."""
        request, vocabulary, stream = sequence.request, self._model.vocabulary, sequence.stream
        sequence.append(token)
        if sequence.thinking:
            sequence.thinking.count()
        # A stop text that is shown may be a tag, and in a thought tags come first.
        stops = token in sequence.stop_tokens and not (stream.thinking and token in sequence.shown)
        if stops or (vocabulary.is_end(token) and not request.bypass_eos):
            broken = self._model.samplers.gave_up(sequence.sampler)
            sequence.finished = FinishReason.LENGTH if broken else FinishReason.STOP
            return Said()
        before = stream.state() if sequence.banned else None
        write = vocabulary.spelling if request.render_special else vocabulary.piece
        piece = sequence.shown.get(token) or sequence.stand_ins.get(token) or write(token)
        told = request.logprobs >= 0 and not stream.thinking
        said = stream.push(piece)
        if told and not stream.thinking:
            logprob = self._model.samplers.logprobs(index, token, request.logprobs)
            said = replace(said, logprobs=(logprob,))
        if stream.stopped:
            sequence.finished = FinishReason.STOP
        elif sequence.generated >= request.max_tokens:
            sequence.finished = FinishReason.LENGTH
        return sequence.banned.push(piece, said, before) if sequence.banned and before else said

    def _take_back(self, sequence: Sequence) -> bool:
        """Take back the tokens that have written a banned text, if any have; the reply goes on before them."""
        count = sequence.banned.written() if sequence.banned else 0
        if not count:
            return False
        sequence.take_back(count)
        self._model.samplers.rewind(sequence.sampler, count)
        in_vain = sequence.taken_back > MOST_IN_VAIN + sequence.request.max_tokens
        sequence.finished = FinishReason.LENGTH if in_vain else None
        return True

    def _shift(self, sequence: Sequence) -> None:
        """The context is full: the older half of what need not be kept goes, and the reply goes on."""
        assert sequence.slot is not None
        start = min(sequence.request.keep, self._model.context // 2)
        end = start + (len(sequence.tokens) - start) // 2
        del sequence.tokens[start:end]
        self._cache.cut(sequence.slot, start, end)

    def _count_drafts(self, sequence: Sequence, drafted: int, accepted: int) -> None:
        sequence.drafted += drafted
        sequence.accepted += accepted
        totals = self._totals
        self._totals = replace(totals, drafted=totals.drafted + drafted, accepted=totals.accepted + accepted)

    def _close(self, sequence: Sequence) -> list[EngineEvent]:
        if self._drafts and sequence.slot:
            self._drafts.forget(sequence.slot.number)
        self._scheduler.remove(sequence)
        sequence.sampler = None
        closing = sequence.thinking is not None and sequence.thinking.closing
        rest = sequence.stream.finish(closing=closing)
        if sequence.banned:
            rest = sequence.banned.finish().then(rest)
        return [*self._piece(sequence, rest), sequence.summary(self._clock())]

    def _piece(self, sequence: Sequence, said: Said) -> list[EngineEvent]:
        if not said:
            return []
        request_id, tokens = sequence.request.request_id, sequence.generated
        return [TextPiece(request_id, said.text, tokens, said.thought, said.unsaid, said.logprobs)]


def _without_guides(sampled: list[Sampled]) -> list[Sampled]:
    """What a token is drawn for; a guide only lends its logits."""
    indices = {entry.sequence: entry.index for entry in sampled}
    guides = {entry.sequence.guide for entry in sampled}
    for entry in sampled:
        if entry.sequence.guide:
            entry.guide = indices[entry.sequence.guide]
    return [entry for entry in sampled if entry.sequence not in guides]
