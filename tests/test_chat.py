"""Messages to one prompt: real templates, strict ones, forgetful ones, and turns that are continued."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from server.model import gguf
from server.prompt import preset
from server.prompt.chat import Rendered, Template, merged, render, system_in_front, user_first, without_empty
from server.prompt.jinja import Renderer, TemplateFailed, TemplateStopped
from server.prompt.message import Chat, Ending, Message, Tool, ToolCall
from server.prompt.preset import NO_TAGS, Preset
from server.snapshot import TemplateInfo

TOOLS_ONLY = ("Hermes-3",)  # templates that models have beside their own, for chats with tools
KEPT = [
    file for file in sorted((Path(__file__).parent / "chat_templates").glob("*.jinja")) if file.stem not in TOOLS_ONLY
]
INFO = TemplateInfo("test", "a test", "It is tested.")

# Written after Gemma's and Mistral's: no system role, and strictly by turns, the user first.
STRICT = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "<{{ message['role'] }}>{{ message['content'] | trim }}</>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
# Takes everything, but of the system only what stands in front.
FORGETFUL = (
    "{% for message in messages %}{% if loop.first or message.role != 'system' %}"
    "<{{ message.role }}>{{ message.content }}</>{% endif %}{% endfor %}<assistant>"
)
# What a template is given of each message, as JSON.
SHOWN = "{% for message in messages %}{{ message | tojson }}\n{% endfor %}"

SYSTEM = Message("system", "Be brave.")
USER = Message("user", "Hello")
MORE = Message("user", "Anyone there?")
REPLY = Message("assistant", "Well met.")
BEGUN = Message("assistant", "Well met, ")

LOOK = Tool("look", "Looks around.", {"type": "object", "properties": {"where": {"type": "string"}}})
CALL = Message("assistant", "", tool_calls=(ToolCall("look", '{"where": "up"}', "call_1"),))
SEEN = Message("tool", "A dragon.", tool_call_id="call_1")

Rendering = Callable[..., Rendered]


@pytest.fixture(scope="module")
def with_jinja(renderer: Renderer) -> Rendering:
    """Renders messages with a Jinja template that the test brings; other arguments are the chat's."""

    def rendered(jinja: str, *messages: Message, knows_tools: bool = False, tool_jinja: str = "", **chat: Any):
        template = Template(INFO, NO_TAGS, jinja, tool_jinja, knows_tools, bos="<s>", eos="</s>")
        return render(Chat(messages, **chat), template, renderer)

    return rendered


@pytest.fixture(scope="module")
def with_tags(renderer: Renderer) -> Rendering:
    """Renders messages with a preset's tags."""

    def rendered(family: Preset, *messages: Message, **chat: Any) -> Rendered:
        return render(Chat(messages, **chat), Template(INFO, family), renderer)

    return rendered


@pytest.fixture(scope="module")
def strictly(with_jinja: Rendering) -> Callable[..., str]:
    return lambda *messages, **chat: with_jinja(STRICT, *messages, **chat).prompt


@pytest.fixture(scope="module")
def starter(starter_model: Path) -> str:
    return gguf.inspect(str(starter_model)).chat_template


# --- the starter model's own template ---


def test_the_starter_models_template_is_chatml(with_jinja, starter):
    assert with_jinja(starter, SYSTEM, USER).prompt == (
        "<|im_start|>system\nBe brave.<|im_end|>\n<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"
    )


def test_the_starter_models_template_adds_its_own_system_message(with_jinja, starter):
    assert "You are a helpful AI assistant named SmolLM" in with_jinja(starter, USER).prompt


@pytest.mark.parametrize(
    "messages",
    [[SYSTEM], [REPLY], [REPLY, USER], [USER, USER], [USER, SYSTEM], [USER, REPLY], [Message("user", "")]],
    ids=lambda messages: "-".join(message.role for message in messages),
)
def test_the_starter_models_template_takes_any_order_of_roles(with_jinja, starter, messages):
    rendered = with_jinja(starter, *messages)
    assert rendered.prompt.endswith("<|im_start|>assistant\n")
    assert all(message.content in rendered.prompt for message in messages)
    assert rendered.changed == ""


def test_the_chatml_preset_writes_what_the_starter_models_template_does(with_jinja, with_tags, starter):
    messages = (SYSTEM, USER, REPLY, MORE)
    assert with_tags(preset.bundled()["ChatML"], *messages) == with_jinja(starter, *messages)


# --- what a template is given ---


def test_messages_are_text_and_never_template_code(with_jinja, starter):
    assert "{{ 7 * 7 }}" in with_jinja(starter, Message("user", "{{ 7 * 7 }}")).prompt


def test_both_ends_of_text_are_known(with_jinja):
    assert with_jinja("{{ bos_token }}{{ messages[0].content }}{{ eos_token }}", USER).prompt == "<s>Hello</s>"


def test_a_message_has_only_the_keys_that_say_something(with_jinja):
    assert json.loads(with_jinja(SHOWN, USER).prompt) == {"role": "user", "content": "Hello"}


def test_a_name_and_a_thought_are_handed_over(with_jinja):
    spoken = Message("assistant", "Well met.", name="Lydia", reasoning="A guest.")
    assert json.loads(with_jinja(SHOWN, spoken).prompt) == {
        "role": "assistant",
        "content": "Well met.",
        "name": "Lydia",
        "reasoning_content": "A guest.",
    }


def test_variables_of_the_client_reach_the_template(with_jinja):
    jinja = "{{ messages[0].content }} {{ mood }} {{ reasoning_effort }}"
    chat = {"variables": {"mood": "grim", "reasoning_effort": "low"}}
    assert with_jinja(jinja, USER, **chat).prompt == "Hello grim low"


@pytest.mark.parametrize(("think", "seen"), [(True, "True True"), (False, "False False"), (None, "unsaid")])
def test_the_switch_for_thinking_is_only_there_where_somebody_moved_it(with_jinja, think, seen):
    jinja = "{% if enable_thinking is defined %}{{ enable_thinking }} {{ thinking }}{% else %}unsaid{% endif %}"
    assert with_jinja(jinja, USER, think=think).prompt == seen


def test_a_variable_of_the_client_wins_over_the_switch(with_jinja):
    chat = {"think": False, "variables": {"enable_thinking": True}}
    assert with_jinja("{{ enable_thinking }}", USER, **chat).prompt == "True"


def test_documents_reach_the_template_and_none_are_none(with_jinja):
    jinja = "{{ messages[0].content }} {{ documents | tojson }}"
    assert with_jinja(jinja, USER, documents=({"title": "Map"},)).prompt == 'Hello [{"title": "Map"}]'
    assert with_jinja(jinja, USER).prompt == "Hello null"


# --- templates that refuse ---


def test_a_strict_template_is_used_as_it_is_where_the_messages_suit_it(with_jinja):
    assert with_jinja(STRICT, USER, REPLY, MORE) == Rendered(
        "<s><user>Hello</><assistant>Well met.</><user>Anyone there?</><assistant>"
    )


def test_turns_of_one_role_in_a_row_are_merged(strictly):
    assert strictly(USER, MORE) == "<s><user>Hello\n\nAnyone there?</><assistant>"


def test_the_system_message_moves_into_the_users_turn(strictly):
    assert strictly(SYSTEM, USER) == "<s><user>Be brave.\n\nHello</><assistant>"


def test_a_system_message_in_the_middle_or_at_the_end_moves_too(strictly):
    assert strictly(USER, REPLY, SYSTEM, MORE).endswith("<user>Be brave.\n\nAnyone there?</><assistant>")
    assert strictly(USER, SYSTEM) == "<s><user>Hello\n\nBe brave.</><assistant>"


def test_a_system_message_alone_becomes_the_users_turn(strictly):
    assert strictly(SYSTEM) == "<s><user>Be brave.</><assistant>"


def test_a_template_that_takes_the_system_role_keeps_it_while_turns_are_merged(with_jinja):
    jinja = "{{ messages[0].role }}={{ messages[0].content }};{% set messages = messages[1:] %}" + STRICT
    prompt = with_jinja(jinja, SYSTEM, USER, MORE).prompt
    assert prompt.startswith("system=Be brave.;")
    assert "Hello\n\nAnyone there?" in prompt


@pytest.mark.parametrize(
    "messages", [[REPLY, USER], [REPLY], [REPLY, REPLY, USER, MORE]], ids=["greeting", "only", "twice"]
)
def test_a_chat_that_the_assistant_opens_gets_an_empty_turn_in_front(strictly, messages):
    assert strictly(*messages).startswith("<s><user></><assistant>Well met.")


def test_calls_and_results_are_written_as_text_where_nothing_else_is_taken(strictly):
    prompt = strictly(SYSTEM, USER, CALL, SEEN, knows_tools=True)
    assert prompt.startswith("<s><user>Be brave.\n\nHello</><assistant><tool_call>")
    assert '{"where": "up"}' in prompt
    assert prompt.endswith("\nlook: A dragon.\n</tool_response></><assistant>")


@pytest.mark.parametrize(
    ("messages", "changed"),
    [
        ([USER, REPLY, MORE], ""),
        ([USER, MORE], "neighbouring turns of one role were joined"),
        ([USER, REPLY, SYSTEM, MORE], "later system messages became part of the user's turns"),
        ([SYSTEM, USER], "system messages became part of the user's turns"),
        ([REPLY, USER], "an empty turn of the user was put in front"),
        ([USER, CALL, SEEN], "calls of tools and their results were written as text"),
        ([REPLY, CALL, SEEN], "calls, results and system messages were written as text"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_change_of_the_messages_is_told_to_the_caller(with_jinja, messages, changed):
    assert with_jinja(STRICT, *messages, knows_tools=True).changed == changed


def test_a_refusal_of_everything_keeps_the_templates_own_words(with_jinja):
    with pytest.raises(TemplateFailed, match=r"^no$"):
        with_jinja("{{ raise_exception('no') }}", SYSTEM, USER, MORE)


def test_a_template_that_was_stopped_is_not_tried_again():
    renderer = Renderer(time_limit=0.1)
    endless = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    with pytest.raises(TemplateStopped, match="ran for more than"):
        render(Chat((SYSTEM, USER, MORE)), Template(INFO, NO_TAGS, endless), renderer)
    renderer.close()


# Written after templates that take no empty turns, and a user where the chat ends.
FUSSY = (
    "{% for message in messages %}{% if not message.content %}{{ raise_exception('Say something') }}{% endif %}"
    "{% if loop.last and message.role != 'user' %}{{ raise_exception('The user must speak last') }}{% endif %}"
    "<{{ message.role }}>{{ message.content }}</>{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)


def test_an_empty_turn_of_the_assistant_is_left_out_where_it_is_refused(with_jinja):
    assert with_jinja(FUSSY, USER, Message("assistant", ""), MORE) == Rendered(
        "<user>Hello\n\nAnyone there?</><assistant>", "empty turns were left out"
    )


def test_an_empty_turn_to_be_continued_is_a_new_one_where_it_is_refused(with_jinja):
    prompt = with_jinja(FUSSY, USER, Message("assistant", ""), ending=Ending.CONTINUE).prompt
    assert prompt == "<user>Hello</><assistant>"


# --- templates that leave something out ---


def test_a_template_that_leaves_out_a_later_system_message_gets_it_as_the_users(with_jinja):
    rendered = with_jinja(FORGETFUL, SYSTEM, USER, REPLY, Message("system", "It is night."), MORE)
    assert "<user>It is night.\n\nAnyone there?</>" in rendered.prompt
    assert rendered.changed == "later system messages became part of the user's turns"


def test_a_template_that_leaves_out_nothing_is_not_tried_again(with_jinja):
    assert with_jinja(FORGETFUL, SYSTEM, USER, USER).changed == ""


def test_a_template_that_always_leaves_something_out_is_used_as_it_is(with_jinja):
    jinja = "{% for message in messages %}<{{ message.role }}>{% endfor %}"
    assert with_jinja(jinja, SYSTEM, USER, MORE) == Rendered("<system><user><user>")


def test_blanks_that_a_template_trims_do_not_count_as_left_out(with_jinja):
    jinja = "{{ messages[0].content | trim }}"
    assert with_jinja(jinja, Message("user", "\n Hello \n")) == Rendered("Hello")


def test_what_the_assistant_thought_may_be_left_out(with_jinja):
    jinja = "{% for message in messages %}{{ message.content.split('</think>')[-1] }};{% endfor %}"
    assert with_jinja(jinja, USER, Message("assistant", "<think>A guest.</think>Well met."), MORE) == Rendered(
        "Hello;Well met.;Anyone there?;"
    )


def test_a_template_that_leaves_out_calls_gets_them_as_text(with_jinja):
    jinja = "{% for message in messages %}<{{ message.role }}>{{ message.content or '' }}</>{% endfor %}"
    rendered = with_jinja(jinja, USER, CALL, SEEN, knows_tools=True)
    assert '"arguments": {"where": "up"}' in rendered.prompt
    assert rendered.changed == "calls of tools and their results were written as text"


def test_a_template_that_leaves_out_results_gets_them_as_text(with_jinja):
    jinja = (
        "{% for message in messages %}{% if message.role != 'tool' %}{{ message.content or '' }}"
        "{% for call in message.tool_calls %}{{ call.function.arguments | tojson }}{% endfor %}{% endif %}{% endfor %}"
    )
    rendered = with_jinja(jinja, USER, CALL, SEEN, knows_tools=True)
    assert "<tool_response>\nlook: A dragon." in rendered.prompt
    assert rendered.changed == "calls of tools and their results were written as text"


@pytest.mark.parametrize("file", KEPT, ids=lambda file: file.stem)
def test_no_template_that_people_use_loses_a_message(with_jinja, file):
    later = Message("system", "It is night.")
    prompt = with_jinja(file.read_text("utf-8"), SYSTEM, REPLY, USER, later, Message("assistant", "I am."), MORE).prompt
    assert all(text in prompt for text in ("Be brave.", "Well met.", "Hello", "It is night.", "I am.", "Anyone there?"))


# --- how a prompt ends ---


def test_a_turn_of_the_assistant_is_continued_where_it_stopped(with_jinja, starter):
    prompt = with_jinja(starter, USER, BEGUN, ending=Ending.CONTINUE).prompt
    assert prompt.endswith("<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\nWell met, ")


def test_a_template_that_trims_does_not_take_the_end_of_a_turn_to_be_continued(strictly):
    assert strictly(USER, BEGUN, ending=Ending.CONTINUE) == "<s><user>Hello</><assistant>Well met, "


def test_a_greeting_to_be_continued_stands_behind_an_empty_turn(strictly):
    assert strictly(BEGUN, ending=Ending.CONTINUE) == "<s><user></><assistant>Well met, "


@pytest.mark.parametrize("rewritten", ["", "{{ message.content | upper }}", "{{ message.content | truncate(6) }}"])
def test_a_template_that_rewrites_the_turn_gets_its_beginning_put_behind(with_jinja, rewritten):
    jinja = (
        "{% for message in messages %}{% if message.role == 'user' %}<user>{{ message.content }}</>"
        "{% else %}" + rewritten + "{% endif %}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    assert with_jinja(jinja, USER, BEGUN, ending=Ending.CONTINUE).prompt == "<user>Hello</><assistant>Well met, "


@pytest.mark.parametrize("file", KEPT, ids=lambda file: file.stem)
def test_a_turn_is_continued_with_every_template_that_people_use(with_jinja, file):
    prompt = with_jinja(file.read_text("utf-8"), SYSTEM, USER, BEGUN, ending=Ending.CONTINUE).prompt
    assert prompt.endswith("Well met, ")
    assert prompt.count("Well met") == 1
    assert prompt.index("Hello") < prompt.index("Well met")
    assert "\u2060" not in prompt


@pytest.mark.parametrize("content", ["", " ", "\n", "<think>\nA guest", "{{ 7 * 7 }}"], ids=repr)
def test_the_beginning_of_a_turn_may_be_anything(with_jinja, starter, content):
    prompt = with_jinja(starter, USER, Message("assistant", content), ending=Ending.CONTINUE).prompt
    assert prompt.endswith("<|im_start|>assistant\n" + content)


@pytest.mark.parametrize("name", preset.bundled())
def test_a_turn_is_continued_with_every_preset(with_tags, name):
    family = preset.bundled()[name]
    prompt = with_tags(family, SYSTEM, USER, BEGUN, ending=Ending.CONTINUE).prompt
    assert prompt.endswith(family.assistant_start + "Well met, ")
    assert prompt.index("Be brave.") < prompt.index("Hello") < prompt.index("Well met")


def test_a_chat_may_end_behind_its_last_turn(with_jinja, with_tags):
    assert with_jinja(STRICT, USER, ending=Ending.NOTHING).prompt == "<s><user>Hello</>"
    chatml = preset.bundled()["ChatML"]
    assert with_tags(chatml, USER, ending=Ending.NOTHING).prompt == "<|im_start|>user\nHello<|im_end|>\n"


# --- tools ---


def test_a_template_that_knows_tools_is_given_them(with_jinja):
    jinja = "{{ tools | tojson }}{{ messages[0].content }}"
    prompt = with_jinja(jinja, USER, tools=(LOOK,), knows_tools=True).prompt
    assert json.loads(prompt.removesuffix("Hello")) == [LOOK.as_dict()]


def test_a_template_that_knows_none_gets_them_as_words_of_the_system(with_jinja):
    jinja = "{{ tools | tojson }}{% for message in messages %}<{{ message.role }}>{{ message.content }}{% endfor %}"
    prompt = with_jinja(jinja, USER, tools=(LOOK,)).prompt
    assert prompt.startswith("null<system>")
    assert '"name": "look"' in prompt
    assert prompt.endswith("<user>Hello")


def test_tags_know_no_tools_either(with_tags):
    prompt = with_tags(preset.bundled()["ChatML"], SYSTEM, USER, CALL, SEEN, tools=(LOOK,)).prompt
    places = [prompt.index(text) for text in ("Be brave.", '"look"', "Hello", '{"where": "up"}', "A dragon.")]
    assert places == sorted(places)
    assert prompt.count("<|im_start|>system") == 1


def test_calls_in_the_history_are_told_even_without_tools(with_jinja):
    prompt = with_jinja(FORGETFUL, USER, CALL, SEEN).prompt
    assert '"name": "look"' in prompt
    assert "<user><tool_response>\nlook: A dragon." in prompt


@pytest.mark.parametrize(
    ("messages", "chat", "used"),
    [([USER], {"tools": (LOOK,)}, "tools"), ([USER, CALL, SEEN], {}, "tools"), ([USER], {}, "chat")],
    ids=["tools", "history", "neither"],
)
def test_a_template_for_tools_is_only_used_where_there_are_some(with_jinja, messages, chat, used):
    jinja = "{% for message in messages %}{{ message.content }}{% endfor %}"
    rendered = with_jinja("chat" + jinja, *messages, tool_jinja="tools" + jinja, knows_tools=True, **chat)
    assert rendered.prompt.startswith(used)


CALLS = "{% for message in messages %}{% for call in message.tool_calls %}CALL{% endfor %}{% endfor %}"


@pytest.mark.parametrize(
    ("written", "seen"),
    [
        ("{{ call.function.arguments | tojson }}", '{"where": "up"}'),
        ("{{ call.function.arguments.where }}", "up"),
        ("{{ 'say ' + call.function.arguments }}", 'say {"where": "up"}'),
        ("{{ call.function.name }} {{ call.id }} {{ call.type }} up", "look call_1 function up"),
        ("{{ message.content is none }} up", "True up"),
        ("{{ 'say ' + message.content }}up", "say up"),
        ("{{ 'say ' + message.content + call.function.arguments }}", 'say {"where": "up"}'),
    ],
)
def test_calls_are_given_in_the_way_that_the_template_can_read(with_jinja, written, seen):
    jinja = CALLS.replace("CALL", written) + "{{ messages[0].content }}"
    assert with_jinja(jinja, USER, CALL, knows_tools=True).prompt == seen + "Hello"


def test_arguments_that_are_no_json_are_given_as_text(with_jinja):
    call = Message("assistant", "", tool_calls=(ToolCall("look", "up!"),))
    jinja = CALLS.replace("CALL", "{{ call.function.arguments }}") + "{{ messages[0].content }}"
    assert with_jinja(jinja, USER, call, knows_tools=True).prompt == "up!Hello"


@pytest.mark.parametrize(
    ("given", "seen"), [("call_abc-1234567890", "234567890"), ("call_1", "0000call1"), ("abcdefghi", "abcdefghi")]
)
def test_a_template_that_wants_ids_of_nine_letters_gets_them_in_call_and_result(with_jinja, given, seen):
    jinja = (
        "{% for m in messages %}{% set id = m.tool_call_id or m.tool_calls[0].id %}"
        "{% if id | length != 9 %}{{ raise_exception('Tool call IDs should be 9 letters') }}{% endif %}"
        "{{ id }};{% endfor %}"
    )
    call = Message("assistant", "", tool_calls=(ToolCall("look", "{}", given),))
    answer = Message("tool", "A dragon.", tool_call_id=given)
    assert with_jinja(jinja, call, answer, knows_tools=True).prompt == f"{seen};{seen};"


def test_a_call_with_words_keeps_them(with_jinja):
    call = Message("assistant", "Let me see.", tool_calls=CALL.tool_calls)
    assert json.loads(with_jinja(SHOWN, call, knows_tools=True).prompt)["content"] == "Let me see."


def test_a_result_names_the_call_it_answers(with_jinja):
    assert json.loads(with_jinja(SHOWN, SEEN, knows_tools=True).prompt) == {
        "role": "tool",
        "content": "A dragon.",
        "tool_call_id": "call_1",
    }


# --- orders of messages ---


def test_merging_leaves_calls_and_results_alone():
    messages = [USER, MORE, CALL, REPLY, SEEN, SEEN, REPLY, REPLY]
    roles = [message.role for message in merged(messages)]
    assert roles == ["user", "assistant", "assistant", "tool", "tool", "assistant"]


def test_merging_joins_what_was_said_and_what_was_thought():
    thoughts = Message("assistant", "a", reasoning="x"), Message("assistant", "b", reasoning="y")
    assert merged(thoughts) == [Message("assistant", "a\n\nb", reasoning="xy")]


def test_an_empty_turn_leaves_no_blank_lines_when_it_is_merged():
    assert merged([Message("user", ""), USER]) == [USER]


def test_only_the_system_messages_in_front_stay():
    roles = [message.role for message in system_in_front([SYSTEM, SYSTEM, USER, SYSTEM])]
    assert roles == ["system", "system", "user", "user"]


def test_only_the_assistants_turns_are_left_out_for_being_empty():
    nothing = [Message(role, "") for role in ("system", "user", "assistant", "tool")]
    assert [message.role for message in without_empty([*nothing, CALL])] == ["system", "user", "tool", "assistant"]


def test_a_greeting_gets_an_empty_turn_in_front():
    assert user_first([REPLY])[0] == Message("user", "")
    assert user_first([USER]) == [USER]
