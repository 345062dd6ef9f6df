"""OpenAI's JSON as real clients send it, to one kind of request."""

from __future__ import annotations

from typing import Any

import pytest

from server.errors import BadRequest
from server.events import Constraint, ConstraintKind
from server.prompt.message import Ending, Message
from server.prompt.preset import Preset
from server.request.openai import read_chat, read_completions
from server.request.text_request import TextRequest
from server.request.thinking import Mode, ThinkingWish

HELLO = [{"role": "user", "content": "Hello"}]
GREETED = [*HELLO, {"role": "assistant", "content": "Well met, "}]
LOOK = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}


def read_completion(body: dict[str, Any]) -> TextRequest:
    (request,) = read_completions(body, {})
    return request


def chat(**body: Any) -> TextRequest:
    return read_chat({"messages": HELLO, **body}, {})


def refusal(body: dict[str, Any]) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        read_chat(body, {})
    return caught.value


def test_the_smallest_chat_is_one_message():
    request = chat()
    assert request.chat
    assert request.chat.messages == (Message("user", "Hello"),)
    assert (request.chat.ending, request.chat.tools, request.adapter) == (Ending.REPLY, (), None)
    assert (request.max_tokens, request.stop, request.stream, request.ban_eos) == (None, (), False, False)
    assert (request.truncate, request.constraint, request.lenient) == (None, None, False)


def test_mantellas_request_is_understood():
    request = chat(model="google/gemma-4-26b-a4b-it:free", stream=True, max_tokens=250, stop=["#"], temperature=1)
    assert (request.stream, request.max_tokens, request.stop, request.sampling.temperature) == (True, 250, ("#",), 1)


@pytest.mark.parametrize("model", [None, "", 5, "gpt-4o", ["a"]])
def test_any_model_name_is_accepted(model):
    assert chat(model=model) == chat()


def test_unknown_fields_are_ignored():
    assert chat(user="x", n=1, tools=None, tool_choice="auto", store=True) == chat()


def test_every_field_may_be_null():
    names = "max_tokens max_completion_tokens stop stream stream_options temperature top_p seed logit_bias genkey"
    others = "presence_penalty frequency_penalty ban_eos_token ignore_eos grammar sampler_order top_k tools model"
    newer = "tool_choice response_format adapter documents chat_template_kwargs truncate thinking reasoning_effort"
    assert chat(**dict.fromkeys(f"{names} {others} {newer}".split())) == chat()


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


def test_an_adapter_with_stop_texts_alone_leaves_the_template_as_it_is():
    request = read_chat({"messages": [{"role": "user", "content": "Hi"}], "adapter": {"stop": ["END"]}}, {})
    assert request.adapter is None
    assert request.stop == ("END",)


@pytest.mark.parametrize("stop", [["x" * 1001], ["x"] * 257])
def test_stop_texts_beyond_all_use_are_refused(stop):
    with pytest.raises(BadRequest, match="at most 256 texts of 1000 characters"):
        read_chat({"messages": [{"role": "user", "content": "Hi"}], "stop": stop}, {})


# --- messages and tools ---


def test_a_message_at_fault_is_named():
    assert refusal({"messages": [*HELLO, {"role": "user", "content": 5}]}).param == "messages[1].content"
    assert refusal({}).param == "messages"


def test_tools_are_told_to_the_model():
    request = chat(tools=[LOOK])
    assert request.chat
    assert [tool.name for tool in request.chat.tools] == ["look"]
    assert (request.forced, request.chat.parallel) == ((), True)


def test_a_call_may_be_forced():
    request = chat(tools=[LOOK], tool_choice="required", parallel_tool_calls=False)
    assert [tool.name for tool in request.forced] == ["look"]
    assert request.chat
    assert not request.chat.parallel


def test_tools_that_may_not_be_called_are_not_told():
    request = chat(tools=[LOOK], tool_choice="none")
    assert request.chat
    assert (request.chat.tools, request.forced) == ((), ())


def test_a_choice_without_tools_is_refused():
    assert refusal({"messages": HELLO, "tool_choice": "required"}).param == "tool_choice"


@pytest.mark.parametrize(("documents", "read"), [([{"title": "Map"}], ({"title": "Map"},)), (None, ()), ("x", ())])
def test_documents_are_a_list(documents, read):
    request = chat(documents=documents)
    assert request.chat
    assert request.chat.documents == read


def test_variables_of_the_template_are_handed_over():
    request = chat(chat_template_kwargs={"mood": "grim", "enable_thinking": False})
    assert request.chat
    assert request.chat.variables == {"mood": "grim", "enable_thinking": False}
    assert request.thinking.mode is Mode.OFF


@pytest.mark.parametrize(
    ("body", "variables"),
    [
        ({"reasoning_effort": "low"}, {"reasoning_effort": "low"}),
        ({"reasoning_effort": "none"}, {}),
        ({"reasoning_effort": None}, {}),
        (
            {"reasoning_effort": "low", "chat_template_kwargs": {"reasoning_effort": "high"}},
            {"reasoning_effort": "high"},
        ),
    ],
    ids=str,
)
def test_how_hard_to_think_is_a_variable_of_the_template(body, variables):
    request = chat(**body)
    assert request.chat
    assert request.chat.variables == variables


def test_variables_are_an_object():
    assert refusal({"messages": HELLO, "chat_template_kwargs": "x"}).param == "chat_template_kwargs"


# --- how the prompt ends ---


@pytest.mark.parametrize(
    ("body", "ending"),
    [
        ({}, Ending.CONTINUE),
        ({"add_generation_prompt": False}, Ending.CONTINUE),
        ({"add_generation_prompt": True}, Ending.REPLY),
        ({"continue_assistant_turn": True}, Ending.CONTINUE),
        ({"continue_assistant_turn": False}, Ending.REPLY),
        ({"continue_final_message": True, "add_generation_prompt": True}, Ending.CONTINUE),
        ({"continue_final_message": False}, Ending.REPLY),
        ({"continue_final_message": False, "add_generation_prompt": False}, Ending.NOTHING),
        ({"continue_assistant_turn": None, "add_generation_prompt": None}, Ending.CONTINUE),
    ],
    ids=str,
)
def test_a_turn_of_the_assistant_that_comes_last_is_continued_unless_a_new_one_is_asked_for(body, ending):
    request = chat(messages=GREETED, **body)
    assert request.chat
    assert request.chat.ending is ending


@pytest.mark.parametrize(
    ("body", "ending"),
    [
        ({}, Ending.REPLY),
        ({"add_generation_prompt": True}, Ending.REPLY),
        ({"add_generation_prompt": False}, Ending.NOTHING),
        ({"continue_final_message": True}, Ending.REPLY),
    ],
    ids=str,
)
def test_behind_the_users_turn_the_assistant_begins_unless_nothing_is_asked_for(body, ending):
    request = chat(**body)
    assert request.chat
    assert request.chat.ending is ending


def test_a_turn_with_a_call_is_not_continued():
    call = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "look", "arguments": "{}"}}]}
    request = chat(messages=[*HELLO, call])
    assert request.chat
    assert request.chat.ending is Ending.REPLY


# --- the adapter and the defaults of templates ---


def test_an_adapter_is_the_template_of_its_request():
    request = chat(adapter={"user_start": "Q: ", "assistant_start": "A: "})
    assert request.adapter == Preset(user_start="Q: ", assistant_start="A: ")


def test_an_adapter_may_be_nested():
    request = chat(adapter={"templates": {"user": {"start": "Q: "}}})
    assert request.adapter == Preset(user_start="Q: ")


@pytest.mark.parametrize("nothing", [None, "", {}])
def test_no_adapter_is_no_adapter(nothing):
    assert chat(adapter=nothing).adapter is None


@pytest.mark.parametrize("adapter", ["ChatML", 5, [], {"user_start": 5}, {"stop": "#"}, {"reasoning": ["a"]}])
def test_an_adapter_that_cannot_be_used_is_refused(adapter):
    assert refusal({"messages": HELLO, "adapter": adapter}).param == "adapter"


def test_the_samplers_of_an_adapter_are_used():
    request = chat(adapter={"user_start": "Q: ", "temperature": 0.1, "max_length": 99})
    assert (request.sampling.temperature, request.max_tokens) == (0.1, 99)


def test_an_adapter_of_samplers_alone_leaves_the_template_as_it_is():
    request = chat(adapter={"temperature": 0.1})
    assert (request.adapter, request.sampling.temperature) == (None, 0.1)


DEFAULTS = {"temperature": 0.1, "max_length": 99, "top_p": 0.5, "rep_pen": 1.3}


def test_the_defaults_of_the_servers_template_are_used_where_the_request_says_nothing():
    request = read_chat({"messages": HELLO}, DEFAULTS)
    sampling = request.sampling
    assert (sampling.temperature, request.max_tokens, sampling.top_p, sampling.rep_pen) == (0.1, 99, 0.5, 1.3)


def test_null_leaves_the_defaults_of_the_template():
    request = read_chat({"messages": HELLO, "temperature": None, "max_tokens": None, "top_p": None}, DEFAULTS)
    assert (request.sampling.temperature, request.max_tokens, request.sampling.top_p) == (0.1, 99, 0.5)


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("temperature", "temperature", 0.9),
        ("temp", "temperature", 0.9),
        ("top_p", "top_p", 0.9),
        ("rep_pen", "rep_pen", 1.1),
        ("repetition_penalty", "rep_pen", 1.1),
        ("repeat_penalty", "rep_pen", 1.1),
    ],
)
def test_what_the_request_says_wins_over_the_defaults_under_whichever_name(name, field, value):
    request = read_chat({"messages": HELLO, name: value}, DEFAULTS)
    assert getattr(request.sampling, field) == value


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens", "max_length", "n_predict"])
def test_so_does_a_length(name):
    assert read_chat({"messages": HELLO, name: 5}, DEFAULTS).max_tokens == 5


def test_an_adapter_takes_the_place_of_the_defaults():
    request = read_chat({"messages": HELLO, "adapter": {"user_start": "Q: ", "top_p": 0.8}}, DEFAULTS)
    assert (request.sampling.top_p, request.sampling.temperature) == (0.8, 0.75)


# --- what both routes know ---


@pytest.mark.parametrize("read", [lambda body: chat(**body), lambda body: read_completion({"prompt": "Hi", **body})])
@pytest.mark.parametrize(
    ("body", "field", "value"),
    [
        ({"truncate": True}, "truncate", True),
        ({"truncate": False}, "truncate", False),
        ({"truncate": None}, "truncate", None),
        ({"max_context_length": 2048}, "context", 2048),
        ({"truncation_length": 2048}, "context", 2048),
        ({"num_ctx": 2048}, "context", 2048),
        ({"regex": "[0-9]+"}, "constraint", Constraint(ConstraintKind.REGEX, "[0-9]+")),
        ({"thinking": "hide", "thinking_budget": 9}, "thinking", ThinkingWish(Mode.HIDE, 9)),
        ({"genkey": "KCPP1"}, "genkey", "KCPP1"),
    ],
    ids=str,
)
def test_both_routes_know_the_same_fields(read, body, field, value):
    assert getattr(read(body), field) == value


# --- text completions ---


@pytest.mark.parametrize(("prompt", "read"), [("Hi", "Hi"), (["Hi"], "Hi"), ("", ""), (None, ""), ([None], "")])
def test_a_prompt_is_one_text(prompt, read):
    assert read_completion({"prompt": prompt}).prompt == read


@pytest.mark.parametrize(
    ("prompt", "read"),
    [
        (["a", "b"], ["a", "b"]),
        ([1, 2], [(1, 2)]),
        ([[1, 2], [3]], [(1, 2), (3,)]),
        (["a", [3]], ["a", (3,)]),
        ([], [""]),
    ],
)
def test_there_may_be_several_prompts_and_they_may_be_tokens(prompt, read):
    assert [request.prompt for request in read_completions({"prompt": prompt}, {})] == read


@pytest.mark.parametrize("prompt", [5, {}, [1, "a"], [[1], 2], [-1], [True], [1.5], ["a", {}]])
def test_other_prompts_are_refused(prompt):
    with pytest.raises(BadRequest) as caught:
        read_completion({"prompt": prompt})
    assert caught.value.param.startswith("prompt")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"n": 0}, "n"),
        ({"n": 129}, "n"),
        ({"n": "many"}, "n"),
        ({"best_of": 129}, "n"),
        ({"best_of": 2, "stream": True}, "best_of"),
        ({"prompt": ["a"] * 129}, "prompt"),
        ({"prompt": ["a"] * 50, "n": 3}, "n"),
    ],
)
def test_more_replies_than_a_request_may_have_are_refused(body, param):
    with pytest.raises(BadRequest) as caught:
        read_completions({"prompt": "Hi", **body}, {})
    assert caught.value.param == param


def test_what_a_request_leaves_open_is_taken_from_the_defaults():
    (request,) = read_completions({"prompt": "Hi", "temp": 0.1}, {"temperature": 0.9, "top_p": 0.5})
    assert (request.sampling.temperature, request.sampling.top_p) == (0.1, 0.5)


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
