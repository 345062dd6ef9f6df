"""From a request's :class:`~server.events.Sampling` to the samplers that run, in the order asked for."""

from __future__ import annotations

from dataclasses import dataclass

from server.engine.formulas import SMALLEST_TEMPERATURE
from server.events import Sampling

LARGEST_XTC_THRESHOLD = 0.5  # above it no two tokens can be likely enough
SMALLEST_XTC_THRESHOLD = 1e-5  # without it one that is forbidden would be the least likely, and stay


@dataclass(frozen=True)
class Sampler:
    """One link of the chain, with the values of its settings. What it is stands in ``llama/samplers.py``."""

    name: str
    values: tuple[float, ...] = ()


def chain(sampling: Sampling, seed: int) -> list[Sampler]:
    """The samplers to run, first to last; the last one picks the token.

    As in KoboldCpp: bias and DRY, then ``sampling.order``, where an index that is missing is a sampler that does not
    run, then XTC, then the draw. A temperature of 0, or so small that logits divided by it would overflow, is greedy.
    """
    steps = [*_bias(sampling), *_dry(sampling)]
    if sampling.temperature < SMALLEST_TEMPERATURE:
        return [*steps, *_penalties(sampling), Sampler("greedy")]
    if sampling.mirostat in (1, 2):
        version = "mirostat" if sampling.mirostat == 1 else "mirostat_v2"
        draw = Sampler(version, (seed, sampling.mirostat_tau, sampling.mirostat_eta))
        return [*steps, *_penalties(sampling), *_temperature(sampling), draw]
    for index in sampling.order:
        steps += _BY_INDEX.get(index, _nothing)(sampling)
    return [*steps, *_xtc(sampling, seed), _draw(sampling, seed)]


def _nothing(_: Sampling) -> list[Sampler]:
    return []


def _bias(s: Sampling) -> list[Sampler]:
    return [Sampler("logit_bias")] if s.logit_bias or s.token_bans else []


def _dry(s: Sampling) -> list[Sampler]:
    if s.dry_multiplier <= 0 or s.dry_base < 1:
        return []
    return [Sampler("dry", (s.dry_multiplier, s.dry_base, s.dry_allowed_length, s.dry_penalty_last_n))]


def _top_k(s: Sampling) -> list[Sampler]:
    return [Sampler("top_k", (s.top_k,))] if s.top_k > 0 else []


def _top_a(s: Sampling) -> list[Sampler]:
    return [Sampler("top_a", (s.top_a,))] if s.top_a > 0 else []


def _top_p_and_min_p(s: Sampling) -> list[Sampler]:
    steps = [Sampler("top_p", (s.top_p, 1))] if s.top_p < 1 else []
    return [*steps, Sampler("min_p", (s.min_p, 1))] if s.min_p > 0 else steps


def _tail_free(s: Sampling) -> list[Sampler]:
    return [Sampler("tail_free", (max(s.tfs, 0.0),))] if s.tfs < 1 else []


def _typical(s: Sampling) -> list[Sampler]:
    return [Sampler("typical", (s.typical,))] if s.typical < 1 else []


def _temperature(s: Sampling) -> list[Sampler]:
    """The temperature and what belongs to it, as in KoboldCpp: smoothing after it, and the cut at n sigma last."""
    if s.dynatemp_range:
        name = "temp_ext" if s.dynatemp_range > 0 else "inverted_temperature"
        steps = [Sampler(name, (s.temperature, s.dynatemp_range, s.dynatemp_exponent))]
    else:
        steps = [Sampler("temp", (s.temperature,))]
    if s.smoothing_factor > 0:
        steps.append(Sampler("smoothing", (s.smoothing_factor, s.smoothing_curve)))
    if s.nsigma > 0:
        steps.append(Sampler("top_n_sigma", (s.nsigma,)))
    return steps


def _penalties(s: Sampling) -> list[Sampler]:
    if s.rep_pen == 1 and not s.presence_penalty and not s.frequency_penalty:
        return []
    values = (s.rep_pen_range, s.rep_pen, s.frequency_penalty, s.presence_penalty)
    if s.rep_pen != 1 and s.rep_pen_slope != 1:
        return [Sampler("sloped_penalties", (*values, s.rep_pen_slope))]
    return [Sampler("penalties", values)]


def _xtc(s: Sampling, seed: int) -> list[Sampler]:
    if s.xtc_probability <= 0 or s.xtc_threshold > LARGEST_XTC_THRESHOLD:
        return []
    threshold = max(s.xtc_threshold, SMALLEST_XTC_THRESHOLD)
    return [Sampler("xtc", (s.xtc_probability, threshold, 1, seed))]


def _draw(s: Sampling, seed: int) -> Sampler:
    if s.adaptive_target >= 0:
        return Sampler("adaptive_p", (s.adaptive_target, s.adaptive_decay, seed))
    return Sampler("dist", (seed,))


_BY_INDEX = {
    0: _top_k,
    1: _top_a,
    2: _top_p_and_min_p,
    3: _tail_free,
    4: _typical,
    5: _temperature,
    6: _penalties,
}
