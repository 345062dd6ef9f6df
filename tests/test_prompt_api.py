"""The prompt, thinking, tools and structured output over real HTTP with the real starter model."""

from __future__ import annotations

import json
import re
from typing import Any

import openai
import pytest

from server.events import EngineState
from tests.conftest import Reply, Server, settings_for_tests

QUESTION: Any = [{"role": "user", "content": "Who are you?"}]
FOLLOW = {
    "name": "follow",
    "description": "Walk behind somebody.",
    "parameters": {
        "type": "object",
        "properties": {"who": {"type": "string", "enum": ["player", "wolf"]}, "steps": {"enum": [1, 5, 20]}},
        "required": ["who", "steps"],
        "additionalProperties": False,
    },
}
WAIT = {"name": "wait", "parameters": {"type": "object", "properties": {}, "additionalProperties": False}}
TOOLS: Any = [{"type": "function", "function": function} for function in (FOLLOW, WAIT)]
CALL_FOLLOW: Any = {"type": "function", "function": {"name": "follow"}}
PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
}
CONTEXT = 2048
LONG_CHAT: Any = [
    {"role": "system", "content": "You are Lydia, housecarl of Whiterun."},
    *(
        {"role": role, "content": f"{role} {turn}: where by the river is the old mill? " + "Further down. " * 12}
        for turn in range(40)
        for role in ("user", "assistant")
    ),
    {"role": "user", "content": "And what do you carry?"},
]


@pytest.fixture
def client(server: Server) -> Any:
    with openai.OpenAI(base_url=f"{server.base}/v1", api_key="abc123", max_retries=0) as client:
        yield client


def preview(server: Server, **body: Any) -> Any:
    return server.post("/api/extra/preview_prompt", {"messages": QUESTION, **body}).json


def chat(server: Server, **body: Any) -> Reply:
    return server.post("/v1/chat/completions", {"messages": QUESTION, "max_tokens": 8, **body})


def streamed(reply: Reply) -> list[Any]:
    frames = [frame.removeprefix("data: ") for frame in reply.body.decode().split("\n\n") if frame.startswith("data: ")]
    assert frames.pop() == "[DONE]"
    return [json.loads(frame)["choices"][0] for frame in frames]


# --- which template, and what it makes of a chat ---


def test_props_say_which_template_is_used_and_why(server: Server) -> None:
    props = server.get("/props").json
    assert props["template"]["name"] == "ChatML"
    assert props["template"]["source"] == "the model's own"
    assert props["template"]["warning"] == ""
    assert "<|im_start|>" in props["chat_template"]
    assert props["default_generation_settings"]["n_ctx"] == CONTEXT


def test_a_preview_is_the_very_prompt_that_a_chat_is_answered_with(server: Server) -> None:
    seen = preview(server)
    assert seen["prompt"].endswith("<|im_start|>user\nWho are you?<|im_end|>\n<|im_start|>assistant\n")
    assert seen["token_count"] == len(seen["tokens"]) == chat(server).json["usage"]["prompt_tokens"]
    assert seen["trimmed"] is None


@pytest.mark.parametrize(
    "adapter",
    [
        {"user_start": "Player: ", "user_end": "\n", "assistant_start": "Lydia:"},
        {"templates": {"user": {"start": "Player: ", "end": "\n"}, "assistant": {"start": "Lydia:", "end": ""}}},
    ],
    ids=["flat", "nested"],
)
def test_a_request_may_bring_its_own_template(server: Server, adapter: Any) -> None:
    seen = preview(server, adapter=adapter)
    assert seen["prompt"] == "Player: Who are you?\nLydia:"
    assert seen["template"]["source"] == "the request"
    assert "Player:" in seen["stop"]
    assert chat(server, adapter=adapter).json["usage"]["prompt_tokens"] == seen["token_count"]


def test_an_adapters_tags_for_results_of_tools_are_used(server: Server) -> None:
    adapter = {"user_start": "U:", "assistant_start": "A:", "tools_start": "<result>", "tools_end": "</result>"}
    call = {"id": "c1", "type": "function", "function": {"name": "wait", "arguments": "{}"}}
    messages = [
        *QUESTION,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "An hour has passed."},
    ]
    assert preview(server, messages=messages, adapter=adapter)["prompt"].endswith(
        "<result>An hour has passed.</result>A:"
    )


def test_an_adapter_of_the_wrong_kind_is_refused_with_a_sentence(server: Server) -> None:
    refused = chat(server, adapter={"user_start": 7})
    assert refused.status == 400
    assert "user_start must be text" in refused.json["error"]["message"]


def test_a_chosen_preset_that_disagrees_with_the_model_is_used_and_warned_of(own_server: Server) -> None:
    own_server.controller.start(settings_for_tests(chatcompletionsadapter="Vicuna"))
    own_server.wait_for(EngineState.READY)
    template = own_server.get("/props").json["template"]
    assert (template["name"], template["source"]) == ("Vicuna", "your choice")
    assert "ChatML" in template["warning"]
    assert "USER: Who are you?" in preview(own_server)["prompt"]
    assert own_server.snapshot().template is not None


def test_templates_get_the_clients_variables(server: Server) -> None:
    # The starter model's template has none; an unknown one must not disturb it.
    assert preview(server, chat_template_kwargs={"enable_thinking": False, "persona": "x"})["prompt"]


# --- continue ---


def test_a_reply_goes_on_where_the_assistants_last_turn_ends(server: Server) -> None:
    begun = [*QUESTION, {"role": "assistant", "content": "one two three four one two three"}]
    assert preview(server, messages=begun)["prompt"].endswith("<|im_start|>assistant\none two three four one two three")
    reply = chat(server, messages=begun, temperature=0).json["choices"][0]["message"]["content"]
    assert "four" in reply


@pytest.mark.parametrize("wish", [{"continue_assistant_turn": False}, {"add_generation_prompt": True}])
def test_a_request_can_ask_for_a_new_turn_behind_the_assistants(server: Server, wish: Any) -> None:
    begun = [*QUESTION, {"role": "assistant", "content": "I am Lydia."}]
    assert preview(server, messages=begun, **wish)["prompt"].endswith("I am Lydia.<|im_end|>\n<|im_start|>assistant\n")


def test_without_a_generation_prompt_the_prompt_ends_with_the_users_turn(server: Server) -> None:
    assert preview(server, add_generation_prompt=False)["prompt"].endswith("Who are you?<|im_end|>\n")


# --- the context budget ---


@pytest.mark.parametrize("stream", [False, True])
def test_a_chat_that_is_too_long_loses_its_oldest_turns_and_says_so(server: Server, stream: bool) -> None:
    reply = chat(server, messages=LONG_CHAT, stream=stream, stream_options={"include_usage": True})
    told = re.fullmatch(r"messages=(\d+); tokens=(\d+)", reply.headers["X-Tavernkeep-Trimmed"])
    assert reply.status == 200
    assert told
    last = reply.body.decode().split("\n\n")[-3].removeprefix("data: ") if stream else reply.body
    usage = json.loads(last)["usage"]
    assert usage["trimmed"] == {"messages": int(told[1]), "tokens": int(told[2])}
    assert usage["prompt_tokens"] <= CONTEXT - 8


def test_what_is_trimmed_are_whole_turns_but_never_the_system_message_nor_the_last(server: Server) -> None:
    seen = preview(server, messages=LONG_CHAT, max_tokens=8)
    assert seen["prompt"].startswith(
        "<|im_start|>system\nYou are Lydia, housecarl of Whiterun.<|im_end|>\n<|im_start|>user"
    )
    assert seen["prompt"].endswith("And what do you carry?<|im_end|>\n<|im_start|>assistant\n")
    assert "user 0:" not in seen["prompt"]
    assert seen["trimmed"]["messages"] % 2 == 0
    kept = [int(number) for number in re.findall(r"user (\d+):", seen["prompt"])]
    assert kept == list(range(kept[0], 40))


def test_one_message_that_is_too_long_loses_its_middle(server: Server) -> None:
    story = "It began like this. " + "The river ran on and on. " * 2000 + "So ends the tale."
    seen = preview(server, messages=[{"role": "user", "content": story}], max_tokens=8)
    assert "It began like this." in seen["prompt"]
    assert "So ends the tale.<|im_end|>\n<|im_start|>assistant\n" in seen["prompt"]
    assert CONTEXT / 2 < seen["token_count"] <= CONTEXT - 8


def test_a_request_that_does_not_want_to_be_trimmed_is_refused_with_the_numbers(server: Server) -> None:
    refused = chat(server, messages=LONG_CHAT, truncate=False)
    error = refused.json["error"]
    assert (refused.status, error["code"]) == (400, "context_length_exceeded")
    assert str(CONTEXT) in error["message"]
    assert server.post("/api/v1/generate", {"prompt": "word " * 5000, "truncate": False}).status == 400


def test_a_strict_server_refuses_and_a_request_may_still_ask_to_be_trimmed(own_server: Server) -> None:
    own_server.controller.start(settings_for_tests(strictcontext=True, contextsize=512))
    own_server.wait_for(EngineState.READY)
    assert chat(own_server, messages=LONG_CHAT).json["error"]["code"] == "context_length_exceeded"
    assert chat(own_server, messages=LONG_CHAT, truncate=True).status == 200
    assert chat(own_server).status == 200


def test_kobold_keeps_the_memory_cuts_the_front_and_says_so(server: Server) -> None:
    body = {
        "memory": "Lydia is a housecarl.\n",
        "prompt": "The mill stood still. " * 800 + "She said:",
        "max_length": 4,
    }
    reply = server.post("/api/v1/generate", body)
    assert reply.json["results"][0]["trimmed"]["tokens"] > 0
    assert "tokens=" in reply.headers["X-Tavernkeep-Trimmed"]
    assert reply.json["results"][0]["prompt_tokens"] <= CONTEXT - 4


def test_a_prompt_that_fits_is_reported_as_nothing(server: Server) -> None:
    reply = chat(server)
    assert "X-Tavernkeep-Trimmed" not in reply.headers
    assert "trimmed" not in reply.json["usage"]


# --- thinking ---

# The starter model does not think by itself: its thought is begun for it, and ended by the budget.
BEGUN: Any = [*QUESTION, {"role": "assistant", "content": "<think>\nHm,"}]
SAYS: Any = {"regex": "[a-z]{3} [a-z]{3}"}  # what is said after it cannot be empty
BUDGET: Any = {"thinking_budget": 6, "min_tokens": 7, "max_tokens": 30}  # nor can the reply end within the thought
TEXT_BEGUN = "<|im_start|>user\nWho are you?<|im_end|>\n<|im_start|>assistant\n<think>\n"


def test_thoughts_come_apart_from_what_is_said(server: Server) -> None:
    message = chat(server, messages=BEGUN, **BUDGET, **SAYS).json["choices"][0]["message"]
    assert message["reasoning_content"]
    assert re.fullmatch(SAYS["regex"], message["content"])
    assert "think>" not in message["content"] + message["reasoning_content"]


def test_thoughts_are_streamed_apart_too(server: Server) -> None:
    reply = chat(server, messages=BEGUN, thinking_budget=6, max_tokens=30, temperature=0, stream=True)
    deltas = [choice["delta"] for choice in streamed(reply)]
    whole = chat(server, messages=BEGUN, thinking_budget=6, max_tokens=30, temperature=0).json["choices"][0]["message"]
    assert "".join(delta.get("reasoning_content", "") for delta in deltas) == whole["reasoning_content"]
    assert "".join(delta.get("content", "") for delta in deltas) == whole["content"]


def test_a_reply_cut_off_while_its_thought_is_closed_shows_nothing_of_the_tag(server: Server) -> None:
    for tokens in range(3, 9):
        wish = {"messages": BEGUN, "thinking_budget": 3, "max_tokens": tokens, "temperature": 0}
        message = chat(server, **wish).json["choices"][0]["message"]
        assert "<" not in message["reasoning_content"]
        assert "think" not in message["content"]


@pytest.mark.parametrize("wish", [{"thinking": "hide"}, {"include_reasoning": False}])
def test_thoughts_can_be_hidden(server: Server, wish: Any) -> None:
    reply = chat(server, messages=BEGUN, **BUDGET, **SAYS, **wish)
    message = reply.json["choices"][0]["message"]
    assert "reasoning_content" not in message
    assert re.fullmatch(SAYS["regex"], message["content"])


@pytest.mark.parametrize("wish", [{"thinking": "off"}, {"reasoning_effort": "none"}, {"enable_thinking": False}])
def test_thinking_switched_off_is_ended_at_once(server: Server, wish: Any) -> None:
    message = chat(server, messages=BEGUN, max_tokens=30, **SAYS, **wish).json["choices"][0]["message"]
    assert "reasoning_content" not in message
    assert re.fullmatch(SAYS["regex"], message["content"])


@pytest.mark.parametrize("route", ["/api/v1/generate", "/api/extra/generate/stream", "/v1/completions"])
def test_text_routes_never_hear_a_thought(server: Server, route: str) -> None:
    limits = {"max_tokens": 12} if route.startswith("/v1") else {"max_length": 12}
    reply = server.post(route, {"prompt": TEXT_BEGUN, **limits})  # all of it is thought
    assert reply.status == 200
    texts = re.findall(r'"(?:text|token)": "([^"]*)"', reply.body.decode())
    assert "".join(texts) == ""
    assert '"reasoning' not in reply.body.decode().replace('"reasoning_tokens"', "")  # counted, never told


def test_text_routes_tell_thoughts_to_those_who_ask(server: Server) -> None:
    body = {"prompt": TEXT_BEGUN, "thinking": "show", "thinking_budget": 6}
    result = server.post("/api/v1/generate", {**body, "max_length": 30}).json["results"][0]
    choice = server.post("/v1/completions", {**body, "max_tokens": 30}).json["choices"][0]
    assert result["reasoning_content"]
    assert choice["reasoning"]
    assert "think>" not in result["text"] + choice["text"]


def test_a_stop_text_does_not_end_a_reply_that_still_thinks(server: Server) -> None:
    body = {"messages": BEGUN, "thinking_budget": 8, "max_tokens": 40, "stop": ["e", "a", "t"], "temperature": 0}
    message = chat(server, **body).json["choices"][0]["message"]
    assert len(message["reasoning_content"]) > 8


def test_an_unknown_word_for_thinking_is_refused(server: Server) -> None:
    refused = chat(server, thinking="loudly")
    assert refused.status == 400
    assert "show, hide or off" in refused.json["error"]["message"]


# --- tools ---


@pytest.mark.parametrize("choice", ["required", CALL_FOLLOW], ids=["required", "named"])
@pytest.mark.parametrize("stream", [False, True])
def test_even_the_starter_model_makes_a_valid_call_when_it_must(
    client: openai.OpenAI, choice: Any, stream: bool
) -> None:
    options: Any = {"model": "x", "messages": QUESTION, "tools": TOOLS, "tool_choice": choice, "max_tokens": 120}
    options["parallel_tool_calls"] = False
    if stream:
        name = arguments = ""
        for chunk in client.chat.completions.create(**options, stream=True):
            assert not chunk.choices[0].delta.content
            for call in chunk.choices[0].delta.tool_calls or ():
                assert call.function
                name += call.function.name or ""  # as Mantella adds them up
                arguments += call.function.arguments or ""
            reason = chunk.choices[0].finish_reason
    else:
        answer = client.chat.completions.create(**options).choices[0]
        assert answer.message.content is None
        call = answer.message.tool_calls[0]
        name, arguments, reason = call.function.name, call.function.arguments, answer.finish_reason
    assert reason == "tool_calls"
    assert name in ("follow", "wait") if choice == "required" else name == "follow"
    called = json.loads(arguments)
    if name == "follow":
        assert called["who"] in ("player", "wolf")
        assert called["steps"] in (1, 5, 20)
    else:
        assert called == {}


def test_a_call_is_streamed_live_its_name_once_and_its_arguments_in_pieces(server: Server) -> None:
    choices = streamed(chat(server, tools=TOOLS, tool_choice=CALL_FOLLOW, max_tokens=120, stream=True))
    calls = [call for choice in choices for call in choice["delta"].get("tool_calls", [])]
    assert [call["function"]["name"] for call in calls if "name" in call["function"]] == ["follow"] * (
        1 + max(call["index"] for call in calls)
    )
    assert calls[0]["id"].startswith("call_")
    assert sum("id" not in call for call in calls) > 1


def test_a_stop_text_does_not_break_a_call_that_must_be_made(server: Server) -> None:
    choice = chat(server, tools=TOOLS, tool_choice=CALL_FOLLOW, max_tokens=120, stop=["}", "\n", "player"]).json[
        "choices"
    ][0]
    assert choice["finish_reason"] == "tool_calls"
    assert json.loads(choice["message"]["tool_calls"][0]["function"]["arguments"]).keys() == {"who", "steps"}


def test_who_names_a_function_gets_one_call_of_it(server: Server) -> None:
    choice = chat(server, tools=TOOLS, tool_choice=CALL_FOLLOW, max_tokens=300).json["choices"][0]
    assert [call["function"]["name"] for call in choice["message"]["tool_calls"]] == ["follow"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("tokens", [3, 8, 12, 20])
def test_a_call_that_is_cut_off_is_told_as_such_and_never_said(server: Server, tokens: int, stream: bool) -> None:
    reply = chat(server, tools=TOOLS, tool_choice=CALL_FOLLOW, max_tokens=tokens, temperature=0, stream=stream)
    choices = streamed(reply) if stream else reply.json["choices"]
    messages = [choice["delta"] if stream else choice["message"] for choice in choices]
    assert "".join(message.get("content") or "" for message in messages) == ""
    assert choices[-1]["finish_reason"] == "length"


def test_a_reply_that_must_have_a_format_is_no_call(server: Server) -> None:
    schema = {
        "type": "object",
        "properties": {"name": {"const": "wait"}, "arguments": {"type": "object", "additionalProperties": False}},
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }
    choice = chat(server, tools=TOOLS, json_schema=schema, max_tokens=60).json["choices"][0]
    assert json.loads(choice["message"]["content"]) == {"name": "wait", "arguments": {}}
    assert choice["finish_reason"] == "stop"


def test_a_constraint_that_breaks_down_does_not_end_as_if_it_were_complete(server: Server) -> None:
    choice = server.post("/v1/completions", {"prompt": "a", "regex": "(a{1000}){1000}", "max_tokens": 300}).json[
        "choices"
    ][0]
    assert choice["finish_reason"] == "length"


def test_a_model_that_may_call_may_also_just_talk(server: Server) -> None:
    choice = chat(server, tools=TOOLS, max_tokens=12).json["choices"][0]
    assert choice["message"].get("content") or choice["message"].get("tool_calls")


def test_tools_are_told_to_a_model_whose_template_knows_none(server: Server) -> None:
    prompt = preview(server, tools=TOOLS)["prompt"]
    assert '"name": "follow"' in prompt
    assert "<tool_call>" in prompt
    assert "Walk behind somebody." not in preview(server, tools=TOOLS, tool_choice="none")["prompt"]


def test_the_history_of_calls_and_results_is_rendered(server: Server) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "wait", "arguments": "{}"}}
    messages = [
        *QUESTION,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "An hour has passed."},
    ]
    prompt = preview(server, messages=messages, tools=TOOLS)["prompt"]
    assert '{"name": "wait", "arguments": {}}' in prompt
    assert "An hour has passed." in prompt


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"tools": [{"type": "function"}]}, "tools[0]"),
        ({"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "fly"}}}, "follow, wait"),
        ({"tool_choice": "required"}, "no tools"),
        ({"tools": "follow"}, "list"),
        ({"tools": [TOOLS[0], TOOLS[0]]}, "'follow'"),
    ],
)
def test_tools_that_make_no_sense_are_refused_with_a_sentence(server: Server, body: Any, words: str) -> None:
    refused = chat(server, **body)
    assert refused.status == 400
    assert words in refused.json["error"]["message"]


def test_a_tool_whose_schema_is_wrong_is_refused_when_it_must_be_called(server: Server) -> None:
    broken = {"type": "function", "function": {"name": "fly", "parameters": {"type": "objekt"}}}
    refused = chat(server, tools=[broken], tool_choice="required")
    assert refused.status == 400
    assert "objekt" in refused.json["error"]["message"]


# --- structured output ---


@pytest.mark.parametrize(
    "wish",
    [
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "person", "schema": PERSON, "strict": True},
            }
        },
        {"response_format": {"type": "json_schema", "json_schema": PERSON}},
        {"response_format": {"type": "json_schema", "schema": PERSON}},
        {"json_schema": PERSON},
        {"guided_json": PERSON},
        {"grammar": json.dumps(PERSON)},
    ],
    ids=["openai", "bare", "llama.cpp", "top level", "guided", "grammar"],
)
@pytest.mark.parametrize("route", ["/v1/chat/completions", "/v1/completions"])
def test_a_schema_is_kept_to_however_it_is_sent(server: Server, wish: Any, route: str) -> None:
    what = {"messages": QUESTION} if "chat" in route else {"prompt": ""}
    choice = server.post(route, {**what, **wish, "max_tokens": 200, "temperature": 1.2}).json["choices"][0]
    person = json.loads(choice["message"]["content"] if "chat" in route else choice["text"])
    assert person.keys() == {"name", "age"}
    assert len(person["name"]) <= 12
    assert isinstance(person["age"], int)
    assert choice["finish_reason"] == "stop"


def test_a_json_object_is_an_object_also_in_a_stream(server: Server) -> None:
    wish = {"response_format": {"type": "json_object"}, "max_tokens": 30, "stream": True}
    text = "".join(choice["delta"].get("content", "") for choice in streamed(chat(server, **wish)))
    assert text.lstrip().startswith("{")


def test_the_openai_librarys_own_schema_helper_is_understood(client: openai.OpenAI) -> None:
    from pydantic import BaseModel, Field

    class Person(BaseModel):
        name: str = Field(max_length=12)
        brave: bool

    answer = client.chat.completions.parse(model="x", messages=QUESTION, response_format=Person, max_tokens=200)
    assert isinstance(answer.choices[0].message.parsed, Person)


@pytest.mark.parametrize("wish", [{"regex": "[0-9]{3}-[a-z]{2}"}, {"guided_regex": "[0-9]{3}-[a-z]{2}"}])
def test_an_expression_is_kept_to(server: Server, wish: Any) -> None:
    reply = server.post("/v1/completions", {"prompt": "Number:", **wish, "max_tokens": 30})
    assert re.fullmatch("[0-9]{3}-[a-z]{2}", reply.json["choices"][0]["text"])


def test_a_choice_is_kept_to(server: Server) -> None:
    reply = chat(server, guided_choice=["attack", "flee (now)"], max_tokens=30)
    assert reply.json["choices"][0]["message"]["content"] in ("attack", "flee (now)")


@pytest.mark.parametrize("route", ["/v1/completions", "/api/v1/generate"])
def test_a_grammar_is_kept_to(server: Server, route: str) -> None:
    body = {"prompt": "Yes or no?", "grammar": 'root ::= "yes" | "no"', "max_tokens": 10, "max_length": 10}
    reply = server.post(route, body).json
    assert (reply["choices"] if "choices" in reply else reply["results"])[0]["text"] in ("yes", "no")


@pytest.mark.parametrize("stream", [False, True])
def test_a_wrong_schema_is_refused_and_the_answer_says_where(server: Server, stream: bool) -> None:
    wrong = {"type": "object", "properties": {"age": {"type": "number!"}}}
    wish = {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": wrong}}}
    refused = chat(server, **wish, stream=stream)
    assert refused.status == 400
    assert "properties.age.type" in refused.json["error"]["message"]


@pytest.mark.parametrize("stream", [False, True])
def test_a_wrong_grammar_is_refused_on_openais_routes(server: Server, stream: bool) -> None:
    refused = chat(server, grammar="root ::= nobody (", stream=stream)
    assert refused.status == 400
    assert refused.json["error"]["param"] == "grammar"


@pytest.mark.parametrize("route", ["/api/v1/generate", "/api/extra/generate/stream"])
def test_a_wrong_grammar_is_ignored_on_kobolds_routes_and_a_header_says_so(server: Server, route: str) -> None:
    reply = server.post(route, {"prompt": "Hi", "grammar": "root ::= nobody (", "max_length": 4})
    assert reply.status == 200
    assert reply.headers["X-Tavernkeep-Ignored"].startswith("grammar: ")
