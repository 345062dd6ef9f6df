"""Ollama's API, as its own library and raw HTTP see it: shapes, lines that come one by one, true figures, errors."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import ollama
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.api import ollama_models
from server.errors import BadRequest, TavernkeepError
from server.events import ConstraintKind, EngineState, ModelInfo
from server.model.library import STARTER
from server.request import ollama as ollama_json
from server.request.thinking import Mode
from tests.conftest import Server, settings_for_tests, wait_until

NAME = f"{STARTER.stem}:latest"
GREEDY: dict[str, Any] = {"temperature": 0, "seed": 1}
SHORT = {**GREEDY, "num_predict": 8, "ignore_eos": True}
LONG = {**GREEDY, "num_predict": -1, "ignore_eos": True}
COUNTING = {**GREEDY, "grammar": 'root ::= "one two three"'}
HI = [{"role": "user", "content": "Hi!"}]
ROME = {"city": "Rome", "days": 3}
PARAMETERS = {
    "type": "object",
    "properties": {"city": {"type": "string", "enum": ["Rome"]}, "days": {"type": "integer", "enum": [3]}},
    "required": ["city", "days"],
}
WEATHER = {"type": "function", "function": {"name": "get_weather", "description": "Weather.", "parameters": PARAMETERS}}
CALLING: Any = {
    "tools": [WEATHER],
    "options": {**GREEDY, "tool_choice": {"type": "function", "function": {"name": "get_weather"}}},
}
# The starter model does not think by itself: its thought is begun for it, and ended by the budget.
BEGUN = [*HI, {"role": "assistant", "content": "<think>\nHm,"}]
THINKING = {**GREEDY, "num_predict": 30, "thinking_budget": 6, "ignore_eos": True}
FIELDS = (  # of requests, their messages, options, tools and schemas
    *("model", "prompt", "messages", "system", "context", "raw", "format", "think", "options", "tools", "suffix"),
    *("stream", "logprobs", "top_logprobs", "tool_choice", "role", "content", "thinking", "images", "tool_calls"),
    *("function", "name", "arguments", "parameters", "type", "properties", "enum", "num_predict", "num_ctx", "seed"),
    *("temperature", "repeat_last_n", "stop", "json_schema", "grammar", "reasoning_effort"),
)
FIGURES = {
    "total_duration",
    "load_duration",
    "prompt_eval_count",
    "prompt_eval_duration",
    "eval_count",
    "eval_duration",
}


@pytest.fixture
def client(server: Server) -> Iterator[ollama.Client]:
    with ollama.Client(server.base) as client:
        yield client


def lines(body: bytes) -> list[Any]:
    assert body.endswith(b"\n")
    return [json.loads(line) for line in body.splitlines()]


# --- models -------------------------------------------------------------------------------------------------------


def test_the_loaded_model_is_listed_with_what_is_true_of_it(client):
    (model,) = client.list().models
    assert model.model == NAME
    assert model.size == STARTER.stat().st_size
    assert model.modified_at.timestamp() == pytest.approx(STARTER.stat().st_mtime)
    assert len(model.digest) == 64
    assert model.details.format == "gguf"
    assert model.details.family == "llama"
    assert model.details.parameter_size == "134.5M"
    assert model.details.quantization_level == "Q4_1"


def test_what_is_running_has_its_context_and_never_expires(client, server):
    (model,) = client.ps().models
    assert model.model == model.name == NAME
    assert model.context_length == server.controller.loaded_model().context
    assert model.expires_at.timestamp() > time.time() + 10**9
    assert model.digest == client.list().models[0].digest


def test_a_model_is_shown_by_any_name(client):
    shown = client.show("llama3")
    assert shown.details.family == "llama"
    assert shown.modelinfo["general.architecture"] == "llama"
    assert shown.modelinfo["general.parameter_count"] == 134_515_008
    assert shown.modelinfo["llama.context_length"] == 8192
    assert "<|im_start|>" in shown.template
    assert {"completion", "tools"} <= set(shown.capabilities)
    assert "embedding" not in shown.capabilities
    assert shown.parameters.split()[:2] == ["num_ctx", "2048"]


def test_the_version_is_one_that_clients_can_compare(server):
    version = server.get("/api/version").json["version"]
    assert all(part.isdecimal() for part in version.split("."))


def info(**facts: Any) -> ModelInfo:
    known = {"name": "a", "path": "/no/file.gguf", "architecture": "llama", "parameters": 8_030_261_248, "size": 5}
    known |= {"quantisation": "Q4_K - Medium", "layers": 2, "trained_context": 8, "context": 8, "chat_template": ""}
    known |= {"bos_text": "", "eos_text": "", "devices": ("CPU",), "cpu_variant": ""}
    return ModelInfo(**{**known, **facts})


@pytest.mark.parametrize(
    ("quantisation", "level"),
    [("Q4_K - Medium", "Q4_K_M"), ("Q5_K - Small", "Q5_K_S"), ("Q8_0", "Q8_0"), ("(guessed) Q6_K", "Q6_K"), ("", "")],
)
def test_quantisations_have_the_names_that_files_have(quantisation, level):
    assert ollama_models.listed(info(quantisation=quantisation))["details"]["quantization_level"] == level


def test_a_model_whose_file_is_gone_is_listed_all_the_same():
    assert ollama_models.listed(info())["size"] == 5
    assert ollama_models.listed(info())["details"]["parameter_size"] == "8.0B"


def test_only_models_that_think_are_said_to():
    thinks = ollama_models.described(info(chat_template="...<think>..."), {}, embeds=False)
    assert "thinking" in thinks["capabilities"]
    assert "thinking" not in ollama_models.described(info(), {}, embeds=False)["capabilities"]


@pytest.mark.parametrize("path", ["pull", "push", "create", "copy", "delete", "blobs/sha256:00"])
def test_what_keeps_models_is_refused_in_a_sentence(server, path):
    answer = server.request("DELETE" if path == "delete" else "POST", f"/api/{path}", b"{}")
    assert answer.status == 501
    assert answer.json["error"].startswith("This server fetches and keeps no models")


# --- replies ------------------------------------------------------------------------------------------------------


def check_figures(last: Any, tokens: int, since: float) -> None:
    """What a reply that was asked for at ``since`` tells about itself."""
    assert last["done"] is True
    assert last.keys() >= FIGURES
    assert last["eval_count"] == tokens
    assert last["prompt_eval_count"] > 0
    assert last["eval_duration"] > 0
    assert last["prompt_eval_duration"] > 0
    assert last["total_duration"] > last["eval_duration"]
    assert last["total_duration"] <= (time.monotonic() - since) * 10**9


@pytest.mark.parametrize(
    ("path", "asked", "text"),
    [
        ("/api/generate", {"prompt": "Hi!"}, lambda line: line["response"]),
        ("/api/chat", {"messages": HI}, lambda line: line["message"]["content"]),
    ],
)
def test_streams_are_lines_that_say_what_one_object_says(server, path, asked, text):
    body, since = {"model": "any", **asked, "options": SHORT}, time.monotonic()
    streamed = server.post(path, body)
    assert streamed.headers["Content-Type"] == "application/x-ndjson"
    *pieces, last = lines(streamed.body)
    assert len(pieces) > 1
    assert all(line["done"] is False and line["model"] == "any" and "T" in line["created_at"] for line in pieces)
    assert text(last) == ""
    assert last["done_reason"] == "length"
    check_figures(last, tokens=8, since=since)
    whole = server.post(path, {**body, "stream": False})
    assert whole.headers["Content-Type"] == "application/json"
    assert text(whole.json) == "".join(map(text, pieces))
    assert whole.json["done_reason"] == "length"
    check_figures(whole.json, tokens=8, since=since)


def test_lines_come_one_after_the_other_while_the_reply_is_being_written(server):
    asked = {"model": "any", "messages": HI, "options": LONG}
    with server.send_raw("/api/chat", asked) as connection:
        received, seen = b"", [0]
        while len(seen) < 5:
            received += connection.recv(4096)
            if received.count(b'"done": false') > seen[-1]:
                seen.append(received.count(b'"done": false'))
        assert b'"done": true' not in received
        assert server.snapshot().requests


def test_a_client_that_leaves_stops_its_reply(server):
    asked = {"model": "any", "prompt": "Tell me a story.", "options": LONG}
    replies = server.controller.totals().replies
    with server.send_raw("/api/generate", asked) as connection:
        connection.recv(4096)
    wait_until(lambda: server.controller.totals().replies > replies, "the end of the reply")
    last = server.controller.totals().last
    assert last
    assert last.reason.value == "cancelled"


def test_the_library_streams_and_collects_the_same(client):
    whole = client.generate(model="any", prompt="Hi!", options=SHORT)
    pieces = list(client.generate(model="any", prompt="Hi!", options=SHORT, stream=True))
    assert "".join(piece.response for piece in pieces) == whole.response
    assert pieces[-1].done
    assert pieces[-1].eval_count == whole.eval_count == 8
    said = client.chat(model="any", messages=HI, options=SHORT)
    spoken = "".join(piece.message.content for piece in client.chat("any", HI, options=SHORT, stream=True))
    assert said.message.role == "assistant"
    assert said.message.content == spoken == whole.response


def test_the_asynchronous_library_works_as_well(server):
    async def talk() -> tuple[str, str]:
        async with ollama.AsyncClient(server.base) as client:
            whole = await client.chat(model="any", messages=HI, options=SHORT)
            stream = await client.chat(model="any", messages=HI, options=SHORT, stream=True)
            return whole.message.content or "", "".join([piece.message.content or "" async for piece in stream])

    whole, streamed = asyncio.run(talk())
    assert whole == streamed != ""


def test_a_reply_does_not_depend_on_the_route_it_was_asked_for_on(server, client):
    body = {"messages": HI, "temperature": 0, "seed": 1, "max_tokens": 8, "ignore_eos": True}
    openais = server.post("/v1/chat/completions", body).json["choices"][0]["message"]["content"]
    assert client.chat(model="any", messages=HI, options=SHORT).message.content == openais


def test_a_stop_text_ends_the_reply(client):
    assert client.generate(model="any", prompt="Count!", options=COUNTING).response == "one two three"
    cut = client.generate(model="any", prompt="Count!", options={**COUNTING, "stop": ["x", " two"]})
    assert cut.response == "one"
    assert cut.done_reason == "stop"


def test_raw_prompts_go_to_the_model_as_they_are(client, server):
    raw = client.generate(model="any", prompt="Once upon", raw=True, options=SHORT)
    assert raw.prompt_eval_count == len(server.controller.tokenize("Once upon", special=True))
    assert raw.context is None


def test_num_ctx_bounds_prompt_and_reply(client):
    reply = client.generate(model="any", prompt="Hi! " * 300, options={**LONG, "num_ctx": 128})
    assert reply.prompt_eval_count + reply.eval_count <= 128
    assert reply.done_reason == "length"


def test_the_seed_decides_what_is_drawn(client):
    drawn = {"num_predict": 12, "temperature": 1.5, "top_k": 0, "top_p": 1, "ignore_eos": True}
    _, first, same, *others = (  # the first of all reads the prompt, the others find it read
        client.generate(model="any", prompt="Hi!", options={**drawn, "seed": seed}).response
        for seed in (1, 1, 1, 2, 3, 4)
    )
    assert first == same
    assert {first} != {*others}


def test_a_context_continues_the_conversation(client, server):
    first = client.generate(model="any", prompt="My name is Bob.", options=SHORT)
    assert len(first.context) == first.prompt_eval_count + len(
        server.controller.tokenize(first.response, special=False)
    )
    second = client.generate(model="any", prompt="Who am I?", context=first.context, options=SHORT)
    told = server.controller.detokenize(tuple(second.context))
    assert told.startswith(server.controller.detokenize(tuple(first.context)))
    assert "<|im_start|>user\nWho am I?<|im_end|>" in told
    assert second.prompt_eval_count > first.prompt_eval_count


def test_of_a_context_that_is_too_long_the_end_counts(server):
    options = {**SHORT, "num_ctx": 128}
    asked = {"prompt": "Hi!", "context": [5] * 10**6, "options": options, "stream": False}
    answer = server.post("/api/generate", asked)
    assert answer.status == 200
    assert answer.headers["X-Tavernkeep-Trimmed"]
    assert "<|im_start|>user\nHi!" in server.controller.detokenize(tuple(answer.json["context"]))


def test_a_turn_that_the_model_has_ended_is_ended_in_the_context_too(client, server):
    ended = client.generate(model="any", prompt="Count!", options=COUNTING)
    assert server.controller.detokenize(tuple(ended.context)).endswith("one two three<|im_end|>")
    stopped = client.generate(model="any", prompt="Count!", options={**COUNTING, "stop": [" two"]})
    assert server.controller.detokenize(tuple(stopped.context)).endswith("assistant\none")


def test_a_streamed_reply_has_the_same_context(client):
    asked: Any = {"model": "any", "prompt": "Count!", "options": COUNTING}
    *pieces, last = client.generate(**asked, stream=True)
    assert last.context == client.generate(**asked).context
    assert not any(piece.context for piece in pieces)


def test_a_system_text_is_part_of_the_conversation(client, server):
    reply = client.generate(model="any", prompt="Hi!", system="You are a dragon.", options=SHORT)
    assert "<|im_start|>system\nYou are a dragon.<|im_end|>" in server.controller.detokenize(tuple(reply.context))


@pytest.mark.parametrize("stream", [True, False])
def test_nothing_to_answer_only_asks_whether_the_model_is_there(server, stream):
    generated = server.post("/api/generate", {"model": "any", "stream": stream}).json
    spoken = server.post("/api/chat", {"model": "any", "messages": [], "stream": stream}).json
    assert generated["done_reason"] == spoken["done_reason"] == "load"
    assert generated["done"] is spoken["done"] is True
    assert generated["response"] == spoken["message"]["content"] == ""


@pytest.mark.parametrize("keep_alive", [0, -1, 30.5, "5m"])
def test_however_long_a_model_is_to_be_kept_it_stays(client, keep_alive):
    assert client.generate(model="any", keep_alive=keep_alive).done_reason == "load"
    assert client.chat(model="any", keep_alive=keep_alive).done_reason == "load"
    assert client.generate(model="any", prompt="Hi!", keep_alive=keep_alive, options=SHORT).eval_count == 8
    assert client.ps().models


def test_a_schema_is_kept(client):
    asked: Any = {"model": "any", "format": {"type": "string", "enum": ["Rome"]}, "options": GREEDY}
    assert json.loads(client.chat(**asked, messages=HI).message.content) == "Rome"
    assert json.loads(client.generate(**asked, prompt="Hi!").response) == "Rome"
    assert json.loads(client.generate(**asked, prompt="Hi!", raw=True).response) == "Rome"


def test_json_begins_as_an_object(client):
    assert client.chat(model="any", messages=HI, format="json", options=SHORT).message.content.startswith("{")
    assert client.generate(model="any", prompt="Hi!", format="json", options=SHORT).response.startswith("{")


def test_thoughts_come_apart_from_what_is_said(client):
    asked: Any = {"model": "any", "messages": BEGUN, "options": THINKING}
    whole = client.chat(**asked, think=True).message
    assert whole.thinking
    assert whole.content
    assert "think>" not in whole.thinking + whole.content
    pieces = [piece.message for piece in client.chat(**asked, think=True, stream=True)]
    assert "".join(piece.thinking or "" for piece in pieces) == whole.thinking
    assert "".join(piece.content or "" for piece in pieces) == whole.content


def test_thinking_that_is_switched_off_is_not_told(client):
    said = client.chat(model="any", messages=BEGUN, think=False, options=THINKING).message
    assert not said.thinking
    assert said.content


def test_a_generated_reply_has_its_thoughts_apart_as_well(client):
    prompt = "<|im_start|>assistant\n<think>\n"
    asked: Any = {"model": "any", "prompt": prompt, "raw": True, "options": THINKING}
    thoughtful = client.generate(**asked, think=True)
    assert thoughtful.thinking
    assert thoughtful.response
    silent = client.generate(**asked)
    assert silent.response
    assert not silent.thinking


def test_calls_are_objects_in_one_answer_and_in_a_stream(server):
    asked = {"model": "any", "messages": [{"role": "user", "content": "How is the weather in Rome?"}], **CALLING}
    message = server.post("/api/chat", {**asked, "stream": False}).json["message"]
    (call,) = message["tool_calls"]
    assert message["content"] == ""
    assert call["function"] == {"index": 0, "name": "get_weather", "arguments": ROME}
    *pieces, last = lines(server.post("/api/chat", asked).body)
    assert [call["function"] for line in pieces for call in line["message"].get("tool_calls", ())] == [call["function"]]
    assert "".join(line["message"]["content"] for line in pieces) == ""
    assert last["done_reason"] == "stop"


def test_the_library_goes_through_a_whole_loop_of_calling(client):
    def get_weather(city: str, days: int) -> str:
        """Tell the weather.

        Args:
            city: Where.
            days: For how long.
        """
        return f"Rain in {city} for {days} days."

    messages: list[Any] = [{"role": "user", "content": "How is the weather in Rome?"}]
    first = client.chat(model="any", messages=messages, **CALLING)
    (call,) = first.message.tool_calls
    messages.append(first.message)
    messages.append({"role": "tool", "content": get_weather(**call.function.arguments), "tool_name": "get_weather"})
    last = client.chat(model="any", messages=messages, tools=[get_weather], options=SHORT)
    assert last.prompt_eval_count > first.prompt_eval_count
    assert last.eval_count == 8


def test_a_call_that_was_cut_off_is_not_told(server):
    asked = {"model": "any", "messages": HI, **CALLING, "stream": False}
    asked["options"] = {**CALLING["options"], "num_predict": 8}
    cut = server.post("/api/chat", asked).json
    assert cut["message"] == {"role": "assistant", "content": ""}
    assert cut["done_reason"] == "length"


def test_probabilities_come_with_their_tokens(client):
    reply = client.chat(model="any", messages=HI, logprobs=True, top_logprobs=2, options=SHORT)
    assert "".join(entry.token for entry in reply.logprobs) == reply.message.content
    assert all(len(entry.top_logprobs) == 2 for entry in reply.logprobs)
    pieces = client.chat(model="any", messages=HI, logprobs=True, top_logprobs=2, options=SHORT, stream=True)
    assert sum(len(piece.logprobs or ()) for piece in pieces) == len(reply.logprobs)


def test_what_is_ignored_is_told_in_a_header(server):
    asked = {"prompt": "Hi!", "images": ["aGk="], "template": "{{ .Prompt }}", "options": SHORT, "stream": False}
    assert server.post("/api/generate", asked).headers["X-Tavernkeep-Ignored"] == "images, template"
    asked = {"prompt": "Hi!", "raw": True, "system": "Be kind.", "context": [1], "options": SHORT, "stream": False}
    assert server.post("/api/generate", asked).headers["X-Tavernkeep-Ignored"] == "system, context"
    messages = [{"role": "user", "content": "Hi!", "images": ["aGk="]}]
    asked = {"messages": messages, "options": SHORT, "stream": False}
    assert server.post("/api/chat", asked).headers["X-Tavernkeep-Ignored"] == "images"


# --- errors -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("/api/generate", {"prompt": 5}, "prompt must be text"),
        ("/api/generate", {"prompt": "a", "context": "a"}, "context must be a list of token ids"),
        ("/api/generate", {"prompt": "a", "context": [True]}, "context must be a list of token ids"),
        ("/api/generate", {"prompt": "a", "format": "xml"}, "format must be"),
        ("/api/generate", {"prompt": "a", "think": "hard"}, "think must be"),
        ("/api/generate", {"prompt": "a", "options": []}, "options must be an object"),
        ("/api/generate", {"prompt": "a", "options": {"num_predict": "x"}}, "num_predict must be a number"),
        ("/api/generate", {"prompt": "a", "options": {"temperature": "hot"}}, "temperature must be a number"),
        ("/api/chat", {"messages": "Hi!"}, "messages must be a list"),
        ("/api/chat", {"messages": ["Hi!"]}, "messages[0] must be an object"),
        ("/api/chat", {"messages": HI, "tools": 5}, "tools must be a list"),
        ("/api/chat", {"messages": HI, "format": {"type": "what"}}, "json_schema"),
        ("/api/chat", {"messages": HI, "model": 5}, "model must be text"),
        ("/api/chat", {"messages": HI, "options": {"num_ctx": "many"}}, "num_ctx must be a number"),
        ("/api/chat", {"messages": HI, "options": {"grammar": "no grammar"}}, "grammar cannot be used"),
        ("/api/embed", {"input": "a", "model": 5}, "model must be text"),
        ("/api/embed", {"input": 5}, "input[0] must be text"),
        ("/api/embeddings", {"prompt": ["a"]}, "prompt must be text"),
    ],
)
def test_what_cannot_be_understood_is_a_400_with_a_sentence(server, path, body, words):
    answer = server.post(path, body)
    assert answer.status == 400
    assert words in answer.json["error"]
    assert answer.json["detail"]["msg"] == answer.json["error"]


def test_a_body_that_is_no_json_is_a_400_too(server):
    assert "not valid JSON" in server.post("/api/chat", b"{").json["error"]
    assert "must be a JSON object" in server.post("/api/embed", b"[]").json["error"]


def test_the_library_shows_the_sentence(client):
    with pytest.raises(ollama.ResponseError) as caught:
        client.generate(model="any", prompt="Hi!", suffix="Bye!")
    assert caught.value.error.startswith("suffix: the loaded model has no tokens for filling in the middle")
    assert caught.value.status_code == 400
    with pytest.raises(ollama.ResponseError, match="keeps no models"):
        client.pull("llama3")


def test_an_error_in_the_middle_of_a_stream_is_its_last_line(own_server):
    own_server.controller.start(settings_for_tests(contextsize=512))
    own_server.wait_for(EngineState.READY)
    with ollama.Client(own_server.base) as client:
        pieces = client.chat(model="any", messages=HI, options={**LONG, "num_predict": 400}, stream=True)
        assert not next(pieces).done
        os.kill(own_server.controller._host.engine.pid, signal.SIGKILL)
        with pytest.raises(ollama.ResponseError, match="was killed"):
            list(pieces)


def test_without_a_model_the_lists_are_empty_and_replies_say_why(own_server):
    own_server.controller.start(settings_for_tests(model="/no/such.gguf"))
    assert own_server.get("/api/tags").json == own_server.get("/api/ps").json == {"models": []}
    answer = own_server.post("/api/generate", {"model": "any", "prompt": "Hi!"})
    assert answer.status == 503
    assert answer.json["error"].startswith("No model is loaded")


# --- what is read -------------------------------------------------------------------------------------------------


def text_of(body: dict[str, Any]) -> Any:
    request = ollama_json.read_chat({"messages": HI, **body}, {})
    assert request.text
    return request.text


def test_options_are_read_under_ollamas_names():
    options = {"num_predict": 5, "num_ctx": 512, "temperature": 0.1, "top_k": 7, "top_p": 0.5, "min_p": 0.2}
    options |= {"typical_p": 0.9, "repeat_penalty": 1.2, "repeat_last_n": 33, "seed": 4, "stop": ["#"]}
    options |= {
        "presence_penalty": 0.3,
        "frequency_penalty": 0.4,
        "mirostat": 2,
        "mirostat_tau": 4,
        "mirostat_eta": 0.2,
    }
    text = text_of({"options": options})
    sampling = text.sampling
    assert (text.max_tokens, text.context, text.stop) == (5, 512, ("#",))
    assert (sampling.temperature, sampling.top_k, sampling.top_p, sampling.min_p) == (0.1, 7, 0.5, 0.2)
    assert (sampling.typical, sampling.rep_pen, sampling.rep_pen_range, sampling.seed) == (0.9, 1.2, 33, 4)
    assert (sampling.presence_penalty, sampling.frequency_penalty) == (0.3, 0.4)
    assert (sampling.mirostat, sampling.mirostat_tau, sampling.mirostat_eta) == (2, 4, 0.2)


@pytest.mark.parametrize("length", [-1, -2, 0])
def test_a_reply_without_an_end_is_as_long_as_it_may(length):
    assert text_of({"options": {"num_predict": length}}).max_tokens > 10**6
    assert text_of({}).max_tokens is None


def test_a_penalty_for_the_whole_context_reaches_far():
    assert text_of({"options": {"repeat_last_n": -1}}).sampling.rep_pen_range > 10_000


def test_thinking_is_switched_and_has_an_effort():
    assert text_of({"think": True}).thinking.mode is Mode.SHOW
    assert text_of({"think": False}).thinking.mode is Mode.OFF
    assert text_of({}).thinking.mode is None
    high = text_of({"think": "high"})
    assert high.thinking.mode is Mode.SHOW
    assert high.chat.variables["reasoning_effort"] == "high"


def test_formats_become_constraints():
    assert text_of({"format": "json"}).constraint.kind is ConstraintKind.JSON_SCHEMA
    assert "city" in text_of({"format": PARAMETERS}).constraint.text
    assert text_of({"format": ""}).constraint is None


def test_messages_may_hold_thoughts_calls_and_results():
    call = {"function": {"name": "get_weather", "arguments": {"city": "Rome"}}}
    messages = [
        *HI,
        {"role": "assistant", "content": "", "thinking": "Hm.", "tool_calls": [call]},
        {"role": "tool", "content": "Rain.", "tool_name": "get_weather"},
    ]
    _, said, result = text_of({"messages": messages}).chat.messages
    assert said.reasoning == "Hm."
    assert said.tool_calls[0].parsed_arguments() == {"city": "Rome"}
    assert (result.role, result.name, result.content) == ("tool", "get_weather", "Rain.")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | st.sampled_from(["json", "high"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4),
    max_leaves=12,
)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=6))
def test_whatever_a_body_holds_is_read_or_refused_in_a_sentence(body):
    for read in (ollama_json.read_chat, ollama_json.read_generate):
        for asked in (body, {**body, "prompt": "Hi!", "messages": HI}):
            with contextlib.suppress(TavernkeepError):
                read(asked, {})


def test_a_suffix_makes_the_prompt_one_that_no_template_is_laid_around():
    filled = ollama_json.read_generate({"prompt": "a", "suffix": "b", "system": "s"}, {}).text
    assert filled
    assert (filled.chat, filled.prompt, filled.suffix) == (None, "a", "b")
    assert "system" in filled.unsupported
    plain = ollama_json.read_generate({"prompt": "a", "suffix": ""}, {}).text
    assert plain
    assert plain.chat


def test_a_context_comes_before_the_prompt_and_only_one_beginning_of_text():
    def prompt(rendered: str, bos: str) -> str:
        text = text_of({})
        return ollama_json.continued(text, "before", rendered, bos, stop=(), shows_thought=False).prompt

    assert prompt("<s>[INST]Hi![/INST]", "<s>") == "before[INST]Hi![/INST]"
    tagged = "<|im_start|>user\nHi!<|im_end|>\n<|im_start|>assistant\n"
    assert prompt(tagged, "<|im_start|>") == "before" + tagged
    assert prompt("Hi!", "") == "beforeHi!"


def test_a_context_that_is_no_list_of_tokens_is_refused():
    for context in ([-1], [2**31]):
        with pytest.raises(BadRequest, match="context"):
            ollama_json.read_generate({"prompt": "a", "context": context}, {})
