"""Placeholders become the tags of the model, with the turns between them closed as they should be."""

from __future__ import annotations

import pytest

from server.prompt import preset
from server.prompt.message import Message
from server.prompt.preset import Preset
from server.request.placeholders import in_prompt, in_stops

TAGS = Preset(
    system_start="<S>",
    system_end="</S>",
    user_start="<U>",
    user_end="</U>",
    assistant_start="<A>",
    assistant_end="</A>",
    assistant_gen="<A>go:",
)


def filled(prompt: str, memory: str = "") -> str:
    return "|".join(filter(None, in_prompt(memory, prompt, TAGS)))


def test_where_ends_are_marked_each_stands_for_one_tag():
    prompt = "{{[INPUT]}}Hi{{[INPUT_END]}}{{[OUTPUT]}}Hello{{[OUTPUT_END]}}{{[INPUT]}}Go on{{[INPUT_END]}}{{[OUTPUT]}}"
    assert filled(prompt) == "<U>Hi</U><A>Hello</A><U>Go on</U><A>go:"


def test_where_ends_are_not_marked_a_turn_ends_with_the_next():
    prompt = "{{[INPUT]}}Hi{{[OUTPUT]}}Hello{{[INPUT]}}Go on{{[OUTPUT]}}"
    assert filled(prompt) == "<U>Hi</U><A>Hello</A><U>Go on</U><A>go:"


def test_text_before_the_first_turn_is_the_end_of_the_other_sides():
    assert filled("and so he said.{{[INPUT]}}Go on") == "and so he said.</A><U>Go on"
    assert filled("Go on{{[OUTPUT]}}") == "Go on</U><A>go:"


def test_a_system_turn_is_closed_as_one():
    assert filled("{{[SYSTEM]}}Be brief.{{[SYSTEM_END]}}{{[INPUT]}}Hi{{[OUTPUT]}}") == "<S>Be brief.</S><U>Hi</U><A>go:"
    assert filled("{{[SYSTEM]}}Be brief.{{[INPUT]}}Hi{{[OUTPUT]}}") == "<S>Be brief.</S><U>Hi</U><A>go:"


def test_memory_and_prompt_are_one_text():
    assert filled("{{[INPUT]}}Hi{{[OUTPUT]}}", memory="{{[SYSTEM]}}Be brief.") == "<S>Be brief.|</S><U>Hi</U><A>go:"
    assert filled("Hi{{[INPUT_END]}}{{[OUTPUT]}}", memory="{{[INPUT]}}") == "<U>|Hi</U><A>go:"


def test_line_breaks_around_one_belong_to_it():
    assert filled("\n{{[INPUT]}}\nHi\n{{[OUTPUT]}}\n") == "<U>Hi</U><A>go:"
    assert filled("{{[INPUT]}}Hi\n\n{{[OUTPUT]}}") == "<U>Hi\n\n</U><A>go:"


def test_a_reply_that_has_begun_is_continued():
    assert filled("{{[INPUT]}}Hi{{[OUTPUT]}}Hel") == "<U>Hi</U><A>Hel"


def test_without_placeholders_nothing_changes():
    assert filled("Hello {{user}} {{[NOTE]}}", memory="x") == "x|Hello {{user}} {{[NOTE]}}"


def test_stop_texts_lose_the_whitespace_of_tags_and_empty_ones_vanish():
    tags = Preset(user_start="\n### Instruction:\n", user_end="", assistant_start="\n### Response:\n")
    stops = ("{{[INPUT]}}", "{{[INPUT_END]}}", "{{[OUTPUT]}}", "Player:")
    assert in_stops(stops, tags) == ("### Instruction:", "### Response:", "Player:")


@pytest.mark.parametrize("name", preset.bundled())
def test_every_preset_makes_the_prompt_that_its_chats_have(name: str):
    tags = preset.bundled()[name]
    turns = [Message("user", "Hi"), Message("assistant", "Hello"), Message("user", "Go on")]
    memory, prompt = in_prompt("", "{{[INPUT]}}Hi{{[OUTPUT]}}Hello{{[INPUT]}}Go on{{[OUTPUT]}}", tags)
    assert tags.chat_start + memory + prompt == tags.render(turns)
