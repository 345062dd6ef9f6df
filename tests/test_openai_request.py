"""OpenAI's JSON as real clients send it, to one kind of request."""

from typing import Any

import pytest

from server.errors import BadRequest
from server.prompt.chat import Message
from server.request.openai import read_chat, read_completion
from server.request.text_request import TextRequest

HELLO = [{"role": "user", "content": "Hello"}]


def chat(**body: Any) -> TextRequest:
    return read_chat({"messages": HELLO, **body})


def messages(*entries: Any) -> tuple[Message, ...]:
    return read_chat({"messages": list(entries)}).messages


def refusal(body: dict[str, Any]) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        read_chat(body)
    return caught.value


def test_the_smallest_chat_is_one_message():
    request = chat()
    assert request.messages == (Message("user", "Hello"),)
    assert (request.max_tokens, request.stop, request.stream, request.ban_eos) == (None, (), False, False)


def test_mantellas_request_is_understood():
    request = chat(model="google/gemma-4-26b-a4b-it:free", stream=True, max_tokens=250, stop=["#"], temperature=1)
    assert (request.stream, request.max_tokens, request.stop, request.sampling.temperature) == (True, 250, ("#",), 1)


@pytest.mark.parametrize("model", [None, "", 5, "gpt-4o", ["a"]])
def test_any_model_name_is_accepted(model):
    assert chat(model=model) == chat()


def test_unknown_fields_are_ignored():
    assert chat(user="x", n=1, tools=None, tool_choice="auto", store=True, reasoning_effort="low") == chat()


def test_every_field_may_be_null():
    names = "max_tokens max_completion_tokens stop stream stream_options temperature top_p seed logit_bias genkey"
    others = "presence_penalty frequency_penalty ban_eos_token ignore_eos grammar sampler_order top_k tools model"
    assert chat(**dict.fromkeys(f"{names} {others}".split())) == chat()


@pytest.mark.parametrize(
    ("stop", "read"),
    [("#", ("#",)), (["#", "x"], ("#", "x")), ("", ()), ([""], ()), (["", None, "#"], ("#",)), ([], ())],
)
def test_stop_is_a_text_or_a_list_without_its_empty_entries(stop, read):
    assert chat(stop=stop).stop == read


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens", "max_length", "n_predict"])
def test_the_length_has_many_names(name):
    assert chat(**{name: 99}).max_tokens == 99


def test_a_reply_never_outgrows_the_context():
    assert not chat(max_tokens=10**6).shift
    assert not read_completion({"prompt": "Hi"}).shift


def test_the_new_name_of_the_length_wins():
    assert chat(max_tokens=5, max_completion_tokens=9).max_tokens == 9
    assert chat(max_tokens=5, max_completion_tokens=None).max_tokens == 5


@pytest.mark.parametrize("name", ["ban_eos_token", "use_default_badwordsids", "ignore_eos"])
def test_the_end_of_text_can_be_forbidden(name):
    assert chat(**{name: True}).ban_eos


def test_ban_eos_token_wins_over_its_aliases():
    assert not chat(ban_eos_token=False, use_default_badwordsids=True).ban_eos


@pytest.mark.parametrize(
    ("options", "wanted"),
    [({"include_usage": True}, True), ({"include_usage": False}, False), ({}, False), (None, False)],
)
def test_usage_in_the_stream_is_asked_for_by_option(options, wanted):
    assert chat(stream_options=options).include_usage is wanted


@pytest.mark.parametrize(
    ("field", "value"),
    [("temperature", "hot"), ("max_tokens", "lots"), ("stop", 5), ("stream_options", "x"), ("logit_bias", "x")],
)
def test_a_value_of_the_wrong_kind_is_refused_by_name(field, value):
    error = refusal({"messages": HELLO, field: value})
    assert (error.status, error.param) == (400, field)
    assert field in str(error)


# --- messages ---


@pytest.mark.parametrize("value", [None, [], {}, "Hello", 5])
def test_a_chat_needs_messages(value):
    error = refusal({"messages": value})
    assert error.param == "messages"
    assert "at least one message" in str(error)


@pytest.mark.parametrize("entry", [None, "Hello", [], {}, {"content": "x"}, {"role": None, "content": "x"}])
def test_a_message_needs_a_role_and_is_named_by_its_place(entry):
    assert refusal({"messages": [*HELLO, entry]}).param == "messages[1]"


@pytest.mark.parametrize(
    ("role", "read"),
    [
        ("system", "system"),
        ("developer", "system"),
        ("user", "user"),
        ("assistant", "assistant"),
        ("tool", "user"),
        ("function", "user"),
        ("narrator", "user"),
    ],
)
def test_every_role_becomes_one_of_three(role, read):
    assert messages({"role": role, "content": "x"}) == (Message(read, "x"),)


@pytest.mark.parametrize(
    ("content", "read"),
    [
        ("x", "x"),
        ("", ""),
        (None, ""),
        ([], ""),
        ([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "a\nb"),
        (["a", {"type": "text", "text": "b"}], "a\nb"),
        ([{"type": "text", "text": None}, {"type": "text"}], ""),
        ([{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}, {"type": "text", "text": "a"}], "a"),
    ],
)
def test_content_is_text_or_the_text_of_its_parts(content, read):
    assert messages({"role": "user", "content": content}) == (Message("user", read),)


def test_a_message_without_content_is_an_empty_one():
    assert messages({"role": "assistant", "tool_calls": []}) == (Message("assistant", ""),)


@pytest.mark.parametrize("content", [5, {"text": "x"}, [5], True])
def test_content_of_another_kind_is_refused_by_its_place(content):
    assert refusal({"messages": [{"role": "user", "content": content}]}).param == "messages[0].content"


def test_the_order_of_messages_is_kept_wherever_the_system_speaks():
    roles = ["assistant", "system", "user", "user", "system"]
    assert [entry.role for entry in messages(*({"role": role, "content": "x"} for role in roles))] == roles


def test_extra_keys_of_a_message_are_ignored():
    assert messages({"role": "user", "content": "x", "name": "Lydia", "tool_call_id": "1"}) == (Message("user", "x"),)


# --- text completions ---


@pytest.mark.parametrize(("prompt", "read"), [("Hi", "Hi"), (["Hi"], "Hi"), ("", ""), (None, ""), ([None], "")])
def test_a_prompt_is_one_text(prompt, read):
    assert read_completion({"prompt": prompt}).prompt == read


@pytest.mark.parametrize("prompt", [5, ["a", "b"], [1, 2], {}, []])
def test_other_prompts_are_refused(prompt):
    with pytest.raises(BadRequest) as caught:
        read_completion({"prompt": prompt})
    assert caught.value.param == "prompt"


def test_a_completion_may_have_a_memory_that_is_null():
    assert read_completion({"prompt": "a", "memory": None}).memory == ""
    assert read_completion({"prompt": "a", "memory": "m"}).memory == "m"


def test_sillytaverns_many_keys_are_understood():
    request = read_completion(
        {
            "prompt": "Hi",
            "max_new_tokens": 300,
            "max_tokens": 300,
            "temperature": 1,
            "top_p": 1,
            "typical_p": 1,
            "typical": 1,
            "sampler_seed": -1,
            "min_p": 0.1,
            "repetition_penalty": 1.1,
            "rep_pen": 1.1,
            "repeat_penalty": 1.1,
            "top_k": 0,
            "skew": 0,
            "dry_sequence_breakers": '["\\n", ":", "\\"", "*"]',
            "mirostat_mode": 0,
            "custom_token_bans": "",
            "banned_strings": [],
            "sampler_order": [6, 0, 1, 3, 4, 2, 5],
            "stop": ["\nPlayer:"],
            "stopping_strings": ["\nPlayer:"],
            "grammar_string": "",
            "grammar": "",
            "logit_bias": {},
            "ignore_eos": False,
            "n_probs": 10,
            "genkey": "KCPP1234",
            "stream": True,
        }
    )
    assert (request.max_tokens, request.stop, request.genkey) == (300, ("\nPlayer:",), "KCPP1234")
    assert (request.sampling.top_k, request.sampling.rep_pen, request.sampling.seed) == (0, 1.1, -1)
