"""Anthropic's messages over real HTTP with the real starter model, through Anthropic's own library."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import anthropic
import pytest

from server.errors import BadRequest
from server.events import EngineState
from server.request.anthropic import read_messages
from tests.conftest import Server, settings_for_tests

HI: Any = [{"role": "user", "content": "Who are you?"}]
MODEL = "SmolLM2-135M-Instruct.Q4_1"
GREEDY = {"temperature": 0}
PICTURE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}
WEATHER: Any = {
    "name": "weather_in",
    "description": "The weather in a town",
    "input_schema": {
        "type": "object",
        "properties": {"town": {"enum": ["Whiterun", "Solitude"]}},
        "required": ["town"],
    },
}


@pytest.fixture
def client(server: Server) -> Any:
    with anthropic.Anthropic(base_url=server.base, api_key="abc", max_retries=0) as client:
        yield client


def read(**body: Any) -> Any:
    return read_messages({"messages": HI, **body}, {})


# --- over HTTP ---


def test_a_message_is_answered(client: anthropic.Anthropic) -> None:
    message = client.messages.create(
        model="claude-any", max_tokens=5, messages=HI, system="Be brief.", extra_body=GREEDY
    )
    assert (message.type, message.role, message.model) == ("message", "assistant", MODEL)
    assert [block.type for block in message.content] == ["text"]
    assert message.stop_reason == "max_tokens"
    assert message.usage.output_tokens == 5
    assert message.usage.input_tokens + (message.usage.cache_read_input_tokens or 0) > 10


def test_a_stream_says_the_same(client: anthropic.Anthropic) -> None:
    saying: Any = {"regex": r"I keep this tavern by the old river\."}  # what is cached is rounded otherwise
    options: Any = {"model": "x", "max_tokens": 40, "messages": HI, "extra_body": saying}
    whole = client.messages.create(**options)
    with client.messages.stream(**options) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text == whole.content[0].text  # type: ignore[union-attr]
    assert final.stop_reason == whole.stop_reason
    assert final.usage.output_tokens == whole.usage.output_tokens


def test_the_events_of_a_stream_come_in_anthropics_order(client: anthropic.Anthropic) -> None:
    events = [event.type for event in client.messages.create(model="x", max_tokens=3, messages=HI, stream=True)]
    assert events[:2] == ["message_start", "content_block_start"]
    assert events[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert set(events[2:-3]) == {"content_block_delta"}


def test_a_stop_sequence_is_named(client: anthropic.Anthropic) -> None:
    turns: Any = [{"role": "user", "content": "Count."}, {"role": "assistant", "content": "one two three four one two"}]
    message = client.messages.create(
        model="x", max_tokens=20, messages=turns, extra_body=GREEDY, stop_sequences=["never", "four"]
    )
    assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", "four")


def test_the_async_library_is_served_as_well(server: Server) -> None:
    async def ask() -> str:
        async with (
            anthropic.AsyncAnthropic(base_url=server.base, api_key="abc", max_retries=0) as client,
            client.messages.stream(model="x", max_tokens=4, messages=HI) as stream,
        ):
            return "".join([text async for text in stream.text_stream])

    assert asyncio.run(ask())


@pytest.mark.parametrize("stream", [False, True])
def test_a_tool_is_called_and_its_result_is_read(client: anthropic.Anthropic, stream: bool) -> None:
    weather = {"Whiterun": "snow", "Solitude": "rain"}
    turns: list[Any] = [{"role": "user", "content": "What is the weather in Whiterun?"}]
    options: Any = {"model": "x", "max_tokens": 60, "extra_body": GREEDY, "tools": [WEATHER]}
    choice: Any = {"type": "tool", "name": "weather_in"}
    if stream:
        with client.messages.stream(messages=turns, tool_choice=choice, **options) as streamed:
            asked = streamed.get_final_message()
    else:
        asked = client.messages.create(messages=turns, tool_choice=choice, **options)
    assert asked.stop_reason == "tool_use"
    (call,) = (block for block in asked.content if block.type == "tool_use")
    assert call.name == "weather_in"
    said = weather[call.input["town"]]  # type: ignore[index]
    turns += [
        {"role": "assistant", "content": [block.model_dump(exclude_none=True) for block in asked.content]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": said}]},
    ]
    answer = client.messages.create(messages=turns, tool_choice={"type": "none"}, **options)
    assert [block.type for block in answer.content] == ["text"]


def test_a_reply_may_have_to_be_json(client: anthropic.Anthropic) -> None:
    schema = {
        "type": "object",
        "properties": {"age": {"enum": [1, 2]}},
        "required": ["age"],
        "additionalProperties": False,
    }
    wanted: Any = {"format": {"type": "json_schema", "schema": schema}}
    message = client.messages.create(model="x", max_tokens=60, messages=HI, output_config=wanted)
    assert json.loads(message.content[0].text)["age"] in (1, 2)  # type: ignore[union-attr]


def test_tokens_are_counted_without_writing_any(client: anthropic.Anthropic) -> None:
    count = client.messages.count_tokens(model="x", messages=HI).input_tokens
    usage = client.messages.create(model="x", max_tokens=1, messages=HI).usage
    assert count == usage.input_tokens + (usage.cache_read_input_tokens or 0)


def test_errors_become_the_librarys_own(client: anthropic.Anthropic, server: Server) -> None:
    with pytest.raises(anthropic.BadRequestError, match="no vision model is loaded"):
        client.messages.create(model="x", max_tokens=4, messages=[{"role": "user", "content": [PICTURE]}])  # type: ignore[typeddict-item, list-item]
    error = server.post("/v1/messages", {"messages": []}).json
    assert (error["type"], error["error"]["type"]) == ("error", "invalid_request_error")


def test_a_wrong_key_is_an_authentication_error(own_server: Server) -> None:
    own_server.controller.start(settings_for_tests(password="secret"))
    with (
        anthropic.Anthropic(base_url=own_server.base, api_key="wrong", max_retries=0) as client,
        pytest.raises(anthropic.AuthenticationError),
    ):
        client.messages.create(model="x", max_tokens=4, messages=HI)
    own_server.wait_for(EngineState.READY)
    with anthropic.Anthropic(base_url=own_server.base, api_key="secret", max_retries=0) as client:
        assert client.messages.create(model="x", max_tokens=4, messages=HI).content


def test_while_no_model_is_loaded_clients_are_told_to_try_again(own_server: Server, tmp_path: Path) -> None:
    (tmp_path / "broken.gguf").write_bytes(b"no model")
    own_server.controller.start(settings_for_tests(model=str(tmp_path / "broken.gguf")))
    reply = own_server.post("/v1/messages", {"messages": HI})
    assert reply.status == 503
    assert reply.headers["Retry-After"]
    assert reply.json["error"]["type"] == "overloaded_error"


# --- what is read ---


def test_thoughts_calls_and_results_become_turns() -> None:
    turns = [
        {"role": "user", "content": [{"type": "text", "text": "Weather?"}]},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "Hm.", "signature": ""},
                {"type": "redacted_thinking", "data": "x"},
                {"type": "tool_use", "id": "t1", "name": "weather_in", "input": {"town": "Whiterun"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "snow"}]},
                {"type": "text", "text": "And now?"},
            ],
        },
    ]
    messages = read(messages=turns, system=[{"type": "text", "text": "Be brief."}]).chat.messages
    assert [message.role for message in messages] == ["system", "user", "assistant", "tool", "user"]
    assert messages[2].reasoning == "Hm."
    assert json.loads(messages[2].tool_calls[0].arguments) == {"town": "Whiterun"}
    assert (messages[3].content, messages[3].tool_call_id) == ("snow", "t1")


def test_one_call_is_made_where_several_are_not_wanted() -> None:
    choice = {"type": "any", "disable_parallel_tool_use": True}
    request = read(tools=[WEATHER], tool_choice=choice)
    assert [tool.name for tool in request.forced] == ["weather_in"]
    assert not request.chat.parallel


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"messages": "Hi"}, "messages"),
        ({"messages": [{"content": "a"}]}, "messages[0]"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [PICTURE]}]}, "messages[0].content[0]"),
        ({"system": 5}, "system"),
        ({"tools": {}}, "tools"),
        ({"tools": [5]}, "tools[0]"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools[0]"),
        ({"tools": [{"name": ""}]}, "tools[0]"),
        ({"tool_choice": {"type": "any"}}, "tool_choice"),
        ({"max_tokens": "many"}, "max_tokens"),
    ],
)
def test_what_cannot_be_read_is_named(body: Any, param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        read(**body)
    assert caught.value.param == param
