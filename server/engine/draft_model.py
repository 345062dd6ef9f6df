"""Drafts from a second, smaller model with the same vocabulary: what it finds likeliest, token after token."""

from __future__ import annotations

import logging
from collections.abc import Sequence as ReadOnly
from dataclasses import replace

from server.engine.batch import Batch
from server.engine.llama.library import NativeLog
from server.engine.llama.model import LlamaModel
from server.engine.speculation import DraftRequest
from server.engine.tokens import common_prefix
from server.errors import ModelLoadError
from server.events import LoadModel

log = logging.getLogger("tavernkeep.engine")


class DraftModel:
    """A :class:`~server.engine.speculation.Drafter` with a KV cache of its own, in which slots have the same numbers.

    Raises :class:`ModelLoadError` when the model cannot be loaded or does not go with ``target``.
    """

    def __init__(self, spec: LoadModel, target: LlamaModel, native_log: NativeLog) -> None:
        own = replace(
            spec,
            path=spec.draft_model,
            gpu_layers=spec.draft_gpu_layers,
            draft_tokens=0,
            loras=(),
            moe_on_cpu=0,
            native_context=0,
        )
        self._model = LlamaModel(own, native_log, lambda _: None)
        if not self._model.vocabulary.matches(target.vocabulary):
            raise ModelLoadError(
                "The draft model has another vocabulary than the model.", "Choose a smaller model of the same family."
            )
        if not self._model.kv.can_trim:
            raise ModelLoadError(
                "The draft model keeps a running state, so it cannot take back a wrong guess.", "Choose another one."
            )
        self._batch = Batch(self._model.batch + self._model.sequences)
        self._target = target
        self._held: dict[int, list[int]] = {}

    def propose(self, requests: ReadOnly[DraftRequest]) -> list[list[int]]:
        """Guess on for every request whose text has been read; of others one batch is read, and nothing guessed."""
        self._model.threads = self._target.threads
        drafts: list[list[int]] = [[] for _ in requests]
        if not self._fits(requests):
            return drafts
        for request in requests:
            self._take_back(request)
        for ahead in range(max(request.most for request in requests)):
            wanted = [index for index, request in enumerate(requests) if request.most > ahead == len(drafts[index])]
            if not wanted:
                break
            self._guess([(requests[index], drafts[index]) for index in wanted])
        return drafts

    def forget(self, slot: int) -> None:
        """The sequence in ``slot`` has ended."""
        if self._held.pop(slot, None):
            self._model.kv.forget(slot)

    def _take_back(self, request: DraftRequest) -> None:
        """Keep of a slot what the sequence begins with, less its last token, which must be decoded to guess on."""
        held = self._held.setdefault(request.slot, [])
        right = min(common_prefix(held, request.tokens), len(request.tokens) - 1)
        if right < len(held):
            self._model.kv.trim(request.slot, right)
            del held[right:]

    def _guess(self, wanted: list[tuple[DraftRequest, list[int]]]) -> None:
        """Decode what is missing of each, as far as a batch reaches, and guess a token for those that are complete."""
        self._batch.clear()
        complete = []
        room = self._model.batch
        for request, draft in wanted:
            held = self._held[request.slot]
            pending = (request.tokens + draft)[len(held) :]
            taken = pending[:room]
            if not taken:
                continue
            room -= len(taken)
            index = self._batch.add(request.slot, taken, len(held), logits=len(taken) == len(pending))
            held += taken
            if len(taken) == len(pending):
                complete.append((draft, index))
        self._model.decode(self._batch)
        for draft, index in complete:
            draft.append(self._model.samplers.likeliest(index))

    def _fits(self, requests: ReadOnly[DraftRequest]) -> bool:
        """Whether all texts find room; this cache shares no beginnings, so it may be full before the model's is."""
        needed = sum(len(request.tokens) + request.most for request in requests)
        others = set(self._held) - {request.slot for request in requests}
        if needed + sum(len(self._held[slot]) for slot in others) <= self._model.context:
            return True
        for slot in list(self._held):
            self.forget(slot)
        return needed <= self._model.context
