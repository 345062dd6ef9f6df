"""Which cells of the KV cache each slot holds, counted as llama.cpp counts them: one for each token, shared by copies.

llama.cpp does not say how many cells are free, and a batch that finds none fails; so they are counted here.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np


class Cells:
    """``count`` cells for ``slots`` slots. A cell is free when no slot holds it."""

    def __init__(self, count: int, slots: int) -> None:
        self.count = count
        self._free = list(range(count))
        self._holders = np.zeros(count, np.int16)
        self._held: list[list[int]] = [[] for _ in range(slots)]

    @property
    def free(self) -> int:
        return len(self._free)

    def held_by(self, slots: Iterable[int]) -> int:
        """How many different cells these slots hold together."""
        mark = np.zeros(self.count, np.bool_)
        for slot in slots:
            mark[self._held[slot]] = True
        return int(np.count_nonzero(mark))

    def shared(self, slot: int, start: int) -> bool:
        """Whether another slot holds any of a slot's cells from position ``start`` on."""
        return bool((self._holders[self._held[slot][start:]] > 1).any())

    def extend(self, slot: int, count: int) -> None:
        """Give a slot ``count`` free cells for its next tokens."""
        left = len(self._free) - count
        assert left >= 0, "no free cells: make room first"
        taken = self._free[left:]
        del self._free[left:]
        for cell in taken:  # mostly one, for which an array operation takes long
            self._holders[cell] = 1
        self._held[slot] += taken

    def copy(self, source: int, target: int, length: int) -> None:
        """Let ``target`` hold the first ``length`` cells of ``source`` as well."""
        taken = self._held[source][:length]
        self._holders[taken] += 1
        self._held[target] += taken

    def remove(self, slot: int, start: int, end: int) -> None:
        """Take the range of positions out of a slot; later ones move down."""
        held = self._held[slot]
        gone = np.array(held[start:end], np.int32)
        del held[start:end]
        self._holders[gone] -= 1
        self._free += gone[self._holders[gone] == 0].tolist()
