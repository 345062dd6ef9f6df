"""What strangers write is read, or refused in a sentence: any JSON and any text, for everything that reads them.

Tool calls, thoughts, tokens of a stream, samplers and routes have tests of this kind beside their own.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from openai._streaming import SSEDecoder

from gui.memory import Memory
from gui.view.form import Form
from server import json_text, kcpps
from server.api import sse
from server.engine.llama import gbnf
from server.engine.llama.schema_grammar import grammar_of
from server.errors import TavernkeepError
from server.events import Constraint, ConstraintKind
from server.prompt import preset, templates
from server.request import anthropic, embeddings, kobold, ollama, openai, responses
from server.settings import Settings, from_mapping
from tests.conftest import Server

quickly = settings(
    max_examples=300,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)

NUMBERS = st.integers() | st.integers(min_value=-3, max_value=3) | st.floats()
WORDS = st.sampled_from(("user", "assistant", "system", "tool", "text", "function", "auto", "type", "image_url", ""))
LEAVES = st.none() | st.booleans() | NUMBERS | st.text(max_size=20) | WORDS
NAMES = st.sampled_from(("role", "content", "type", "text", "function", "name", "arguments", "input", "id", "format"))


def json_with(names: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    """Values that look like a client's where it matters."""
    inner = names | NAMES | st.text(max_size=5)
    return st.recursive(
        LEAVES,
        lambda part: st.lists(part, max_size=4) | st.dictionaries(inner, part, max_size=4),
        max_leaves=12,
    )


def bodies(*fields: str) -> st.SearchStrategy[dict[str, Any]]:
    names = st.sampled_from(fields)
    return st.dictionaries(names, json_with(names), max_size=5)


def refusal(work: Callable[[], object]) -> str:
    """The sentence that refuses what is read, "" if it is taken; any other error goes through."""
    try:
        work()
    except TavernkeepError as error:
        if error.message and (error.status < 500 or error.status == 501):
            return error.message
        raise
    return ""


CHAT = ("messages", "tools", "tool_choice", "response_format", "stop", "n", "adapter", "reasoning_effort", "logit_bias")
TEXT = ("prompt", "max_tokens", "suffix", "echo", "logprobs", "stop", "grammar", "json_schema", "regex", "best_of")
KOBOLD = ("prompt", "memory", "stop_sequence", "max_length", "sampler_order", "grammar", "logit_bias", "banned_tokens")
OLLAMA = ("model", "prompt", "messages", "options", "format", "think", "context", "images", "system", "tools", "raw")
ANTHROPIC = ("messages", "system", "tools", "tool_choice", "thinking", "stop_sequences", "output_config", "max_tokens")
RESPONSES = ("input", "instructions", "tools", "tool_choice", "text", "reasoning", "include", "store", "truncation")

READERS: list[tuple[str, Callable[[dict[str, Any]], object], st.SearchStrategy[dict[str, Any]]]] = [
    ("openai chat", lambda body: openai.read_chat(body, {}), bodies(*CHAT, *TEXT)),
    ("openai completions", lambda body: openai.read_completions(body, {}), bodies(*TEXT)),
    ("kobold", lambda body: kobold.read_generate(body, shift=True), bodies(*KOBOLD)),
    ("ollama chat", lambda body: ollama.read_chat(body, {}), bodies(*OLLAMA)),
    ("ollama generate", lambda body: ollama.read_generate(body, {}), bodies(*OLLAMA)),
    ("anthropic", lambda body: anthropic.read_messages(body, {}), bodies(*ANTHROPIC)),
    ("responses", lambda body: responses.read_response(body, {}), bodies(*RESPONSES)),
    ("embeddings", embeddings.read_embeddings, bodies("input", "dimensions", "encoding_format", "truncate")),
    ("rerank", embeddings.read_rerank, bodies("query", "documents", "top_n", "return_documents")),
]


@pytest.mark.parametrize(("read", "body"), [reader[1:] for reader in READERS], ids=[reader[0] for reader in READERS])
def test_any_body_is_a_request_or_a_sentence(
    read: Callable[[dict[str, Any]], object], body: st.SearchStrategy[dict[str, Any]]
) -> None:
    @quickly
    @given(body)
    def try_it(given: dict[str, Any]) -> None:
        assert len(refusal(lambda: read(given))) < 1000

    try_it()


@quickly
@given(json_with(NAMES))
@example(eval("[" * 90 + "]" * 90))
def test_json_that_is_not_too_deep_is_read_as_it_is(value: Any) -> None:
    try:
        written = json.dumps(value, allow_nan=False)
    except ValueError:  # not JSON
        with pytest.raises(ValueError, match=r"is no number|is too large"):
            json_text.loads(json.dumps(value))
        return
    assert json_text.loads(written) == value


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[" * 201 + "]" * 201, "nested deeper than 200 levels"),
        ("[" * 1_000_000, "nested deeper"),
        ('{"a":' * 1_000_000, "nested deeper"),
        ("9" * 100_000, "too many digits"),
        ("1e999", "too large"),
        ("NaN", "NaN is no number"),
        ("[-Infinity]", "is no number"),
        (b"\xff\xfe\xfd", "decode"),
    ],
    ids=lambda value: str(value)[:12],
)
def test_json_without_bounds_is_a_sentence(text: str | bytes, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        json_text.loads(text)


@quickly
@given(st.dictionaries(st.sampled_from([*Settings.__dataclass_fields__, "x"]), json_with(NAMES), max_size=5))
def test_any_configuration_is_settings_or_a_sentence(tmp_path: Path, values: dict[str, Any]) -> None:
    (tmp_path / "c.kcpps").write_text(json.dumps(values))
    assert len(refusal(lambda: from_mapping(kcpps.load(str(tmp_path / "c.kcpps"))))) < 1000


@quickly
@given(st.binary(max_size=60))
def test_any_bytes_are_a_configuration_or_a_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "c.kcpps").write_bytes(content)
    assert len(refusal(lambda: kcpps.load(str(tmp_path / "c.kcpps")))) < 1000


@quickly
@given(
    st.dictionaries(
        st.sampled_from(
            ("models", "all", "habits", "folders", "appearance", "scale", "download_folder", "network_host")
        ),
        json_with(st.sampled_from(("/m.gguf", "port", "host", "on_close", "minimised", "contextsize"))),
        max_size=4,
    )
)
def test_whatever_the_windows_memory_holds_the_window_opens(tmp_path: Path, kept: Any) -> None:
    file = tmp_path / "window.json"
    file.write_text(json.dumps(kept))
    memory = Memory(file)
    assert isinstance(memory.recall(Settings(), "/m.gguf"), Settings)
    assert isinstance(memory.form(Settings(), "/m.gguf"), Form)
    assert memory.look
    assert memory.habits
    assert isinstance(memory.folders, tuple)
    assert isinstance(memory.recent_models, tuple)
    assert isinstance(memory.download_folder, str)


@quickly
@given(st.dictionaries(st.sampled_from(sorted(preset.Preset.__dataclass_fields__)), json_with(NAMES), max_size=4))
def test_any_adapter_is_a_template_or_a_sentence(given: dict[str, Any]) -> None:
    assert len(refusal(lambda: templates.read_choice(json.dumps(given)))) < 1000


def events_in(stream: bytes) -> list[str]:
    """As the HTML standard reads a stream: lines end with CR, LF or both; an empty one ends an event."""
    texts, lines = [], stream.decode().replace("\r\n", "\n").replace("\r", "\n").split("\n")
    data: list[str] = []
    for line in lines:
        if not line and data:
            texts.append("\n".join(data))
            data = []
        elif line.startswith("data:"):
            data.append(line[5:].removeprefix(" "))
    return texts


@quickly
@given(st.lists(st.text(), max_size=5), st.booleans())
@example(["\r", "\n\n", "\u2028\u2029", "\0", "\ud83d", "\U0001f600", "data: x\n\n", "\x85"], False)
def test_any_text_arrives_in_a_stream_as_it_was_sent(texts: list[str], kobolds: bool) -> None:
    frame = sse.message_frame if kobolds else sse.data_frame
    stream = b"".join(frame({"text": text}) for text in texts)
    assert [json.loads(event)["text"] for event in events_in(stream)] == texts
    decoded = SSEDecoder().iter_bytes(iter([stream]))
    assert [json.loads(event.data)["text"] for event in decoded] == texts


GBNF = st.lists(
    st.sampled_from(
        (
            "root",
            " ::= ",
            '"a"',
            "[a-z]",
            "[^\\]]",
            "(",
            ")",
            "|",
            "*",
            "+",
            "?",
            "{2,3}",
            "{999}",
            "\n",
            "b",
            "#",
            '"',
            "[",
            ".",
        )
    )
    | st.text(max_size=3),
    max_size=25,
).map("".join)


@quickly
@given(GBNF)
def test_any_grammar_is_judged(text: str) -> None:
    assert isinstance(gbnf.danger(text), str)


SCHEMA_NAMES = st.sampled_from(
    (
        "type",
        "properties",
        "items",
        "enum",
        "const",
        "anyOf",
        "$ref",
        "pattern",
        "minItems",
        "maxItems",
        "required",
        "minimum",
    )
)


@quickly
@given(json_with(SCHEMA_NAMES | st.sampled_from(("object", "array", "string", "#/properties/a"))))
def test_any_schema_is_a_grammar_that_can_be_read_or_a_sentence(schema: Any) -> None:
    grammar, problem = grammar_of(json.dumps(schema))
    assert bool(grammar) != bool(problem)
    assert not grammar or not gbnf.danger(grammar)


def test_no_grammar_of_any_kind_harms_the_engine(server: Server) -> None:
    engine = server.controller._host.engine
    assert engine
    before = engine.pid

    @settings(quickly, max_examples=150)
    @given(GBNF, st.sampled_from(list(ConstraintKind)))
    @example("root ::= root", ConstraintKind.GBNF)
    @example('root ::= "' + "\\x" * 50, ConstraintKind.GBNF)
    @example("(" * 5000, ConstraintKind.REGEX)
    @example("a{1000}{1000}{1000}", ConstraintKind.REGEX)
    @example('{"$ref": "#"}', ConstraintKind.JSON_SCHEMA)
    @example("start: start", ConstraintKind.LARK)
    def try_it(text: str, kind: ConstraintKind) -> None:
        assert isinstance(engine.check_constraint(Constraint(kind, text)), str)

    try_it()
    assert server.post("/v1/completions", {"prompt": "a", "max_tokens": 1}).status == 200
    assert server.controller._host.engine is engine
    assert engine.pid == before
