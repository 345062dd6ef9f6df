"""Every sampler beside an independent reference in numpy, on random and adversarial logits, with the real vocabulary.

References work on all tokens: shape [vocabulary], minus infinity for those that are dropped.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from collections.abc import Sequence as ReadOnly
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from server.engine import formulas
from server.engine.llama.model import LlamaModel
from server.engine.llama.samplers import Sampler, Samplers
from server.events import Generate, Sampling
from tests.witness import loaded

Array = npt.NDArray[np.float64]
Reference = Callable[[Array], Array]
NONE = -np.inf
SIZE = 49152
LIVE = 40
# Without any other sampler.
PLAIN: dict[str, Any] = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "rep_pen": 1.0}


@pytest.fixture(scope="module")
def samplers(starter_model: Path) -> Iterator[Samplers]:
    with loaded(starter_model, context=512) as model:
        yield of(model)


def of(model: LlamaModel) -> Samplers:
    found: Samplers = model.samplers._samplers  # type: ignore[attr-defined]
    assert model.vocabulary.size == SIZE
    return found


def spread(*live: float, rest: float = -1e4) -> Array:
    """Logits of a few tokens; all others have next to no chance."""
    logits = np.full(SIZE, rest)
    logits[: len(live)] = live
    return logits


def drawn(seed: int, scale: float = 3.0) -> Array:
    logits = spread(*np.random.default_rng(seed).normal(0, scale, LIVE))
    return np.random.default_rng(seed).permutation(logits)


EVERYWHERE = {f"random {seed}": drawn(seed) for seed in range(6)} | {
    "flat": drawn(7, scale=0.01),
    "steep": drawn(8, scale=40.0),
    "all equal": np.zeros(SIZE),
    "one only": spread(1000.0),
    "two alike": spread(5.0, 5.0),
    "nearly alike": spread(*(1 + np.arange(LIVE) * 1e-4)),
    "huge": spread(*(1e30 * np.linspace(1, 1.0001, 5)), rest=-1e30),
    "forbidden": spread(1.0, 0.5, 0.2, rest=NONE),
}
everywhere = pytest.mark.parametrize("logits", EVERYWHERE.values(), ids=EVERYWHERE)


# --- the real ones ---


def sampler_of(
    samplers: Samplers, *, prompt: ReadOnly[int] = (0,), seed: int = 1, request: Any = None, **how: Any
) -> Sampler:
    sampling = Sampling(**{**PLAIN, **how})
    return samplers.make(Generate(1, tuple(prompt), 500, sampling=sampling, **(request or {})), seed)


def left_by(samplers: Samplers, sampler: Sampler, logits: Array) -> dict[int, float]:
    """The probabilities that the draw is made with, by token."""
    samplers._candidates.take_all(logits.astype(np.float32))
    samplers._draw(sampler)
    rows = samplers._candidates._left()
    kept = rows[rows["logit"] > NONE]
    return dict(zip(kept["id"].tolist(), probabilities(kept["logit"]), strict=True))


def probabilities(logits: npt.ArrayLike) -> Array:
    numbers = np.asarray(logits, np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        p: Array = np.exp(numbers - numbers.max())
    return p / p.sum()


def check(actual: dict[int, float], expected: Array) -> None:
    """The same probabilities; a token that stands on the edge may be on either side of it."""
    wanted = probabilities(expected)
    found = np.zeros(SIZE)
    found[list(actual)] = list(actual.values())
    edge = max(2e-5, 1.5 / SIZE)
    if np.abs(found - wanted).max() > edge:
        assert np.abs(np.sort(found) - np.sort(wanted)).max() < edge or np.allclose(found, wanted, atol=1e-3)


def alike(samplers: Samplers, logits: Array, reference: Reference, **how: Any) -> None:
    with np.errstate(all="ignore"):
        expected = reference(logits.astype(np.float32).astype(np.float64))
    check(left_by(samplers, sampler_of(samplers, **how), logits), expected)


# --- the references ---


def keep(logits: Array, kept: npt.NDArray[np.bool_]) -> Array:
    return np.where(kept, logits, NONE)


def likeliest_first(logits: Array) -> npt.NDArray[np.intp]:
    return np.argsort(-logits, kind="stable")


def first(logits: Array, order: npt.NDArray[np.intp], count: int) -> Array:
    kept = np.zeros(len(logits), bool)
    kept[order[: max(count, 1)]] = True
    return keep(logits, kept)


def temperature(t: float) -> Reference:
    """Divide (the definition)."""
    return lambda logits: logits / t


def top_k(k: int) -> Reference:
    """The k likeliest (Fan et al., arXiv:1805.04833)."""
    return lambda logits: first(logits, likeliest_first(logits), k)


def top_p(p: float) -> Reference:
    """The fewest likely ones with p together (Holtzman et al., arXiv:1904.09751)."""

    def cut(logits: Array) -> Array:
        order = likeliest_first(logits)
        reached = np.cumsum(probabilities(logits)[order]) >= p
        return first(logits, order, int(reached.argmax()) + 1 if reached.any() else len(logits))

    return cut


def min_p(share: float) -> Reference:
    """At least a share of the likeliest (arXiv:2407.01082)."""
    return lambda logits: keep(logits, probabilities(logits) >= share * probabilities(logits).max())


def top_a(a: float) -> Reference:
    """At least a times the square of the largest probability (BlinkDL, RWKV-LM)."""
    return lambda logits: keep(logits, probabilities(logits) >= a * probabilities(logits).max() ** 2)


def typical(mass: float) -> Reference:
    """Those with a surprise next to the entropy (arXiv:2202.00666)."""

    def cut(logits: Array) -> Array:
        p = probabilities(logits)
        surprise = -np.log(np.where(p > 0, p, np.nan))
        entropy = np.nansum(p * surprise)
        order = np.argsort(np.where(p > 0, np.abs(surprise - entropy), np.inf), kind="stable")
        beyond = np.cumsum(p[order]) > mass
        return first(np.where(p > 0, logits, NONE), order, int(beyond.argmax()) + 1 if beyond.any() else SIZE)

    return cut


def tail_free(z: float) -> Reference:
    """As many as stand before the place, the second or later, where the sum of the normalised absolute second
    differences of the sorted probabilities passes z (Phénix, 2019; llama.cpp's cut). Only what is left counts."""

    def cut(logits: Array) -> Array:
        order = likeliest_first(logits)[: np.count_nonzero(logits > NONE)]
        p = probabilities(logits)[order]
        bends = np.abs((p[:-2] - p[1:-1]) - (p[1:-1] - p[2:]))
        bends = bends / bends.sum() if bends.sum() > 0 else np.full(len(bends), 1 / max(len(bends), 1))
        passed = [place for place in range(1, len(bends)) if bends[: place + 1].sum() > z]
        return first(logits, order, passed[0]) if passed else logits

    return cut


def top_n_sigma(n: float) -> Reference:
    """Within n standard deviations of the highest (arXiv:2411.07641)."""

    def cut(logits: Array) -> Array:
        seen = logits[logits > NONE]
        return keep(logits, logits >= seen.max() - n * seen.std())

    return cut


def penalties(
    history: ReadOnly[int], rep_pen: float, frequency: float, presence: float, slope: float = 1.0
) -> Reference:
    """Divide what is above 0, multiply what is below (Keskar et al., arXiv:1909.05858); subtract for each time and for
    any time (OpenAI's manual). With a slope tokens of the older half only get that share (KoboldAI)."""

    def penalise(logits: Array) -> Array:
        result = logits.copy()
        for token in set(history):
            strong = token in history[len(history) // 2 :]
            penalty = rep_pen if strong else 1 + (rep_pen - 1) * slope
            result[token] = result[token] / penalty if result[token] > 0 else result[token] * penalty
            result[token] -= history.count(token) * frequency + presence
        return result

    return penalise


def dynamic(t: float, spread_: float, exponent: float) -> Reference:
    """A temperature between t - spread and t + spread, by the entropy as a share of the largest one (kalomaze)."""

    def scale(logits: Array) -> Array:
        p = probabilities(logits)
        among = len(logits) if spread_ > 0 else np.count_nonzero(logits > NONE)  # llama.cpp counts what is forbidden
        entropy = -(p[p > 0] * np.log(p[p > 0])).sum() / np.log(among)
        low, high = max(0.0, t - spread_), max(0.0, t + spread_)
        return logits / max(low + (high - low) * entropy**exponent, 1e-3)

    return scale


def smooth(factor: float, curve: float) -> Reference:
    """-k f d^2 + s f d^3 + h with k = (3 - curve) / 2 and s = (curve - 1) / 2 (kalomaze)."""

    def bend(logits: Array) -> Array:
        d = np.where(logits > NONE, logits - logits.max(), 0)
        bent = -(3 - curve) / 2 * factor * d**2 + (curve - 1) / 2 * factor * d**3 + logits.max()
        return np.where(logits > NONE, bent, NONE)

    return bend


def dry(
    history: ReadOnly[int], multiplier: float, base: float, allowed: int, breakers: ReadOnly[int] = ()
) -> Reference:
    """Each token that would go on with a repeat of L tokens loses multiplier * base^(L - allowed) (p-e-w, text-
    generation-webui #5677). No repeat reaches across a breaker."""

    def penalise(logits: Array) -> Array:
        result = logits.copy()
        count = len(history)
        ends = [at for at in range(count) if history[at] in breakers]
        longest = count - 1 - ends[-1] if ends else count
        repeats: dict[int, int] = {}
        for at in range(1, count):
            length = 0
            while length < at and history[at - 1 - length] == history[count - 1 - length]:
                length += 1
            length = min(length, longest)
            repeats[history[at]] = max(repeats.get(history[at], -1), length)
        for token, length in repeats.items():
            if length >= allowed and longest >= allowed and count > allowed:
                result[token] -= multiplier * base ** (length - allowed)
        return result

    return penalise


def xtc(threshold: float) -> Reference:
    """All that are likely enough go, but the least likely of them (p-e-w, text-generation-webui #6335)."""

    def drop(logits: Array) -> Array:
        p = probabilities(logits)
        order = likeliest_first(logits)
        likely = [token for token in order if p[token] >= threshold]
        result = logits.copy()
        result[likely[:-1]] = NONE
        return result

    return drop


def adaptive(target: float) -> Reference:
    """The first draw: logits are 5 - 10 x^2 / (1 + x), with x the distance of a probability from the target in units of
    0.3 (llama.cpp #17927)."""

    def bend(logits: Array) -> Array:
        x = np.abs(probabilities(logits) - target) / 0.3
        return np.where(logits > NONE, 5 - 10 * x * x / (1 + x), NONE)

    return bend


def then(*references: Reference) -> Reference:
    def all_of(logits: Array) -> Array:
        for reference in references:
            logits = reference(logits)
        return logits

    return all_of


# --- one by one ---


@everywhere
@pytest.mark.parametrize("t", [0.2, 1.0, 5.0])
def test_temperature(samplers: Samplers, logits: Array, t: float):
    alike(samplers, logits, temperature(t), temperature=t)


@everywhere
@pytest.mark.parametrize("k", [1, 2, 17, 10**6])
def test_top_k(samplers: Samplers, logits: Array, k: int):
    alike(samplers, logits, top_k(k), top_k=k)


@everywhere
@pytest.mark.parametrize("p", [0.0, 0.3, 0.92, 0.999])
def test_top_p(samplers: Samplers, logits: Array, p: float):
    alike(samplers, logits, top_p(p), top_p=p)


@everywhere
@pytest.mark.parametrize("share", [0.01, 0.3, 1.0])
def test_min_p(samplers: Samplers, logits: Array, share: float):
    alike(samplers, logits, min_p(share), min_p=share)


@everywhere
@pytest.mark.parametrize("a", [0.01, 0.5, 1.0])
def test_top_a(samplers: Samplers, logits: Array, a: float):
    alike(samplers, logits, top_a(a), top_a=a)


@everywhere
@pytest.mark.parametrize("mass", [0.0, 0.2, 0.9])
def test_typical(samplers: Samplers, logits: Array, mass: float):
    alike(samplers, logits, typical(mass), typical=mass)


@everywhere
@pytest.mark.parametrize("z", [0.0, 0.5, 0.97])
def test_tail_free(samplers: Samplers, logits: Array, z: float):
    alike(samplers, logits, tail_free(z), tfs=z)


@everywhere
@pytest.mark.parametrize("n", [0.5, 1.0, 3.0])
def test_top_n_sigma(samplers: Samplers, logits: Array, n: float):
    # Where all tokens count, as when nothing was dropped, and behind a top k.
    alike(samplers, logits, top_n_sigma(n), nsigma=n) if np.ptp(logits) < 1e8 else None
    alike(samplers, logits, then(top_k(30), top_n_sigma(n)), top_k=30, nsigma=n) if np.ptp(logits) < 1e8 else None


HISTORY = tuple(np.random.default_rng(3).integers(0, 12, 40).tolist())


@everywhere
@pytest.mark.parametrize(
    ("rep_pen", "frequency", "presence"), [(1.3, 0, 0), (1, 0.4, 0), (1, 0, 0.7), (1.2, 0.1, -0.5)]
)
def test_penalties(samplers: Samplers, logits: Array, rep_pen: float, frequency: float, presence: float):
    how = {"rep_pen": rep_pen, "frequency_penalty": frequency, "presence_penalty": presence}
    alike(samplers, logits, penalties(HISTORY, rep_pen, frequency, presence), prompt=HISTORY, **how)
    near = HISTORY[-8:]
    alike(samplers, logits, penalties(near, rep_pen, frequency, presence), prompt=HISTORY, rep_pen_range=8, **how)


@everywhere
@pytest.mark.parametrize("slope", [0.1, 0.7])
def test_the_slope_of_the_repetition_penalty(samplers: Samplers, logits: Array, slope: float):
    how = {"rep_pen": 1.4, "rep_pen_slope": slope, "presence_penalty": 0.3}
    alike(samplers, logits, penalties(HISTORY, 1.4, 0, 0.3, slope), prompt=HISTORY, **how)


@everywhere
@pytest.mark.parametrize(("t", "range_", "exponent"), [(1.0, 0.5, 1.0), (0.7, 2.0, 0.5), (2.0, 1.5, 3.0)])
def test_dynamic_temperature(samplers: Samplers, logits: Array, t: float, range_: float, exponent: float):
    how = {"temperature": t, "dynatemp_range": range_, "dynatemp_exponent": exponent}
    alike(samplers, logits, dynamic(t, range_, exponent), **how)
    alike(samplers, logits, dynamic(t, -range_, exponent), **{**how, "dynatemp_range": -range_})


@everywhere
@pytest.mark.parametrize(("factor", "curve"), [(0.2, 1.0), (1.5, 1.0), (0.2, 2.0), (0.3, 4.0)])
def test_smoothing(samplers: Samplers, logits: Array, factor: float, curve: float):
    alike(samplers, logits, smooth(factor, curve), smoothing_factor=factor, smoothing_curve=curve)


@everywhere
@pytest.mark.parametrize("allowed", [1, 2, 4])
def test_dry(samplers: Samplers, logits: Array, allowed: int):
    history = (5, 1, 2, 3, 4, 1, 2, 3, 6, 2, 3, 0, 1, 2, 3)
    how = {"dry_multiplier": 0.8, "dry_base": 1.75, "dry_allowed_length": allowed}
    alike(samplers, logits, dry(history, 0.8, 1.75, allowed), prompt=history, **how)
    near = history[-7:]
    alike(samplers, logits, dry(near, 0.8, 1.75, allowed), prompt=history, dry_penalty_last_n=7, **how)


@hypothesis_settings(max_examples=60, deadline=None, derandomize=True)
@given(history=st.lists(st.integers(0, 3), min_size=1, max_size=40), allowed=st.integers(0, 5))
def test_dry_finds_every_repeat(samplers: Samplers, history: list[int], allowed: int):
    how = {"dry_multiplier": 1.1, "dry_base": 1.5, "dry_allowed_length": allowed}
    alike(samplers, EVERYWHERE["nearly alike"], dry(history, 1.1, 1.5, allowed), prompt=history, **how)


def test_dry_looks_across_no_breaker(samplers: Samplers):
    word, line = (samplers._vocabulary.tokenize(text, special=False)[0] for text in (" wolf", "\n"))
    history = (1, 2, 3, line, word, 1, 2, 3, line, word)
    logits = EVERYWHERE["nearly alike"]
    how = {"dry_multiplier": 1.0, "dry_base": 2.0, "dry_allowed_length": 1, "prompt": history}
    alike(samplers, logits, dry(history, 1, 2, 1), **how)
    alike(samplers, logits, dry(history, 1, 2, 1, breakers=(line,)), dry_sequence_breakers=("\n",), **how)
    alike(samplers, logits, dry(history, 1, 2, 1, breakers=(word,)), dry_sequence_breakers=("wolf",), **how)


@everywhere
@pytest.mark.parametrize("threshold", [0.05, 0.1, 0.5])
def test_xtc(samplers: Samplers, logits: Array, threshold: float):
    alike(samplers, logits, xtc(threshold), xtc_probability=1.0, xtc_threshold=threshold)


def test_xtc_happens_as_often_as_it_is_asked_to(samplers: Samplers):
    logits = spread(1.0, 0.9, 0.8)
    how = {"xtc_probability": 0.3, "xtc_threshold": 0.1}
    hits = sum(len(left_by(samplers, sampler_of(samplers, seed=seed, **how), logits)) < SIZE for seed in range(1, 401))
    assert 80 < hits < 160  # 120 are expected, with a deviation of 9


@everywhere
@pytest.mark.parametrize("target", [0.0, 0.3, 1.0])
def test_adaptive_p(samplers: Samplers, logits: Array, target: float):
    alike(samplers, logits, then(top_k(20), adaptive(target)), top_k=20, adaptive_target=target)


def test_adaptive_p_makes_up_for_what_was_drawn(samplers: Samplers):
    """The next target is twice the wish less the average so far, which begins at the wish."""
    logits, target, decay = spread(3.0, 1.0, 0.0), 0.4, 0.8
    sampler = sampler_of(samplers, top_k=3, adaptive_target=target, adaptive_decay=decay)
    left_by(samplers, sampler, logits)
    token = samplers._candidates.selected()
    samplers.accept(sampler, token)
    drawn_p = probabilities(logits[:3])[token]
    average = (drawn_p + decay * target / (1 - decay)) / (1 + decay / (1 - decay))
    check(left_by(samplers, sampler, logits), then(top_k(3), adaptive(min(max(2 * target - average, 0), 1)))(logits))


@pytest.mark.parametrize("seed", range(5))
def test_mirostat_2(samplers: Samplers, seed: int):
    """Drop what is more surprising than mu, which begins at 2 tau and follows the surprise (arXiv:2007.14966)."""
    logits, tau, eta = drawn(seed, scale=2.0), 1.5, 0.4
    sampler = sampler_of(samplers, seed=seed, mirostat=2, mirostat_tau=tau, mirostat_eta=eta)
    mu = 2 * tau
    for _ in range(4):
        kept = keep(logits, -np.log2(np.maximum(probabilities(logits), 1e-300)) <= mu)
        expected = kept if (kept > NONE).any() else top_k(1)(logits)
        check(left_by(samplers, sampler, logits), expected)
        mu -= eta * (-np.log2(probabilities(expected)[samplers._candidates.selected()]) - tau)


@pytest.mark.parametrize("seed", range(5))
def test_mirostat_1(samplers: Samplers, seed: int):
    """The k for which a Zipf distribution, estimated from 100 tokens, has the surprise mu (arXiv:2007.14966)."""
    logits, tau, eta = np.random.default_rng(seed).normal(0, 2, SIZE), 3.0, 0.1
    sampler = sampler_of(samplers, seed=seed, mirostat=1, mirostat_tau=tau, mirostat_eta=eta)
    p = np.sort(probabilities(logits))[::-1]
    t = np.log(np.arange(2, 101) / np.arange(1, 100))
    s = (t * np.log(p[:99] / p[1:100])).sum() / (t * t).sum()
    k = ((s - 1) * 2 ** (2 * tau) / (1 - SIZE ** -(s - 1))) ** (1 / s)
    found = left_by(samplers, sampler, logits)
    assert abs(len(found) - max(int(k), 1)) <= 1 + 0.01 * k  # 32 bits count a little otherwise
    check(found, top_k(len(found))(logits))


# --- bias, bans, guidance ---


@everywhere
def test_bias_and_bans(samplers: Samplers, logits: Array):
    def reference(numbers: Array) -> Array:
        result = numbers.copy()
        result[[0, 3]] += [2.0, -1.5]
        result[1] = NONE
        return result

    if probabilities(reference(logits)).max() > 0:
        alike(samplers, logits, reference, logit_bias=((0, 2.0), (3, -1.5)), token_bans=(1, 10**9))


def test_an_end_that_is_banned_or_too_early_is_never_drawn(samplers: Samplers):
    ends = samplers._vocabulary.end_tokens
    logits = drawn(1)
    logits[list(ends)] = 100.0
    assert set(ends) & left_by(samplers, sampler_of(samplers), logits).keys()
    banned = sampler_of(samplers, request={"ban_eos": True})
    assert not set(ends) & left_by(samplers, banned, logits).keys()
    early = sampler_of(samplers, request={"min_tokens": 2})
    assert samplers._too_early(early) == set(ends)
    samplers.accept(early, 5)
    samplers.accept(early, 5)
    assert samplers._too_early(early) == set()


@everywhere
@pytest.mark.parametrize("scale", [0.0, 1.0, 1.5, 7.0])
def test_guidance(logits: Array, scale: float):
    """scale * (l - n) + n (arXiv:2306.17806)."""
    negative = np.roll(logits, 3)
    both = (logits > NONE) & (negative > NONE) & (np.abs(logits) < 1e8) & (np.abs(negative) < 1e8)
    with np.errstate(invalid="ignore"):
        found = formulas.guided(logits.astype(np.float32), negative.astype(np.float32), scale)
    assert np.allclose(found[both], scale * (logits[both] - negative[both]) + negative[both], rtol=1e-4, atol=1e-3)
    assert not np.isnan(found).any()


# --- together ---

BY_INDEX: dict[int, tuple[Reference, dict[str, Any]]] = {
    0: (top_k(25), {"top_k": 25}),
    1: (top_a(0.05), {"top_a": 0.05}),
    2: (then(top_p(0.95), min_p(0.02)), {"top_p": 0.95, "min_p": 0.02}),
    3: (tail_free(0.95), {"tfs": 0.95}),
    4: (typical(0.95), {"typical": 0.95}),
    5: (then(temperature(1.3), smooth(0.3, 1.0)), {"temperature": 1.3, "smoothing_factor": 0.3}),
    6: (penalties(HISTORY, 1.2, 0, 0.1), {"rep_pen": 1.2, "presence_penalty": 0.1}),
}
ORDERS = [(6, 0, 1, 3, 4, 2, 5), (0, 1, 2, 3, 4, 5, 6), (5, 2, 6), (3, 0), *itertools.permutations((0, 2, 5, 6), 4)]


@pytest.mark.parametrize("order", ORDERS, ids=str)
@pytest.mark.parametrize("seed", [1, 2])
def test_samplers_run_in_the_order_asked_for_and_those_left_out_do_not(samplers: Samplers, order: Any, seed: int):
    reference = then(*(BY_INDEX[index][0] for index in order))
    every = {name: value for _, how in BY_INDEX.values() for name, value in how.items()}
    alike(samplers, drawn(seed), reference, order=order, prompt=HISTORY, **every)


def test_tokens_are_drawn_as_often_as_they_are_likely(samplers: Samplers):
    logits = spread(1.0, 0.5, 0.0, -1.0)
    sampler = sampler_of(samplers, top_k=4)
    counts = np.zeros(4)
    for _ in range(2000):
        left_by(samplers, sampler, logits)
        counts[samplers._candidates.selected()] += 1
    assert np.abs(counts / 2000 - probabilities(logits[:4])).max() < 0.05


@everywhere
def test_something_is_always_left_to_draw(samplers: Samplers, logits: Array):
    hostile: list[dict[str, Any]] = [
        {"min_p": 1e6, "top_a": 1e6, "typical": -5, "tfs": -1, "nsigma": 1e-9, "top_p": -1},
        {"smoothing_factor": 1e6, "smoothing_curve": -1e6, "temperature": 1e-3},
        {"rep_pen": 1e-6, "frequency_penalty": -1e6, "presence_penalty": 1e6, "rep_pen_slope": 0.5},
        {"xtc_probability": 1, "xtc_threshold": -1, "adaptive_target": 1},
        {"dry_multiplier": 1e6, "dry_base": 1e6, "dry_allowed_length": 0},
        {"dynatemp_range": 1e6, "dynatemp_exponent": -1e6},
        {"dynatemp_range": -1e6, "dynatemp_exponent": 1e6},
        {"mirostat": 1, "mirostat_tau": -1e6, "mirostat_eta": 1e6},
        {"mirostat": 2, "mirostat_tau": 0, "mirostat_eta": 1e6},
    ]
    for how in hostile:
        sampler = sampler_of(samplers, prompt=HISTORY, **how)
        for _ in range(3):
            left_by(samplers, sampler, logits)
            token = samplers._candidates.selected()
            assert 0 <= token < SIZE
            samplers.accept(sampler, token)


# --- going back ---


@pytest.mark.parametrize(
    "how",
    [
        {"rep_pen": 1.3, "presence_penalty": 0.2},
        {"rep_pen": 1.3, "rep_pen_slope": 0.5},
        {"dry_multiplier": 1.0, "dry_allowed_length": 1},
        {"rep_pen": 1.2, "dry_multiplier": 1.0, "dry_sequence_breakers": ("\n",), "top_k": 10},
    ],
    ids=str,
)
def test_what_was_taken_back_has_never_been(samplers: Samplers, how: dict[str, Any]):
    logits = EVERYWHERE["nearly alike"]
    went_on, straight = (sampler_of(samplers, prompt=HISTORY, **how) for _ in range(2))
    for token in (1, 2, 3):
        samplers.accept(went_on, token)
        samplers.accept(straight, token)
    for token in (7, 8, 7, 8, 1, 2):
        samplers.accept(went_on, token)
    samplers.rewind(went_on, 6)
    assert left_by(samplers, went_on, logits) == left_by(samplers, straight, logits)
