"""Who runs next, and how much of whom: slots, KV cells and the tokens of the next step. Knows nothing of llama.cpp."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from server.engine.sequence import NO_SLOT, Sequence

READING_SHARE_BESIDE_REPLIES = 4


@dataclass(frozen=True)
class Chunk:
    """The next ``count`` pending tokens of ``sequence`` go into the step."""

    sequence: Sequence
    count: int


class Scheduler:
    """First come, first served, up to ``slots`` sequences and ``cells`` KV cells at a time.

    A sequence is admitted when the cells for its prompt and its longest reply are free, so that none fails half-way.
    """

    def __init__(self, slots: int, cells: int, batch: int) -> None:
        self._free_slots = list(range(slots))
        self._cells = cells
        self._batch = batch
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []

    @property
    def idle(self) -> bool:
        return not self.waiting and not self.running

    def enqueue(self, sequence: Sequence) -> None:
        self.waiting.append(sequence)

    def admit(self) -> list[Sequence]:
        """Move waiting sequences into free slots, in order of arrival; returns those that start now."""
        admitted = []
        while self.waiting and self._free_slots and self._reserved() + self.waiting[0].cells <= self._cells:
            sequence = self.waiting.popleft()
            sequence.slot = self._free_slots.pop(0)
            self.running.append(sequence)
            admitted.append(sequence)
        return admitted

    def plan(self) -> list[Chunk]:
        """The next step: one token of every reply, then prompts in order of arrival as far as the batch reaches.

        While replies are running, prompts get only a share of the batch, so that one step stays short.
        """
        replying = [sequence for sequence in self.running if not sequence.reading]
        chunks = [Chunk(sequence, 1) for sequence in replying]
        room = self._batch // READING_SHARE_BESIDE_REPLIES if replying else self._batch
        for sequence in self.running:
            if sequence.reading and room > 0:
                count = min(sequence.pending, room)
                chunks.append(Chunk(sequence, count))
                room -= count
        return chunks

    def remove(self, sequence: Sequence) -> None:
        """Take a sequence out, wherever it is, and free its slot."""
        if sequence.slot == NO_SLOT:
            self.waiting.remove(sequence)
            return
        self.running.remove(sequence)
        self._free_slots.append(sequence.slot)
        sequence.slot = NO_SLOT

    def find(self, request_id: int) -> Sequence | None:
        for sequence in (*self.running, *self.waiting):
            if sequence.request.request_id == request_id:
                return sequence
        return None

    def _reserved(self) -> int:
        return sum(sequence.cells for sequence in self.running)
