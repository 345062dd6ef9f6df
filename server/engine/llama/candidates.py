"""The tokens that samplers choose from, with their logits."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from server.engine.formulas import FORBIDDEN, Ids, Logits
from server.engine.llama.library import llama

CANDIDATE = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])


class Candidates:
    """Room for ``size`` tokens. It is used again and again, because it is large."""

    def __init__(self, size: int) -> None:
        self._ids = np.arange(size, dtype=np.int32)
        self._rows = np.zeros(size, CANDIDATE)
        self._pointer = self._rows.ctypes.data_as(ctypes.POINTER(llama.llama_token_data))
        self._array = self._native(size)

    def take_all(self, logits: Logits) -> None:
        """Choose from every token. ``logits`` has an entry for each."""
        self._rows["id"] = self._ids
        self._rows["logit"] = logits
        self._array = self._native(len(self._rows))

    def take(self, ids: npt.NDArray[np.intp], logits: Logits) -> None:
        """Choose from these tokens only. ``logits`` has an entry for every token there is."""
        self._rows["id"][: len(ids)] = ids
        self._rows["logit"][: len(ids)] = logits[ids]
        self._array = self._native(len(ids))

    def take_one(self, token: int) -> None:
        self._rows[0] = (token, 0.0, 0.0)
        self._array = self._native(1)

    def apply(self, sampler: Any) -> None:
        """Let a sampler of llama.cpp choose."""
        llama.llama_sampler_apply(sampler, ctypes.byref(self._array))

    def apply_in_parts(self, sampler: Any, size: int, go_on: Callable[[], bool]) -> None:
        """Let a sampler that judges each token by itself choose among so many at a time, as long as it should."""
        start = ctypes.addressof(self._array.data.contents)
        for first in range(0, self._array.size, size):
            if not go_on():
                return
            data = ctypes.cast(start + first * CANDIDATE.itemsize, type(self._pointer))
            part = self._native(min(size, self._array.size - first))
            part.data = data
            llama.llama_sampler_apply(sampler, ctypes.byref(part))

    def change(self, formula: Callable[[Logits, Ids], Logits]) -> None:
        """Let a formula change the logits of those that are not forbidden; what it forbids is no candidate any more, if
        anything is left."""
        rows = self._left()
        possible = rows["logit"] > FORBIDDEN
        rows = rows[possible] if possible.any() else rows
        logits = formula(rows["logit"], rows["id"])
        kept = np.flatnonzero(logits > FORBIDDEN)
        if len(kept):
            self._rows["id"][: len(kept)] = rows["id"][kept]
            self._rows["logit"][: len(kept)] = logits[kept]
            self._array = self._native(len(kept))

    def selected(self) -> int:
        """The token that the last sampler of a chain has picked."""
        return int(self._left()["id"][self._array.selected])

    def logit(self, row: int) -> float:
        return float(self._rows["logit"][row])

    def highest(self) -> float:
        """The highest logit of those to choose from."""
        return float(self._left()["logit"].max())

    def _left(self) -> npt.NDArray[Any]:
        """The rows of those to choose from. Samplers may drop some at the front, too."""
        front = (ctypes.addressof(self._array.data.contents) - self._rows.ctypes.data) // CANDIDATE.itemsize
        return self._rows[front : front + self._array.size]

    def _native(self, size: int) -> Any:
        return llama.llama_token_data_array(data=self._pointer, size=size, selected=-1, sorted=False)
