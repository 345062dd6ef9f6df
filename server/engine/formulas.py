"""The samplers that llama.cpp lacks or that break on its numbers, in numpy. Used by ``llama/samplers.py``.

Each takes ``logits`` of shape [candidates] and returns new ones; minus infinity means that a token cannot be drawn.
Arithmetic is in 64 bits, so that no probability becomes zero that counts. At least one candidate always stays.
"""

from __future__ import annotations

import math
from collections.abc import Sequence as ReadOnly

import numpy as np
import numpy.typing as npt

Logits = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int32]
Numbers = npt.NDArray[np.float64]

FORBIDDEN = float("-inf")
SMALLEST_TEMPERATURE = 1e-3


def top_a(logits: Logits, a: float) -> Logits:
    """Drop what is less likely than ``a`` times the square of the highest probability (top-a of BlinkDL's RWKV-LM)."""
    p = _softmax(logits)
    return _only(logits, p >= a * p.max() ** 2)


def tail_free(logits: Logits, z: float) -> Logits:
    """Keep tokens until the bends of the sorted probabilities add up to more than ``z`` of all bends, the normalised
    absolute second differences (Phénix and Egan, "Tail Free Sampling", 2019; where it cuts is as in llama.cpp up to
    2024, from which KoboldCpp has it)."""
    if len(logits) < 3:
        return logits
    order = np.argsort(-logits, kind="stable")
    bends = np.abs(np.diff(_softmax(logits)[order], n=2))
    if bends.sum() > 0:
        bends /= bends.sum()
    else:
        bends[:] = 1 / len(bends)
    beyond = np.flatnonzero(np.cumsum(bends)[1:] > z)
    count = int(beyond[0]) + 1 if len(beyond) else len(logits)
    return _only(logits, _among(order[:count], len(logits)))


def typical(logits: Logits, mass: float) -> Logits:
    """Keep the tokens whose surprise is closest to the entropy, until their probabilities add up to more than ``mass``
    (locally typical sampling, arXiv:2202.00666)."""
    p = _softmax(logits)
    known = p > 0
    surprise = np.full(len(p), np.inf)
    surprise[known] = -np.log(p[known])
    entropy = float((p[known] * surprise[known]).sum())
    order = np.argsort(np.abs(surprise - entropy), kind="stable")
    beyond = np.flatnonzero(np.cumsum(p[order]) > mass)
    count = int(beyond[0]) + 1 if len(beyond) else len(logits)
    return _only(logits, known & _among(order[:count], len(logits)))


def inverted_temperature(logits: Logits, temperature: float, spread: float, exponent: float) -> Logits:
    """Dynamic temperature with a negative ``spread``, which llama.cpp does not have: the surer the model is, the higher
    the temperature, between ``temperature`` - spread and ``temperature`` + spread (KoboldCpp, after kalomaze's)."""
    p = _softmax(logits)
    entropy = -float((p[p > 0] * np.log(p[p > 0])).sum())
    share = min(max(entropy / math.log(len(p)), 0.0), 1.0) if len(p) > 1 else 0.0
    sure, unsure = temperature - spread, max(temperature + spread, 0.0)
    try:
        scale = sure + (unsure - sure) * share**exponent
    except (OverflowError, ZeroDivisionError):  # an exponent below zero
        scale = unsure
    return _in_range(logits.astype(np.float64) / max(scale, SMALLEST_TEMPERATURE))


def smoothing(logits: Logits, factor: float, curve: float) -> Logits:
    """Bend the logits: with d their distance below the highest, h + (-k d^2 + s d^3) times ``factor``, where
    k = (3 - ``curve``) / 2 and s = (``curve`` - 1) / 2 (kalomaze's smooth sampling; with curve 1 plain quadratic)."""
    highest = float(logits.max())
    below = logits.astype(np.float64) - highest
    k, s = (3 - curve) / 2, (curve - 1) / 2
    with np.errstate(invalid="ignore"):  # what is forbidden already stays so, in the next line
        bent = factor * (s * below**3 - k * below**2) + highest
    return _in_range(np.where(np.isneginf(below), FORBIDDEN, bent))


def sloped_penalties(
    logits: Logits,
    ids: Ids,
    history: ReadOnly[int],
    *,
    rep_pen: float,
    slope: float,
    frequency: float,
    presence: float,
) -> Logits:
    """Penalties as in :func:`llama_sampler_init_penalties`, but tokens that stand in the older half of ``history`` only
    are divided by 1 + (``rep_pen`` - 1) * ``slope`` (KoboldAI's slope, in KoboldCpp's two steps)."""
    tokens, counts = np.unique(np.asarray(history, np.int64), return_counts=True)
    recent = np.isin(tokens, history[len(history) // 2 :])
    at = np.searchsorted(tokens, ids)
    at[at == len(tokens)] = 0
    found = tokens[at] == ids if len(tokens) else np.zeros(len(ids), bool)
    if not found.any():
        return logits
    penalty = np.where(recent, rep_pen, 1 + (rep_pen - 1) * slope)[at[found]]
    old = logits[found].astype(np.float64)
    new = np.where(old > 0, old / penalty, old * penalty) - counts[at[found]] * frequency - presence
    penalised = logits.copy()
    penalised[found] = _in_range(new)
    return penalised


def guided(logits: Logits, negative: Logits, scale: float) -> Logits:
    """Classifier-free guidance (arXiv:2306.17806): away from what would follow the ``negative`` prompt."""
    towards, away = logits.astype(np.float64), negative.astype(np.float64)
    return _in_range(scale * (towards - away) + away)


def log_softmax(logits: Logits) -> Numbers:
    """Natural logarithms of the probabilities."""
    below = logits.astype(np.float64) - float(logits.max())
    result: Numbers = below - np.log(np.exp(below).sum())
    return result


def _softmax(logits: Logits) -> Numbers:
    p: Numbers = np.exp(log_softmax(logits))
    return p


def _only(logits: Logits, kept: npt.NDArray[np.bool_]) -> Logits:
    return np.where(kept, logits, np.float32(FORBIDDEN)) if kept.any() else logits


def _among(indices: npt.NDArray[np.intp], size: int) -> npt.NDArray[np.bool_]:
    found = np.zeros(size, bool)
    found[indices] = True
    return found


def _in_range(numbers: Numbers) -> Logits:
    """In 32 bits. What is too small for them is not forbidden by that, and nothing becomes infinitely likely."""
    limit = float(np.finfo(np.float32).max) / 2
    bounded = np.clip(np.nan_to_num(numbers, nan=FORBIDDEN, posinf=limit, neginf=FORBIDDEN), None, limit)
    return np.where(np.isneginf(bounded), FORBIDDEN, np.maximum(bounded, -limit)).astype(np.float32)
