"""Replies of the real starter model that must look like something: schemas, expressions, Lark and GBNF."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from server.engine.batch import Batch
from server.engine.llama import gbnf
from server.engine.llama.model import LlamaModel
from server.events import Constraint, ConstraintKind, Generate, Sampling
from server.request.schema import constraint_of, json_object
from tests.witness import loaded

QUESTION = "Describe a tavern as JSON: "


@pytest.fixture(scope="module")
def model(starter_model: Path) -> Iterator[LlamaModel]:
    with loaded(starter_model, context=512) as model:
        model.samplers = model.samplers._samplers  # type: ignore[attr-defined]
        yield model


def gbnf_of(text: str) -> Constraint:
    return Constraint(ConstraintKind.GBNF, text)


def write(
    model: LlamaModel, constraint: Constraint, *, seed: int = 1, tokens: int = 200, free: int = 0, **options: Any
) -> tuple[str, bool]:
    """A reply, and whether it came to its end. The constraint does not count for the first ``free`` tokens."""
    request = Generate(
        1,
        tuple(model.vocabulary.tokenize(QUESTION, special=True)),
        tokens,
        sampling=Sampling(temperature=1.0, top_k=40),
        constraint=constraint,
        **options,
    )
    sampler = model.samplers.make(request, seed)
    model.kv.clear()
    batch, text, position, pending = Batch(64), b"", 0, list(request.prompt)
    for count in range(tokens):
        batch.clear()
        index = batch.add(0, pending, position, logits=True)
        assert model.decode(batch)
        position += len(pending)
        token = model.samplers.sample(sampler, index, constrained=count >= free)
        if model.vocabulary.is_end(token) and count >= free:
            return text.decode(), True
        text += model.vocabulary.piece(token) if count >= free else b""
        pending = [token]
    return text.decode("utf-8", "replace"), False


def thing(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}


TREE = {"$defs": {"n": thing(v={"type": "boolean"}, next={"$ref": "#/$defs/m"}), "m": {"type": "null"}}}


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize(
    ("schema", "fits"),
    [
        (thing(mood={"enum": ["happy", "sad"]}), lambda v: v["mood"] in ("happy", "sad")),
        (thing(kind={"const": "inn"}), lambda v: v == {"kind": "inn"}),
        (thing(code={"type": "string", "pattern": "^[A-Z]{2}-[0-9]{3}$"}), lambda v: len(v["code"]) == 6),
        (thing(n={"type": "string", "minLength": 3, "maxLength": 8}), lambda v: 3 <= len(v["n"]) <= 8),
        (thing(n={"type": "integer", "minimum": 5, "maximum": 17}), lambda v: 5 <= v["n"] <= 17),
        ({"type": "array", "items": {"type": "boolean"}, "minItems": 2, "maxItems": 4}, lambda v: 2 <= len(v) <= 4),
        (thing(a={"anyOf": [{"type": "null"}, {"type": "boolean"}]}), lambda v: v["a"] in (None, True, False)),
        (thing(a=thing(b=thing(c={"enum": [1, 2]}))), lambda v: v["a"]["b"]["c"] in (1, 2)),
        ({**TREE, "$ref": "#/$defs/n"}, lambda v: v.keys() == {"v", "next"}),
    ],
)
def test_a_reply_fits_its_schema(model, schema, fits, seed):
    text, complete = write(model, constraint_of(schema, "schema"), seed=seed)
    assert complete
    assert fits(json.loads(text))


def test_any_object_is_json(model):
    text, complete = write(model, json_object(), seed=3, tokens=300)
    assert text.lstrip().startswith("{")
    assert not complete or isinstance(json.loads(text), dict)


def test_a_reply_fits_an_expression(model):
    text, complete = write(model, Constraint(ConstraintKind.REGEX, "(yes|no), [0-9]{2}"))
    assert complete
    assert re.fullmatch("(yes|no), [0-9]{2}", text)


def test_a_reply_fits_a_lark_grammar_that_holds_a_schema(model):
    lark = 'start: "Answer: " %json {"type": "object", "properties": {"a": {"const": 1}}, "required": ["a"],' + (
        ' "additionalProperties": false, "x-guidance": {"whitespace_flexible": false}}'
    )
    assert write(model, Constraint(ConstraintKind.LARK, lark)) == ('Answer: {"a":1}', True)


def test_a_reply_fits_a_grammar(model):
    assert write(model, gbnf_of('root ::= "{" ("a" | "b") "}"'))[0] in ("{a}", "{b}")


@pytest.mark.parametrize(
    "constraint", [gbnf_of('root ::= "yes"'), Constraint(ConstraintKind.REGEX, "yes")], ids=["gbnf", "regex"]
)
def test_a_complete_reply_ends_although_its_end_is_banned(model, constraint):
    assert write(model, constraint, ban_eos=True) == ("yes", True)


@pytest.mark.parametrize("constraint", [gbnf_of('root ::= "yes"'), Constraint(ConstraintKind.REGEX, "yes")])
def test_a_constraint_begins_when_it_is_asked_first(model, constraint):
    assert write(model, constraint, free=5) == ("yes", True)


@pytest.mark.parametrize(
    ("constraint", "said"),
    [
        (gbnf_of('root ::= "a" (("b"'), "expecting ')' at line 1, column 19, at its end"),
        (gbnf_of('root ::= "a" | b'), "Undefined rule identifier 'b'"),
        (gbnf_of('other ::= "a"'), "no rule named root"),
        (gbnf_of("# nothing"), "no rule named root"),
        (gbnf_of('root ::= root "a" | "b"'), "left-recursive"),
        (gbnf_of('root ::= a root "y" | "x"\na ::= b\nb ::= ""'), "left-recursive"),
        (gbnf_of('root ::= "a"{3,1}'), "{3,1}"),
        (gbnf_of("root ::= " + "(" * 20_000 + '"a"' + ")" * 20_000), "deeper than"),
        (gbnf_of("x" * 300_000), "longer than"),
        (Constraint(ConstraintKind.REGEX, "((a"), "unclosed group"),
        (Constraint(ConstraintKind.REGEX, "\ud800"), "cannot be used"),
        (Constraint(ConstraintKind.LARK, "start: foo"), "unknown name"),
        (Constraint(ConstraintKind.JSON_SCHEMA, '{"enum": []}'), "anyOf is empty"),
        (Constraint(ConstraintKind.JSON_SCHEMA, "{"), "cannot be used"),
    ],
)
def test_what_cannot_be_used_is_a_sentence_and_the_reply_is_free(model, constraint, said):
    assert said in model.samplers.constraints.problem(constraint)
    assert write(model, constraint, tokens=3) is not None


@pytest.mark.parametrize(
    "grammar",
    [
        "root ::= a0\n" + "\n".join(f"a{n} ::= a{n + 1} | a{n + 1}" for n in range(40)) + '\na40 ::= "x"',
        "root ::= a0\n" + "\n".join(f"a{n} ::= a{n + 1} a{n + 1}" for n in range(40)) + '\na40 ::= "x"?',
        "root ::= a0\n" + "\n".join(f"a{n} ::= a{n + 1}" for n in range(9000)) + '\na9000 ::= "x"',
    ],
)
def test_grammars_that_would_take_forever_are_refused(grammar):
    assert "too complex" in gbnf.danger(grammar)


@pytest.mark.parametrize(
    "grammar",
    [
        'root ::= ws root | "x"\nws ::= [ ]*',
        'root ::= ("a"*)*',
        'root ::= "\\"" ([^\\]"] | "(" "{3,1}")+ # ((("\n',
        'root ::= word{0,500} "."\nword ::= ' + " | ".join(f'"w{n}" " "' for n in range(500)),
    ],
)
def test_grammars_that_llama_cpp_can_read_pass(model, grammar):
    assert model.samplers.constraints.problem(gbnf_of(grammar)) == ""
