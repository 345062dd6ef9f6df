"""Who runs next, and how much of whom: order of arrival, room in the KV cache, and the tokens of the next step."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from server.engine.prefix_cache import PrefixCache
from server.engine.sequence import Sequence
from server.engine.tokens import Tokens, as_tokens, common_prefix

ROOM_TO_REPLY = 64
WORTH_WAITING = 32


@dataclass(frozen=True)
class Chunk:
    """The next ``count`` pending tokens of ``sequence`` go into the step, and after them ``draft``, guessed ones."""

    sequence: Sequence
    count: int
    draft: tuple[int, ...] = ()


class Scheduler:
    """First come, first served, up to ``most`` sequences at a time and as many as the KV cache holds.

    When their replies outgrow it the youngest is preempted: it waits at the head of the queue, and goes on later from
    what the cache still holds of it.
    """

    def __init__(self, most: int, cache: PrefixCache, *, share_prefixes: bool) -> None:
        self._most = most
        self._cache = cache
        self._share_prefixes = share_prefixes
        self._blocked = False
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []

    @property
    def idle(self) -> bool:
        return not self.waiting and not self.running

    @property
    def replies(self) -> list[Sequence]:
        """The running sequences without the guides."""
        guides = {sequence.guide for sequence in self.running}
        return [sequence for sequence in self.running if sequence not in guides]

    def enqueue(self, sequence: Sequence) -> None:
        self.waiting.append(sequence)

    def admit(self) -> list[Sequence]:
        """Start waiting sequences for which there is room, in order of arrival; returns those that start now.

        One that shares its beginning with a prompt that is just being read waits until it can be copied from there;
        others may overtake it meanwhile.
        """
        admitted: list[Sequence] = []
        for sequence in () if self._blocked else list(self.waiting):
            tokens = as_tokens(sequence.tokens)
            if not sequence.tells_prompt and self._follows_a_reader(tokens):
                continue
            slots, room = len(sequence.with_guide), self._room_beside(sequence)
            if len(self.running) + slots > self._most or not self._cache.fits(tokens, room):
                self._blocked = True
                break
            self.waiting.remove(sequence)
            for each in sequence.with_guide:
                each.slot = self._cache.take(as_tokens([] if each.tells_prompt else each.tokens))
                self.running.append(each)
            admitted.append(sequence)
        return admitted

    def plan(self, room: int, room_beside_replies: int) -> list[Chunk]:
        """The next step: one token of every reply, and prompts as far as ``room`` tokens reach.

        While replies are running, prompts get ``room_beside_replies`` only, so that one step stays short. The oldest
        prompt gets at least half, the others by what they have left: a short question is not stuck behind a long story.
        A sequence and its guide come to their last tokens in the same step.
        """
        replying = [sequence for sequence in self.running if not sequence.reading]
        counts = dict.fromkeys(replying, 1)
        readers = [sequence for sequence in self.running if sequence.reading]
        room = room_beside_replies if replying else room
        if readers:
            counts |= _shares(readers, room)
        for sequence in self.running:
            if sequence.guide:
                _keep_together(counts, sequence, sequence.guide)
        self._limit_told(counts)
        return [Chunk(sequence, count) for sequence, count in counts.items() if count]

    def _limit_told(self, counts: dict[Sequence, int]) -> None:
        """Logits are made for as many tokens of a step as there may be sequences; each of them needs one."""
        spare = self._most - len(self.running)
        for sequence in filter(lambda each: each.tells_prompt, counts):
            counts[sequence] = min(counts[sequence], 1 + spare)
            spare -= max(counts[sequence] - 1, 0)

    def make_room(self, plan: list[Chunk]) -> list[Chunk]:
        """The plan, less the sequences that had to be preempted because its tokens find no room in the cache."""
        while not self._cache.make_room(sum(chunk.count + len(chunk.draft) for chunk in plan)):
            if any(chunk.draft for chunk in plan):
                plan = [Chunk(chunk.sequence, chunk.count) for chunk in plan]
                continue
            youngest = max(reversed(self.replies), key=lambda sequence: sequence.arrived)
            assert len(self.replies) > 1, "one reply alone always fits"
            self._leave(youngest)
            self.waiting.appendleft(youngest)
            self._blocked = True
            plan = [chunk for chunk in plan if chunk.sequence not in youngest.with_guide]
        return plan

    def remove(self, sequence: Sequence) -> None:
        """Take a sequence out, wherever it is; the cache keeps what was read."""
        if sequence.slot:
            self._leave(sequence)
        else:
            self.waiting.remove(sequence)
        self._blocked = False

    def find(self, request_id: int) -> Sequence | None:
        for sequence in (*self.running, *self.waiting):
            if sequence.request.request_id == request_id:
                return sequence
        return None

    def _leave(self, sequence: Sequence) -> None:
        for each in reversed(sequence.with_guide):  # so that the slot used last is the one with the prompt
            assert each.slot is not None
            self.running.remove(each)
            self._cache.release(each.slot)
            each.slot = None

    def _room_beside(self, sequence: Sequence) -> int:
        """Cells that must be left besides its prompt's when a sequence starts, so that none is preempted soon."""
        own = len(sequence.guide.tokens) if sequence.guide else 0
        if not self.running:
            return own
        everyone = (*self.running, *sequence.with_guide)
        replies = [min(ROOM_TO_REPLY, each.request.max_tokens - each.generated) for each in everyone]
        return own + sum(other.pending for other in self.running) + sum(replies)

    def _follows_a_reader(self, tokens: Tokens) -> bool:
        readers = [other for other in self.running if other.reading] if self._share_prefixes else []
        worth = max((common_prefix(other.tokens, tokens) for other in readers), default=0)
        return worth > WORTH_WAITING and worth > self._cache.known(tokens) + WORTH_WAITING


def _shares(readers: list[Sequence], room: int) -> dict[Sequence, int]:
    """How many tokens each of the ``readers`` reads next, of ``room`` in all."""
    oldest, *others = readers
    counts = dict.fromkeys(readers, 0)
    counts[oldest] = min(oldest.pending, room - room // 2 if others else room)
    for sequence in (*sorted(others, key=lambda sequence: sequence.pending), oldest):
        left = room - sum(counts.values())
        counts[sequence] += min(sequence.pending - counts[sequence], left)
    return counts


def _keep_together(counts: dict[Sequence, int], sequence: Sequence, guide: Sequence) -> None:
    """Whichever of the two would be ready before the other waits with its last token."""
    for one, other in ((sequence, guide), (guide, sequence)):
        if counts[one] == one.pending and counts[other] < other.pending:
            counts[one] -= 1
