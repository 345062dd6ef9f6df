"""JSON schemas of requests: what can be used, and where the others are wrong."""

import json

import pytest

from server.errors import BadRequest
from server.events import ConstraintKind
from server.request.schema import constraint_of, json_object


@pytest.mark.parametrize(
    ("schema", "where"),
    [
        ({"type": "number!"}, "s.type: Invalid type"),
        ({"properties": {"age": {"type": "number!"}}}, "s.properties.age.type: Invalid type"),
        ({"properties": {"a": {"anyOf": [{}, {"items": {"minimum": "x"}}]}}}, "s.properties.a.anyOf[1].items.minimum:"),
        ({"properties": {"a": {"$ref": "#/$defs/a"}}, "$defs": {"a": {"enum": 5}}}, "s."),
        ({"$ref": "#/$defs/nope"}, "s.$ref:"),
        ({"properties": {"a": {"pattern": "(("}}}, "s.properties.a.pattern:"),
        ({"not": {"type": "string"}}, "s.not:"),
        ({"type": "array", "uniqueItems": True}, "s.uniqueItems:"),
        (False, "s: "),
        ([], "s: "),
        (None, "s: "),
    ],
)
def test_a_schema_that_cannot_be_used_says_where(schema, where):
    with pytest.raises(BadRequest) as caught:
        constraint_of(schema, "s")
    assert str(caught.value).startswith(where)
    assert caught.value.param == "s"


def test_a_schema_may_be_neither_too_deep_nor_too_long():
    deep: dict[str, object] = {}
    for _ in range(200):
        deep = {"items": deep}
    for schema in (deep, {"description": "a" * 300_000}):
        with pytest.raises(BadRequest):
            constraint_of(schema, "s")


def test_the_constraint_is_the_schema_with_a_bound_on_blanks():
    constraint = constraint_of({"type": "string"}, "s")
    assert constraint.kind is ConstraintKind.JSON_SCHEMA
    assert json.loads(constraint.text)["type"] == "string"
    assert "whitespace_pattern" in constraint.text


def test_a_schema_with_options_of_its_own_keeps_them():
    schema = {"type": "string", "x-guidance": {"whitespace_flexible": False}}
    assert json.loads(constraint_of(schema, "s").text) == schema


def test_any_object():
    assert json.loads(json_object().text)["type"] == "object"
