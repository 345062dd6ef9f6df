"""From a request to the engine's command: prompt, tokens and budget, with one token per character."""

import logging
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.errors import BadRequest
from server.events import Generate, ModelInfo, Sampling
from server.prompt.chat import Message, Preset
from server.request.prepare import prepare
from server.request.text_request import TextRequest
from tests.fake_model import PLAIN_TEMPLATE, TINY

BOS = 1
DEFAULT_REPLY = 20


class Letters:
    """One token per character; ``<s>`` is the token BOS, which a model may also want in front."""

    def __init__(self, wants_bos: bool = True) -> None:
        self._wants_bos = wants_bos

    def tokenize(self, text: str, *, special: bool) -> tuple[int, ...]:
        tokens = tuple(map(ord, text.replace("<s>", chr(BOS))))
        return (BOS, *tokens) if special and self._wants_bos else tokens


def ready(
    request: TextRequest, model: ModelInfo = TINY, preset: Preset | None = None, wants_bos: bool = True
) -> Generate:
    return prepare(request, Letters(wants_bos), model, preset, DEFAULT_REPLY)(7)


def prompt_of(generate: Generate) -> str:
    return "".join(map(chr, generate.prompt)).replace(chr(BOS), "<s>")


def say(*contents: str) -> tuple[Message, ...]:
    return tuple(Message("user", content) for content in contents)


# --- text ---


def test_a_prompt_becomes_tokens_behind_the_beginning_of_text():
    assert prompt_of(ready(TextRequest(prompt="Hello"))) == "<s>Hello"


def test_a_model_without_a_beginning_of_text_gets_none():
    assert prompt_of(ready(TextRequest(prompt="Hello"), wants_bos=False)) == "Hello"


def test_the_memory_stands_before_the_prompt_and_begins_the_text_once():
    assert prompt_of(ready(TextRequest(prompt="Hello", memory="Long ago. "))) == "<s>Long ago. Hello"


def test_the_command_carries_what_was_asked_for():
    sampling = Sampling(temperature=0.1)
    request = TextRequest(prompt="a", max_tokens=5, stop=("#",), keep_stop=True, ban_eos=True, sampling=sampling)
    assert ready(request) == Generate(
        7, (BOS, ord("a")), max_tokens=5, stop=("#",), keep_stop=True, ban_eos=True, keep=1, sampling=sampling
    )


def test_a_stop_named_twice_is_looked_for_once():
    assert ready(TextRequest(prompt="a", stop=("#", "x", "#"))).stop == ("#", "x")


@pytest.mark.parametrize("request_", [TextRequest(), TextRequest(prompt="", memory="")])
def test_nothing_to_continue_is_a_bad_request(request_):
    with pytest.raises(BadRequest, match="empty") as caught:
        ready(request_, wants_bos=False)
    assert caught.value.param == "prompt"


def test_an_empty_prompt_is_enough_where_the_model_has_a_beginning_of_text():
    assert ready(TextRequest(prompt="")).prompt == (BOS,)


# --- lengths ---


@pytest.mark.parametrize("nothing", [None, 0, -1])
def test_a_reply_without_a_length_gets_the_servers(nothing):
    assert ready(TextRequest(prompt="a", max_tokens=nothing)).max_tokens == DEFAULT_REPLY


@pytest.mark.parametrize("huge", [101, 10**6, 10**30])
def test_a_reply_is_never_longer_than_the_context_has_left(huge):
    assert ready(TextRequest(prompt="a" * 9, max_tokens=huge)).max_tokens == 90


@pytest.mark.parametrize("context", [None, 0, -5, 10**9])
def test_a_context_that_makes_no_sense_is_the_models(context):
    assert ready(TextRequest(prompt="a" * 500, context=context)).max_tokens == DEFAULT_REPLY


def test_a_smaller_context_shortens_the_prompt():
    generate = ready(TextRequest(prompt="a" * 90, context=50, max_tokens=12))
    assert len(generate.prompt) + generate.max_tokens == 50


def test_a_prompt_that_is_too_long_loses_its_front():
    generate = ready(TextRequest(prompt="x" * 100 + "the end"), wants_bos=False)
    assert prompt_of(generate).endswith("the end")
    assert len(generate.prompt) == 80


def test_a_prompt_that_is_cut_still_begins_with_the_beginning_of_text():
    assert ready(TextRequest(prompt="x" * 200)).prompt[0] == BOS


def test_a_chat_that_is_cut_still_begins_with_the_beginning_of_text():
    assert ready(TextRequest(messages=say("x" * 200))).prompt[0] == BOS


def test_the_memory_survives_when_the_prompt_is_cut():
    prompt = prompt_of(ready(TextRequest(prompt="x" * 200, memory="Long ago. ")))
    assert prompt.startswith("<s>Long ago. x")


def test_a_memory_that_is_too_long_does_not_fail():
    assert len(ready(TextRequest(prompt="a", memory="m" * 200)).prompt) <= 80


def test_a_chat_that_can_never_fit_keeps_its_end():
    generate = ready(TextRequest(messages=(Message("system", "s" * 90), *say("x" * 90))))
    assert prompt_of(generate).endswith("xxx\nassistant:")
    assert len(generate.prompt) == 80


def test_a_shortened_prompt_leaves_a_line_in_the_log(caplog):
    with caplog.at_level(logging.WARNING):
        ready(TextRequest(prompt="x" * 200))
    (record,) = caplog.records
    assert "cut" in record.getMessage()
    assert "xxx" not in record.getMessage()


@settings(max_examples=150, deadline=None)
@given(
    prompt=st.text("ab", max_size=200),
    memory=st.text("ab", max_size=200),
    wanted=st.none() | st.integers(-5, 300),
    context=st.none() | st.integers(-5, 300),
)
def test_whatever_is_asked_fits_the_context_and_leaves_room_for_a_reply(prompt, memory, wanted, context):
    generate = ready(TextRequest(prompt=prompt, memory=memory, max_tokens=wanted, context=context))
    assert generate.prompt
    assert generate.max_tokens >= 1
    assert len(generate.prompt) + generate.max_tokens <= 100


# --- replies that outgrow the context ---


def test_a_reply_that_may_outgrow_the_context_gets_the_length_it_asked_for():
    generate = ready(TextRequest(prompt="a" * 9, max_tokens=500, shift=True))
    assert generate.shift
    assert generate.max_tokens == 500


def test_a_smaller_context_then_limits_only_the_prompt():
    generate = ready(TextRequest(prompt="a" * 90, context=40, max_tokens=50, shift=True))
    assert len(generate.prompt) == 40 - 16
    assert generate.max_tokens == 50


@pytest.mark.parametrize(
    ("memory", "wants_bos", "kept"),
    [("Long ago. ", True, 11), ("Long ago. ", False, 10), ("", True, 1), ("", False, 0), ("m" * 200, True, 80)],
)
def test_the_memory_and_the_beginning_of_text_survive(memory, wants_bos, kept):
    generate = ready(TextRequest(prompt="x" * 200, memory=memory, shift=True), wants_bos=wants_bos)
    assert generate.keep == kept


# --- chat ---


def test_a_chat_is_rendered_with_the_models_template():
    assert prompt_of(ready(TextRequest(messages=say("Hello")))) == "<s>user: Hello\nassistant:"


def test_a_template_that_writes_the_beginning_of_text_gets_no_second_one():
    model = replace(TINY, chat_template="{{ bos_token }}" + PLAIN_TEMPLATE)
    assert prompt_of(ready(TextRequest(messages=say("Hello")), model)) == "<s>user: Hello\nassistant:"


def test_a_preset_takes_the_templates_place_and_brings_its_stops():
    preset = Preset(user_start="USER: ", user_end="\n", assistant_start="BOT: ")
    generate = ready(TextRequest(messages=say("Hello"), stop=("#",)), preset=preset)
    assert prompt_of(generate) == "<s>USER: Hello\nBOT: "
    assert generate.stop == ("#", "USER:", "BOT:")


def test_a_model_that_falls_back_to_alpaca_stops_at_its_next_instruction():
    generate = ready(TextRequest(messages=say("Hello")), replace(TINY, chat_template="{{ broken"))
    assert "### Instruction:\nHello" in prompt_of(generate)
    assert "### Instruction:" in generate.stop


def test_the_oldest_messages_of_a_long_chat_are_left_out(caplog):
    messages = (Message("system", "Be brave."), *say("a" * 40, "b" * 40, "c" * 40))
    with caplog.at_level(logging.WARNING):
        prompt = prompt_of(ready(TextRequest(messages=messages)))
    assert prompt == f"<s>system: Be brave.\nuser: {'c' * 40}\nassistant:"
    assert "2 oldest messages" in caplog.text


def test_a_single_message_that_is_too_long_is_said_to_be_cut(caplog):
    with caplog.at_level(logging.WARNING):
        ready(TextRequest(messages=say("x" * 200)))
    assert "cut" in caplog.text
    assert "oldest messages" not in caplog.text
