"""One llama.cpp batch being filled: which tokens of which sequences are decoded in the next step."""

from __future__ import annotations

from collections.abc import Sequence as ReadOnly

import numpy as np
import numpy.typing as npt


class Batch:
    """Room for ``capacity`` tokens. Arrays of shape [capacity], of which the first ``size`` entries count."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.size = 0
        self.tokens: npt.NDArray[np.int32] = np.zeros(capacity, np.int32)
        self.positions: npt.NDArray[np.int32] = np.zeros(capacity, np.int32)
        self.slots: npt.NDArray[np.int32] = np.zeros(capacity, np.int32)
        self.wants_logits: npt.NDArray[np.int8] = np.zeros(capacity, np.int8)

    def clear(self) -> None:
        self.size = 0

    def add(self, slot: int, tokens: ReadOnly[int], position: int, *, logits: bool, every: bool = False) -> int:
        """Append ``tokens`` of the sequence in ``slot``, the first of them at ``position``.

        With ``logits`` the model computes them for the last token, with ``every`` for all of them. Returns the last
        one's index in the batch.
        """
        end = self.size + len(tokens)
        part = slice(self.size, end)
        self.tokens[part] = tokens
        self.positions[part] = np.arange(position, position + len(tokens))
        self.slots[part] = slot
        self.wants_logits[part] = every
        self.wants_logits[end - 1] = logits or every
        self.size = end
        return end - 1
