"""OpenAI's messages and tools as clients send them, to the parts of a chat."""

from __future__ import annotations

from typing import Any

import pytest

from server.errors import BadRequest
from server.prompt.message import Message, Tool, ToolCall
from server.request.messages import NO_PARAMETERS, read_messages, read_tool_choice, read_tools

PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}
SCHEMA = {"type": "object", "properties": {"where": {"type": "string"}}}
LOOK = Tool("look", "Looks around.", SCHEMA)
WAIT = Tool("wait", "", NO_PARAMETERS)


def message(**entry: Any) -> Message:
    (read,) = read_messages([{"role": "user", "content": "x", **entry}])
    return read


def refusal(reader: Any, *values: Any) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        reader(*values)
    return caught.value


# --- messages ---


@pytest.mark.parametrize("value", [None, [], {}, "Hello", 5])
def test_a_chat_needs_messages(value):
    error = refusal(read_messages, value)
    assert error.param == "messages"
    assert "at least one message" in str(error)


@pytest.mark.parametrize("entry", [None, "Hello", [], {}, {"content": "x"}, {"role": None, "content": "x"}])
def test_a_message_needs_a_role_and_is_named_by_its_place(entry):
    assert refusal(read_messages, [{"role": "user", "content": "x"}, entry]).param == "messages[1]"


@pytest.mark.parametrize(
    ("role", "read"),
    [
        ("system", "system"),
        ("developer", "system"),
        ("user", "user"),
        ("assistant", "assistant"),
        ("tool", "tool"),
        ("function", "tool"),
        ("narrator", "user"),
    ],
)
def test_every_role_becomes_one_of_four(role, read):
    assert message(role=role) == Message(read, "x")


@pytest.mark.parametrize(
    ("content", "read"),
    [
        ("x", "x"),
        ("", ""),
        (None, ""),
        ([], ""),
        ([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "a\nb"),
        (["a", {"type": "text", "text": "b"}], "a\nb"),
        ([{"type": "refusal", "refusal": "No."}], "No."),
    ],
)
def test_content_is_text_or_the_text_of_its_parts(content, read):
    assert message(content=content).content == read


@pytest.mark.parametrize("part", [PICTURE, {"type": "input_audio", "input_audio": {}}, {"type": "file"}])
def test_a_picture_is_refused_because_no_vision_model_is_loaded(part):
    with pytest.raises(BadRequest, match="no vision model is loaded") as caught:
        message(content=[{"type": "text", "text": "a"}, part])
    assert caught.value.param == "messages[0].content[1]"


@pytest.mark.parametrize("part", [{"type": "text", "text": None}, {"type": "text"}, {}])
def test_a_part_without_its_text_is_refused(part):
    with pytest.raises(BadRequest, match="must have a text"):
        message(content=[part])


@pytest.mark.parametrize("content", [5, {"text": "x"}, [5], True])
def test_content_of_another_kind_is_refused_by_its_place(content):
    assert refusal(read_messages, [{"role": "user", "content": content}]).param == "messages[0].content"


def test_content_may_be_missing():
    assert read_messages([{"role": "assistant"}]) == (Message("assistant", ""),)


def test_the_order_of_messages_is_kept_wherever_the_system_speaks():
    roles = ["assistant", "system", "user", "user", "system"]
    assert [entry.role for entry in read_messages([{"role": role, "content": "x"} for role in roles])] == roles


def test_names_and_ids_are_kept_and_other_keys_ignored():
    read = message(name="Lydia", tool_call_id="1", refusal=None, audio={"id": "x"})
    assert read == Message("user", "x", name="Lydia", tool_call_id="1")


@pytest.mark.parametrize("odd", [None, 5, [], {}])
def test_a_name_that_is_no_text_is_none(odd):
    assert message(name=odd, tool_call_id=odd, reasoning_content=odd) == Message("user", "x")


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_thoughts_of_the_assistant_are_kept(name):
    assert message(role="assistant", **{name: "A guest."}) == Message("assistant", "x", reasoning="A guest.")


# --- calls and results ---


@pytest.mark.parametrize(
    ("arguments", "read"),
    [
        ('{"where": "up"}', '{"where": "up"}'),
        ({"where": "übér"}, '{"where": "übér"}'),
        ("no JSON", "no JSON"),
        ("", "{}"),
        (None, "{}"),
        ({}, "{}"),
    ],
)
def test_the_arguments_of_a_call_are_json_text_however_they_are_sent(arguments, read):
    call = {"id": "1", "type": "function", "function": {"name": "look", "arguments": arguments}}
    spoken = message(role="assistant", content=None, tool_calls=[call])
    assert spoken == Message("assistant", "", tool_calls=(ToolCall("look", read, "1"),))


@pytest.mark.parametrize(
    ("text", "parsed"),
    [('{"a": 1}', {"a": 1}), ("up", "up"), ("[1]", [1]), ("9" * 5000, "9" * 5000), ("[" * 10**5, "[" * 10**5)],
    ids=["object", "text", "list", "long number", "nested"],
)
def test_arguments_are_parsed_where_they_are_json(text, parsed):
    assert ToolCall("look", text).parsed_arguments() == parsed


@pytest.mark.parametrize("nothing", [None, []])
def test_no_calls_are_no_calls(nothing):
    assert message(role="assistant", tool_calls=nothing).tool_calls == ()


@pytest.mark.parametrize("calls", [5, "look", {}, {"function": {"name": "look"}}])
def test_calls_are_a_list(calls):
    assert refusal(message_with, calls).param == "messages[0].tool_calls"


@pytest.mark.parametrize("call", [None, "look", {}, {"function": None}, {"function": {"name": 5}}, {"name": "look"}])
def test_a_call_needs_a_function_and_is_named_by_its_place(call):
    good = {"function": {"name": "look"}}
    assert refusal(message_with, [good, call]).param == "messages[0].tool_calls[1]"


def message_with(calls: Any) -> Message:
    return message(role="assistant", tool_calls=calls)


def test_a_result_names_its_call():
    assert message(role="tool", content="A dragon.", tool_call_id="1", name="look") == Message(
        "tool", "A dragon.", name="look", tool_call_id="1"
    )


# --- tools ---


@pytest.mark.parametrize("nothing", [None, []])
def test_no_tools_are_no_tools(nothing):
    assert read_tools(nothing) == ()


@pytest.mark.parametrize("wrapped", [True, False])
def test_a_tool_is_a_function_wrapped_or_bare(wrapped):
    function = {"name": "look", "description": "Looks around.", "parameters": SCHEMA, "strict": True}
    assert read_tools([{"type": "function", "function": function} if wrapped else function]) == (LOOK,)


@pytest.mark.parametrize("nothing", [{}, {"parameters": None, "description": None}, {"parameters": {}}])
def test_a_tool_may_need_no_arguments(nothing):
    assert read_tools([{"type": "function", "function": {"name": "wait", **nothing}}]) == (WAIT,)


@pytest.mark.parametrize("value", [{}, "look", 5])
def test_tools_are_a_list(value):
    assert refusal(read_tools, value).param == "tools"


@pytest.mark.parametrize("entry", [None, "look", {}, {"function": {}}, {"function": {"name": ""}}, {"name": 5}])
def test_a_tool_needs_a_name_and_is_named_by_its_place(entry):
    assert refusal(read_tools, [{"name": "look"}, entry]).param == "tools[1]"


@pytest.mark.parametrize("parameters", [5, "x", [], True])
def test_parameters_are_a_schema(parameters):
    tools = [{"function": {"name": "look", "parameters": parameters}}]
    assert refusal(read_tools, tools).param == "tools[0].function.parameters"


def test_two_tools_of_one_name_are_refused():
    assert "'look'" in str(refusal(read_tools, [{"name": "look"}, {"name": "wait"}, {"name": "look"}]))


# --- the choice ---


@pytest.mark.parametrize(
    ("choice", "known", "forced"),
    [
        (None, (LOOK, WAIT), ()),
        ("", (LOOK, WAIT), ()),
        ("auto", (LOOK, WAIT), ()),
        ("none", (), ()),
        ("required", (LOOK, WAIT), (LOOK, WAIT)),
        ("any", (LOOK, WAIT), (LOOK, WAIT)),
        ("wait", (LOOK, WAIT), (WAIT,)),
        ({"type": "function", "function": {"name": "wait"}}, (LOOK, WAIT), (WAIT,)),
        ({"type": "function", "name": "wait"}, (LOOK, WAIT), (WAIT,)),
    ],
    ids=str,
)
def test_the_choice_says_what_the_model_may_know_and_must_call(choice, known, forced):
    assert read_tool_choice(choice, (LOOK, WAIT)) == (known, forced)


@pytest.mark.parametrize("choice", [None, "", "auto", "none"])
def test_without_tools_nothing_can_be_called(choice):
    assert read_tool_choice(choice, ()) == ((), ())


@pytest.mark.parametrize("choice", ["required", "any", "look", {"type": "function", "function": {"name": "look"}}])
def test_a_call_without_tools_is_refused(choice):
    error = refusal(read_tool_choice, choice, ())
    assert (error.param, "has no tools" in str(error)) == ("tool_choice", True)


@pytest.mark.parametrize("choice", ["run", {"function": {"name": "run"}}, {"function": None}, {}, 5, ["look"], True])
def test_a_function_that_nobody_knows_is_refused_with_those_there_are(choice):
    error = refusal(read_tool_choice, choice, (LOOK, WAIT))
    assert error.param == "tool_choice"
    assert "look, wait" in error.hint
