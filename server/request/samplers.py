"""Sampler settings out of a request body, under all the names that clients use for them.

Defaults are KoboldCpp's, on every dialect: a reply must not depend on the route it was asked for on.
"""

from __future__ import annotations

from typing import Any

from server.events import DEFAULT_ORDER, Sampling
from server.request.fields import Fields

TEMPERATURE = ("temperature", "temp")
PENALTY = ("rep_pen", "repetition_penalty", "repeat_penalty")
STRONGEST_BIAS = 100.0
LARGEST_NUMBER = 1e6
LONGEST_ID = 9  # digits


def read_sampling(fields: Fields) -> Sampling:
    """The :class:`Sampling` that a body asks for."""
    return Sampling(
        temperature=_bounded(fields.number(*TEMPERATURE, default=0.75)),
        top_k=int(_bounded(fields.number("top_k", default=100))),
        top_p=_bounded(fields.number("top_p", default=0.92)),
        min_p=_bounded(fields.number("min_p", default=0.0)),
        typical=_bounded(fields.number("typical", "typical_p", default=1.0)),
        rep_pen=_strongest(fields, *PENALTY),
        rep_pen_range=max(fields.whole("rep_pen_range", "repetition_penalty_range", "repeat_last_n", default=320), 0),
        presence_penalty=_bounded(fields.number("presence_penalty", default=0.0)),
        frequency_penalty=_bounded(fields.number("frequency_penalty", default=0.0)),
        seed=fields.whole("seed", "sampler_seed", default=-1),
        order=_order(fields.raw("sampler_order")[1]),
        mirostat=fields.whole("mirostat", "mirostat_mode", default=0),
        mirostat_tau=_bounded(fields.number("mirostat_tau", default=5.0)),
        mirostat_eta=_bounded(fields.number("mirostat_eta", default=0.1)),
        logit_bias=_biases(fields.mapping("logit_bias")),
    )


def _bounded(value: float) -> float:
    """llama.cpp counts in 32 bits, and not-a-number among its logits ends the process."""
    return max(-LARGEST_NUMBER, min(value, LARGEST_NUMBER))


def _strongest(fields: Fields, *names: str) -> float:
    """SillyTavern sends one penalty under several names; KoboldCpp takes the largest."""
    given = (fields.optional_number(name) for name in names)
    return _bounded(max((value for value in given if value is not None and value > 0), default=1.0))


def _order(value: Any) -> tuple[int, ...]:
    if isinstance(value, list) and value and all(isinstance(index, int) for index in value):
        return tuple(dict.fromkeys(value))[: len(DEFAULT_ORDER)]
    return DEFAULT_ORDER


def _biases(mapping: dict[str, Any]) -> tuple[tuple[int, float], ...]:
    fields = Fields(mapping, strict=False)
    pairs = (
        (token, fields.optional_number(token)) for token in mapping if token.isdecimal() and len(token) <= LONGEST_ID
    )
    return tuple(
        (int(token), max(-STRONGEST_BIAS, min(bias, STRONGEST_BIAS))) for token, bias in pairs if bias is not None
    )
