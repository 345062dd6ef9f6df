"""Which tags a model thinks between, and which of them a prompt that opened a thought still awaits."""

from __future__ import annotations

import pytest

from server.prompt.message import Message
from server.prompt.preset import NO_TAGS, Preset, bundled
from server.prompt.thinking import TAGS, shown, thinking

ALL = bundled()
CHATML = "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"


def awaited(family: Preset, prompt: str) -> str:
    return thinking(family, prompt, budget=-1, calls=False).closes


# --- tags ---


@pytest.mark.parametrize("name", ALL)
def test_every_family_knows_its_own_tags_and_all_others(name):
    tags = thinking(ALL[name], "", budget=-1, calls=False).tags
    assert tags[: len(ALL[name].reasoning)] == ALL[name].reasoning
    assert set(TAGS) <= set(tags)
    assert len(set(tags)) == len(tags)


def test_what_a_family_says_of_its_replies_is_passed_on():
    told = thinking(ALL["Harmony"], "", budget=7, calls=False)
    assert (told.dropped, told.closing) == (ALL["Harmony"].dropped, ALL["Harmony"].closing)
    assert told.budget == 7


def test_headers_stay_where_calls_are_looked_for_but_the_end_of_a_part_goes():
    told = thinking(ALL["Harmony"], "", budget=-1, calls=True)
    assert told.dropped == ("<|end|>",)
    assert thinking(ALL["ChatML"], "", budget=-1, calls=True) == thinking(ALL["ChatML"], "", budget=-1, calls=False)


@pytest.mark.parametrize("name", ALL)
def test_tags_and_what_else_a_family_shows_stay_visible(name):
    visible = shown(ALL[name])
    assert set(visible) >= {tag for pair in TAGS for tag in pair} | set(ALL[name].shown)
    assert len(set(visible)) == len(visible)


# --- thoughts that the prompt has begun ---


@pytest.mark.parametrize(("start", "end"), TAGS)
@pytest.mark.parametrize("behind", ["", "\n", " \n\n"], ids=repr)
@pytest.mark.parametrize("family", [ALL["ChatML"], NO_TAGS], ids=["ChatML", "none"])
def test_a_prompt_that_ends_in_an_opening_tag_awaits_the_closing_one(family, start, end, behind):
    assert awaited(family, CHATML + start + behind) == end


@pytest.mark.parametrize(("start", "end"), TAGS)
def test_a_thought_that_is_to_be_continued_awaits_its_end(start, end):
    assert awaited(ALL["ChatML"], f"{CHATML}{start}\nA guest, at this") == end


@pytest.mark.parametrize(("start", "end"), TAGS)
@pytest.mark.parametrize("behind", ["", "\n\n", "Well met, "], ids=repr)
def test_a_thought_that_is_closed_awaits_nothing(start, end, behind):
    assert awaited(ALL["ChatML"], f"{CHATML}{start}\n\n{end}{behind}") == ""


def test_the_second_thought_of_a_reply_may_be_open():
    assert awaited(ALL["ChatML"], CHATML + "<think>a</think>b<think>c") == "</think>"


def test_a_familys_own_tags_are_known():
    family = Preset(assistant_start="Bot: ", reasoning=(("(thinks:", ")"),))
    assert awaited(family, "User: Hello\nBot: (thinks: a guest") == ")"


@pytest.mark.parametrize("family", [ALL["ChatML"], ALL["Alpaca"], NO_TAGS], ids=["ChatML", "Alpaca", "none"])
@pytest.mark.parametrize("prompt", ["", "Hello", "Once upon a time there was"])
def test_a_prompt_without_tags_awaits_nothing(family, prompt):
    assert awaited(family, prompt) == ""


# --- what people and earlier turns say of tags ---

OPENED = {"DeepSeek-R1": "</think>"}  # families whose reply begins with a thought
MENTION = Message("user", "What does <think> mean?")


@pytest.mark.parametrize("name", ALL)
def test_a_tag_that_the_user_mentions_opens_no_thought(name):
    prompt = ALL[name].render([Message("system", "Be brief."), MENTION])
    assert awaited(ALL[name], prompt) == OPENED.get(name, "")


@pytest.mark.parametrize("name", ["Alpaca", "ChatML", "Harmony", "Llama-3", "Mistral-V7"])
def test_a_tag_in_the_middle_of_a_text_that_has_no_turns_of_the_family_opens_no_thought(name):
    assert awaited(ALL[name], "Stranger: What does <think> mean?\nSage:") == ""


@pytest.mark.parametrize("name", ALL)
def test_a_tag_in_an_earlier_turn_opens_no_thought(name):
    turns = [MENTION, Message("assistant", "<think>is a tag."), Message("user", "Is it <think>?")]
    assert awaited(ALL[name], ALL[name].render(turns)) == OPENED.get(name, "")


@pytest.mark.parametrize("name", ALL)
def test_a_reply_that_is_continued_is_looked_at_from_its_own_beginning(name):
    family = ALL[name]
    prompt = family.render([MENTION], reply=False) + family.opening(Message("assistant", "Well met, "))
    assert awaited(family, prompt) == ""


@pytest.mark.parametrize("name", [name for name in ALL if name != "Raw"])  # which has no turns at all
def test_a_thought_in_a_continued_reply_is_noticed_in_every_family(name):
    start, end = (*ALL[name].reasoning, *TAGS)[0]
    family = ALL[name]
    prompt = family.render([MENTION], reply=False) + family.opening(Message("assistant", f"{start}\nA guest"))
    assert awaited(family, prompt) == end
