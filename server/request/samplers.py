"""Sampler settings out of a request body, under all the names that clients use for them.

Defaults are KoboldCpp's, on every dialect: a reply must not depend on the route it was asked for on.
"""

from __future__ import annotations

from typing import Any

from server import json_text
from server.events import DEFAULT_ORDER, Sampling
from server.request.fields import Fields

TEMPERATURE = ("temperature", "temp")
PENALTY = ("rep_pen", "repetition_penalty", "repeat_penalty")
PENALTY_RANGE = ("rep_pen_range", "repetition_penalty_range", "repeat_last_n")
MIROSTAT = ("mirostat", "mirostat_mode")
STRONGEST_BIAS = 100.0
LARGEST_NUMBER = 1e6
LONGEST_ID = 9  # digits
MOST_BIASES = 4096
MOST_BREAKERS = 128
LONGEST_BREAKER = 40


def read_sampling(fields: Fields) -> Sampling:
    """The :class:`Sampling` that a body asks for."""
    temperature, spread = _temperature(fields)
    return Sampling(
        temperature=temperature,
        top_k=int(_number(fields, "top_k", default=100)),
        top_p=_number(fields, "top_p", default=0.92),
        min_p=_number(fields, "min_p", default=0.0),
        typical=_number(fields, "typical", "typical_p", default=1.0),
        top_a=_number(fields, "top_a", default=0.0),
        tfs=_number(fields, "tfs", "tfs_z", default=1.0),
        nsigma=_number(fields, "nsigma", "top_n_sigma", default=0.0),
        rep_pen=_strongest(fields, *PENALTY),
        rep_pen_range=max(_whole(fields, *PENALTY_RANGE, default=320), 0),
        rep_pen_slope=_share(_number(fields, "rep_pen_slope", default=1.0)),
        presence_penalty=_number(fields, "presence_penalty", default=0.0),
        frequency_penalty=_number(fields, "frequency_penalty", default=0.0),
        seed=fields.whole("seed", "sampler_seed", default=-1),
        order=_order(fields.raw("sampler_order")[1]),
        mirostat=_whole(fields, *MIROSTAT, default=0),
        mirostat_tau=_number(fields, "mirostat_tau", default=5.0),
        mirostat_eta=_number(fields, "mirostat_eta", default=0.1),
        dynatemp_range=spread,
        dynatemp_exponent=_number(fields, "dynatemp_exponent", default=1.0),
        smoothing_factor=_number(fields, "smoothing_factor", default=0.0),
        smoothing_curve=_number(fields, "smoothing_curve", default=1.0),
        dry_multiplier=_number(fields, "dry_multiplier", default=0.0),
        dry_base=_number(fields, "dry_base", default=1.75),
        dry_allowed_length=max(_whole(fields, "dry_allowed_length", default=2), 0),
        dry_penalty_last_n=max(_whole(fields, "dry_penalty_last_n", default=320), 0),
        dry_sequence_breakers=_breakers(fields.raw("dry_sequence_breakers")[1]),
        xtc_threshold=_number(fields, "xtc_threshold", default=0.2),
        xtc_probability=_number(fields, "xtc_probability", default=0.0),
        adaptive_target=min(_number(fields, "adaptive_target", default=-1.0), 1.0),
        adaptive_decay=max(0.01, min(_number(fields, "adaptive_decay", default=0.9), 0.99)),
        token_bans=_token_bans(fields.raw("custom_token_bans")[1]),
        logit_bias=_biases(fields),
    )


def _temperature(fields: Fields) -> tuple[float, float]:
    """The temperature and how far it may move. SillyTavern says the latter also as a lowest and a highest one."""
    temperature = _number(fields, *TEMPERATURE, default=0.75)
    spread = _number(fields, "dynatemp_range", default=0.0)
    low, high = (fields.optional_number(name) for name in ("dynatemp_low", "dynatemp_high"))
    asked = fields.raw("dynatemp_range")[1] is None and fields.raw("dynamic_temperature")[1] is True
    if asked and low is not None and high is not None and 0 <= low < high:
        return _bounded((low + high) / 2), _bounded((high - low) / 2)
    return temperature, spread


def _number(fields: Fields, *names: str, default: float) -> float:
    return _bounded(fields.number(*names, default=default))


def _whole(fields: Fields, *names: str, default: int) -> int:
    return int(_number(fields, *names, default=default))


def _bounded(value: float) -> float:
    """llama.cpp counts in 32 bits, and not-a-number among its logits ends the process."""
    return max(-LARGEST_NUMBER, min(value, LARGEST_NUMBER))


def _share(value: float) -> float:
    """What is no share counts as all, as in KoboldCpp."""
    return value if 0 < value <= 1 else 1.0


def _strongest(fields: Fields, *names: str) -> float:
    """SillyTavern sends one penalty under several names; KoboldCpp takes the largest."""
    given = (fields.optional_number(name) for name in names)
    return _bounded(max((value for value in given if value is not None and value > 0), default=1.0))


def _order(value: Any) -> tuple[int, ...]:
    if isinstance(value, list) and value and all(isinstance(index, int) for index in value):
        return tuple(dict.fromkeys(value))[: len(DEFAULT_ORDER)]
    return DEFAULT_ORDER


def _breakers(value: Any) -> tuple[str, ...]:
    """Texts over which DRY does not look back, as a list or, from SillyTavern, as the JSON text of one."""
    if isinstance(value, str):
        try:
            value = json_text.loads(value)
        except ValueError:
            value = [value]
    entries = value if isinstance(value, list) else []
    texts = [text[:LONGEST_BREAKER].replace("\0", "") for text in entries if isinstance(text, str)]
    return tuple(dict.fromkeys(filter(None, texts)))[:MOST_BREAKERS]


def _token_bans(value: Any) -> tuple[int, ...]:
    """Token ids, as a list or with commas between them."""
    entries = value.split(",") if isinstance(value, str) else value if isinstance(value, list) else []
    ids = (str(entry).strip() for entry in entries[:MOST_BIASES])
    return tuple(int(entry) for entry in ids if _is_id(entry))


def _biases(fields: Fields) -> tuple[tuple[int, float], ...]:
    """By token id: an object, or llama.cpp's list of pairs."""
    given = fields.raw("logit_bias")[1]
    if isinstance(given, list):
        given = {str(pair[0]): pair[1] for pair in given if isinstance(pair, list) and len(pair) == 2}
    else:
        given = fields.mapping("logit_bias")
    biases = Fields(given, strict=False)
    pairs = ((token, biases.optional_number(token)) for token in list(given)[:MOST_BIASES] if _is_id(token))
    return tuple(
        (int(token), max(-STRONGEST_BIAS, min(bias, STRONGEST_BIAS))) for token, bias in pairs if bias is not None
    )


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= LONGEST_ID
