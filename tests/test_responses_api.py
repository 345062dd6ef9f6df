"""OpenAI's responses over real HTTP with the real starter model, through OpenAI's own library."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Literal

import openai
import pydantic
import pytest

from server.errors import BadRequest
from server.request.responses import read_response
from tests.conftest import Server

MODEL = "SmolLM2-135M-Instruct.Q4_1"
HI = "Who are you?"
WEATHER: Any = {
    "type": "function",
    "name": "weather_in",
    "description": "The weather in a town",
    "parameters": {
        "type": "object",
        "properties": {"town": {"enum": ["Whiterun", "Solitude"]}},
        "required": ["town"],
        "additionalProperties": False,
    },
    "strict": True,
}


class Npc(pydantic.BaseModel):
    mood: Literal["calm", "angry"]
    age: Literal[20, 30, 40]


@pytest.fixture
def client(server: Server) -> Any:
    with openai.OpenAI(base_url=f"{server.base}/v1", api_key="abc123", max_retries=0) as client:
        yield client


def read(given: Any = HI, **body: Any) -> Any:
    return read_response({"input": given, **body}, {})


# --- over HTTP ---


def test_a_response_is_given(client: openai.OpenAI) -> None:
    response = client.responses.create(model="x", input=HI, instructions="Be brief.", temperature=0)
    assert (response.object, response.model, response.status) == ("response", MODEL, "completed")
    assert [item.type for item in response.output] == ["message"]
    assert response.output_text
    assert response.usage
    assert response.usage.total_tokens == response.usage.input_tokens + response.usage.output_tokens


def test_one_that_is_cut_off_says_why(client: openai.OpenAI) -> None:
    response = client.responses.create(model="x", input=HI, max_output_tokens=3)
    assert response.status == "incomplete"
    assert response.incomplete_details
    assert response.incomplete_details.reason == "max_output_tokens"
    assert response.usage
    assert response.usage.output_tokens == 3


def test_a_stream_says_the_same(client: openai.OpenAI) -> None:
    options: Any = {"model": "x", "input": [{"role": "user", "content": HI}], "temperature": 0}
    options["extra_body"] = {"regex": r"I keep this tavern by the old river\."}  # what is cached is rounded otherwise
    whole = client.responses.create(**options)
    with client.responses.stream(**options) as stream:
        deltas = [event.delta for event in stream if event.type == "response.output_text.delta"]
        final = stream.get_final_response()
    assert "".join(deltas) == whole.output_text == final.output_text
    assert len(deltas) > 3
    assert final.status == whole.status


def test_the_events_of_a_stream_are_numbered_and_in_order(client: openai.OpenAI) -> None:
    events = list(client.responses.create(model="x", input=HI, max_output_tokens=3, stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    kinds = [event.type for event in events]
    assert kinds[:4] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
    ]
    assert kinds[-4:] == [
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.incomplete",
    ]
    assert set(kinds[4:-4]) == {"response.output_text.delta"}


def test_a_response_can_be_parsed_into_a_class(client: openai.OpenAI) -> None:
    response = client.responses.parse(model="x", input="Invent a guard.", text_format=Npc, max_output_tokens=80)
    assert isinstance(response.output_parsed, Npc)


@pytest.mark.parametrize("stream", [False, True])
def test_a_tool_is_called_and_its_output_is_read(client: openai.OpenAI, stream: bool) -> None:
    weather = {"Whiterun": "snow", "Solitude": "rain"}
    given: list[Any] = [{"role": "user", "content": "What is the weather in Whiterun?"}]
    options: Any = {"model": "x", "tools": [WEATHER], "temperature": 0, "max_output_tokens": 80}
    choice: Any = {"type": "function", "name": "weather_in"}
    if stream:
        with client.responses.stream(input=given, tool_choice=choice, **options) as streamed:
            arguments = "".join(e.delta for e in streamed if e.type == "response.function_call_arguments.delta")
            asked = streamed.get_final_response()
        assert json.loads(arguments) == json.loads(asked.output[0].arguments)  # type: ignore[union-attr]
    else:
        asked = client.responses.create(input=given, tool_choice=choice, **options)
    (call,) = (item for item in asked.output if item.type == "function_call")
    assert call.name == "weather_in"
    said = weather[json.loads(call.arguments)["town"]]
    given += [
        {"type": "function_call", "call_id": call.call_id, "name": call.name, "arguments": call.arguments},
        {"type": "function_call_output", "call_id": call.call_id, "output": said},
    ]
    answer = client.responses.create(input=given, tool_choice="none", **options)
    assert [item.type for item in answer.output] == ["message"]


def test_probabilities_are_told_where_they_are_included(client: openai.OpenAI) -> None:
    response = client.responses.create(
        model="x", input=HI, max_output_tokens=3, include=["message.output_text.logprobs"], top_logprobs=2
    )
    told = response.output[0].content[0].logprobs  # type: ignore[union-attr]
    assert [len(entry.top_logprobs) for entry in told] == [2, 2, 2]


def test_the_async_library_is_served_as_well(server: Server) -> None:
    async def ask() -> str:
        async with openai.AsyncOpenAI(base_url=f"{server.base}/v1", api_key="x", max_retries=0) as client:
            return (await client.responses.create(model="x", input=HI, max_output_tokens=4)).output_text

    assert asyncio.run(ask())


def test_a_kept_response_cannot_be_asked_for(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="keeps no responses") as caught:
        client.responses.create(model="x", input=HI, previous_response_id="resp_1")
    assert caught.value.param == "previous_response_id"


# --- what is read ---


def test_items_become_turns() -> None:
    items = [
        {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "Be brief."}]},
        {"role": "user", "content": "Weather?"},
        {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm."}]},
        {"type": "function_call", "call_id": "c1", "name": "weather_in", "arguments": "{}"},
        {"type": "function_call", "call_id": "c2", "name": "weather_in", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "snow"},
        {"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "rain"}]},
    ]
    messages = read(items, instructions="You are a guard.").chat.messages
    assert [message.role for message in messages] == ["system", "system", "user", "assistant", "tool", "tool"]
    assert [call.id for call in messages[3].tool_calls] == ["c1", "c2"]
    assert messages[3].reasoning == "Hm."
    assert [message.content for message in messages[4:]] == ["snow", "rain"]


def test_what_is_too_long_is_refused_only_where_that_is_asked_for() -> None:
    assert [read(truncation=word).truncate for word in ("auto", "disabled", None)] == [True, False, None]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"input": None}, "input"),
        ({"input": []}, "input"),
        ({"input": 5}, "input"),
        ({"input": ["Hi"]}, "input[0]"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0]"),
        ({"input": [{"role": "user", "content": 5}]}, "input[0].content"),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]}, "input[0].content[0]"),
        ({"input": [{"role": "user", "content": [{"type": "input_text"}]}]}, "input[0].content[0]"),
        ({"input": [{"type": "function_call", "call_id": "c"}]}, "messages[0].tool_calls[0]"),
        ({"tools": [{"type": "web_search"}]}, "tools[0]"),
        ({"tools": {}}, "tools"),
        ({"background": True}, "background"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"max_output_tokens": "many"}, "max_tokens"),
    ],
)
def test_what_cannot_be_read_is_named(body: Any, param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        read_response({"input": HI, **body}, {})
    assert caught.value.param == param
