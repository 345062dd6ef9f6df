"""From a request to the engine's command: prompt, tokens and budget, with one token per character."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.errors import BadRequest, ContextLengthExceeded
from server.events import Constraint, ConstraintKind, Generate, ModelInfo, Sampling
from server.prompt import templates
from server.prompt import thinking as model_thinking
from server.prompt.jinja import Renderer
from server.prompt.message import Chat, Ending, Message, Tool
from server.prompt.preset import NO_TAGS, Preset, bundled
from server.prompt.templates import Choice
from server.request.prepare import Prepared, Preparer
from server.request.text_request import TextRequest
from server.request.thinking import Mode, ThinkingWish
from server.settings import Settings
from server.snapshot import Trimmed
from tests.fake_model import PLAIN_TEMPLATE, TINY

BOS = 1
DEFAULT_REPLY = 20
SYSTEM = Message("system", "Be brave.")
USER = Message("user", "Hello")
LOOK = Tool("look", "Looks around.", {"type": "object", "properties": {"where": {"type": "string"}}})
GBNF = Constraint(ConstraintKind.GBNF, 'root ::= "yes"')
CHATML = (
    "{% for m in messages %}{% if 'dragon' in m.content %}{{ raise_exception('no dragons') }}{% endif %}"
    "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}<|im_start|>assistant\n"
)
DRAGON = Message("user", "A dragon!")


class Letters:
    """One token per character; ``<s>`` is the token BOS, which a model may also want in front."""

    def __init__(self, wants_bos: bool = True, problem: str = "") -> None:
        self._wants_bos = wants_bos
        self._problem = problem

    def tokenize(self, text: str, *, special: bool) -> tuple[int, ...]:
        tokens = tuple(map(ord, text.replace("<s>", chr(BOS))))
        return (BOS, *tokens) if special and self._wants_bos else tokens

    def check_constraint(self, constraint: Constraint) -> str:
        return self._problem


Preparing = Callable[..., Prepared]


@pytest.fixture(scope="module")
def prepared(renderer: Renderer) -> Preparing:
    """Prepares a request for a model of 100 tokens of context; ``problem`` is what it says of every constraint."""

    def prepared(
        request: TextRequest,
        model: ModelInfo = TINY,
        *,
        preset: Preset | None = None,
        wants_bos: bool = True,
        problem: str = "",
        **values: Any,
    ) -> Prepared:
        template = templates.choose(Choice("mine", preset) if preset else None, model, renderer)
        chosen = Settings(**{"defaultgenamt": DEFAULT_REPLY, **values})
        return Preparer(Letters(wants_bos, problem), model, template, renderer, chosen).prepare(request)

    return prepared


@pytest.fixture(scope="module")
def ready(prepared: Preparing) -> Callable[..., Generate]:
    return lambda *arguments, **options: prepared(*arguments, **options).build(7)


@pytest.fixture(scope="module")
def prompt_of(ready: Callable[..., Generate]) -> Callable[..., str]:
    """The prompt as the engine gets it."""
    return lambda *arguments, **options: text_of(ready(*arguments, **options).prompt)


def text_of(tokens: tuple[int, ...]) -> str:
    return "".join(map(chr, tokens)).replace(chr(BOS), "<s>")


def asking(*messages: Message, **request: Any) -> TextRequest:
    return TextRequest(chat=Chat(messages), **request)


def say(*contents: str) -> tuple[Message, ...]:
    """User and assistant by turns."""
    return tuple(Message("assistant" if index % 2 else "user", content) for index, content in enumerate(contents))


# --- text ---


def test_a_prompt_becomes_tokens_behind_the_beginning_of_text(prompt_of):
    assert prompt_of(TextRequest(prompt="Hello")) == "<s>Hello"


def test_a_model_without_a_beginning_of_text_gets_none(prompt_of):
    assert prompt_of(TextRequest(prompt="Hello"), wants_bos=False) == "Hello"


def test_the_memory_stands_before_the_prompt_and_begins_the_text_once(prompt_of):
    assert prompt_of(TextRequest(prompt="Hello", memory="Long ago. ")) == "<s>Long ago. Hello"


@pytest.mark.parametrize("where", [{"prompt": "<s>Hello"}, {"prompt": "Hello", "memory": "<s>"}], ids=str)
def test_a_prompt_that_brings_its_own_beginning_of_text_gets_no_second_one(prompt_of, where):
    assert prompt_of(TextRequest(**where)) == "<s>Hello"


def test_the_command_carries_what_was_asked_for(ready):
    sampling = Sampling(temperature=0.1)
    request = TextRequest(prompt="a", max_tokens=5, stop=("#",), keep_stop=True, ban_eos=True, sampling=sampling)
    assert ready(request) == Generate(
        7,
        (BOS, ord("a")),
        max_tokens=5,
        stop=("#",),
        keep_stop=True,
        ban_eos=True,
        keep=1,
        sampling=sampling,
        thinking=model_thinking.thinking(NO_TAGS, "a", budget=-1, calls=False),
        shown=model_thinking.shown(NO_TAGS),
    )


def test_what_was_prepared_can_be_looked_at(prepared):
    found = prepared(TextRequest(prompt="Hello", memory="Long ago. ", stop=("#",)))
    assert (found.text, text_of(found.tokens), found.stop) == ("Long ago. Hello", "<s>Long ago. Hello", ("#",))
    assert (found.trimmed, found.ignored, found.template.source) == (None, "", "the model's own")


def test_a_command_can_be_built_for_any_number(prepared):
    build = prepared(TextRequest(prompt="a")).build
    assert (build(1).request_id, build(2)) == (1, replace(build(1), request_id=2))


def test_a_stop_named_twice_is_looked_for_once(ready):
    assert ready(TextRequest(prompt="a", stop=("#", "x", "#"))).stop == ("#", "x")


def test_an_empty_prompt_is_enough_where_the_model_has_a_beginning_of_text(ready):
    assert ready(TextRequest(prompt="")).prompt == (BOS,)


@pytest.mark.parametrize(("bos", "eos", "prompt"), [("<s>", "</e>", "<s>"), ("", "</e>", "</e>")])
def test_an_empty_prompt_gets_a_text_to_begin_with_where_the_model_wants_none(prompt_of, bos, eos, prompt):
    model = replace(TINY, bos_text=bos, eos_text=eos)
    assert prompt_of(TextRequest(), model, wants_bos=False) == prompt


def test_nothing_to_continue_at_all_is_a_bad_request(ready):
    with pytest.raises(BadRequest, match="empty") as caught:
        ready(TextRequest(), replace(TINY, bos_text="", eos_text=""), wants_bos=False)
    assert caught.value.param == "prompt"


# --- lengths ---


@pytest.mark.parametrize("nothing", [None, 0, -1])
def test_a_reply_without_a_length_gets_the_servers(ready, nothing):
    assert ready(TextRequest(prompt="a", max_tokens=nothing)).max_tokens == DEFAULT_REPLY


@pytest.mark.parametrize("huge", [101, 10**6, 10**30])
def test_a_reply_is_never_longer_than_the_context_has_left(ready, huge):
    assert ready(TextRequest(prompt="a" * 9, max_tokens=huge)).max_tokens == 90


@pytest.mark.parametrize("context", [None, 0, -5, 10**9])
def test_a_context_that_makes_no_sense_is_the_models(ready, context):
    assert ready(TextRequest(prompt="a" * 500, context=context)).max_tokens == DEFAULT_REPLY


def test_a_smaller_context_shortens_the_prompt(ready):
    generate = ready(TextRequest(prompt="a" * 90, context=50, max_tokens=12))
    assert len(generate.prompt) + generate.max_tokens == 50


def test_a_prompt_that_is_too_long_loses_its_front(ready):
    generate = ready(TextRequest(prompt="x" * 100 + "the end"), wants_bos=False)
    assert text_of(generate.prompt).endswith("the end")
    assert len(generate.prompt) == 80


@pytest.mark.parametrize("request_", [TextRequest(prompt="x" * 200), asking(*say("x" * 200))], ids=["text", "chat"])
def test_what_is_cut_still_begins_with_the_beginning_of_text(ready, request_):
    assert ready(request_).prompt[0] == BOS
    assert ready(request_).prompt.count(BOS) == 1


def test_the_memory_survives_when_the_prompt_is_cut(prompt_of):
    assert prompt_of(TextRequest(prompt="x" * 200, memory="Long ago. ")).startswith("<s>Long ago. x")


def test_a_memory_that_is_too_long_does_not_fail(ready):
    assert len(ready(TextRequest(prompt="a", memory="m" * 200)).prompt) <= 80


@settings(max_examples=150, deadline=None)
@given(
    prompt=st.text("ab", max_size=200),
    memory=st.text("ab", max_size=200),
    wanted=st.none() | st.integers(-5, 300),
    context=st.none() | st.integers(-5, 300),
)
def test_whatever_is_asked_fits_the_context_and_leaves_room_for_a_reply(ready, prompt, memory, wanted, context):
    generate = ready(TextRequest(prompt=prompt, memory=memory, max_tokens=wanted, context=context))
    assert generate.prompt
    assert generate.max_tokens >= 1
    assert len(generate.prompt) + generate.max_tokens <= 100


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text("ab", max_size=150), min_size=1, max_size=4), st.none() | st.integers(-5, 300))
def test_so_does_every_chat(ready, contents, context):
    generate = ready(asking(*say(*contents), context=context))
    assert generate.prompt
    assert generate.max_tokens >= 1
    assert len(generate.prompt) + generate.max_tokens <= 100


# --- what is left out, and who is told ---


def test_nothing_left_out_is_nothing_told(prepared, caplog):
    assert prepared(asking(*say("Hello", "Well met.", "Bye"))).trimmed is None
    assert not caplog.records


def test_the_oldest_turns_of_a_long_chat_are_left_out_and_counted(prepared):
    found = prepared(asking(SYSTEM, *say("a" * 40, "b" * 40, "c" * 40)))
    assert text_of(found.tokens) == f"<s>system: Be brave.\nuser: {'c' * 40}\nassistant:"
    assert found.trimmed == Trimmed(2, len(f"user: {'a' * 40}\nassistant: {'b' * 40}\n"))


def test_a_text_that_is_cut_is_counted(prepared):
    assert prepared(TextRequest(prompt="x" * 200)).trimmed == Trimmed(0, 201 - 80)


def test_a_message_that_is_shortened_is_counted(prepared):
    found = prepared(asking(*say("x" * 200)))
    assert found.trimmed
    assert found.trimmed.messages == 0
    assert found.trimmed.tokens == len(f"<s>user: {'x' * 200}\nassistant:") - 2 - len(found.tokens)
    assert "\n[...]\n" in found.text


def test_a_chat_whose_template_is_too_long_keeps_its_end(ready):
    model = replace(TINY, chat_template="{{ 'y' * 90 }}" + PLAIN_TEMPLATE)
    generate = ready(asking(*say("Hello")), model)
    assert text_of(generate.prompt).endswith("\nassistant:")
    assert len(generate.prompt) <= 80


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (TextRequest(prompt="x" * 200), "121 of them were left out."),
        (asking(*say("x" * 60, "x" * 60, "x" * 20)), "among them its 2 oldest messages."),
    ],
    ids=["text", "chat"],
)
def test_a_shortened_prompt_leaves_one_line_in_the_log(prepared, caplog, request_, said):
    with caplog.at_level(logging.WARNING):
        prepared(request_)
    (record,) = caplog.records
    assert record.getMessage().startswith("The prompt was too long for 80 tokens: ")
    assert record.getMessage().endswith(said)
    assert "xxx" not in record.getMessage()


# --- a prompt that must not be shortened ---

LONG = TextRequest(prompt="x" * 200)
LONG_CHAT = asking(*say("x" * 60, "x" * 60, "x" * 20))
WHOLE = len(f"user: {'x' * 60}\nassistant: {'x' * 60}\nuser: {'x' * 20}\nassistant:") + 1


@pytest.mark.parametrize(
    ("request_", "strict"),
    [
        (LONG, True),
        (LONG_CHAT, True),
        (replace(LONG, truncate=False), False),
        (replace(LONG_CHAT, truncate=False), True),
    ],
)
def test_a_prompt_that_does_not_fit_is_refused_with_the_numbers(prepared, request_, strict):
    with pytest.raises(ContextLengthExceeded) as caught:
        prepared(request_, strictcontext=strict)
    assert (caught.value.status, caught.value.code) == (400, "context_length_exceeded")
    assert "The context holds 100 tokens" in str(caught.value)
    assert f"the prompt has {WHOLE if request_.chat else 201} " in str(caught.value)


@pytest.mark.parametrize(("request_", "param"), [(LONG, "prompt"), (LONG_CHAT, "messages")], ids=["text", "chat"])
def test_a_refusal_names_the_field(prepared, request_, param):
    with pytest.raises(ContextLengthExceeded) as caught:
        prepared(request_, strictcontext=True)
    assert caught.value.param == param


@pytest.mark.parametrize("request_", [LONG, LONG_CHAT], ids=["text", "chat"])
def test_truncate_shortens_over_a_strict_setting(prepared, request_):
    assert prepared(replace(request_, truncate=True), strictcontext=True).trimmed
    assert prepared(replace(request_, truncate=None), strictcontext=False).trimmed


def test_strictly_the_reply_must_fit_too_where_its_length_was_asked_for(prepared):
    with pytest.raises(ContextLengthExceeded, match="the prompt has 91 and the reply may have 12"):
        prepared(TextRequest(prompt="x" * 90, max_tokens=12), strictcontext=True)
    assert prepared(TextRequest(prompt="x" * 87, max_tokens=12), strictcontext=True).trimmed is None


def test_strictly_the_servers_length_need_not_fit(ready):
    assert ready(TextRequest(prompt="x" * 98), strictcontext=True).max_tokens == 1
    with pytest.raises(ContextLengthExceeded):
        ready(TextRequest(prompt="x" * 99), strictcontext=True)


def test_strictly_the_context_of_the_request_counts(prepared):
    with pytest.raises(ContextLengthExceeded, match="The context holds 50 tokens"):
        prepared(TextRequest(prompt="x" * 60, context=50, truncate=False))


# --- replies that outgrow the context ---


def test_a_reply_that_may_outgrow_the_context_gets_the_length_it_asked_for(ready):
    generate = ready(TextRequest(prompt="a" * 9, max_tokens=500, shift=True))
    assert generate.shift
    assert generate.max_tokens == 500


def test_a_smaller_context_then_limits_only_the_prompt(ready):
    generate = ready(TextRequest(prompt="a" * 90, context=40, max_tokens=50, shift=True))
    assert len(generate.prompt) == 40 - 16
    assert generate.max_tokens == 50


@pytest.mark.parametrize(
    ("memory", "wants_bos", "kept"),
    [("Long ago. ", True, 11), ("Long ago. ", False, 10), ("", True, 1), ("", False, 0), ("m" * 200, True, 80)],
)
def test_the_memory_and_the_beginning_of_text_survive(ready, memory, wants_bos, kept):
    generate = ready(TextRequest(prompt="x" * 200, memory=memory, shift=True), wants_bos=wants_bos)
    assert generate.keep == kept


# --- chats and their templates ---


def test_a_chat_is_rendered_with_the_models_template(prompt_of):
    assert prompt_of(asking(USER)) == "<s>user: Hello\nassistant:"


def test_a_template_that_writes_the_beginning_of_text_gets_no_second_one(prompt_of):
    model = replace(TINY, chat_template="{{ bos_token }}" + PLAIN_TEMPLATE)
    assert prompt_of(asking(USER), model) == "<s>user: Hello\nassistant:"


def test_a_turn_of_the_assistant_is_continued(prompt_of):
    chat = Chat(say("Hello", "Well met, "), ending=Ending.CONTINUE)
    assert prompt_of(TextRequest(chat=chat)) == "<s>user: Hello\nassistant: Well met, "


PRESET = Preset(user_start="USER: ", user_end="\n", assistant_start="BOT: ", stop=("END",))


def test_a_preset_takes_the_templates_place_and_brings_its_stops(ready):
    generate = ready(asking(USER, stop=("#",)), preset=PRESET)
    assert text_of(generate.prompt) == "<s>USER: Hello\nBOT: "
    assert generate.stop == ("#", "USER:", "BOT:", "END")


def test_an_adapter_in_the_request_takes_the_place_of_both(prepared):
    found = prepared(asking(USER, adapter=PRESET), preset=bundled()["ChatML"])
    assert found.text == "USER: Hello\nBOT: "
    assert (found.template.source, found.stop) == ("the request", ("USER:", "BOT:", "END"))


def test_a_text_is_not_stopped_by_tags(ready):
    assert ready(TextRequest(prompt="a", stop=("#",)), preset=PRESET).stop == ("#",)


def test_a_models_own_template_stops_at_its_familys_tags(ready):
    stop = ready(asking(USER), replace(TINY, chat_template=CHATML)).stop
    assert {"<|im_start|>", "<|im_end|>"} <= set(stop)


def test_a_model_that_falls_back_to_alpaca_stops_at_its_next_instruction(ready):
    generate = ready(asking(USER), replace(TINY, chat_template="{{ broken"))
    assert "### Instruction:\nHello" in text_of(generate.prompt)
    assert "### Instruction:" in generate.stop


def test_a_template_that_fails_for_one_chat_makes_way_for_its_familys_tags(prepared, caplog):
    model = replace(TINY, chat_template=CHATML)
    with caplog.at_level(logging.WARNING):
        assert prepared(asking(DRAGON), model).text == (
            "<|im_start|>user\nA dragon!<|im_end|>\n<|im_start|>assistant\n"
        )
    assert "The chat template failed (no dragons); the tags of ChatML are used." in caplog.text


def test_a_template_that_fails_with_words_of_the_chat_is_not_quoted_in_the_log(prepared, caplog):
    talkative = "{% if 'dragon' in messages[0].content %}{{ raise_exception(messages[0].content) }}{% endif %}"
    with caplog.at_level(logging.INFO):
        prepared(asking(DRAGON), replace(TINY, chat_template=talkative + PLAIN_TEMPLATE))
    assert "The chat template failed" in caplog.text
    assert "A dragon!" not in caplog.text


def test_a_change_of_the_messages_is_told_in_the_log_once(prepared, caplog):
    strict = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}" + PLAIN_TEMPLATE
    messages = [Message("system", "Be brave."), *say("a dragon " * 5, "no!", "a dragon " * 5)]
    with caplog.at_level(logging.INFO):
        prepared(asking(*messages), replace(TINY, chat_template=strict))
    assert caplog.text.count("does not take this order of messages: system messages became part") == 1


def test_the_last_resort_for_one_chat_brings_its_stops_and_its_name(prepared):
    unknown = "{% if 'dragon' in messages[0].content %}{{ raise_exception('no dragons') }}{% endif %}" + PLAIN_TEMPLATE
    found = prepared(asking(DRAGON), replace(TINY, chat_template=unknown))
    assert "### Instruction:\nA dragon!" in found.text
    assert "### Instruction:" in found.stop
    assert found.template.name == "Alpaca"


def test_a_failure_is_told_once_however_often_a_long_chat_is_rendered(prepared, caplog):
    model = replace(TINY, chat_template=CHATML)
    with caplog.at_level(logging.WARNING):
        prepared(asking(*say("a dragon " * 5, "no!", "a dragon " * 5, "no!", "a dragon " * 5)), model)
    assert caplog.text.count("The chat template failed") == 1


# --- thinking ---


@pytest.mark.parametrize(
    ("setting", "wish", "budget"),
    [
        ({}, ThinkingWish(), -1),
        ({"thinkingbudget": 50}, ThinkingWish(), 50),
        ({"thinkingbudget": 50}, ThinkingWish(budget=9), 9),
        ({"thinkingbudget": 50}, ThinkingWish(budget=-1), -1),
        ({"thinkingbudget": 50}, ThinkingWish(budget=0), 0),
        ({"thinking": "off"}, ThinkingWish(), 0),
        ({"thinking": "off"}, ThinkingWish(budget=9), 0),
        ({"thinking": "off"}, ThinkingWish(Mode.SHOW), -1),
        ({"thinking": "hide", "thinkingbudget": 50}, ThinkingWish(), 50),
        ({}, ThinkingWish(Mode.OFF), 0),
        ({}, ThinkingWish(Mode.OFF, 9), 0),
        ({}, ThinkingWish(Mode.HIDE), -1),
    ],
    ids=str,
)
@pytest.mark.parametrize("request_", [TextRequest(prompt="a"), asking(USER)], ids=["text", "chat"])
def test_a_thought_may_be_as_long_as_the_request_says_or_else_the_setting(ready, request_, setting, wish, budget):
    assert ready(replace(request_, thinking=wish), **setting).thinking.budget == budget


@pytest.mark.parametrize(
    ("setting", "mode", "in_chat", "in_text"),
    [
        ("show", None, True, False),
        ("hide", None, False, False),
        ("off", None, False, False),
        ("show", Mode.SHOW, True, True),
        ("hide", Mode.SHOW, True, True),
        ("off", Mode.SHOW, True, True),
        ("show", Mode.HIDE, False, False),
        ("show", Mode.OFF, False, False),
    ],
)
def test_a_chat_shows_thoughts_by_default_and_a_text_only_where_they_are_asked_for(
    prepared, setting, mode, in_chat, in_text
):
    wish = ThinkingWish(mode)
    assert prepared(asking(USER, thinking=wish), thinking=setting).shows_thought is in_chat
    assert prepared(TextRequest(prompt="a", thinking=wish), thinking=setting).shows_thought is in_text


SWITCH = "{{ messages[0].content }}:{% if enable_thinking is defined %}{{ enable_thinking }}{% else %}unsaid{% endif %}"


@pytest.mark.parametrize(
    ("setting", "wish", "seen"),
    [
        ("show", ThinkingWish(), "unsaid"),
        ("hide", ThinkingWish(), "unsaid"),
        ("off", ThinkingWish(), "False"),
        ("show", ThinkingWish(Mode.OFF), "False"),
        ("show", ThinkingWish(Mode.SHOW), "unsaid"),
        ("show", ThinkingWish(Mode.SHOW, switched_on=True), "True"),
        ("off", ThinkingWish(Mode.SHOW, switched_on=True), "True"),
    ],
    ids=str,
)
def test_the_templates_switch_is_moved_where_somebody_asked_for_it(prepared, setting, wish, seen):
    model = replace(TINY, chat_template=SWITCH)
    assert prepared(asking(USER, thinking=wish), model, thinking=setting).text == f"Hello:{seen}"


def test_a_prompt_that_opens_a_thought_awaits_its_end(ready):
    model = replace(TINY, chat_template=PLAIN_TEMPLATE + "<think>\n")
    assert ready(asking(USER), model).thinking.closes == "</think>"
    assert ready(asking(USER)).thinking.closes == ""


def test_a_familys_tags_and_texts_reach_the_engine(ready):
    harmony = bundled()["Harmony"]
    generate = ready(asking(USER), replace(TINY, context=1000), preset=harmony)
    assert (generate.thinking.dropped, generate.thinking.closing) == (harmony.dropped, harmony.closing)
    assert set(harmony.shown) <= set(generate.shown)


# --- constraints and tools ---


def test_a_constraint_that_can_be_used_is_used(prepared):
    found = prepared(TextRequest(prompt="a", constraint=GBNF))
    assert (found.build(1).constraint, found.ignored) == (GBNF, "")


@pytest.mark.parametrize(
    ("kind", "field"),
    [
        (ConstraintKind.GBNF, "grammar"),
        (ConstraintKind.JSON_SCHEMA, "json_schema"),
        (ConstraintKind.REGEX, "regex"),
        (ConstraintKind.LARK, "grammar"),
    ],
)
def test_one_that_cannot_be_used_is_a_bad_request(prepared, kind, field):
    with pytest.raises(BadRequest, match=f"^{field} cannot be used: line 1: what\\?$") as caught:
        prepared(TextRequest(prompt="a", constraint=Constraint(kind, "x")), problem="line 1: what?")
    assert caught.value.param == field


def test_a_lenient_request_is_served_without_it_and_says_why(prepared, caplog):
    request = TextRequest(prompt="a", constraint=GBNF, lenient=True)
    with caplog.at_level(logging.WARNING):
        found = prepared(request, problem="line 1: what?")
    assert (found.build(1).constraint, found.ignored) == (None, "grammar: line 1: what?")
    assert "grammar was ignored, the reply is not constrained" in caplog.text
    assert "what?" not in caplog.text


def test_a_call_that_is_forced_is_a_constraint(ready):
    constraint = ready(
        TextRequest(chat=Chat((USER,), tools=(LOOK,)), forced=(LOOK,)), replace(TINY, context=2000)
    ).constraint
    assert constraint.kind is ConstraintKind.LARK
    assert '\\"look\\"' in constraint.text


def test_tools_that_need_not_be_called_are_none(ready):
    model = replace(TINY, context=2000)
    assert ready(TextRequest(chat=Chat((USER,), tools=(LOOK,))), model).constraint is None
    assert ready(TextRequest(chat=Chat((USER,), tools=(LOOK,)), constraint=GBNF), model).constraint == GBNF


def test_tools_whose_schema_cannot_be_used_are_a_bad_request(ready):
    request = TextRequest(chat=Chat((USER,), tools=(LOOK,)), forced=(LOOK,))
    with pytest.raises(BadRequest, match=r"^tools cannot be used: what\?$") as caught:
        ready(request, replace(TINY, context=2000), problem="what?")
    assert caught.value.param == "tools"


def test_tools_are_told_to_a_model_whose_template_knows_none(prepared):
    found = prepared(TextRequest(chat=Chat((USER,), tools=(LOOK,))), replace(TINY, context=2000))
    assert "Looks around." in found.text
    assert found.text.endswith("user: Hello\nassistant:")
