"""Puts drafts into the plan of a step and learns from what became of them."""

from __future__ import annotations

from dataclasses import replace

from server.engine.scheduler import Chunk
from server.engine.speculation import Drafter, DraftRequest, Payoff, Step


class Drafts:
    """Drafts of at most ``most`` tokens a sequence, ``room`` in all, for a model of ``context`` tokens."""

    def __init__(self, drafter: Drafter, *, most: int, room: int, context: int) -> None:
        self._drafter = drafter
        self._payoff = Payoff(most)
        self._room = room
        self._context = context

    def add_to(self, plan: list[Chunk]) -> list[Chunk]:
        """The plan with drafts, where guessing pays now. Beside prompts and guides nothing is guessed."""
        if not plan or any(chunk.sequence.reading or chunk.sequence.guide for chunk in plan):
            return plan
        most = min(self._payoff.draft_limit(len(plan)), self._room // len(plan))
        requests = [_request(chunk, most, self._context) for chunk in plan]
        if not any(request.most for request in requests):
            return plan
        guesses = self._drafter.propose(requests)
        return [replace(chunk, draft=tuple(guess)) for chunk, guess in zip(plan, guesses, strict=True)]

    def record(self, plan: list[Chunk], seconds: float, *, accepted: int, rejected: int) -> None:
        """What a step over ``plan`` took and brought; see :class:`~server.engine.speculation.Step`."""
        if plan and not any(chunk.count > 1 for chunk in plan):
            drafted = sum(len(chunk.draft) for chunk in plan)
            self._payoff.record(Step(seconds, len(plan), drafted, accepted, rejected))

    def forget(self, slot: int) -> None:
        """The sequence in ``slot`` has left it."""
        self._drafter.forget(slot)


def _request(chunk: Chunk, most: int, context: int) -> DraftRequest:
    sequence = chunk.sequence
    assert sequence.slot is not None
    left = min(sequence.request.max_tokens - sequence.generated - 1, context - len(sequence.tokens))
    return DraftRequest(sequence.slot.number, sequence.tokens, min(most, left))
