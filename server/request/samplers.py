"""Sampler settings out of a request body, under all the names that clients use for them.

Defaults are KoboldCpp's, on every dialect: a reply must not depend on the route it was asked for on.
"""

from __future__ import annotations

from typing import Any

from server.events import Sampling
from server.request.fields import Fields

DEFAULT_ORDER = (6, 0, 1, 3, 4, 2, 5)
STRONGEST_BIAS = 100.0


def read_sampling(fields: Fields) -> Sampling:
    """The :class:`Sampling` that a body asks for."""
    return Sampling(
        temperature=fields.number("temperature", "temp", default=0.75),
        top_k=fields.whole("top_k", default=100),
        top_p=fields.number("top_p", default=0.92),
        min_p=fields.number("min_p", default=0.0),
        typical=fields.number("typical", "typical_p", default=1.0),
        rep_pen=_positive(fields.number("rep_pen", "repetition_penalty", "repeat_penalty", default=1.0)),
        rep_pen_range=max(fields.whole("rep_pen_range", "repetition_penalty_range", "repeat_last_n", default=320), 0),
        presence_penalty=fields.number("presence_penalty", default=0.0),
        frequency_penalty=fields.number("frequency_penalty", default=0.0),
        seed=fields.whole("seed", "sampler_seed", default=-1),
        order=_order(fields.raw("sampler_order")[1]),
        grammar=fields.text("grammar", "grammar_string"),
        logit_bias=_biases(fields.mapping("logit_bias")),
    )


def _positive(value: float) -> float:
    return value if value > 0 else 1.0


def _order(value: Any) -> tuple[int, ...]:
    if isinstance(value, list) and value and all(isinstance(index, int) for index in value):
        return tuple(value)
    return DEFAULT_ORDER


def _biases(mapping: dict[str, Any]) -> tuple[tuple[int, float], ...]:
    fields = Fields(mapping, strict=False)
    pairs = ((token, fields.optional_number(token)) for token in mapping if token.isdecimal())
    return tuple(
        (int(token), max(-STRONGEST_BIAS, min(bias, STRONGEST_BIAS))) for token, bias in pairs if bias is not None
    )
