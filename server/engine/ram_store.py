"""Prompts that fell out of the KV cache, kept in RAM block by block, so that a shared beginning is stored once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from collections.abc import Sequence as ReadOnly
from dataclasses import dataclass, field

from server.engine.tokens import common_prefix

BLOCK = 128


@dataclass(eq=False)
class Block:
    """The KV data of up to BLOCK ``tokens`` from position ``start`` on; ``parent`` is the block before it."""

    parent: Block | None
    start: int
    tokens: tuple[int, ...]
    data: bytes
    children: list[Block] = field(default_factory=list)

    @property
    def end(self) -> int:
        return self.start + len(self.tokens)

    def best_child(self, tokens: ReadOnly[int]) -> tuple[Block | None, int]:
        """The following block that shares the longest beginning with ``tokens``, and how long that is."""
        shared = [(common_prefix(child.tokens, tokens), index) for index, child in enumerate(self.children)]
        length, index = max(shared, default=(0, 0))
        return (self.children[index], length) if length else (None, 0)


class RamStore:
    """A tree of blocks of at most ``limit`` bytes in all. Those not used for longest are dropped first."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self._root = Block(None, 0, (), b"")
        # In order of use. A block is always used after the blocks behind it, so that the first one here has none.
        self._by_use: OrderedDict[Block, None] = OrderedDict()

    def match(self, tokens: ReadOnly[int]) -> tuple[list[Block], int]:
        """The blocks that hold the longest known beginning of ``tokens``, and its length."""
        path: list[Block] = []
        block, end = self._root, 0
        while True:
            child, shared = block.best_child(tokens[end : end + BLOCK])
            if child is None:
                break
            path.append(child)
            end += shared
            if shared < BLOCK:
                break
            block = child
        for used in reversed(path):
            self._by_use.move_to_end(used)
        return path, end

    def alike(self, tokens: ReadOnly[int]) -> Iterator[list[Block]]:
        """The prompts stored here that share all whole blocks with the beginning of ``tokens``, each as its blocks."""
        path, end = self.match(tokens)
        whole = path[: end // BLOCK]
        branches = [[*whole, child] for child in (whole[-1] if whole else self._root).children]
        while branches:
            branch = branches.pop()
            branches += [[*branch, child] for child in branch[-1].children]
            if not branch[-1].children:
                yield branch

    def missing(self, tokens: ReadOnly[int]) -> list[tuple[int, int]]:
        """The ranges of ``tokens`` that :meth:`add` should be called with, one after the other, to hold all."""
        _, known = self.match(tokens)
        if known == len(tokens):
            return []
        first = known // BLOCK * BLOCK
        return [(start, min(start + BLOCK, len(tokens))) for start in range(first, len(tokens), BLOCK)]

    def add(self, tokens: ReadOnly[int], start: int, data: bytes) -> None:
        """Keep ``data``, the KV data of ``tokens[start:]``; what comes before must have been added."""
        path, known = self.match(tokens[:start])
        if known < start or len(data) > self.limit:
            return
        parent = path[-1] if path else self._root
        added = Block(parent, start, tuple(tokens[start:]), data)
        for child in list(parent.children):
            if len(child.tokens) < len(added.tokens) and added.tokens[: len(child.tokens)] == child.tokens:
                self._drop(child)
        parent.children.append(added)
        self.used += len(data)
        self._by_use[added] = None
        for used in reversed(path):
            self._by_use.move_to_end(used)
        while self.used > self.limit:
            self._drop(next(iter(self._by_use)))

    def _drop(self, block: Block) -> None:
        assert block.parent is not None
        block.parent.children.remove(block)
        del self._by_use[block]
        self.used -= len(block.data)
