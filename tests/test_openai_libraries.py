"""What is built on OpenAI's API, against the real server with the starter model: OpenAI's own library with tools,
classes and its exceptions, LiteLLM and LangChain's ChatOpenAI."""

from __future__ import annotations

import asyncio
import json
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import openai
import pydantic
import pytest
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI

from server.events import EngineState
from tests.conftest import Server, settings_for_tests

MODEL = "SmolLM2-135M-Instruct.Q4_1"
QUESTION: Any = [{"role": "user", "content": "What is the weather in Whiterun?"}]
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}
SAYING = r"I keep this tavern by the old river\."
WEATHER = {"Whiterun": "snow", "Solitude": "rain"}
TOOL: Any = {
    "type": "function",
    "function": {
        "name": "weather_in",
        "description": "The weather in a town",
        "parameters": {
            "type": "object",
            "properties": {"town": {"enum": list(WEATHER)}},
            "required": ["town"],
            "additionalProperties": False,
        },
        "strict": True,
    },
}


class Npc(pydantic.BaseModel):
    mood: Literal["calm", "angry"]
    age: Literal[20, 30, 40]


@pytest.fixture
def client(server: Server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.base}/v1", api_key="abc123", max_retries=0) as client:
        yield client


# --- OpenAI's own ---


def test_a_loop_with_a_real_function_runs_to_its_end(client: openai.OpenAI) -> None:
    turns = list(QUESTION)
    options: Any = {"model": "x", "tools": [TOOL], "temperature": 0, "max_tokens": 80}
    asked = client.chat.completions.create(messages=turns, tool_choice="required", **options).choices[0]
    assert asked.finish_reason == "tool_calls"
    assert asked.message.tool_calls
    turns.append(asked.message.model_dump(exclude_none=True))
    for call in asked.message.tool_calls:
        assert call.type == "function"
        said = WEATHER[json.loads(call.function.arguments)["town"]]
        turns.append({"role": "tool", "tool_call_id": call.id, "content": said})
    answer = client.chat.completions.create(messages=turns, tool_choice="none", **options).choices[0]
    assert answer.message.content


def test_a_streamed_call_is_put_together_by_the_library(client: openai.OpenAI) -> None:
    options: Any = {"model": "x", "messages": QUESTION, "tools": [TOOL], "tool_choice": "required", "max_tokens": 300}
    with client.chat.completions.stream(**options) as stream:
        stream.until_done()
        choice = stream.get_final_completion().choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.tool_calls
    assert choice.message.tool_calls[0].function.name == "weather_in"
    assert choice.message.tool_calls[0].function.parsed_arguments["town"] in WEATHER  # type: ignore[index]


def test_a_reply_can_be_parsed_into_a_class(client: openai.OpenAI) -> None:
    messages: Any = [{"role": "user", "content": "Invent a guard."}]
    for parse in (client.chat.completions.parse, client.beta.chat.completions.parse):
        parsed = parse(model="x", messages=messages, response_format=Npc, max_tokens=80).choices[0].message.parsed
        assert isinstance(parsed, Npc)


def test_the_async_library_streams_into_a_class(server: Server) -> None:
    async def ask() -> Any:
        async with openai.AsyncOpenAI(base_url=f"{server.base}/v1", api_key="x", max_retries=0) as client:
            options: Any = {"model": "x", "messages": QUESTION, "response_format": Npc, "max_tokens": 80}
            async with client.chat.completions.stream(**options) as stream:
                return (await stream.get_final_completion()).choices[0].message.parsed

    assert isinstance(asyncio.run(ask()), Npc)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user", "content": [PICTURE]}]}, "messages[0].content[0]"),
        ({"temperature": "hot"}, "temperature"),
        ({"n": 0}, "n"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "odd"}}}}, None),
    ],
)
def test_a_mistake_is_a_bad_request_that_names_the_field(client: openai.OpenAI, body: Any, param: str | None) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(**{"model": "x", "messages": QUESTION, **body})
    assert caught.value.type == "invalid_request_error"
    assert caught.value.param
    assert param in (None, caught.value.param)


def test_an_unknown_address_is_not_found(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.files.list()
    assert caught.value.type == "invalid_request_error"


def test_a_wrong_key_is_an_authentication_error(own_server: Server) -> None:
    own_server.controller.start(settings_for_tests(password="secret"))
    with (
        openai.OpenAI(base_url=f"{own_server.base}/v1", api_key="wrong", max_retries=0) as client,
        pytest.raises(openai.AuthenticationError) as caught,
    ):
        client.models.list()
    assert (caught.value.type, caught.value.code) == ("invalid_request_error", "invalid_api_key")


def test_without_a_model_the_library_is_told_when_to_try_again(own_server: Server, tmp_path: Path) -> None:
    (tmp_path / "broken.gguf").write_bytes(b"no model")
    own_server.controller.start(settings_for_tests(model=str(tmp_path / "broken.gguf")))
    with (
        openai.OpenAI(base_url=f"{own_server.base}/v1", api_key="x", max_retries=0) as client,
        pytest.raises(openai.InternalServerError) as caught,
    ):
        client.chat.completions.create(model="x", messages=QUESTION)
    assert caught.value.status_code == 503
    assert int(caught.value.response.headers["Retry-After"]) > 0


def test_the_librarys_retries_outlast_the_loading_of_a_model(own_server: Server) -> None:
    own_server.controller.start(settings_for_tests())
    assert own_server.snapshot().state is EngineState.LOADING
    with openai.OpenAI(base_url=f"{own_server.base}/v1", api_key="x", max_retries=20) as client:
        assert client.chat.completions.create(model="x", messages=QUESTION, max_tokens=2).choices


# --- LiteLLM ---


@pytest.fixture(scope="module")
def litellm() -> Any:
    patch = pytest.MonkeyPatch()
    patch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # else it asks the internet when it is imported
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import litellm
    yield litellm
    patch.undo()


@pytest.mark.filterwarnings("ignore")  # its own: how it uses pydantic and leaves its clients open
def test_litellm_asks_whole_and_streamed(server: Server, litellm: Any) -> None:
    options = {"model": "openai/any", "api_base": f"{server.base}/v1", "api_key": "x", "messages": QUESTION}
    options |= {"max_tokens": 40, "num_retries": 0, "extra_body": {"regex": SAYING}}
    whole = litellm.completion(**options)
    assert whole.usage.completion_tokens > 3
    assert re.fullmatch(SAYING, whole.choices[0].message.content)
    chunks = list(litellm.completion(**options, stream=True))
    said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert said == whole.choices[0].message.content


@pytest.mark.filterwarnings("ignore")
def test_litellm_calls_tools_and_knows_a_bad_request(server: Server, litellm: Any) -> None:
    options = {"model": "openai/any", "api_base": f"{server.base}/v1", "api_key": "x", "num_retries": 0}
    reply = litellm.completion(**options, messages=QUESTION, tools=[TOOL], tool_choice="required", max_tokens=80)
    (call, *_) = reply.choices[0].message.tool_calls
    assert json.loads(call.function.arguments)["town"] in WEATHER
    with pytest.raises(litellm.BadRequestError, match="no vision model"):
        litellm.completion(**options, messages=[{"role": "user", "content": [PICTURE]}])


# --- LangChain ---


@tool
def weather_in(town: Literal["Whiterun", "Solitude"]) -> str:
    """The weather in a town"""
    return WEATHER[town]


def langchain(server: Server, **options: Any) -> ChatOpenAI:
    return ChatOpenAI(
        base_url=f"{server.base}/v1",
        api_key=pydantic.SecretStr("x"),
        model="any",
        max_retries=0,
        **{"temperature": 0, "max_completion_tokens": 80, **options},
    )


def test_langchain_streams_what_it_invokes(server: Server) -> None:
    model = langchain(server, extra_body={"regex": SAYING})
    whole = model.invoke("Who are you?")
    assert whole.usage_metadata
    assert whole.usage_metadata["output_tokens"] > 3
    assert re.fullmatch(SAYING, str(whole.content))
    assert "".join(str(chunk.content) for chunk in model.stream("Who are you?")) == whole.content


def test_langchain_calls_a_real_function(server: Server) -> None:
    bound = langchain(server).bind_tools([weather_in], tool_choice="any", strict=True, parallel_tool_calls=False)
    asked = bound.invoke("What is the weather in Whiterun?")
    (call, *_) = asked.tool_calls
    assert weather_in.invoke(call["args"]) in WEATHER.values()


def test_langchain_gets_a_class(server: Server) -> None:
    for method in ("json_schema", "function_calling"):
        structured = langchain(server).with_structured_output(Npc, method=method)
        assert isinstance(structured.invoke("Invent a guard."), Npc)


# --- too much ---


@pytest.mark.parametrize("size", [32 * 1024 * 1024 + 1, 40 * 1024 * 1024, 2**40])
def test_a_request_that_is_too_large_is_told_so_in_json(server: Server, size: int) -> None:
    connection = server.connect()
    lines = ("POST /v1/chat/completions HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {size}", "", "")
    connection.sendall("\r\n".join(lines).encode())
    if size < 33 * 1024 * 1024:  # read first, and then refused
        connection.sendall(b" " * size)
    head, _, body = read_to_end_of(connection).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 413 ")
    error = json.loads(body)["error"]
    assert error["type"] == "invalid_request_error"
    assert "larger than" in error["message"]


def read_to_end_of(connection: Any) -> bytes:
    """An answer with its length in its head."""
    with connection, connection.makefile("rb") as stream:
        head = b"".join(iter(stream.readline, b"\r\n"))
        length = next(int(line.split(b":")[1]) for line in head.splitlines() if line.lower().startswith(b"content-le"))
        body: bytes = stream.read(length)
        return head + b"\r\n" + body
