"""KoboldAI's JSON as real clients send it; nothing but a missing prompt is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from server.errors import BadRequest
from server.events import Constraint, ConstraintKind
from server.request.kobold import read_generate
from server.request.openai import read_completions
from server.request.schema import constraint_of
from server.request.text_request import TextRequest
from server.request.thinking import Mode, ThinkingWish

SCHEMA = {"type": "object", "properties": {"mood": {"enum": ["grim", "gay"]}}}
WRONG = {"type": "object", "properties": {"mood": {"type": "feeling"}}}


def read(**body: Any) -> TextRequest:
    return read_generate({"prompt": "Hi", **body}, shift=False)


def test_the_smallest_request_is_a_prompt():
    assert read() == TextRequest(prompt="Hi", sampling=read().sampling, lenient=True)


def test_chims_request_is_understood():
    request = read(
        temperature=0.9,
        max_length=512,
        min_p=0.1,
        top_k=0,
        rep_pen=1.05,
        stop_sequence=["Prisoner:", "\nPrisoner ", "Author's notes", "###", ""],
        use_default_badwordsids=True,
        trim_stop=True,
        grammar="",
    )
    assert request.stop == ("Prisoner:", "\nPrisoner ", "Author's notes", "###")
    assert (request.max_tokens, request.ban_eos, request.keep_stop) == (512, True, False)


def test_the_samplers_do_not_depend_on_the_dialect():
    assert read(temperature=0.5).sampling == read_completions({"prompt": "Hi", "temperature": 0.5}, {})[0].sampling


def test_every_field_but_the_prompt_may_be_null():
    names = "memory max_length max_context_length stop_sequence trim_stop ban_eos_token use_default_badwordsids genkey"
    samplers = "temperature top_k top_p rep_pen rep_pen_range sampler_order sampler_seed grammar logit_bias min_p"
    assert read(**dict.fromkeys(f"{names} {samplers}".split())) == read()


@pytest.mark.parametrize("odd", ["", "many", [], {}, float("nan")], ids=repr)
def test_a_value_that_cannot_be_read_counts_as_absent(odd):
    names = ("max_length", "max_context_length", "temperature", "top_k", "rep_pen", "sampler_seed", "logit_bias")
    assert read(**dict.fromkeys(names, odd)) == read()


@pytest.mark.parametrize("prompt", [None, 5, [], {}, ["Hi"]])
def test_without_a_prompt_there_is_nothing_to_do(prompt):
    with pytest.raises(BadRequest) as caught:
        read(prompt=prompt)
    assert caught.value.param == "prompt"


def test_an_empty_prompt_is_left_to_the_model():
    assert read(prompt="", memory="Once upon").memory == "Once upon"


@pytest.mark.parametrize(
    ("stop", "kept"),
    [(None, ()), ("", ()), ("#", ("#",)), (["", None, "#"], ("#",)), ([], ()), (5, ()), ({}, ())],
    ids=repr,
)
def test_stop_sequences_are_forgiven_everything(stop, kept):
    assert read(stop_sequence=stop).stop == kept


@pytest.mark.parametrize("nothing", [None, "", [], [""]])
def test_openais_name_of_stop_counts_when_kobolds_is_empty(nothing):
    assert read(stop_sequence=nothing, stop=["#"]).stop == ("#",)


@pytest.mark.parametrize(("value", "length"), [(80, 80), (80.0, 80), ("80", 80), (1e6, 1_000_000), (None, None)])
def test_the_length_may_come_in_any_shape(value, length):
    assert read(max_length=value).max_tokens == length


def test_the_context_of_the_request_is_kept():
    assert read(max_context_length=2048.0).context == 2048


@pytest.mark.parametrize("allowed", [True, False])
def test_a_reply_may_outgrow_the_context_where_the_server_allows_it(allowed):
    assert read_generate({"prompt": "Hi"}, shift=allowed).shift is allowed


@pytest.mark.parametrize(("trim", "keep"), [(True, False), (False, True), (None, False), ("", False)])
def test_a_stop_stays_in_the_text_only_when_asked(trim, keep):
    assert read(trim_stop=trim).keep_stop is keep


@pytest.mark.parametrize(
    ("flags", "banned"),
    [
        ({}, False),
        ({"use_default_badwordsids": True}, True),
        ({"use_default_badwordsids": ""}, False),
        ({"ban_eos_token": True}, True),
        ({"ban_eos_token": False, "use_default_badwordsids": True}, False),
        ({"ban_eos_token": None, "use_default_badwordsids": True}, True),
    ],
    ids=str,
)
def test_the_end_of_text_is_banned_by_ban_eos_token_or_else_by_its_old_name(flags, banned):
    assert read(**flags).ban_eos is banned


def test_ignore_eos_bans_the_end_of_text_on_this_dialect_too():
    assert read(ignore_eos=True).ban_eos


# --- what is newer than KoboldCpp ---


@pytest.mark.parametrize(
    ("value", "truncate"), [(True, True), (False, False), ("false", False), (None, None), ("", None)]
)
def test_a_prompt_may_be_kept_whole(value, truncate):
    assert read(truncate=value).truncate is truncate


def test_a_wish_for_thoughts_is_understood():
    assert read(thinking="show", thinking_budget=99).thinking == ThinkingWish(Mode.SHOW, 99)


def test_a_grammar_is_a_constraint():
    assert read(grammar='root ::= "a"').constraint == Constraint(ConstraintKind.GBNF, 'root ::= "a"')


def test_a_grammar_that_is_json_is_a_schema():
    assert read(grammar=json.dumps(SCHEMA)).constraint == constraint_of(SCHEMA, "x")


@pytest.mark.parametrize(
    "body",
    [
        {"thinking": "loud"},
        {"regex": 5, "guided_choice": 5, "grammar_string": {}},
        {"chat_template_kwargs": "x", "reasoning": 5, "thinking_budget": "many"},
    ],
    ids=str,
)
def test_a_wish_that_cannot_be_read_does_not_silence_the_reply(body):
    request = read(**body)
    assert (request.constraint, request.thinking) == (None, ThinkingWish())


@pytest.mark.parametrize("grammar", [json.dumps(WRONG), '{"type": ', "root ::= nobody ("])
def test_what_stands_in_a_grammars_place_is_left_to_the_engine_to_judge(grammar):
    request = read(grammar=grammar)
    assert request.constraint
    assert request.constraint.text == grammar
    assert request.lenient


@pytest.mark.parametrize("body", [{"json_schema": WRONG}, {"json_schema": 5}, {"response_format": "xml"}], ids=str)
def test_a_wrong_schema_is_refused_here_too(body):
    with pytest.raises(BadRequest):
        read(**body)
