"""Tool calls in replies: every family's way to write them, wherever the pieces end, and live."""

import json
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from server.prompt.message import Tool
from server.reply import markers
from server.reply.parts import Arguments, CallBegun, Content, gathered
from server.reply.tool_calls import ToolCallParser, parse

TOOLS = (
    Tool("look", "", {"type": "object", "properties": {"at": {"type": "string"}, "times": {"type": "integer"}}}),
    Tool("wait", "", {"type": "object", "properties": {}}),
)
NAMES = ("look", "wait")
ARGS = '{"at": "the \\"red\\" {door}", "times": 2}'
LOOK = ("look", ARGS)
WAIT = ("wait", "{}")
AT_DOOR = ("look", '{"at": "12", "times": 2}')
CALL = f'{{"name": "look", "arguments": {ARGS}}}'
BARE = f'{{"name": "look", "parameters": {ARGS}}}'
QWEN = "<function=look>\n<parameter=at>\n12\n</parameter>\n<parameter=times>\n2\n</parameter>\n</function>"
GLM = "look\n<arg_key>at</arg_key>\n<arg_value>12</arg_value>\n<arg_key>times</arg_key>\n<arg_value>2</arg_value>\n"
V3, V31 = "<｜tool▁call▁begin｜>function<｜tool▁sep｜>look\n```json\n", "<｜tool▁call▁begin｜>look<｜tool▁sep｜>"  # noqa: RUF001
SEEK, SOUGHT = "<｜tool▁calls▁begin｜>", "<｜tool▁call▁end｜><｜tool▁calls▁end｜>"  # noqa: RUF001
TO_LOOK = " to=functions.look"
KIMI = f"<|tool_call_begin|>functions.look:0<|tool_call_argument_begin|>{ARGS}<|tool_call_end|>"

REPLIES = {
    "no call": ("  Well met!\n", "  Well met!\n", []),
    "a hermes call": (f"<tool_call>\n{CALL}\n</tool_call>", "", [LOOK]),
    "words before it": (f"\n\nLet me see.\n<tool_call>{CALL}</tool_call>\n", "\n\nLet me see.\n", [LOOK]),
    "words behind it": (f"<tool_call>{CALL}</tool_call>\nDone.", "\nDone.", [LOOK]),
    "two of them": (f"<tool_call>\n{CALL}\n</tool_call>\n" * 2, "", [LOOK, LOOK]),
    "two in one tag": (f"<tool_call>\n{CALL}\n{CALL}\n</tool_call>", "", [LOOK, LOOK]),
    "a list in a tag": (f'<tool_call>[{CALL}, {{"name": "wait"}}]</tool_call>', "", [LOOK, WAIT]),
    "a tag never closed": (f"<tool_call>\n{CALL}", "", [LOOK]),
    "a brace never closed": (f"<tool_call>\n{CALL[:-1]}\n</tool_call>", "", [LOOK]),
    "a brace too many": (f"<tool_call>\n{CALL}}}\n</tool_call>", "", [LOOK]),
    "a fence in a tag": (f"<tool_call>\n```json\n{CALL}\n```\n</tool_call>", "", [LOOK]),
    "arguments first": (f'<tool_call>{{"arguments": {ARGS}, "name": "look"}}</tool_call>', "", [LOOK]),
    "arguments in a string": (
        f'<tool_call>{{"name": "look", "arguments": {json.dumps(ARGS)}}}</tool_call>',
        "",
        [LOOK],
    ),
    "no arguments": ('<tool_call>{"name": "wait"}</tool_call>', "", [WAIT]),
    "arguments null": ('<tool_call>{"name": "wait", "arguments": null}</tool_call>', "", [WAIT]),
    "thoughts beside it": (f'<tool_call>{{"why": [1, "x"], {CALL[1:]}</tool_call>', "", [LOOK]),
    "a function nobody offered": ('<tool_call>{"name": "fly"}</tool_call>', "", [("fly", "{}")]),
    "qwen coder": (f"I look.\n<tool_call>\n{QWEN}\n</tool_call>", "I look.\n", [AT_DOOR]),
    "qwen coder without its tag": (f"{QWEN}\n</tool_call>", "", [AT_DOOR]),
    "qwen coder without arguments": ("<tool_call>\n<function=wait>\n</function>\n</tool_call>", "", [WAIT]),
    "glm": (f"<tool_call>{GLM}</tool_call>", "", [AT_DOOR]),
    "glm without arguments": ("<tool_call>wait\n</tool_call>", "", [WAIT]),
    "llama": (f" {BARE}", "", [LOOK]),
    "llama with its tag": (f"<|python_tag|>{BARE}", "", [LOOK]),
    "llama in a fence": (f"```json\n{BARE}\n```", "", [LOOK]),
    "llama calling twice": (f"{BARE}; {BARE}", "", [LOOK, LOOK]),
    "llama on two lines": (f"{BARE}\n{BARE}\nSo be it.", "\nSo be it.", [LOOK, LOOK]),
    "llama's own tags": (f"<function=look>{ARGS}</function>", "", [LOOK]),
    "openai's object": (f'{{"type": "function", "function": {CALL}}}', "", [LOOK]),
    "openai's flat object": (f'{{"type": "function", {BARE[1:]}', "", [LOOK]),
    "a bare list": (f"[{CALL}, {BARE}]", "", [LOOK, LOOK]),
    "openai's message": (f'{{"tool_calls": [{{"type": "function", "function": {CALL}}}]}}', "", [LOOK]),
    "mistral": (f"[TOOL_CALLS][{CALL[:-1]}, \"id\": \"abc123def\"}}, {CALL}]", "", [LOOK, LOOK]),
    "newer mistral": (f"Hm.[TOOL_CALLS]look[ARGS]{ARGS}[TOOL_CALLS]wait[CALL_ID]abc123def[ARGS]{{}}", "Hm.", [LOOK, WAIT]),  # noqa: E501
    "deepseek v3": (f"{SEEK}{V3}{ARGS}\n```{SOUGHT}", "", [("look", ARGS)]),
    "deepseek v3.1": (f"Hm.{SEEK}{V31}{ARGS}{SOUGHT}", "Hm.", [LOOK]),
    "gpt-oss": (f"<|channel|>commentary{TO_LOOK} <|constrain|>json<|message|>{ARGS}<|call|>", "", [LOOK]),
    "gpt-oss by role": (f"<|start|>assistant{TO_LOOK}<|channel|>commentary json<|message|>{ARGS}<|call|>", "", [LOOK]),
    "gpt-oss at once": (f"{TO_LOOK}<|channel|>commentary json<|message|>{ARGS}<|call|>", "", [LOOK]),
    "gpt-oss speaking": ("<|channel|>commentary<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Yes.",
                         "Hm.Yes.", []),
    "kimi": (f"<|tool_calls_section_begin|>{KIMI}<|tool_calls_section_end|>", "", [LOOK]),
    "command r": (f'<|START_ACTION|>[\n{{"tool_call_id": "0", "tool_name": "look", "parameters": {ARGS}}}\n]<|END_ACTION|>',  # noqa: E501
                  "", [LOOK]),
    "granite": (f"<|tool_call|>[{CALL}]", "", [LOOK]),
    "garbage in a tag": ("<tool_call>garbage</tool_call> so", "garbage so", []),
    "cut off before the name": ('<tool_call>{"name": "lo', '{"name": "lo', []),
    "cut off in the arguments": ('<tool_call>{"name": "look", "arguments": {"at": "the', "", [("look", '{"at": "the')]),
    "cut off in a parameter": (QWEN[: QWEN.index("\n</parameter>")], "", [("look", '{"at": "12')]),
    "json that is no call": ('{"name": "Ann", "arguments": {}}', '{"name": "Ann", "arguments": {}}', []),
    "other json": ('{"mood": "glad", "name": "look"}', '{"mood": "glad", "name": "look"}', []),
    "a list that is no call": ('["look"]', '["look"]', []),
    "a tag that is no call": ("<function=sin> of <x", "<function=sin> of <x", []),
}  # fmt: skip

every_reply = pytest.mark.parametrize(("text", "content", "calls"), REPLIES.values(), ids=REPLIES.keys())


def read(pieces, **options):
    """What each piece and the end gave, and what it comes to: content, and (name, arguments) of the calls."""
    parser = ToolCallParser(NAMES, tools=TOOLS, **options)
    parts = [part for piece in pieces for part in parser.push(piece)] + parser.finish()
    content, calls = gathered(parts)
    for part in parts:
        assert not isinstance(part, Content) or markers.first(part.text.replace("<function=", "")) is None
    return content, [(call.name, call.arguments) for call in calls]


def cut(text, places):
    edges = [0, *sorted(place % (len(text) + 1) for place in places), len(text)]
    return [text[start:end] for start, end in pairwise(edges)]


@every_reply
def test_every_way_to_write_a_call_is_understood(text, content, calls):
    assert read([text]) == (content, calls)


@every_reply
def test_it_does_not_matter_where_the_pieces_end(text, content, calls):
    assert read(list(text)) == (content, calls)
    for place in range(len(text) + 1):
        assert read([text[:place], text[place:]]) == (content, calls), (text[:place], text[place:])


@settings(max_examples=150, deadline=None)
@given(reply=st.sampled_from(sorted(REPLIES.values(), key=str)), places=st.lists(st.integers(0, 400), max_size=9))
def test_nor_how_many_pieces_there_are(reply, places):
    text, content, calls = reply
    assert read(cut(text, places)) == (content, calls)


FRAGMENTS = st.sampled_from(["{", "}", "[", "]", '"name"', ":", '"look"', "look", ",", '"arguments"', '"', "\\", " ", "\n",  # noqa: E501
                             "1", "nu", "<tool", "[TOOL_", "<|", "```", "json", "to=functions.look", *markers.ALL])  # fmt: skip  # noqa: E501
NOISE = st.lists(FRAGMENTS | st.text(max_size=3), max_size=14).map("".join)


@settings(max_examples=300, deadline=None)
@given(text=NOISE, places=st.lists(st.integers(0, 100), max_size=4))
def test_noise_never_raises_and_reads_the_same_in_pieces(text, places):
    whole = read([text])
    assert read(cut(text, places)) == whole
    assert read(list(text)) == whole


@settings(max_examples=200, deadline=None)
@given(text=NOISE.filter(lambda text: not markers.first(text)))
@example('{"name": "look')
@example(" ```json\n{}")
def test_what_holds_no_call_comes_back_unchanged(text):
    content, calls = read(list(text))
    assert calls or content == text


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["name", "arguments", '"', "\\", "}"]) | st.text(max_size=3), inner, max_size=3
        )
    ),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.sampled_from(["name", "arguments"]) | st.text(max_size=4), JSON, max_size=4)


@settings(max_examples=150, deadline=None)
@given(
    arguments=OBJECTS, ascii_only=st.booleans(), indent=st.sampled_from([None, 1]), places=st.lists(st.integers(0, 200))
)
def test_any_object_arrives_as_it_was_written(arguments, ascii_only, indent, places):
    written = json.dumps(arguments, ensure_ascii=ascii_only, indent=indent)
    for text in (
        f'<tool_call>{{"name": "look", "arguments": {written}}}</tool_call>',
        f'{{"parameters": {written}, "name": "look"}}',
        f'{{"name": "look", "arguments": {json.dumps(written)}}}',
        f"[TOOL_CALLS]look[ARGS]{written}",
    ):
        content, [(name, read_back)] = read(cut(text, places))
        assert (content, name, json.loads(read_back)) == ("", "look", arguments)


def test_what_is_said_before_a_call_leaves_at_once():
    parser = ToolCallParser(NAMES)
    assert parser.push("Let me see. <tool") == [Content("Let me see. ")]
    assert parser.push("_call>") == []


def test_a_call_leaves_with_its_name_and_its_arguments_as_they_come():
    parser = ToolCallParser(NAMES)
    assert parser.push('<tool_call>{"name": "loo') == []
    [begun] = parser.push('k", "argum')
    assert begun == CallBegun(0, begun.id, "look")
    assert parser.push('ents": {"at": "the d') == [Arguments(0, '{"at": "the d')]
    assert parser.push("oor") == [Arguments(0, "oor")]


def test_ordinary_json_is_held_only_until_it_cannot_be_a_call():
    parser = ToolCallParser(NAMES)
    assert parser.push('{"mood"') == []
    assert parser.push(': "gl') == [Content('{"mood": "gl')]


def test_ids_are_openais_and_differ():
    _, calls = parse(f"<tool_call>{CALL}</tool_call>" * 3, NAMES)
    assert len({call.id for call in calls}) == 3
    assert all(call.id.startswith("call_") and len(call.id) == 29 for call in calls)


@pytest.mark.parametrize(
    ("text", "call_id"),
    [(f"[TOOL_CALLS]look[CALL_ID]abc123def[ARGS]{ARGS}", "abc123def"), (KIMI, "functions.look:0")],
)
def test_the_models_own_id_is_kept_where_it_comes_before_the_arguments(text, call_id):
    assert parse(text, NAMES)[1][0].id == call_id


def test_where_one_call_is_wanted_the_rest_is_dropped():
    parser = ToolCallParser(NAMES, parallel=False)
    parts = parser.push(f"Hm. <tool_call>{CALL}</tool_call>\nAnd <tool_call>{CALL}</tool_call>")
    assert parser.done
    assert gathered(parts)[0] == "Hm. "
    assert len(gathered(parts)[1]) == 1
    assert [*parser.push("more"), *parser.finish()] == []


def test_a_line_break_in_a_string_is_escaped():
    _, calls = parse('<tool_call>{"name": "look", "arguments": {"at": "a\nb", "c": "\\d",}}</tool_call>', NAMES)
    assert calls[0].parsed_arguments() == {"at": "a\nb", "c": "\\d"}


def test_brackets_deeper_than_any_tool_needs_end_the_arguments():
    content, calls = parse('<tool_call>{"name": "look", "arguments": ' + "[" * 9999, NAMES)
    assert len(calls[0].arguments) < 100
    assert len(content) + len(calls[0].arguments) == 9999
