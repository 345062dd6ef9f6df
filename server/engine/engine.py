"""The engine's loop: schedule -> decode -> sample -> emit. Runs in the engine process, on its main thread only."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from collections.abc import Sequence as ReadOnly
from typing import Any, Protocol

from server.engine.batch import Batch
from server.engine.scheduler import Scheduler
from server.engine.sequence import Sequence
from server.engine.stats import SpeedMeter
from server.engine.token_stream import TokenStream
from server.events import EngineEvent, EngineStats, FinishReason, Generate, Refused, TextPiece

log = logging.getLogger("tavernkeep.engine")


class Model(Protocol):
    """What the engine needs of a model; :class:`~server.engine.llama_model.LlamaModel` is the real one."""

    context: int
    batch: int
    sequences: int

    def decode(self, batch: Batch) -> None: ...
    def make_sampler(self, request: Generate, seed: int) -> Any: ...
    def sample(self, sampler: Any, index: int) -> int: ...
    def piece(self, token: int) -> bytes: ...
    def is_end(self, token: int) -> bool: ...
    def stop_tokens(self, stop: ReadOnly[str]) -> frozenset[int]: ...
    def forget(self, slot: int) -> None: ...


class Engine:
    """Continuous batching over one model: every step decodes one batch that all running sequences share."""

    def __init__(self, model: Model, clock: Callable[[], float] = time.monotonic) -> None:
        self._model = model
        self._clock = clock
        self._scheduler = Scheduler(model.sequences, model.context, model.batch)
        self._batch = Batch(model.batch + model.sequences)
        self._speed = SpeedMeter()

    @property
    def idle(self) -> bool:
        return self._scheduler.idle

    def submit(self, request: Generate) -> list[EngineEvent]:
        """Queue a request. A prompt that leaves no room for a reply is refused with a sentence."""
        if not request.prompt:
            return [Refused(request.request_id, "The prompt is empty: the model needs at least one token to continue.")]
        if len(request.prompt) + request.max_tokens > self._model.context:
            return [
                Refused(
                    request.request_id,
                    f"The prompt ({len(request.prompt)} tokens) and the reply ({request.max_tokens}) do not fit"
                    f" the context of {self._model.context} tokens.",
                )
            ]
        stream = TokenStream(request.stop, request.keep_stop)
        self._scheduler.enqueue(Sequence(request, self._clock(), stream))
        return []

    def cancel(self, request_id: int) -> list[EngineEvent]:
        """End a generation now; what was generated so far stands. Unknown ids are already over."""
        sequence = self._scheduler.find(request_id)
        if sequence is None:
            return []
        sequence.finished = FinishReason.CANCELLED
        return self._close(sequence)

    def step(self) -> list[EngineEvent]:
        """Decode one batch and return what came of it."""
        events = [event for sequence in self._scheduler.admit() for event in self._begin(sequence)]
        began = self._clock()
        sampled, prompt_tokens = self._decode()
        events += [event for sequence, index in sampled for event in self._take_token(sequence, index)]
        ended = self._clock()
        self._speed.record(ended, ended - began, prompt_tokens, len(sampled))
        return events

    def stats(self) -> EngineStats:
        now = self._clock()
        running = self._scheduler.running
        return EngineStats(
            running=len(running),
            waiting=len(self._scheduler.waiting),
            decode_speed=self._speed.decode_speed(now) if running else 0.0,
            prompt_speed=self._speed.prompt_speed(now) if running else 0.0,
            cells_used=sum(sequence.cached for sequence in running),
            cells_total=self._model.context,
        )

    def _begin(self, sequence: Sequence) -> list[EngineEvent]:
        sequence.started = self._clock()
        try:
            sequence.sampler = self._model.make_sampler(sequence.request, sequence.seed)
            sequence.stop_tokens = self._model.stop_tokens(sequence.request.stop)
        except Exception:  # one odd request must not end the process for everyone
            log.exception("Request %d could not start.", sequence.request.request_id)
            self._scheduler.remove(sequence)
            return [Refused(sequence.request.request_id, "The sampler settings of this request cannot be used.")]
        return []

    def _decode(self) -> tuple[list[tuple[Sequence, int]], int]:
        """Run the planned batch. Returns the sequences that have logits now, with their batch index, and how many
        prompt tokens were read."""
        self._batch.clear()
        sampled = []
        prompt_tokens = 0
        for chunk in self._scheduler.plan():
            sequence, start, end = chunk.sequence, chunk.sequence.cached, chunk.sequence.cached + chunk.count
            complete = end == len(sequence.tokens)
            index = self._batch.add(sequence.slot, sequence.tokens[start:end], start, logits=complete)
            prompt_tokens += chunk.count if sequence.reading else 0
            sequence.cached = end
            if complete:
                sampled.append((sequence, index))
        if self._batch.size:
            self._model.decode(self._batch)
        return sampled, prompt_tokens

    def _take_token(self, sequence: Sequence, index: int) -> list[EngineEvent]:
        token = self._model.sample(sequence.sampler, index)
        sequence.first_token = sequence.first_token or self._clock()
        sequence.tokens.append(token)
        text = ""
        if self._model.is_end(token) or token in sequence.stop_tokens:
            sequence.finished = FinishReason.STOP
        else:
            text = sequence.stream.push(self._model.piece(token))
            if sequence.stream.stopped:
                sequence.finished = FinishReason.STOP
            elif sequence.generated >= sequence.request.max_tokens:
                sequence.finished = FinishReason.LENGTH
        events = self._piece(sequence, text)
        return events + self._close(sequence) if sequence.finished else events

    def _close(self, sequence: Sequence) -> list[EngineEvent]:
        if sequence.slot >= 0:
            self._model.forget(sequence.slot)
        self._scheduler.remove(sequence)
        sequence.sampler = None
        return [*self._piece(sequence, sequence.stream.finish()), sequence.summary(self._clock())]

    def _piece(self, sequence: Sequence, text: str) -> list[EngineEvent]:
        return [TextPiece(sequence.request.request_id, text, sequence.generated)] if text else []
