"""The OpenAI dialect over real HTTP with the real starter model, mostly through OpenAI's own library."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import openai
import pytest

from server.events import EngineState
from tests.conftest import Server, settings_for_tests, wait_until

QUESTION: Any = [{"role": "user", "content": "Who are you?"}]
MODEL = "SmolLM2-135M-Instruct.Q4_1"


@pytest.fixture
def client(server: Server) -> Any:
    with openai.OpenAI(base_url=f"{server.base}/v1", api_key="abc123", max_retries=0) as client:
        yield client


def test_a_chat_is_answered_with_the_real_models_name_whatever_name_was_asked_for(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="google/gemma-4:free", messages=QUESTION, max_tokens=24)
    assert answer.model == MODEL
    assert answer.object == "chat.completion"
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].message.content


def test_the_usage_counts_the_templates_tokens_too(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="x", messages=QUESTION, max_tokens=5, temperature=0)
    assert answer.usage
    assert answer.usage.completion_tokens == 5
    assert answer.usage.prompt_tokens > 20  # the model's own template adds a system message
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + 5


def test_a_streamed_chat_says_the_same_as_a_whole_one(client: openai.OpenAI) -> None:
    options: Any = {"model": "x", "messages": QUESTION, "max_tokens": 24, "temperature": 0}
    whole = client.chat.completions.create(**options).choices[0].message.content
    pieces = [chunk.choices[0].delta.content or "" for chunk in client.chat.completions.create(**options, stream=True)]
    assert "".join(pieces) == whole
    assert len(pieces) > 3  # it came piece by piece


def test_a_stream_names_the_role_once_and_the_reason_once_and_ends_with_done(server: Server) -> None:
    body = server.post("/v1/chat/completions", {"messages": QUESTION, "max_tokens": 4, "stream": True}).body.decode()
    *frames, done = body.strip().split("\n\n")
    choices = [json.loads(frame.removeprefix("data: "))["choices"][0] for frame in frames]
    assert done == "data: [DONE]"
    assert [choice["delta"].get("role") for choice in choices if "role" in choice["delta"]] == ["assistant"]
    assert [choice["finish_reason"] for choice in choices] == [None] * (len(choices) - 1) + ["length"]


def test_usage_is_streamed_only_when_it_is_asked_for(client: openai.OpenAI) -> None:
    options: Any = {"model": "x", "messages": QUESTION, "max_tokens": 4, "stream": True}
    assert all(chunk.choices for chunk in client.chat.completions.create(**options))
    *_, last = client.chat.completions.create(**options, stream_options={"include_usage": True})
    assert last.choices == []
    assert last.usage
    assert last.usage.completion_tokens == 4


@pytest.mark.parametrize("stream", [False, True])
def test_the_second_turn_of_a_chat_reports_what_was_cached(client: openai.OpenAI, stream: bool) -> None:
    turns: Any = [{"role": "user", "content": f"Streamed {stream}: who lives in the old mill by the river?"}]
    options: Any = {"model": "x", "max_tokens": 8, "stream": stream}
    if stream:
        options["stream_options"] = {"include_usage": True}

    def ask() -> tuple[str, Any]:
        answer = client.chat.completions.create(messages=turns, **options)
        if not stream:
            return answer.choices[0].message.content, answer.usage
        *pieces, last = answer
        return "".join(piece.choices[0].delta.content or "" for piece in pieces), last.usage

    text, first = ask()
    turns += [{"role": "assistant", "content": text}, {"role": "user", "content": "And who else?"}]
    _, second = ask()
    assert first.prompt_tokens <= second.prompt_tokens_details.cached_tokens < second.prompt_tokens


def test_a_text_continued_reports_what_was_cached(client: openai.OpenAI) -> None:
    story = "In a tavern by the sea an old sailor tells of storms."
    options: Any = {"model": "x", "max_tokens": 4}
    first = client.completions.create(prompt=story, **options).usage
    second = client.completions.create(prompt=f"{story} He drinks and goes on.", **options).usage
    assert first
    assert second
    assert second.prompt_tokens_details
    # What was said may go on as the second text does, so more than the first text may be cached.
    assert first.prompt_tokens <= second.prompt_tokens_details.cached_tokens < second.prompt_tokens


def test_the_async_client_streams_several_chats_at_once(server: Server) -> None:
    texts = continue_at_once(server, ["red", "blue", "green"])
    assert [set(re.findall("[a-z]+", text)) for text in texts] == [{"red"}, {"blue"}, {"green"}]


@pytest.mark.parametrize("stop", [" four", [" four", "never"], [None, "", " four"]])
def test_a_reply_ends_before_a_stop_text(server: Server, stop: Any) -> None:
    body = {"prompt": "one two three four one two three", "max_tokens": 20, "temperature": 0, "stop": stop}
    choice = server.post("/v1/completions", body).json["choices"][0]
    assert "four" not in choice["text"]
    assert choice["finish_reason"] == "stop"


def test_a_stop_text_that_is_a_special_token_ends_the_reply(server: Server) -> None:
    body = {
        "prompt": "<|im_start|>user\nSay hi.<|im_end|>\n<|im_start|>assistant\n",
        "stop": ["<|im_end|>"],
        "ban_eos_token": False,
        "max_tokens": 200,
        "temperature": 0,
    }
    choice = server.post("/v1/completions", body).json["choices"][0]
    assert choice["finish_reason"] == "stop"
    assert "<|im" not in choice["text"]


def test_the_same_seed_gives_the_same_text(own_server: Server) -> None:
    """Without the cache: what is read in another batch, or lies elsewhere in the cache, is rounded differently."""
    own_server.controller.start(settings_for_tests(nofastforward=True))
    own_server.wait_for(EngineState.READY)
    body = {"prompt": "The dragon", "max_tokens": 16, "temperature": 1.5, "seed": 7}
    texts = {own_server.post("/v1/completions", body).json["choices"][0]["text"] for _ in range(3)}
    assert len(texts) == 1
    assert own_server.post("/v1/completions", {**body, "seed": 8}).json["choices"][0]["text"] not in texts


def test_max_completion_tokens_limits_the_reply_like_max_tokens(server: Server) -> None:
    body = {"messages": QUESTION, "max_completion_tokens": 3, "temperature": 0}
    answer = server.post("/v1/chat/completions", body).json
    assert answer["usage"]["completion_tokens"] == 3
    assert answer["choices"][0]["finish_reason"] == "length"


def test_a_prompt_longer_than_the_context_is_shortened_and_answered(server: Server) -> None:
    body = {"prompt": "word " * 6000, "max_tokens": 4}
    answer = server.post("/v1/completions", body).json
    assert answer["usage"]["prompt_tokens"] <= 2048 - 4
    assert answer["usage"]["completion_tokens"] == 4


def test_a_chat_longer_than_the_context_loses_its_oldest_turns(server: Server) -> None:
    turns = [{"role": "user", "content": f"turn {number} " + "blah " * 400} for number in range(20)]
    answer = server.post("/v1/chat/completions", {"messages": turns, "max_tokens": 4}).json
    assert answer["usage"]["prompt_tokens"] <= 2048 - 4


def test_the_model_list_names_the_loaded_model(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == [MODEL]


@pytest.mark.parametrize(
    ("body", "param"),
    [({"messages": []}, "messages"), ({}, "messages"), ({"messages": [{"role": "user", "content": 3}]}, "messages[0]")],
)
def test_a_chat_without_usable_messages_is_refused_in_words(server: Server, body: Any, param: str) -> None:
    reply = server.post("/v1/chat/completions", body)
    assert reply.status == 400
    assert reply.json["error"]["type"] == "invalid_request_error"
    assert reply.json["error"]["param"].startswith(param)


def test_broken_json_is_refused_in_both_dialects_shapes(server: Server) -> None:
    reply = server.post("/v1/chat/completions", b'{"messages": [')
    assert reply.status == 400
    assert "not valid JSON" in reply.json["error"]["message"]
    assert "not valid JSON" in reply.json["detail"]["msg"]


def test_json_is_read_whatever_content_type_it_comes_with(server: Server) -> None:
    body = json.dumps({"prompt": "a", "max_tokens": 1}).encode()
    assert server.post("/v1/completions/", body, Content_Type="text/plain;charset=UTF-8").status == 200


def test_closing_the_connection_stops_the_generation(server: Server) -> None:
    connection = server.send_raw(
        "/v1/completions", {"prompt": "Once", "max_tokens": 3000, "stream": True, "ignore_eos": True}
    )
    wait_until(lambda: b"data: " in connection.recv(2048), "the first piece")
    assert server.snapshot().requests
    connection.close()
    server.wait_until_quiet()


def test_closing_the_connection_stops_a_reply_that_is_not_streamed(server: Server) -> None:
    connection = server.send_raw("/v1/completions", {"prompt": "Once", "max_tokens": 3000, "ignore_eos": True})
    wait_until(lambda: server.snapshot().stats.running, "the generation to run")
    connection.close()
    server.wait_until_quiet()


def test_eight_concurrent_streams_finish_unmixed(server: Server) -> None:
    words = ["apple", "river", "stone", "cloud", "horse", "table", "music", "light"]
    texts = continue_at_once(server, words)
    assert [set(re.findall("[a-z]+", text)) for text in texts] == [{word} for word in words]


def continue_at_once(server: Server, words: list[str]) -> list[str]:
    """Streams that run at the same time, each going on with a numbered list of its own word."""

    async def ask(client: openai.AsyncOpenAI, word: str) -> str:
        prompt = "".join(f"{number}. {word}\n" for number in range(1, 9)) + "9."
        stream = await client.completions.create(model="x", prompt=prompt, max_tokens=20, temperature=0, stream=True)
        return "".join([chunk.choices[0].text async for chunk in stream])

    async def ask_all() -> list[str]:
        async with openai.AsyncOpenAI(base_url=f"{server.base}/v1", api_key="x", max_retries=0) as client:
            return await asyncio.gather(*(ask(client, word) for word in words))

    return asyncio.run(ask_all())
