"""The KV cache of a context: one pool of cells that all slots share, cell by cell."""

from __future__ import annotations

import ctypes
import logging
from typing import Any

import numpy as np

from server.engine.batch import Batch
from server.engine.llama.library import architecture, llama
from server.engine.ram_store import BLOCK
from server.errors import TavernkeepError

SLOTS_PER_SEQUENCE = 2
MOST_SLOTS = 120  # two llama.cpp sequences each, of 256
MOST_STATES = 4

# When cells move, llama.cpp rotates the keys of all layers. These models have layers whose keys are not rotated (the
# last two only such: they add the position to the text), and would be spoilt, as was seen with SmolLM3.
UNROTATED = frozenset(
    {"afmoe", "cohere2", "cohere2moe", "exaone-moe", "exaone4", "llama4", "muse-glimmer", "smallthinker", "smollm3"}
    | {"gpt2", "starcoder"}
)

log = logging.getLogger("tavernkeep.engine")


class Layout:
    """What kind of memory a model has, known before its context is opened.

    ``slots`` sequences can be held, running or kept for later. With ``can_trim`` a part of a slot can be removed or
    copied; recurrent and hybrid models hold one state for all they have read, and a cache of the sliding window alone
    has lost what lies before it: they can only go on where they stopped. With ``can_move`` tokens can change their
    positions.
    """

    def __init__(self, model: Any, sequences: int, *, window_only: bool) -> None:
        self.window: int = llama.llama_model_n_swa(model)
        recurrent = llama.llama_model_is_recurrent(model) or llama.llama_model_is_hybrid(model)
        self.can_trim = not recurrent and not (self.window and (window_only or self.window < BLOCK))
        self.sequences = min(sequences, MOST_STATES) if not self.can_trim else sequences
        self.slots = min(SLOTS_PER_SEQUENCE * sequences, MOST_SLOTS) if self.can_trim else self.sequences
        self.guarded = self.can_trim and self.window > 0
        self.can_move = self.can_trim and architecture(model) not in UNROTATED
        if recurrent:
            log.info("This model keeps a running state: a prompt is read again unless it continues what was read last.")
        elif not self.can_trim:
            reason = "Only the sliding window is kept" if window_only else "This model's sliding window is very short"
            log.info("%s: a prompt is read again unless it continues what was read last.", reason)

    @property
    def native_sequences(self) -> int:
        """llama.cpp's ``n_seq_max``: the slots, one to move blocks through, and the guards."""
        return self.slots * (2 if self.guarded else 1) + 1


class KVCache:
    """Copies, cuts, saves and loads what the slots hold. Positions are token indices; ranges are [start, end).

    llama.cpp hands out a cell again when a model with a sliding window cannot see it any more and one sequence alone
    holds it. A kept prompt needs it still, so each slot of such a model has a guard: a second sequence that holds the
    same cells.
    """

    def __init__(self, context: Any, layout: Layout, *, shift: bool) -> None:
        self._context = context
        self._memory = llama.llama_get_memory(context)
        if not self._memory:
            raise TavernkeepError("The model has no memory.")
        self._layout = layout
        self._spare = layout.slots
        self._guarded_to = [0] * layout.slots
        self.cells: int = llama.llama_n_ctx(context)
        self.slots = layout.slots
        self.can_trim = layout.can_trim
        self.can_shift = shift and layout.can_move and llama.llama_memory_can_shift(self._memory)
        if shift and layout.can_trim and not self.can_shift:
            log.info("This model cannot shift its context: where a chat loses its oldest messages it is read again.")

    def clear(self) -> None:
        """Empty the pool."""
        llama.llama_memory_clear(self._memory, True)
        self._guarded_to = [0] * self.slots

    def forget(self, slot: int) -> None:
        """Free all cells of a slot that no other holds."""
        self._remove(slot, -1, -1)
        self._guarded_to[slot] = 0

    def trim(self, slot: int, length: int) -> None:
        """Keep the first ``length`` tokens only."""
        self._remove(slot, length, -1)
        self._guarded_to[slot] = min(self._guarded_to[slot], length)

    def copy(self, source: int, target: int, length: int) -> None:
        """Let ``target``, which is empty, hold the first ``length`` cells of ``source`` too; nothing is computed."""
        llama.llama_memory_seq_cp(self._memory, source, target, 0, length)
        self._hold(target, 0, length)

    def cut(self, slot: int, start: int, end: int) -> None:
        """Remove a range; what follows moves down. Its cells must be held by no other slot."""
        self._remove(slot, start, end)
        llama.llama_memory_seq_add(self._memory, slot, end, -1, start - end)
        self._guarded_to[slot] = max(min(self._guarded_to[slot], start), self._guarded_to[slot] - (end - start))

    def unshare(self, slot: int, start: int, end: int) -> None:
        """Give a slot cells of its own for a range that other slots hold too."""
        for first in range(start, end, BLOCK):
            last = min(first + BLOCK, end)
            data = self.save(slot, first, last)
            self._remove(slot, first, last)
            self.load(slot, first, last, data)

    def save(self, slot: int, start: int, end: int) -> bytes:
        """What the cells of at most BLOCK tokens hold, with their positions."""
        llama.llama_memory_seq_cp(self._memory, slot, self._spare, start, end)
        size = llama.llama_state_seq_get_size(self._context, self._spare)
        data = (ctypes.c_uint8 * size)()
        written = llama.llama_state_seq_get_data(self._context, data, size, self._spare)
        llama.llama_memory_seq_rm(self._memory, self._spare, -1, -1)
        return ctypes.string_at(data, written)

    def load(self, slot: int, start: int, end: int, data: bytes) -> None:
        """Put a saved block back into free cells, of which the slot takes the tokens from ``start`` to ``end``."""
        buffer = (ctypes.c_uint8 * len(data)).from_buffer_copy(data)
        read = llama.llama_state_seq_set_data(self._context, buffer, len(data), self._spare)
        if not read:
            raise TavernkeepError(f"llama.cpp could not restore {end - start} tokens of the KV cache.")
        llama.llama_memory_seq_cp(self._memory, self._spare, slot, start, end)
        self._hold(slot, start, end)
        llama.llama_memory_seq_rm(self._memory, self._spare, -1, -1)

    def guard(self, batch: Batch) -> None:
        """Hold what a batch has added, before llama.cpp takes it for invisible.

        A window slides with every token, or (Llama 4) jumps by its whole length; this is in time for both.
        """
        if not self._layout.guarded:
            return
        for slot in np.unique(batch.slots[: batch.size]):
            length = int(batch.positions[: batch.size][batch.slots[: batch.size] == slot].max()) + 1
            if length // self._layout.window > self._guarded_to[slot] // self._layout.window:
                self._hold(int(slot), self._guarded_to[slot], length)

    def _hold(self, slot: int, start: int, end: int) -> None:
        if self._layout.guarded:
            start = min(start, self._guarded_to[slot])
            llama.llama_memory_seq_cp(self._memory, slot, self._guard_of(slot), start, end)
            self._guarded_to[slot] = end

    def _guard_of(self, slot: int) -> int:
        return self._layout.slots + 1 + slot

    def _remove(self, slot: int, start: int, end: int) -> None:
        llama.llama_memory_seq_rm(self._memory, slot, start, end)
        if self._layout.guarded:
            llama.llama_memory_seq_rm(self._memory, self._guard_of(slot), start, end)
