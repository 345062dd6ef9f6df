"""From a request's :class:`~server.events.Sampling` to the samplers of llama.cpp's chain, in the order asked for."""

from __future__ import annotations

from dataclasses import dataclass

from server.events import Sampling

SMALLEST_TEMPERATURE = 1e-3


@dataclass(frozen=True)
class Sampler:
    """One link of the chain: ``llama_sampler_init_<name>(*values)``. The model fills in what it alone knows."""

    name: str
    values: tuple[float, ...] = ()


def chain(sampling: Sampling, seed: int) -> list[Sampler]:
    """The samplers to run, first to last; the last one picks the token.

    A temperature of 0, or so small that logits divided by it would overflow, is greedy. ``sampling.order`` holds
    KoboldCpp's indices; those of samplers that are switched off, or that llama.cpp's chain does not have (1 top_a,
    3 tail-free), add nothing.
    """
    steps = [Sampler("logit_bias")] if sampling.logit_bias else []
    if sampling.temperature < SMALLEST_TEMPERATURE:
        return [*steps, *_penalties(sampling), Sampler("greedy")]
    if sampling.mirostat in (1, 2):
        version = "mirostat" if sampling.mirostat == 1 else "mirostat_v2"
        draw = Sampler(version, (seed, sampling.mirostat_tau, sampling.mirostat_eta))
        return [*steps, *_penalties(sampling), *_temperature(sampling), draw]
    for index in sampling.order:
        steps += _BY_INDEX.get(index, _nothing)(sampling)
    return [*steps, Sampler("dist", (seed,))]


def _nothing(_: Sampling) -> list[Sampler]:
    return []


def _top_k(s: Sampling) -> list[Sampler]:
    return [Sampler("top_k", (s.top_k,))] if s.top_k > 0 else []


def _top_p_and_min_p(s: Sampling) -> list[Sampler]:
    steps = [Sampler("top_p", (s.top_p, 1))] if s.top_p < 1 else []
    return [*steps, Sampler("min_p", (s.min_p, 1))] if s.min_p > 0 else steps


def _typical(s: Sampling) -> list[Sampler]:
    return [Sampler("typical", (s.typical, 1))] if s.typical < 1 else []


def _temperature(s: Sampling) -> list[Sampler]:
    return [Sampler("temp", (s.temperature,))]


def _penalties(s: Sampling) -> list[Sampler]:
    if s.rep_pen == 1 and not s.presence_penalty and not s.frequency_penalty:
        return []
    return [Sampler("penalties", (s.rep_pen_range, s.rep_pen, s.frequency_penalty, s.presence_penalty))]


_BY_INDEX = {0: _top_k, 2: _top_p_and_min_p, 4: _typical, 5: _temperature, 6: _penalties}
