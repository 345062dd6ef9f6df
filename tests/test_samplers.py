"""Sampler settings under all the names that clients use, with KoboldCpp's defaults."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.errors import BadRequest
from server.events import Sampling
from server.request.fields import Fields
from server.request.samplers import DEFAULT_ORDER, read_sampling


def sampling_of(**body: Any) -> Sampling:
    return read_sampling(Fields(body, strict=False))


def test_the_defaults_are_koboldcpps():
    assert sampling_of() == Sampling(
        temperature=0.75, top_k=100, top_p=0.92, min_p=0, typical=1, rep_pen=1, rep_pen_range=320, seed=-1
    )


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("temperature", "temperature", 1.2),
        ("temp", "temperature", 1.2),
        ("top_k", "top_k", 5),
        ("top_p", "top_p", 0.5),
        ("min_p", "min_p", 0.1),
        ("typical", "typical", 0.9),
        ("typical_p", "typical", 0.9),
        ("rep_pen", "rep_pen", 1.1),
        ("repetition_penalty", "rep_pen", 1.1),
        ("repeat_penalty", "rep_pen", 1.1),
        ("rep_pen_range", "rep_pen_range", 64),
        ("repetition_penalty_range", "rep_pen_range", 64),
        ("repeat_last_n", "rep_pen_range", 64),
        ("presence_penalty", "presence_penalty", 0.5),
        ("frequency_penalty", "frequency_penalty", 0.5),
        ("seed", "seed", 7),
        ("sampler_seed", "seed", 7),
    ],
)
def test_every_name_of_a_sampler_is_understood(name, field, value):
    assert getattr(sampling_of(**{name: value}), field) == value


def test_koboldcpps_name_wins_over_the_others():
    assert sampling_of(temp=0.1, temperature=0.9).temperature == 0.9
    assert sampling_of(typical_p=0.1, typical=0.9).typical == 0.9


def test_the_strongest_repetition_penalty_counts():
    assert sampling_of(rep_pen=1.0, repetition_penalty=1.1, repeat_penalty=1.05).rep_pen == 1.1


@pytest.mark.parametrize("nothing", [None, ""])
def test_null_and_empty_are_the_default(nothing):
    names = ("temperature", "top_k", "top_p", "min_p", "typical", "rep_pen", "rep_pen_range", "seed")
    others = ("presence_penalty", "frequency_penalty", "sampler_order", "logit_bias")
    assert sampling_of(**dict.fromkeys((*names, *others), nothing)) == sampling_of()


@pytest.mark.parametrize(("top_k", "read"), [(-1, -1), (0, 0), (40.0, 40), ("40", 40)])
def test_top_k_may_be_off_or_a_float(top_k, read):
    assert sampling_of(top_k=top_k).top_k == read


@pytest.mark.parametrize(("seed", "read"), [(-1, -1), (None, -1), (2**32 + 1, 2**32 + 1), (5.0, 5), ("", -1)])
def test_a_seed_may_be_anything(seed, read):
    assert sampling_of(sampler_seed=seed).seed == read
    assert sampling_of(seed=seed).seed == read


@pytest.mark.parametrize("rep_pen", [0, -1])
def test_a_repetition_penalty_that_makes_no_sense_is_off(rep_pen):
    assert sampling_of(rep_pen=rep_pen).rep_pen == 1


def test_a_negative_range_is_none():
    assert sampling_of(rep_pen_range=-5).rep_pen_range == 0


# --- order ---


def test_the_order_of_the_request_is_kept():
    assert sampling_of(sampler_order=[0, 1, 2, 3, 4, 5, 6]).order == (0, 1, 2, 3, 4, 5, 6)


@pytest.mark.parametrize("order", [None, [], "6,0,1", {}, ["a"], [None], 5])
def test_an_order_that_is_none_is_koboldcpps(order):
    assert sampling_of(sampler_order=order).order == DEFAULT_ORDER


def test_an_endless_order_cannot_build_an_endless_chain():
    assert len(sampling_of(sampler_order=[5] * 100_000).order) <= 7


# --- bias ---


@pytest.mark.parametrize("nothing", [None, {}, "", []])
def test_no_bias_is_no_bias(nothing):
    assert sampling_of(logit_bias=nothing).logit_bias == ()


def test_biases_are_read_by_token_and_kept_within_bounds():
    assert sampling_of(logit_bias={"5": -1, "7": "2.5", "9": 1e9, "11": -1e9}).logit_bias == (
        (5, -1.0),
        (7, 2.5),
        (9, 100.0),
        (11, -100.0),
    )


def test_what_is_no_token_or_no_bias_is_left_out():
    assert sampling_of(logit_bias={"hello": 1, "": 1, "-5": 1, "5": None, "6": "much", "7": [1]}).logit_bias == ()


def test_a_token_with_thousands_of_digits_is_left_out():
    assert sampling_of(logit_bias={"9" * 5000: 1}).logit_bias == ()


# --- strict bodies ---


@pytest.mark.parametrize("name", ["temperature", "top_p", "seed", "presence_penalty", "logit_bias"])
def test_a_strict_body_refuses_what_openai_refuses(name):
    with pytest.raises(BadRequest) as caught:
        read_sampling(Fields({name: "hot"}, strict=True))
    assert caught.value.param == name


@pytest.mark.parametrize("nothing", [None, {}, ""])
def test_a_strict_body_may_have_an_empty_bias(nothing):
    assert read_sampling(Fields({"logit_bias": nothing}, strict=True)) == sampling_of()


# --- the others ---


def test_every_sampler_of_koboldcpp_has_its_name():
    body = {
        "top_a": 0.1,
        "tfs": 0.9,
        "nsigma": 1.5,
        "rep_pen_slope": 0.7,
        "mirostat": 2,
        "mirostat_tau": 4,
        "mirostat_eta": 0.2,
        "dynatemp_range": 0.4,
        "dynatemp_exponent": 2,
        "smoothing_factor": 0.3,
        "smoothing_curve": 1.5,
        "dry_multiplier": 0.8,
        "dry_base": 2,
        "dry_allowed_length": 3,
        "dry_penalty_last_n": 64,
        "xtc_threshold": 0.1,
        "xtc_probability": 0.5,
        "adaptive_target": 0.5,
        "adaptive_decay": 0.8,
    }
    sampling = sampling_of(**body)
    assert {name: getattr(sampling, name) for name in body} == body
    assert sampling_of(**{name: str(value) for name, value in body.items()}) == sampling


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [("tfs_z", "tfs", 0.9), ("top_n_sigma", "nsigma", 2), ("mirostat_mode", "mirostat", 1)],
)
def test_other_names_are_understood_too(name, field, value):
    assert getattr(sampling_of(**{name: value}), field) == value


@pytest.mark.parametrize("breakers", ['["\\n", ":"]', ["\n", ":"], ["\n", "", ":", "\n", 5, None]])
def test_breakers_are_a_list_or_the_text_of_one(breakers):
    assert sampling_of(dry_sequence_breakers=breakers).dry_sequence_breakers == ("\n", ":")


@pytest.mark.parametrize("breakers", ["", None, [], "[]", 5, {}])
def test_no_breakers_are_none(breakers):
    assert sampling_of(dry_sequence_breakers=breakers).dry_sequence_breakers == ()


def test_one_breaker_may_be_a_plain_text():
    assert sampling_of(dry_sequence_breakers="***").dry_sequence_breakers == ("***",)


@pytest.mark.parametrize("bans", ["5, 6", "5,,6,x,-1", [5, 6], ["5", "6"]])
def test_token_bans_are_a_text_or_a_list(bans):
    assert sampling_of(custom_token_bans=bans).token_bans == (5, 6)


def test_sillytaverns_lowest_and_highest_temperature_are_a_range():
    low_and_high = {"dynamic_temperature": True, "dynatemp_low": 0.5, "dynatemp_high": 1.5}
    assert (sampling_of(**low_and_high).temperature, sampling_of(**low_and_high).dynatemp_range) == (1.0, 0.5)
    assert sampling_of(**low_and_high, dynatemp_range=0.2).dynatemp_range == 0.2
    assert sampling_of(**{**low_and_high, "dynamic_temperature": False}).dynatemp_range == 0


@pytest.mark.parametrize(("slope", "meant"), [(0.5, 0.5), (0, 1), (-1, 1), (2, 1)])
def test_a_slope_that_is_none_counts_as_all(slope, meant):
    assert sampling_of(rep_pen_slope=slope).rep_pen_slope == meant


@settings(max_examples=150, deadline=None)
@given(
    st.fixed_dictionaries(
        {},
        optional=dict.fromkeys(
            ("temperature", "top_k", "rep_pen", "presence_penalty", "frequency_penalty", "top_p"), st.floats()
        ),
    )
)
def test_no_number_leaves_the_range_that_the_native_sampler_can_count_in(body):
    sampling = sampling_of(**body)
    assert abs(sampling.top_k) < 2**31
    for name in ("temperature", "rep_pen", "presence_penalty", "frequency_penalty", "top_p"):
        assert abs(getattr(sampling, name)) < 3.4e38  # the largest 32-bit float
