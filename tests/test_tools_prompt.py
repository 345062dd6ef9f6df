"""Tools in prompts: what a model without a tool template is told, and the grammar that makes it call one."""

import json

import llguidance
import pytest

from server.events import ConstraintKind
from server.prompt.message import Message, Tool, ToolCall
from server.prompt.tools import HERMES, LLAMA, call_constraint, call_layout, with_generic_tools
from server.reply.tool_calls import parse

LOOK = Tool("look", "Look at it.", {"type": "object", "properties": {"at": {"type": "string"}}, "required": ["at"]})
WAIT = Tool("wait", "", {})
TOOLS = (LOOK, WAIT)
every_layout = pytest.mark.parametrize("layout", [HERMES, LLAMA], ids=["Hermes", "Llama"])


def accepts(text, layout, parallel=True):
    """Whether the grammar of a forced call takes the whole text and may end there."""
    constraint = call_constraint(TOOLS, layout, parallel=parallel)
    assert constraint.kind is ConstraintKind.LARK
    tokenizer = llguidance.LLTokenizer("byte")
    matcher = llguidance.LLMatcher(tokenizer, llguidance.LLMatcher.grammar_from_lark(constraint.text))
    assert not matcher.is_error(), matcher.get_error()
    tokens = list(text.encode())
    return matcher.try_consume_tokens(tokens) == len(tokens) and matcher.is_accepting()


def written(layout, *calls):
    if layout is LLAMA:
        return "; ".join(f'{{"name": "{name}", "parameters": {arguments}}}' for name, arguments in calls)
    blocks = (f'{{"name": "{name}", "arguments": {arguments}}}' for name, arguments in calls)
    return "\n".join(f"<tool_call>\n{block}\n</tool_call>" for block in blocks)


@every_layout
def test_what_follows_the_grammar_is_read_back_as_the_same_calls(layout):
    wanted = [("look", '{"at": "the \\"door\\" 🙂"}'), ("wait", "{}")]
    text = written(layout, *wanted)
    assert accepts(text, layout)
    content, calls = parse(text, ("look", "wait"))
    assert (content, [(call.name, call.arguments) for call in calls]) == ("", wanted)


@every_layout
def test_the_grammar_allows_only_the_given_tools_and_their_arguments(layout):
    assert not accepts(written(layout, ("fly", "{}")), layout)
    assert not accepts(written(layout, ("look", "{}")), layout)
    assert not accepts(written(layout, ("look", '{"at": 1}')), layout)
    assert not accepts("Well met!", layout)
    assert not accepts("", layout)


@every_layout
def test_a_single_call_is_all_that_is_allowed_where_one_is_wanted(layout):
    once, twice = (written(layout, *[("wait", "{}")] * count) for count in (1, 2))
    assert accepts(once, layout, parallel=False)
    assert not accepts(twice, layout, parallel=False)


@pytest.mark.parametrize("name", ['say "hi"', "back\\slash", "grüßen", "日本"])
def test_a_name_is_escaped(name):
    text = f'<tool_call>\n{{"name": {json.dumps(name, ensure_ascii=False)}, "arguments": {{}}}}\n</tool_call>'
    grammar = call_constraint([Tool(name, "", {})], HERMES, parallel=False).text
    matcher = llguidance.LLMatcher(llguidance.LLTokenizer("byte"), llguidance.LLMatcher.grammar_from_lark(grammar))
    tokens = list(text.encode())
    assert matcher.try_consume_tokens(tokens) == len(tokens)
    assert parse(text, [name])[1][0].name == name


@pytest.mark.parametrize(
    ("template", "layout"),
    [
        ("{{ messages }}", HERMES),
        ("<tool_call>", HERMES),
        ("[TOOL_CALLS][", HERMES),
        ('Respond in the format {"name": function name, "parameters": dictionary}.', LLAMA),
    ],
)
def test_a_template_tells_how_its_model_is_made_to_write_calls(template, layout):
    assert call_layout(template) is layout


def test_the_tools_stand_behind_the_system_message():
    system, user = with_generic_tools([Message("system", "You are Ann."), Message("user", "Hi")], TOOLS, parallel=True)
    assert system.content.startswith("You are Ann.\n\n")
    assert json.dumps(LOOK.as_dict()["function"]) in system.content
    assert "<tool_call>" in system.content
    assert "When no function is needed, reply as usual" in system.content
    assert user == Message("user", "Hi")


def test_without_a_system_message_they_are_one():
    assert [message.role for message in with_generic_tools([Message("user", "Hi")], TOOLS, parallel=True)] == [
        "system",
        "user",
    ]


def test_one_call_is_asked_for_where_several_are_not_wanted():
    assert "only one call" in with_generic_tools([], TOOLS, parallel=False)[0].content
    assert "only one call" not in with_generic_tools([], TOOLS, parallel=True)[0].content


def test_calls_and_their_results_become_text():
    call = ToolCall("look", '{"at": "door"}', "call_1")
    history = [Message("assistant", "Hm.", tool_calls=(call,)), Message("tool", "It is red.", tool_call_id="call_1")]
    assistant, result = with_generic_tools(history, (), parallel=True)
    block = '<tool_call>\n{"name": "look", "arguments": {"at": "door"}}\n</tool_call>'
    assert assistant == Message("assistant", f"Hm.\n{block}")
    assert result == Message("user", "<tool_response>\nlook: It is red.\n</tool_response>")
