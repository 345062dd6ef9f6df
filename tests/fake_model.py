"""A scripted stand-in for the engine's ``Model``: every prompt has its reply written down beforehand.

Tokens 0 to 255 are single bytes, so that text is tokenized by encoding it. The model is strict: it fails the test when
a batch is larger than promised, leaves a gap in a slot's KV cache, or mixes two sequences up.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence as ReadOnly
from dataclasses import dataclass

from server.engine.batch import Batch
from server.events import Generate, ModelInfo

END = 256
IM_END = 257
LONG_PIECES = {258: b"no more### and then some"}
SPECIAL_TEXTS = {"<|im_end|>": IM_END}

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


def tokens_of(text: str) -> tuple[int, ...]:
    """One token per byte."""
    return tuple(text.encode())


@dataclass(frozen=True)
class Part:
    """What one batch held of one slot: the tokens, and whether logits were asked for after the last of them."""

    slot: int
    tokens: tuple[int, ...]
    logits: bool


@dataclass
class ScriptedSampler:
    """Where one request stands in its script."""

    prompt: tuple[int, ...]
    reply: tuple[int, ...]
    seed: int
    given: int = 0


class FakeModel:
    """Answers ``scripts[prompt]`` and then END. ``batches`` are all batches it saw, ``cache`` the KV cells by slot."""

    def __init__(
        self,
        scripts: dict[str, str | Iterable[int]],
        *,
        context: int = 200,
        batch: int = 16,
        sequences: int = 4,
    ) -> None:
        self.context = context
        self.batch = batch
        self.sequences = sequences
        self.batches: list[list[Part]] = []
        self.cache: dict[int, list[int]] = {}
        self.samplers: list[ScriptedSampler] = []
        self._scripts = {
            tokens_of(prompt): tokens_of(reply) if isinstance(reply, str) else tuple(reply)
            for prompt, reply in scripts.items()
        }
        self._slot_at: dict[int, int] = {}

    def decode(self, batch: Batch) -> None:
        assert 0 < batch.size <= self.batch + self.sequences, f"a batch of {batch.size} tokens"
        self._slot_at = {}
        parts: dict[int, list[int]] = {}
        for index in range(batch.size):
            slot = int(batch.slots[index])
            cells = self.cache.setdefault(slot, [])
            assert 0 <= slot < self.sequences, f"slot {slot}"
            assert batch.positions[index] == len(cells), "a gap or an overlap in the KV cache"
            cells.append(int(batch.tokens[index]))
            parts.setdefault(slot, []).append(cells[-1])
            if batch.wants_logits[index]:
                self._slot_at[index] = slot
        assert sum(map(len, self.cache.values())) <= self.context, "the KV cache overflows"
        wanted = set(self._slot_at.values())
        self.batches.append([Part(slot, tuple(tokens), slot in wanted) for slot, tokens in parts.items()])

    def make_sampler(self, request: Generate, seed: int) -> ScriptedSampler:
        self.samplers.append(ScriptedSampler(request.prompt, self._scripts[request.prompt], seed))
        return self.samplers[-1]

    def sample(self, sampler: ScriptedSampler, index: int) -> int:
        seen = tuple(self.cache[self._slot_at[index]])
        assert seen == sampler.prompt + sampler.reply[: sampler.given], "the slot holds another sequence"
        token = sampler.reply[sampler.given] if sampler.given < len(sampler.reply) else END
        sampler.given += 1
        return token

    def piece(self, token: int) -> bytes:
        return bytes([token]) if token < END else LONG_PIECES.get(token, b"")

    def is_end(self, token: int) -> bool:
        return token == END

    def stop_tokens(self, stop: ReadOnly[str]) -> frozenset[int]:
        return frozenset(SPECIAL_TEXTS[text] for text in stop if text in SPECIAL_TEXTS)

    def forget(self, slot: int) -> None:
        self.cache.pop(slot, None)
