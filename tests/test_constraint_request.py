"""What a reply must look like, under every name that clients use for it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from server.errors import BadRequest
from server.events import Constraint, ConstraintKind
from server.request.constraint import EXPRESSIONS, GRAMMARS, SCHEMAS, read_constraint
from server.request.fields import Fields
from server.request.schema import constraint_of, json_object

SCHEMA = {"type": "object", "properties": {"mood": {"enum": ["grim", "gay"]}}, "required": ["mood"]}
WRAPPED = {"name": "mood", "strict": True, "schema": SCHEMA}
WRONG = {"type": "object", "properties": {"mood": {"type": "feeling"}}}
OF_SCHEMA = constraint_of(SCHEMA, "x")
GBNF = 'root ::= "yes" | "no"'


def constraint(**body: Any) -> Constraint | None:
    return read_constraint(Fields(body, strict=True))


def refusal(**body: Any) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        constraint(**body)
    return caught.value


@pytest.mark.parametrize("nothing", [None, "", " "])
def test_nothing_asked_for_is_no_constraint(nothing):
    assert constraint() is None
    assert constraint(**dict.fromkeys(GRAMMARS, nothing)) is None


@pytest.mark.parametrize("nothing", [None, ""])
def test_every_field_may_be_empty(nothing):
    names = ("response_format", *SCHEMAS, "guided_choice", *EXPRESSIONS, *GRAMMARS)
    assert constraint(**dict.fromkeys(names, nothing)) is None


def test_a_list_without_choices_is_no_constraint():
    assert constraint(guided_choice=[]) is None


@pytest.mark.parametrize("choices", [[""], [None], {"a": 1}, 5])
def test_choices_that_are_none_are_refused(choices):
    with pytest.raises(BadRequest, match="guided_choice must be a list"):
        constraint(guided_choice=choices)


def test_numbers_can_be_chosen_from():
    assert constraint(guided_choice=[1, 20]) == Constraint(ConstraintKind.REGEX, "1|20")


def test_a_wrapping_without_a_schema_is_refused():
    with pytest.raises(BadRequest, match="has no json_schema"):
        constraint(response_format={"type": "json_schema", "json_schema": {"name": "x", "strict": True}})


# --- response_format ---


@pytest.mark.parametrize("wanted", ["text", {"type": "text"}])
def test_text_is_no_constraint(wanted):
    assert constraint(response_format=wanted) is None


@pytest.mark.parametrize("wanted", ["json_object", {"type": "json_object"}])
def test_an_object_may_be_any(wanted):
    assert constraint(response_format=wanted) == json_object()


@pytest.mark.parametrize(
    "wanted",
    [
        {"type": "json_schema", "json_schema": WRAPPED},
        {"type": "json_schema", "json_schema": {"schema": SCHEMA}},
        {"type": "json_schema", "json_schema": SCHEMA},
        {"type": "json_schema", "schema": SCHEMA},
        {"type": "json_schema", "json_schema": json.dumps(SCHEMA)},
        {"type": "json_schema", "json_schema": json.dumps(WRAPPED)},
        {"type": "json_object", "schema": SCHEMA},
        {"type": "json_object", "json_schema": WRAPPED},
    ],
    ids=["wrapped", "schema only", "bare", "flat", "text", "wrapped text", "llama.cpp's", "mixed"],
)
def test_a_schema_is_found_however_it_is_wrapped(wanted):
    assert constraint(response_format=wanted) == OF_SCHEMA


@pytest.mark.parametrize("wanted", ["json_schema", {"type": "json_schema"}, {"type": "json_schema", "schema": None}])
def test_a_schema_that_is_missing_is_asked_for(wanted):
    error = refusal(response_format=wanted)
    assert error.param == "response_format"
    assert "json_schema" in error.hint


@pytest.mark.parametrize("wanted", ["xml", {"type": "xml"}, {}, {"type": None}, 5, ["text"], {"type": ["text"]}, True])
def test_another_format_is_refused_with_those_there_are(wanted):
    error = refusal(response_format=wanted)
    assert error.param == "response_format"
    assert "must be text, json_object or json_schema" in str(error)


# --- schemas ---


@pytest.mark.parametrize("name", SCHEMAS)
@pytest.mark.parametrize(
    "schema", [SCHEMA, WRAPPED, json.dumps(SCHEMA), json.dumps(WRAPPED)], ids=["bare", "wrapped", "text", "both"]
)
def test_every_name_of_a_schema_is_understood(name, schema):
    assert constraint(**{name: schema}) == OF_SCHEMA


@pytest.mark.parametrize("name", GRAMMARS)
def test_a_grammar_that_is_json_is_a_schema(name):
    assert constraint(**{name: "\n " + json.dumps(SCHEMA)}) == OF_SCHEMA


def test_a_property_of_the_name_schema_is_no_wrapping():
    schema = {"type": "object", "properties": {"schema": {"type": "string"}}}
    assert constraint(json_schema=schema) == constraint_of(schema, "x")


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({"json_schema": WRONG}, "json_schema.properties.mood.type"),
        ({"guided_json": WRONG}, "guided_json.properties.mood.type"),
        ({"json_schema": {"name": "x", "schema": WRONG}}, "json_schema.schema.properties.mood.type"),
        ({"grammar": json.dumps(WRONG)}, "grammar.properties.mood.type"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": WRONG}}},
            "response_format.json_schema.schema.properties.mood.type",
        ),
    ],
    ids=["json_schema", "guided_json", "wrapped", "grammar", "response_format"],
)
def test_a_schema_that_cannot_be_used_is_refused_with_the_place(body, where):
    error = refusal(**body)
    assert str(error).startswith(f"{where}: ")
    assert error.param
    assert where.startswith(error.param)


@pytest.mark.parametrize("name", ["json_schema", "guided_json", "grammar"])
def test_a_schema_that_is_no_json_is_refused_by_name(name):
    error = refusal(**{name: '{"type": '})
    assert str(error).startswith(f"{name} is not valid JSON: ")
    assert error.param == name


def test_a_schema_nested_without_end_is_refused():
    assert refusal(json_schema='{"not": ' * 5000 + "{}" + "}" * 5000).param == "json_schema"


@pytest.mark.parametrize("schema", [5, ["string"], "5", '"text"'])
def test_a_schema_is_an_object(schema):
    error = refusal(json_schema=schema)
    assert (error.param, str(error)) == ("json_schema", "json_schema: a JSON schema is an object.")


# --- choices, expressions, grammars ---


@pytest.mark.parametrize(
    ("choices", "expression"),
    [(["yes", "no"], "yes|no"), ("yes", "yes"), (["a.b", "(c)"], r"a\.b|\(c\)"), (["", None, "yes"], "yes")],
)
def test_a_choice_is_an_expression(choices, expression):
    assert constraint(guided_choice=choices) == Constraint(ConstraintKind.REGEX, expression)


@pytest.mark.parametrize("choice", ["Well met, friend - or foe?", "a\nb", "<b>&#~", "grün…", "$1^2 {3} [4] \\ |"])
def test_whatever_a_choice_says_the_expression_is_valid(choice):
    from llguidance import LLMatcher

    expression = constraint(guided_choice=[choice, "no"]).text
    assert LLMatcher.validate_grammar(LLMatcher.grammar_from_regex(expression)) == ""


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_every_name_of_an_expression_is_understood(name):
    assert constraint(**{name: "[0-9]+"}) == Constraint(ConstraintKind.REGEX, "[0-9]+")


@pytest.mark.parametrize("name", GRAMMARS)
def test_every_name_of_a_grammar_is_understood(name):
    assert constraint(**{name: GBNF}) == Constraint(ConstraintKind.GBNF, GBNF)


@pytest.mark.parametrize(("name", "value"), [("grammar", 5), ("regex", {"a": 1}), ("guided_choice", 5)])
def test_a_value_of_the_wrong_kind_is_refused_by_name(name, value):
    assert refusal(**{name: value}).param == name


def test_one_of_several_counts():
    every = {
        "response_format": {"type": "json_schema", "json_schema": WRAPPED},
        "json_schema": {"type": "string"},
        "guided_choice": ["yes"],
        "regex": "[0-9]+",
        "grammar": GBNF,
    }
    kinds = []
    while every:
        kinds.append(constraint(**every))
        del every[next(iter(every))]
    assert kinds == [
        OF_SCHEMA,
        constraint_of({"type": "string"}, "x"),
        Constraint(ConstraintKind.REGEX, "yes"),
        Constraint(ConstraintKind.REGEX, "[0-9]+"),
        Constraint(ConstraintKind.GBNF, GBNF),
    ]


def test_a_format_of_text_leaves_the_next_one_its_turn():
    assert constraint(response_format={"type": "text"}, grammar=GBNF) == Constraint(ConstraintKind.GBNF, GBNF)
