"""Tools in prompts: what a model without a tool template is told, and the grammar that makes it call one."""

import json

import llguidance
import pytest

from server.events import ConstraintKind
from server.prompt.message import Message, Tool, ToolCall
from server.prompt.tools import ToolFormat, call_constraint, native_format, with_generic_tools
from server.reply.tool_calls import parse

LOOK = Tool("look", "Look at it.", {"type": "object", "properties": {"at": {"type": "string"}}, "required": ["at"]})
WAIT = Tool("wait", "", {})
TOOLS = (LOOK, WAIT)
every_format = pytest.mark.parametrize("format_", ToolFormat)


def accepts(text, format_, parallel=True):
    """Whether the grammar of a forced call takes the whole text and may end there."""
    constraint = call_constraint(TOOLS, format=format_, parallel=parallel)
    assert constraint.kind is ConstraintKind.LARK
    tokenizer = llguidance.LLTokenizer("byte")
    matcher = llguidance.LLMatcher(tokenizer, llguidance.LLMatcher.grammar_from_lark(constraint.text))
    assert not matcher.is_error(), matcher.get_error()
    tokens = list(text.encode())
    return matcher.try_consume_tokens(tokens) == len(tokens) and matcher.is_accepting()


def written(format_, *calls):
    if format_ is ToolFormat.LLAMA:
        return "; ".join(f'{{"name": "{name}", "parameters": {arguments}}}' for name, arguments in calls)
    blocks = (f'{{"name": "{name}", "arguments": {arguments}}}' for name, arguments in calls)
    return "\n".join(f"<tool_call>\n{block}\n</tool_call>" for block in blocks)


@every_format
def test_what_follows_the_grammar_is_read_back_as_the_same_calls(format_):
    wanted = [("look", '{"at": "the \\"door\\" 🙂"}'), ("wait", "{}")]
    text = written(format_, *wanted)
    assert accepts(text, format_)
    content, calls = parse(text, ("look", "wait"))
    assert (content, [(call.name, call.arguments) for call in calls]) == ("", wanted)


@every_format
def test_the_grammar_allows_only_the_given_tools_and_their_arguments(format_):
    assert not accepts(written(format_, ("fly", "{}")), format_)
    assert not accepts(written(format_, ("look", "{}")), format_)
    assert not accepts(written(format_, ("look", '{"at": 1}')), format_)
    assert not accepts("Well met!", format_)
    assert not accepts("", format_)


@every_format
def test_a_single_call_is_all_that_is_allowed_where_one_is_wanted(format_):
    once, twice = (written(format_, *[("wait", "{}")] * count) for count in (1, 2))
    assert accepts(once, format_, parallel=False)
    assert not accepts(twice, format_, parallel=False)


@pytest.mark.parametrize("name", ['say "hi"', "back\\slash", "grüßen", "日本"])
def test_a_name_is_escaped(name):
    text = f'<tool_call>\n{{"name": {json.dumps(name, ensure_ascii=False)}, "arguments": {{}}}}\n</tool_call>'
    grammar = call_constraint([Tool(name, "", {})], format=ToolFormat.GENERIC, parallel=False).text
    matcher = llguidance.LLMatcher(llguidance.LLTokenizer("byte"), llguidance.LLMatcher.grammar_from_lark(grammar))
    tokens = list(text.encode())
    assert matcher.try_consume_tokens(tokens) == len(tokens)
    assert parse(text, [name])[1][0].name == name


@pytest.mark.parametrize(
    ("template", "format_"),
    [
        ("{{ messages }}", ToolFormat.GENERIC),
        ("<tool_call>", ToolFormat.GENERIC),
        ("<tool_call>\n<function=x>\n<parameter=y>", ToolFormat.QWEN_CODER),
        ("<tool_call>{{ name }}<arg_key>", ToolFormat.GLM),
        ('{"name": function name, "parameters": dictionary}', ToolFormat.LLAMA),
        ("[TOOL_CALLS][", ToolFormat.MISTRAL_LIST),
        ("[TOOL_CALLS]{{ name }}[ARGS]", ToolFormat.MISTRAL),
        ("<|channel|>commentary to=functions.", ToolFormat.HARMONY),
    ],
)
def test_a_template_tells_its_format(template, format_):
    assert native_format(template) is format_


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
