"""What a request asks for and there is not is named, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from server.request.unsupported import NEUTRAL, unsupported


def test_what_asks_for_nothing_is_not_named():
    assert unsupported(dict(NEUTRAL)) == ()
    assert unsupported(dict.fromkeys(NEUTRAL)) == ()
    assert unsupported(dict.fromkeys(NEUTRAL, "")) == ()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("no_repeat_ngram_size", 3),
        ("no_repeat_ngram_size", "3"),
        ("encoder_repetition_penalty", 1.2),
        ("add_bos_token", False),
        ("add_bos_token", "false"),
        ("images", ["aGk="]),
        ("singleline", True),
        ("suffix", "The end."),
        ("penalty_alpha", float("nan")),
        ("num_beams", 10**400),
        ("skew", {"odd": 1}),
    ],
)
def test_what_would_change_the_reply_is_named(name: str, value: Any):
    assert unsupported({name: value}) == (name,)


@pytest.mark.parametrize("value", ["0", 0.0, False, "false", None, [], {}])
def test_neutral_values_may_be_written_in_any_way(value: Any):
    assert unsupported({"no_repeat_ngram_size": value, "singleline": value}) == ()


def test_what_is_there_is_not_named():
    assert unsupported({"temperature": 2, "dry_multiplier": 0.8, "banned_strings": ["x"], "quiet": True}) == ()
