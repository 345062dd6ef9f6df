"""One generation inside the engine: its tokens, the slot that holds them in the KV cache, and its clock."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from server.engine.banned_texts import BannedTexts
from server.engine.prefix_cache import Slot
from server.engine.thinking import ThinkingLimit
from server.engine.token_stream import TokenStream
from server.events import Finished, FinishReason, Generate


@dataclass(eq=False)
class Sequence:
    """A request on its way through the engine.

    ``tokens`` is the prompt followed by what was generated. Its ``slot`` holds the first ``cached`` of them in the KV
    cache, so ``tokens[cached:]`` is what the next steps must decode: much while the prompt is read, one token
    afterwards. A sequence without a slot waits: it is new, or was preempted. ``shown`` are the bytes of special tokens
    that are part of its text, ``stand_ins`` those of special tokens that only count as part of stop texts. ``told``
    tokens of the prompt have had their probabilities told, where they were asked for.
    """

    request: Generate
    arrived: float
    stream: TokenStream
    tokens: list[int] = field(init=False)
    slot: Slot | None = None
    generated: int = 0
    told: int = 0
    sampler: Any = None
    stop_tokens: frozenset[int] = frozenset()
    shown: Mapping[int, bytes] = field(default_factory=dict)
    stand_ins: Mapping[int, bytes] = field(default_factory=dict)
    thinking: ThinkingLimit | None = None
    banned: BannedTexts | None = field(init=False)
    forbidden: defaultdict[int, frozenset[int]] = field(init=False)
    taken_back: int = 0
    guide: Sequence | None = field(init=False)
    seed: int = field(init=False)
    started: float = 0.0
    first_token: float = 0.0
    reused: int = 0
    drafted: int = 0
    accepted: int = 0
    finished: FinishReason | None = None

    def __post_init__(self) -> None:
        request = self.request
        self.tokens = list(request.prompt)
        self.banned = BannedTexts(request.banned, self.stream) if request.banned else None
        self.forbidden = defaultdict(frozenset)
        self.guide = None
        if request.guidance:
            alike = replace(request, prompt=request.guidance.negative, guidance=None, banned=(), told_from=None)
            self.guide = Sequence(alike, self.arrived, TokenStream())
        asked = self.request.sampling.seed
        self.seed = asked & 0x7FFFFFFF if asked >= 0 else random.getrandbits(31)

    @property
    def cached(self) -> int:
        """Tokens that are in the KV cache."""
        return len(self.slot.tokens) if self.slot else 0

    @property
    def pending(self) -> int:
        """Tokens that are not in the KV cache yet."""
        return len(self.tokens) - self.cached

    @property
    def reading(self) -> bool:
        """Still reading: its prompt, or all it had after it was preempted."""
        return self.generated == 0 or self.pending > 1

    @property
    def tells_prompt(self) -> bool:
        """Whether probabilities of its prompt are still to be told; then none of it may come from the cache."""
        return self.request.told_from is not None and self.told < len(self.request.prompt)

    @property
    def with_guide(self) -> tuple[Sequence, ...]:
        """The sequence and its guide, if it has one."""
        return (self, self.guide) if self.guide else (self,)

    def append(self, token: int) -> None:
        """Add a token to the reply."""
        for sequence in self.with_guide:
            sequence.tokens.append(token)
            sequence.generated += 1

    def take_back(self, count: int) -> None:
        """The last ``count`` tokens of the reply have never been, and the first of them may not come there again."""
        assert self.banned is not None
        self.banned.take_back(count)
        token, place = self.tokens[-count], self.generated - count
        for later in [each for each in self.forbidden if each > place]:
            del self.forbidden[later]
        self.forbidden[place] |= {token}
        self.taken_back += count
        for sequence in self.with_guide:
            del sequence.tokens[-count:]
            sequence.generated -= count

    def summary(self, now: float) -> Finished:
        """The event that closes this generation, at time ``now`` (seconds)."""
        started = self.started or now
        first = self.first_token or now
        assert self.finished is not None
        return Finished(
            request_id=self.request.request_id,
            reason=self.finished,
            prompt_tokens=len(self.request.prompt),
            completion_tokens=self.generated,
            stop_text=self.stream.stop_text,
            queue_seconds=started - self.arrived,
            prompt_seconds=first - started,
            decode_seconds=now - first,
            seed=self.seed,
            cached_tokens=self.reused,
            drafted=self.drafted,
            accepted=self.accepted,
            thought_tokens=self.thinking.used if self.thinking else 0,
        )
