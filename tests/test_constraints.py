"""Replies of the real starter model that must look like something: schemas, expressions, Lark and GBNF."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from server.engine.batch import Batch
from server.engine.drafts import Drafts
from server.engine.engine import Engine
from server.engine.llama import constraints, gbnf
from server.engine.llama.model import LlamaModel
from server.engine.speculation import PromptLookupDrafter
from server.engine.token_stream import Said
from server.events import Constraint, ConstraintKind, Finished, Generate, Sampling, TextPiece, Thinking
from server.request.schema import constraint_of, json_object
from tests.witness import GREEDY, loaded

QUESTION = "Describe a tavern as JSON: "
USUAL = Sampling(temperature=1.0, top_k=40)


@pytest.fixture(scope="module")
def model(starter_model: Path) -> Iterator[LlamaModel]:
    with loaded(starter_model, context=512, draft_tokens=8, prompt_lookup=True) as model:
        model.samplers = model.samplers._samplers  # type: ignore[attr-defined]
        yield model


def gbnf_of(text: str) -> Constraint:
    return Constraint(ConstraintKind.GBNF, text)


def write(
    model: LlamaModel,
    constraint: Constraint,
    *,
    seed: int = 1,
    tokens: int = 200,
    free: int = 0,
    first: frozenset[int] = frozenset(),
    sampling: Sampling = USUAL,
    **options: Any,
) -> tuple[str, bool]:
    """A reply, and whether it came to its end. The constraint does not count for the first ``free`` tokens.

    The reply may also begin with a token of ``first``.
    """
    request = Generate(
        1,
        tuple(model.vocabulary.tokenize(QUESTION, special=True)),
        tokens,
        sampling=sampling,
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
        also = frozenset() if count else first
        token = model.samplers.sample(sampler, index, constrained=count >= free, also=also)
        if model.vocabulary.is_end(token) and count >= free:
            return text.decode(), True
        text += model.vocabulary.piece(token) if count >= free else b""
        pending = [token]
    return text.decode("utf-8", "replace"), False


def answer(
    model: LlamaModel, question: str, constraint: Constraint, begun: str = "", drafts: Drafts | None = None, **more: Any
) -> tuple[Said, Finished]:
    """What the engine makes of a chat whose reply has ``begun``. With a clock that stands still drafts cost nothing."""
    chat = f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n{begun}"
    prompt = tuple(model.vocabulary.tokenize(chat, special=True))
    model.kv.clear()
    engine = Engine(model, lambda: 1.0, drafts=drafts)
    events = engine.submit(Generate(1, prompt, 200, sampling=GREEDY, constraint=constraint, **more))
    while not engine.idle:
        events += engine.step()
    said = Said()
    for piece in events[:-1]:
        assert isinstance(piece, TextPiece)
        said = said.then(Said(piece.text, piece.thought, piece.unsaid))
    assert isinstance(events[-1], Finished)
    return said, events[-1]


def thing(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}


NUMBERS = '{"v": 1, "next": {"v": 2, "next": {"v": 3, "next": null}}}'
NEXT = {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/n"}]}
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


def test_a_schema_may_contain_itself(model):
    """The reply is greedy and repeats a list: left to itself, this model hardly ever ends one."""
    schema = {"$defs": {"n": thing(v={"type": "integer"}, next=NEXT)}, "$ref": "#/$defs/n"}
    said, _ = answer(model, f"Repeat after me: {NUMBERS}", constraint_of(schema, "schema"))
    assert json.loads(said.text) == json.loads(NUMBERS)


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


@pytest.mark.parametrize("constraint", [gbnf_of('root ::= "yes"'), Constraint(ConstraintKind.REGEX, "yes")])
def test_a_token_that_opens_a_thought_is_taken_and_the_constraint_does_not_see_it(model, constraint):
    (opening,) = model.vocabulary.tokenize("#", special=False)
    eager = Sampling(temperature=1.0, top_k=40, logit_bias=((opening, 100.0),))
    assert write(model, constraint, sampling=eager) == ("yes", True)
    assert write(model, constraint, sampling=eager, first=frozenset({opening})) == ("#yes", True)


@pytest.mark.parametrize(("stop", "pattern"), [((",",), "yes|no"), (("!", "yes,!"), "(yes|no), [0-9]{2}")])
def test_a_stop_text_ends_a_reply_before_its_constraint_does(model, stop, pattern):
    constraint = Constraint(ConstraintKind.REGEX, "(yes|no), [0-9]{2}")
    said, finished = answer(model, "Is the tavern open?", constraint, stop=stop)
    assert re.fullmatch(pattern, said.text)
    assert finished.stop_text == ("," if "," in stop else "")


def test_a_thought_is_free_and_what_is_said_after_it_fits(model):
    thinking = Thinking((("<think>", "</think>"),), closes="</think>", budget=5)
    schema = thing(name={"type": "string", "maxLength": 20}, rooms={"type": "integer", "minimum": 0, "maximum": 99})
    said, _ = answer(model, "Describe a tavern.", constraint_of(schema, "schema"), begun="<think>\n", thinking=thinking)
    assert said.thought
    assert "{" not in said.thought
    assert json.loads(said.text).keys() == {"name", "rooms"}


@pytest.mark.parametrize(
    "constraint",
    [
        constraint_of({"$defs": {"n": thing(v={"type": "integer"}, next=NEXT)}, "$ref": "#/$defs/n"}, "schema"),
        gbnf_of('root ::= "{\\"v\\": " [0-9]+ ", \\"next\\": " (root | "null") "}"'),
    ],
    ids=["schema", "gbnf"],
)
def test_guesses_change_nothing_of_what_is_written(model, constraint):
    question = f"Repeat after me: {NUMBERS}"
    drafts = Drafts(PromptLookupDrafter(), most=8, room=model.draft_room, context=model.context)
    said, finished = answer(model, question, constraint, drafts=drafts)
    assert said == answer(model, question, constraint)[0]
    assert 0 < finished.accepted < finished.drafted


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
        (gbnf_of('root ::= "a"{ 3 , 1 } "b'), "{ 3 , 1 }"),
        (gbnf_of("root ::= [a-z] !<think>"), "names a token, !<think>"),
        (gbnf_of("root ::= <[5]>+"), "names a token, <[5]>"),
        (gbnf_of('root ::= "' + "a" * 100_000 + '"{2000}'), "repeats too much"),
        (gbnf_of("root ::= " + '"a"? ' * 300), "in a row that may be empty"),
        (gbnf_of("root ::= " + "|".join(['"a"'] * 10_002)), "more than 10,000 alternatives"),
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


def test_a_grammar_that_cannot_be_read_is_not_repeated_on_standard_error(model, capfd):
    assert "before ' velvet'" in model.samplers.constraints.problem(gbnf_of('root ::= "a" ! velvet\n'))
    assert "velvet" not in capfd.readouterr().err


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


def test_a_grammar_that_doubles_its_work_with_each_letter_ends_the_reply(model, monkeypatch, caplog):
    monkeypatch.setattr(constraints, "SLOWEST", 0.01)
    (parenthesis,) = model.vocabulary.tokenize("(", special=False)
    eager = Sampling(temperature=1.0, logit_bias=((parenthesis, 100.0),))
    text, complete = write(model, gbnf_of('root ::= "(" root ")" | "(" root "]" | "x"'), sampling=eager)
    assert complete
    assert text == "(" * len(text)
    assert "too slow" in caplog.text


@pytest.mark.parametrize("ban_eos", [True, False])
def test_a_grammar_that_goes_on_with_blanks_for_ever_ends_where_only_those_can_follow(model: LlamaModel, ban_eos: bool):
    blanks = gbnf_of('root ::= "[1, " [0-9]+ "]" ws\nws ::= ([ \\t\\n] ws)?')
    text, ended = write(model, blanks, sampling=Sampling(temperature=0), ban_eos=ban_eos, tokens=60)
    assert (json.loads(text) and text == text.rstrip(), ended) == (True, True)


def test_blanks_that_words_may_follow_end_nothing(model: LlamaModel):
    spaced = gbnf_of('root ::= "a" ("  " "b")+')
    assert write(model, spaced, sampling=Sampling(temperature=0), tokens=9)[0].startswith("a  b")
