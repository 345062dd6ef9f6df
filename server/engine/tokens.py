"""Comparing lists of tokens."""

from __future__ import annotations

from collections.abc import Sequence as ReadOnly

import numpy as np
import numpy.typing as npt

Tokens = npt.NDArray[np.int32]


def as_tokens(tokens: ReadOnly[int]) -> Tokens:
    """An array of shape [len(tokens)]."""
    return np.array(tokens, np.int32)


def common_prefix(one: ReadOnly[int] | Tokens, other: ReadOnly[int] | Tokens) -> int:
    """How many tokens both begin with."""
    length = min(len(one), len(other))
    if not length or one[0] != other[0]:
        return 0
    differs = np.asarray(one[:length], np.int32) != np.asarray(other[:length], np.int32)
    return int(differs.argmax()) if differs.any() else length


def longest_run(text: Tokens, run: Tokens, least: int) -> tuple[int, int]:
    """Where in ``text`` the longest beginning of ``run`` stands, and its length; (0, 0) when under ``least`` tokens."""
    if len(run) < least or len(text) < least:
        return 0, 0
    last = least - 1  # a run that is long enough has these tokens too; comparing all of it at every start takes long
    starts = np.flatnonzero((text[: len(text) - last] == run[0]) & (text[last:] == run[last]))
    lengths = [(common_prefix(text[start:], run), int(start)) for start in starts]
    lengths = [(length, start) for length, start in lengths if length >= least]
    length, start = max(lengths, default=(0, 0))
    return start, length
