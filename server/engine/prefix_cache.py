"""The KV cache as the engine sees it: slots and the tokens they hold, kept after a reply so that none is read twice."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence as ReadOnly
from dataclasses import dataclass, field
from typing import Protocol

from server.engine.cells import Cells
from server.engine.ram_store import BLOCK, Block, RamStore
from server.engine.tokens import Tokens, as_tokens, common_prefix, longest_run

SHORT_TAIL = 4
LEAST_SHIFT = 64
LEAST_FROM_RAM = 16


class KVCache(Protocol):
    """What is needed of llama.cpp; :class:`~server.engine.llama.kv_cache.KVCache` is the real one and explains it."""

    cells: int
    slots: int
    can_trim: bool
    can_shift: bool

    def forget(self, slot: int) -> None: ...
    def trim(self, slot: int, length: int) -> None: ...
    def copy(self, source: int, target: int, length: int) -> None: ...
    def cut(self, slot: int, start: int, end: int) -> None: ...
    def unshare(self, slot: int, start: int, end: int) -> None: ...
    def save(self, slot: int, start: int, end: int) -> bytes: ...
    def load(self, slot: int, start: int, end: int, data: bytes) -> None: ...


@dataclass(eq=False)
class Slot:
    """A llama.cpp sequence and the ``tokens`` its cells hold. Idle ones are what later prompts begin with.

    ``shifted``: cells were moved, which llama.cpp makes up for with the next decode; until then they cannot be saved.
    """

    number: int
    tokens: list[int] = field(default_factory=list)
    busy: bool = False
    used: int = 0
    shifted: bool = False


@dataclass(frozen=True)
class Survivors:
    """What is left of a chat that lost its oldest messages: tokens 0 to ``start``, and ``moved`` to ``end``.

    ``source`` holds the whole chat: an idle slot, or blocks in RAM.
    """

    source: Slot | list[Block]
    start: int
    moved: int
    end: int


class PrefixCache:
    """Finds for every prompt the slot that saves most reading, and makes room when cells run short.

    In order: what a shift keeps of a chat that lost its oldest messages; blocks from RAM; taking over the slot of the
    same chat; sharing the cells of another's beginning. Without ``reuse`` every prompt is read from its start.

    Attention walks over all cells that are in use, also those of other sequences, so idle prompts slow every step (with
    the starter model a thousand of their cells cost 5 % of one stream and 15 % of eight). With RAM to go to, only the
    slot used last stays idle in the pool, which the next turn of its chat takes over, until another prompt comes.
    """

    def __init__(self, kv: KVCache, *, ram_limit: int = 0, reuse: bool = True) -> None:
        self._kv = kv
        self._reuse = reuse
        self._cells = Cells(kv.cells, kv.slots)
        self._ram = RamStore(ram_limit if kv.can_trim and reuse else 0)
        self._slots = [Slot(number) for number in range(kv.slots)]
        self._clock = 0

    @property
    def ram_used(self) -> int:
        """Bytes in the RAM store."""
        return self._ram.used

    @property
    def slots(self) -> tuple[Slot, ...]:
        """All of them, to look at."""
        return tuple(self._slots)

    @property
    def shifting(self) -> bool:
        """Whether cells were moved since the last decode."""
        return any(slot.shifted for slot in self._slots)

    def cells_busy(self) -> int:
        """Cells held by running sequences."""
        return self._cells.held_by(slot.number for slot in self._slots if slot.busy)

    def cells_kept(self) -> int:
        """Cells held by idle slots alone."""
        return self._cells.count - self._cells.free - self.cells_busy()

    def known(self, tokens: Tokens) -> int:
        """How many tokens of a prompt need no reading, wherever they are."""
        held = max((common_prefix(slot.tokens, tokens) for slot in self._slots), default=0)
        return max(held, self._ram.match(tokens.tolist())[1])

    def fits(self, tokens: Tokens, more: int) -> bool:
        """Whether a prompt and ``more`` tokens fit beside the running sequences, once idle slots have made room."""
        shared = 0
        if self._reuse and self._kv.can_trim:
            shared = max((common_prefix(slot.tokens, tokens) for slot in self._slots if slot.busy), default=0)
        return len(tokens) - shared + more <= self._cells.count - self.cells_busy()

    def take(self, tokens: Tokens) -> Slot:
        """A busy slot that holds as much of the beginning of ``tokens`` as can be had without reading it.

        The last token is never held, because the model must decode it to say what follows.
        """
        slot = self._best(tokens[:-1]) if self._reuse else self._empty_slot()
        slot.busy = True
        self._use(slot)
        self._empty_idle_slots()
        return slot

    def release(self, slot: Slot) -> None:
        """The sequence in this slot is over; what it held is kept until cells or slots run short."""
        slot.busy = False
        self._use(slot)
        if slot.shifted or not self._reuse:
            self._forget(slot)
        self._empty_idle_slots(keep=slot)

    def make_room(self, count: int, keep: Slot | None = None) -> bool:
        """Drop the ends of idle slots, those not used for longest first, until ``count`` cells are free.

        Returns False if that cannot be.
        """
        while self._cells.free < count:
            idle = self._idle(keep)
            if not idle:
                return False
            self._evict(min(idle, key=lambda slot: slot.used), max(count - self._cells.free, BLOCK))
        return True

    def extend(self, slot: Slot, tokens: ReadOnly[int]) -> None:
        """The next decode adds these tokens to a slot; room was made for them."""
        self._cells.extend(slot.number, len(tokens))
        slot.tokens += tokens
        slot.shifted = False

    def trim(self, slot: Slot, length: int) -> None:
        """Keep the first ``length`` tokens of a slot; a model that cannot forget a part of them forgets all."""
        if length >= len(slot.tokens):
            return
        if not self._kv.can_trim:
            self._forget(slot)
            return
        self._kv.trim(slot.number, length)
        self._cells.remove(slot.number, length, len(slot.tokens))
        del slot.tokens[length:]

    def cut(self, slot: Slot, start: int, end: int) -> None:
        """Take a range out of a slot. Where the model can shift, what follows it stays; else it is dropped too."""
        if not self._kv.can_shift or not self._unshare(slot, end):
            self.trim(slot, start)
            return
        self._kv.cut(slot.number, start, end)
        self._cells.remove(slot.number, start, end)
        del slot.tokens[start:end]
        slot.shifted = True

    def newest(self) -> list[Block]:
        """The chat that was used last, running or not, as far as it was read; none where nothing is kept.

        Memory that cannot be cut makes one block, of any length.
        """
        kept = [slot for slot in self._slots if slot.tokens and not slot.shifted] if self._reuse else []
        if not kept:
            return []
        slot = max(kept, key=lambda slot: slot.used)
        length = len(slot.tokens)
        starts = range(0, length, BLOCK if self._kv.can_trim else length)
        return [self._block(slot, start, end) for start, end in zip(starts, [*starts[1:], length], strict=True)]

    def restore(self, blocks: list[Block]) -> int:
        """Keep a chat of :meth:`newest` as if it had just ended; returns how many of its tokens found room."""
        if not self._reuse or all(slot.busy for slot in self._slots):
            return 0
        slot = self._loaded(None, blocks, blocks[-1].end)
        self.release(slot)
        return len(slot.tokens)

    # --- where the beginning of a prompt comes from ---

    def _best(self, prompt: Tokens) -> Slot:
        if not self._kv.can_trim:
            return self._continued(prompt)
        shared = {slot: common_prefix(slot.tokens, prompt) for slot in self._slots if slot.tokens}
        best = max(shared, key=lambda slot: (shared[slot], not slot.busy), default=None)
        held = shared[best] if best else 0
        blocks, in_ram = self._ram.match(prompt.tolist())
        if survivors := self._survivors(prompt, max(held, in_ram)):
            return self._shifted(survivors)
        if in_ram >= held + LEAST_FROM_RAM:
            return self._loaded(best, [block for block in blocks if block.end > held], in_ram)
        if best is None or not held:
            return self._empty_slot()
        if not best.busy and len(best.tokens) - held <= len(best.tokens) // SHORT_TAIL:
            self.trim(best, held)
            return best
        return self._copied(best, held)

    def _continued(self, prompt: Tokens) -> Slot:
        """For models whose memory cannot be cut: the idle slot that the prompt goes on from, or an empty one."""
        whole = [slot for slot in self._idle() if common_prefix(slot.tokens, prompt) == len(slot.tokens)]
        return max(whole, key=lambda slot: len(slot.tokens)) if whole else self._empty_slot()

    def _survivors(self, prompt: Tokens, held: int) -> Survivors | None:
        """The most that a shift can keep, if that is clearly more than the ``held`` tokens to be had without.

        It must be most of the rest of the prompt, so that two different chats are never mixed.
        """
        most, found = held + LEAST_SHIFT - 1, None
        if not self._kv.can_shift or len(prompt) <= most:
            return None
        for source, tokens in self._idle_chats(prompt):
            start = common_prefix(tokens, prompt)
            rest = prompt[start:]
            at, run = longest_run(tokens[start:], rest, LEAST_SHIFT)
            if start + run > most and 2 * run > len(rest):
                most, found = start + run, Survivors(source, start, start + at, start + at + run)
        return found

    def _idle_chats(self, prompt: Tokens) -> Iterator[tuple[Slot | list[Block], Tokens]]:
        for slot in self._idle():
            yield slot, as_tokens(slot.tokens)
        for blocks in self._ram.alike(prompt.tolist()):
            yield blocks, as_tokens([token for block in blocks for token in block.tokens])

    def _shifted(self, survivors: Survivors) -> Slot:
        """A slot with what a shift keeps, as far as there is room for the whole chat while it is loaded from RAM."""
        start, moved, source = survivors.start, survivors.moved, survivors.source
        slot = source if isinstance(source, Slot) else self._loaded(None, source, survivors.end)
        if len(slot.tokens) <= moved:
            self.trim(slot, start)
        else:
            self.trim(slot, survivors.end)
            self.cut(slot, start, moved)
        return slot

    def _copied(self, source: Slot, length: int) -> Slot:
        slot = self._empty_slot(keep=source)
        self._kv.copy(source.number, slot.number, length)
        self._cells.copy(source.number, slot.number, length)
        slot.tokens = source.tokens[:length]
        slot.shifted = source.shifted
        return slot

    def _loaded(self, best: Slot | None, blocks: list[Block], length: int) -> Slot:
        """A slot with the blocks from RAM, after what ``best`` holds of the tokens before them."""
        start = blocks[0].start
        slot = self._copied(best, start) if best and start else self._empty_slot()
        for block in blocks:
            if block.start >= length or not self.make_room(len(block.tokens), keep=slot):
                break
            end = min(block.end, length)
            self._kv.load(slot.number, block.start, end, block.data)
            self._cells.extend(slot.number, end - block.start)
            slot.tokens += block.tokens[: end - block.start]
        return slot

    def _block(self, slot: Slot, start: int, end: int) -> Block:
        return Block(None, start, tuple(slot.tokens[start:end]), self._kv.save(slot.number, start, end))

    def _use(self, slot: Slot) -> None:
        self._clock += 1
        slot.used = self._clock

    def _idle(self, keep: Slot | None = None) -> list[Slot]:
        """The slots that hold something and run nothing, but for ``keep``."""
        return [slot for slot in self._slots if slot.tokens and not slot.busy and slot is not keep]

    def _empty_slot(self, keep: Slot | None = None) -> Slot:
        for slot in self._slots:
            if not slot.busy and not slot.tokens:
                return slot
        oldest = min(self._idle(keep), key=lambda slot: slot.used)
        self._evict(oldest, len(oldest.tokens))
        return oldest

    # --- what leaves the pool ---

    def _empty_idle_slots(self, keep: Slot | None = None) -> None:
        for slot in self._idle(keep) if self._ram.limit else ():
            self._evict(slot, len(slot.tokens))

    def _evict(self, slot: Slot, count: int) -> None:
        """Drop the last ``count`` tokens of an idle slot; RAM keeps all of it."""
        for start, end in self._ram.missing(slot.tokens) if self._ram.limit else ():
            self._ram.add(slot.tokens[:end], start, self._kv.save(slot.number, start, end))
        self.trim(slot, max(len(slot.tokens) - count, 0))

    def _forget(self, slot: Slot) -> None:
        self._kv.forget(slot.number)
        self._cells.remove(slot.number, 0, len(slot.tokens))
        slot.tokens = []
        slot.shifted = False

    def _unshare(self, slot: Slot, start: int) -> bool:
        """Give a slot cells of its own from ``start`` on: cells that others hold too cannot be moved."""
        count = len(slot.tokens) - start
        if not self._cells.shared(slot.number, start):
            return True
        if slot.shifted or not self.make_room(count, keep=slot):
            return False
        self._kv.unshare(slot.number, start, len(slot.tokens))
        self._cells.remove(slot.number, start, len(slot.tokens))
        self._cells.extend(slot.number, count)
        return True
