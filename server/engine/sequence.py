"""One generation inside the engine: its tokens, how many of them the KV cache holds, and its clock."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

from server.engine.token_stream import TokenStream
from server.events import Finished, FinishReason, Generate

NO_SLOT = -1


@dataclass(eq=False)
class Sequence:
    """A request on its way through the engine.

    ``tokens`` is the prompt followed by what was generated; the KV cache holds the first ``cached`` of them, so
    ``tokens[cached:]`` is what the next steps must decode: much while the prompt is read, one token afterwards.
    """

    request: Generate
    arrived: float
    stream: TokenStream
    tokens: list[int] = field(init=False)
    cached: int = 0
    slot: int = NO_SLOT
    sampler: Any = None
    stop_tokens: frozenset[int] = frozenset()
    seed: int = field(init=False)
    started: float = 0.0
    first_token: float = 0.0
    finished: FinishReason | None = None

    def __post_init__(self) -> None:
        self.tokens = list(self.request.prompt)
        asked = self.request.sampling.seed
        self.seed = asked & 0x7FFFFFFF if asked >= 0 else random.getrandbits(31)

    @property
    def pending(self) -> int:
        """Tokens that are not in the KV cache yet."""
        return len(self.tokens) - self.cached

    @property
    def generated(self) -> int:
        return len(self.tokens) - len(self.request.prompt)

    @property
    def reading(self) -> bool:
        """Still reading its prompt (no token generated yet)."""
        return self.generated == 0

    @property
    def cells(self) -> int:
        """KV cells this sequence may come to need: one per token."""
        return len(self.request.prompt) + self.request.max_tokens

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
            stopped_by_text=self.stream.stopped,
            queue_seconds=started - self.arrived,
            prompt_seconds=first - started,
            decode_seconds=now - first,
            seed=self.seed,
        )
