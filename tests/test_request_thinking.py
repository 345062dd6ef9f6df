"""What a request wants of the model's thinking, under every name that clients use for it."""

from __future__ import annotations

from typing import Any

import pytest

from server.errors import BadRequest
from server.request.fields import Fields
from server.request.thinking import BUDGETS, Mode, ThinkingWish, read_thinking

SHOW, HIDE, OFF = Mode.SHOW, Mode.HIDE, Mode.OFF


def wish(**body: Any) -> ThinkingWish:
    return read_thinking(Fields(body, strict=True))


@pytest.mark.parametrize("nothing", [None, ""])
def test_a_request_that_says_nothing_wishes_nothing(nothing):
    names = ("thinking", "reasoning", "enable_thinking", "think", "reasoning_effort", "include_reasoning")
    assert wish() == ThinkingWish()
    assert wish(**dict.fromkeys((*names, *BUDGETS), nothing)) == ThinkingWish()


@pytest.mark.parametrize(
    ("body", "mode"),
    [
        ({"thinking": "show"}, SHOW),
        ({"thinking": "hide"}, HIDE),
        ({"thinking": "off"}, OFF),
        ({"thinking": "OFF"}, OFF),
        ({"thinking": "none"}, OFF),
        ({"thinking": {"mode": "hide"}}, HIDE),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, SHOW),
        ({"thinking": {"type": "disabled"}}, OFF),
        ({"thinking": True}, SHOW),
        ({"thinking": False}, OFF),
        ({"enable_thinking": True}, SHOW),
        ({"enable_thinking": False}, OFF),
        ({"chat_template_kwargs": {"enable_thinking": True}}, SHOW),
        ({"chat_template_kwargs": {"enable_thinking": False}}, OFF),
        ({"chat_template_kwargs": {"thinking": False}}, OFF),
        ({"think": True}, SHOW),
        ({"think": False}, OFF),
        ({"reasoning_effort": "none"}, OFF),
        ({"reasoning_effort": "high"}, None),
        ({"reasoning": {"effort": "none"}}, OFF),
        ({"reasoning": {"effort": "low"}}, None),
        ({"reasoning": {"enabled": True}}, SHOW),
        ({"reasoning": {"enabled": False}}, OFF),
        ({"reasoning": {"exclude": True}}, HIDE),
        ({"reasoning": {"exclude": False}}, None),
        ({"reasoning": {"enabled": True, "exclude": True}}, HIDE),
        ({"include_reasoning": True}, SHOW),
        ({"include_reasoning": False}, HIDE),
    ],
    ids=str,
)
def test_every_name_of_a_mode_is_understood(body, mode):
    assert wish(**body).mode is mode


@pytest.mark.parametrize(
    ("body", "on"),
    [
        ({"thinking": True}, True),
        ({"thinking": {"type": "enabled"}}, True),
        ({"enable_thinking": True}, True),
        ({"think": True}, True),
        ({"reasoning": {"enabled": True}}, True),
        ({"chat_template_kwargs": {"enable_thinking": True}}, True),
        ({"reasoning": {"enabled": True, "exclude": True}}, True),
        ({"thinking": "show"}, False),
        ({"thinking": "hide"}, False),
        ({"include_reasoning": True}, False),
        ({"think": False}, False),
        ({}, False),
    ],
    ids=str,
)
def test_only_a_switch_switches_thinking_on(body, on):
    assert wish(**body).switched_on is on


@pytest.mark.parametrize("name", BUDGETS)
def test_a_budget_has_many_names(name):
    assert wish(**{name: 512}) == ThinkingWish(budget=512)


@pytest.mark.parametrize(
    ("body", "budget"),
    [
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, 1024),
        ({"reasoning": {"max_tokens": 2000}}, 2000),
        ({"thinking": "show", "thinking_budget": 5}, 5),
        ({"thinking_budget": 5, "thinking": {"type": "enabled", "budget_tokens": 1024}}, 5),
        ({"thinking_budget": 0}, 0),
        ({"thinking_budget": -1}, -1),
        ({"thinking_budget": -99}, -1),
        ({"thinking_budget": "64"}, 64),
        ({"thinking": {"budget_tokens": None}}, None),
        ({"thinking": {"budget_tokens": "many"}}, None),
    ],
    ids=str,
)
def test_a_budget_is_read_wherever_it_stands(body, budget):
    assert wish(**body).budget == budget


@pytest.mark.parametrize("value", ["loud", "true", "high"])
def test_a_mode_that_nobody_knows_is_refused_with_those_there_are(value):
    with pytest.raises(BadRequest, match=r"^thinking must be show, hide or off, not ") as caught:
        wish(thinking=value)
    assert caught.value.param == "thinking"
    assert value in str(caught.value)


@pytest.mark.parametrize("odd", [5, [], {}, {"type": 5}, {"type": "adaptive"}])
def test_a_mode_of_another_kind_is_no_mode(odd):
    assert wish(thinking=odd, reasoning=odd, reasoning_effort=odd, think=odd) == ThinkingWish()
