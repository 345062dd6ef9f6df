"""An engine in the test's own process that is asked questions, and what it said with the logits behind every token."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence as ReadOnly
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from server.engine.batch import Batch
from server.engine.engine import Engine
from server.engine.llama.library import NativeLog, llama
from server.engine.llama.model import LlamaModel
from server.events import EngineEvent, Finished, Generate, LoadModel, Refused, Sampling

Logits = npt.NDArray[np.float32]
Prompt = tuple[int, ...]
GREEDY = Sampling(temperature=0)


@contextmanager
def loaded(path: Path, **options: Any) -> Iterator[LlamaModel]:
    """A model whose samplers are a :class:`Witness`."""
    usual: dict[str, Any] = {"context": 1024, "gpu_layers": 0, "threads": 1, "batch": 64, "sequences": 8}
    model = LlamaModel(LoadModel(str(path), **{**usual, **options}), NativeLog(), lambda _: None)
    model.samplers = Witness(model)  # type: ignore[assignment]
    yield model
    llama.llama_free(model._context)
    llama.llama_model_free(model._model)
    llama.llama_log_set(llama.llama_log_callback(), None)  # llama.cpp keeps a pointer to the log, which ends here


def read(model: LlamaModel, slot: int, tokens: ReadOnly[int], start: int = 0) -> Logits:
    """Decode tokens behind the ``start`` ones that a slot holds already; what the model says after them."""
    batch = Batch(model.batch)
    for first in range(0, len(tokens), model.batch):
        batch.clear()
        index = batch.add(slot, tokens[first : first + model.batch], start + first, logits=True)
        assert model.decode(batch)
    return logits_at(model, index)


def logits_at(model: LlamaModel, index: int) -> Logits:
    """What the model says after the batch entry ``index``."""
    pointer = llama.llama_get_logits_ith(model._context, index)
    return np.ctypeslib.as_array(pointer, (model.vocabulary.size,)).copy()


def difference(one: Logits, other: Logits) -> float:
    return float(np.abs(one - other).max())


@dataclass(eq=False)
class Said:
    """A reply: its tokens, the logits that each was drawn from, and how it ended.

    A token that was given and not drawn has no logits.
    """

    prompt: Prompt
    sampler: Any
    tokens: list[int] = field(default_factory=list)
    logits: list[Logits] = field(default_factory=list)
    finished: Finished | None = None

    @property
    def cached(self) -> int:
        assert self.finished
        return self.finished.cached_tokens

    @property
    def margin(self) -> float:
        """By how much the best token beat the second best, where it was closest."""
        return min(float(np.diff(np.partition(logits, -2)[-2:])[0]) for logits in self.logits)

    def difference(self, other: Said) -> float:
        """The largest difference of two logits that should be the same."""
        return max(difference(mine, theirs) for mine, theirs in zip(self.logits, other.logits, strict=True))


class Witness:
    """Stands in for a model's samplers and notes what they see."""

    def __init__(self, model: LlamaModel) -> None:
        self._model = model
        self._samplers = model.samplers
        self.said: dict[int, Said] = {}

    def make(self, request: Generate, seed: int) -> Said:
        self.said[request.request_id] = Said(request.prompt, self._samplers.make(request, seed))
        return self.said[request.request_id]

    def sample(self, said: Said, index: int, **how: Any) -> int:
        said.logits.append(logits_at(self._model, index))
        said.tokens.append(self._samplers.sample(said.sampler, index, **how))
        return said.tokens[-1]

    def gave_up(self, said: Said) -> bool:
        return False

    def accept(self, said: Said, token: int) -> None:
        said.tokens.append(token)
        self._samplers.accept(said.sampler, token)


class Talk:
    """A conversation with a fresh engine over an emptied model; ``options`` are the engine's own.

    ``preempted`` counts the sequences that lost their place.
    """

    def __init__(self, model: LlamaModel, **options: Any) -> None:
        model.kv.clear()
        self.engine = Engine(model, **options)
        self.said: dict[int, Said] = model.samplers.said  # type: ignore[attr-defined]
        self.said.clear()
        self.most_running = 0
        self.preempted = 0
        self._ids = 0

    def ask(self, *prompts: Prompt, tokens: int, sampling: Sampling = GREEDY) -> list[Said]:
        """The replies to prompts that come at the same time."""
        numbers = [self.submit(prompt, tokens=tokens, sampling=sampling) for prompt in prompts]
        self.finish()
        return [self.said[number] for number in numbers]

    def finish(self) -> None:
        while not self.engine.idle:
            self.step()

    def submit(self, prompt: Prompt, *, tokens: int, sampling: Sampling = GREEDY, **changes: Any) -> int:
        """Queue a prompt; returns the number of its request."""
        self._ids += 1
        assert not self.engine.submit(Generate(self._ids, prompt, tokens, sampling=sampling, **changes))
        return self._ids

    def step(self) -> None:
        waiting = self.engine.stats().waiting
        self.note(self.engine.step())
        stats = self.engine.stats()
        self.most_running = max(self.most_running, stats.running)
        self.preempted += max(stats.waiting - waiting, 0)

    def note(self, events: list[EngineEvent]) -> None:
        for event in events:
            assert not isinstance(event, Refused), event
            if isinstance(event, Finished) and event.request_id in self.said:
                self.said[event.request_id].finished = event
