"""SillyTavern: text completion for KoboldCpp, KoboldAI Classic, and chat completion with a custom address."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from server.events import EngineState
from tests.client_requests import request_of
from tests.conftest import Reply, Server, read_to_end, settings_for_tests, wait_until

TEXTGEN = ["sillytavern_textgen", "sillytavern_textgen_2026"]
JSON = "application/json"
ENDLESS: Any = {"max_tokens": 3000, "ban_eos_token": True, "ignore_eos": True, "stop": [], "stopping_strings": []}


def events(body: bytes) -> Iterator[str]:
    """The data of server-sent events, as the browser splits them: an event counts when a blank line has come."""
    *whole, rest = re.split(r"\r\n\r\n|\n\n|\r\r", body.decode())
    assert rest == ""
    for event in whole:
        lines = [line[5:].removeprefix(" ") for line in event.splitlines() if line.startswith("data:")]
        if lines:
            yield "\n".join(lines)


def chunks(body: bytes) -> list[Any]:
    """The chunks of a text completion. One that names a message, a detail or an error is shown as an error."""
    found = []
    for data in events(body):
        if data == "[DONE]":
            return found
        chunk = json.loads(data)
        assert not {"message", "detail", "error"} & chunk.keys()
        assert chunk["choices"]  # smooth streaming breaks on an empty list
        found.append(chunk)
    raise AssertionError("the stream did not say that it is done")


def text_of(body: bytes) -> str:
    return "".join(chunk["choices"][0]["text"] for chunk in chunks(body))


# --- text completion, type KoboldCpp ---


def test_it_is_online_when_the_list_of_models_names_one(server: Server) -> None:
    reply = server.get("/v1/models", Content_Type=JSON)
    assert reply.status == 200
    assert reply.headers["X-Powered-By"] is None  # "Express" would be taken for another program
    models = reply.json
    assert models["object"] == "list"
    assert models["data"][0]["object"] == "model"
    assert models["data"][0]["id"]
    assert "/" not in models["data"][0]["id"]


def test_the_template_and_the_context_are_derived_from_the_props(server: Server) -> None:
    props = server.get("/props").json
    assert hashlib.sha256(props["chat_template"].encode()).hexdigest()
    assert "<|im_start|>" in props["chat_template"].split("\n")[0]
    assert props["default_generation_settings"]["n_ctx"] == 2048


@pytest.mark.parametrize("name", TEXTGEN)
def test_none_of_its_sixty_keys_is_a_problem(server: Server, name: str) -> None:
    body = request_of(name, max_tokens=16, stream=False)
    assert len(body) > 60
    reply = server.post("/v1/completions", body, Content_Type=JSON)
    assert reply.status == 200
    assert reply.headers["X-Tavernkeep-Ignored"] is None
    answer = reply.json
    assert answer["usage"]["completion_tokens"] <= 16
    assert isinstance(answer["choices"][0]["text"], str)
    assert answer["choices"][0]["finish_reason"] in ("stop", "length")


@pytest.mark.parametrize("name", TEXTGEN)
def test_a_stream_says_what_a_reply_does(server: Server, name: str) -> None:
    body = request_of(name, max_tokens=24, temperature=0)
    whole = server.post("/v1/completions", {**body, "stream": False}).json["choices"][0]["text"]
    stream = server.post("/v1/completions", body)
    assert stream.headers["Content-Type"].startswith("text/event-stream")
    assert stream.body.endswith(b"data: [DONE]\n\n")
    assert text_of(stream.body) == whole
    *pieces, last = [chunk["choices"][0] for chunk in chunks(stream.body)]
    assert all(piece["finish_reason"] is None for piece in pieces)
    assert last["finish_reason"] in ("stop", "length")


def test_the_strongest_of_the_three_names_of_the_penalty_counts(server: Server) -> None:
    body = request_of("sillytavern_textgen", max_tokens=30, temperature=0, stream=False, ban_eos_token=True, stop=[])
    body |= {"dry_multiplier": 0, "prompt": "la la la la la la la la la la la la la la la la"}
    body |= {"frequency_penalty": 0, "presence_penalty": 0, "mirostat_mode": 0, "mirostat": 0}
    free = {"rep_pen": 1, "repeat_penalty": 1, "repetition_penalty": 1}

    def reply(**penalties: float) -> str:
        text: str = server.post("/v1/completions", {**body, **free, **penalties}).json["choices"][0]["text"]
        return text

    assert reply(repeat_penalty=3) == reply(rep_pen=3) == reply(repetition_penalty=3) != reply()
    assert reply(repeat_penalty=1.2, rep_pen=3) == reply(rep_pen=1.1, repetition_penalty=3)


def test_probabilities_are_streamed_with_the_tokens_they_belong_to(server: Server) -> None:
    """SillyTavern shows the first token's alternatives for the text of an event, so an event has one token."""
    body = request_of("sillytavern_textgen_2026", max_tokens=8, ban_eos_token=True, stop=[])
    told = [choice for chunk in chunks(server.post("/v1/completions", body).body) for choice in chunk["choices"]]
    with_text = [choice for choice in told if choice["text"]]
    assert with_text
    for choice in with_text:
        assert choice["logprobs"]["tokens"] == [choice["text"]]
        assert len(choice["logprobs"]["top_logprobs"][0]) == 10


@pytest.mark.parametrize("headers", [{}, {"Content_Type": JSON}], ids=["1.12.6", "newer"])
def test_stop_ends_the_stream_without_a_body(server: Server, headers: dict[str, str]) -> None:
    connection = server.send_raw("/v1/completions", request_of("sillytavern_textgen", **ENDLESS), "Connection: close")
    wait_until(lambda: any(row.completion_tokens for row in server.snapshot().requests), "some tokens")
    reply = server.request("POST", "/api/extra/abort", None, **headers)
    assert reply.status == 200
    assert reply.json["success"] == "true"
    body = read_to_end(connection).partition(b"\r\n\r\n")[2]
    assert chunks(body)[-1]["choices"][0]["finish_reason"] == "length"
    assert text_of(body)


def test_stop_ends_a_reply_that_is_not_streamed_and_its_text_comes(server: Server) -> None:
    answers: list[Reply] = []
    body = request_of("sillytavern_textgen", **ENDLESS, stream=False)
    asking = threading.Thread(target=lambda: answers.append(server.post("/v1/completions", body)))
    asking.start()
    wait_until(lambda: any(row.completion_tokens for row in server.snapshot().requests), "some tokens")
    server.post("/api/extra/abort", b"", Content_Type=JSON)
    asking.join()
    assert answers[0].status == 200
    assert answers[0].json["choices"][0]["text"]


def test_after_a_stop_the_next_swipe_is_served_at_once(server: Server) -> None:
    """The abort call comes first, then SillyTavern cuts its own connection; the next request is on its way already."""
    connection = server.send_raw("/v1/completions", request_of("sillytavern_textgen", **ENDLESS))
    wait_until(lambda: any(row.completion_tokens for row in server.snapshot().requests), "some tokens")
    server.post("/api/extra/abort", b"")
    connection.close()
    assert server.post("/v1/completions", request_of("sillytavern_textgen", max_tokens=4)).status == 200


def test_tokens_are_counted_under_the_one_name_that_it_reads(server: Server) -> None:
    counted = server.post("/api/extra/tokencount", {"prompt": "Hello there, traveller!"}, Content_Type=JSON).json
    assert not {"length", "count"} & counted.keys()  # it would read these first
    assert counted["value"] == len(counted["ids"]) > 3


def test_an_empty_chat_counts_nothing(server: Server) -> None:
    assert server.post("/api/extra/tokencount", {"prompt": ""}).json["value"] <= 1  # a model's beginning of text


def test_an_error_of_a_stream_is_json_with_a_message(server: Server) -> None:
    """Before any event: the toast shows what stands in error.message."""
    reply = server.post("/v1/completions", request_of("sillytavern_textgen", temperature="hot"))
    assert reply.status == 400
    assert reply.headers["Content-Type"].startswith(JSON)
    assert "temperature" in reply.json["error"]["message"]


def test_a_grammar_is_kept_under_either_of_its_names(server: Server) -> None:
    for name in ("grammar", "grammar_string"):
        body = request_of("sillytavern_textgen", stream=False, **{name: 'root ::= "yes" | "no"'})
        assert server.post("/v1/completions", body).json["choices"][0]["text"] in ("yes", "no")


def test_a_banned_string_is_not_said(server: Server) -> None:
    body = request_of("sillytavern_textgen", max_tokens=30, temperature=0, stream=False, dry_multiplier=0, rep_pen=1)
    body |= {
        "repetition_penalty": 1,
        "repeat_penalty": 1,
        "stop": [],
        "prompt": "one two three four one two three four",
    }
    word = server.post("/v1/completions", body).json["choices"][0]["text"].split()[0].lower()
    banned = {**body, "banned_strings": [word]}
    assert word not in server.post("/v1/completions", banned).json["choices"][0]["text"].lower()
    assert word not in text_of(server.post("/v1/completions", {**banned, "stream": True}).body).lower()


def test_token_bans_are_numbers_in_a_text(server: Server) -> None:
    body = request_of("sillytavern_textgen", max_tokens=1, temperature=0, stream=False, prompt="one two one two one")
    said = server.post("/v1/completions", body).json["choices"][0]["text"]
    ids = server.post("/api/extra/tokencount", {"prompt": said, "special": False}).json["ids"]
    banned = ",".join(map(str, ids))
    assert server.post("/v1/completions", {**body, "custom_token_bans": banned}).json["choices"][0]["text"] != said


# --- KoboldAI Classic ---


def test_classic_unlocks_everything(server: Server) -> None:
    """All three at once. It compares the result, not the version, with numbers: a letter sorts above them."""
    with ThreadPoolExecutor(3) as threads:
        paths = ["/api/v1/info/version", "/api/extra/version", "/api/v1/model"]
        united, extra, model = threads.map(lambda path: server.get(path, Content_Type=JSON).json, paths)
    assert [int(part) for part in united["result"].split(".")] >= [1, 2, 4]
    assert extra["result"] == "KoboldCpp"
    assert model["result"] not in ("", "ReadOnly")


def test_classic_streams_json_and_never_says_done(server: Server) -> None:
    body = request_of("sillytavern_classic", max_length=24, temperature=0)
    stream = server.post("/api/extra/generate/stream", body, Content_Type=JSON)
    tokens = [json.loads(data) for data in events(stream.body)]  # "[DONE]" would be no JSON
    whole = server.post("/api/v1/generate", body, Content_Type=JSON).json["results"][0]["text"]
    assert "".join(token["token"] for token in tokens) == whole
    assert tokens[-1]["finish_reason"] in ("stop", "length")


def test_classics_order_of_samplers_is_used(server: Server) -> None:
    for order in ([0, 1, 2, 3, 4, 5, 6], [6, 0, 1, 3, 4, 2, 5]):
        reply = server.post("/api/v1/generate", request_of("sillytavern_classic", max_length=4, sampler_order=order))
        assert reply.status == 200
        assert reply.headers["X-Tavernkeep-Ignored"] is None


def test_classic_aborts_without_a_body(server: Server) -> None:
    body = request_of("sillytavern_classic", max_length=3000, use_default_badwordsids=True, stop_sequence=[])
    connection = server.send_raw("/api/extra/generate/stream", body, "Connection: close")
    wait_until(lambda: any(row.completion_tokens for row in server.snapshot().requests), "some tokens")
    assert server.request("POST", "/api/extra/abort").json["success"] == "true"
    assert b'"finish_reason": "length"' in read_to_end(connection)


def test_classic_shows_the_detail_of_an_error(server: Server) -> None:
    reply = server.post("/api/v1/generate", request_of("sillytavern_classic", prompt=None))
    assert reply.status == 400
    assert reply.json["detail"]["msg"] == "prompt must be text."


def test_classic_may_try_again_while_there_is_no_model(own_server: Server) -> None:
    """It tries 503 again, up to 50 times; the status page must not say that all is well meanwhile."""
    own_server.controller.start(settings_for_tests(model="missing.gguf"))
    own_server.wait_for(EngineState.FAILED)
    reply = own_server.post("/api/v1/generate", request_of("sillytavern_classic"))
    assert reply.status == 503
    assert reply.json["detail"]["type"] == "service_unavailable"
    assert reply.json["error"]["message"]
    assert own_server.get("/api/v1/model").json == {"result": "inactive"}


# --- chat completion, custom address ---


@pytest.mark.parametrize("key", ["Bearer ", "Bearer undefined", "Bearer sk-123"])
def test_the_custom_chat_lists_models_with_any_key(server: Server, key: str) -> None:
    assert server.get("/v1/models", Authorization=key, Content_Type=JSON).json["data"]


def test_a_chat_with_system_messages_everywhere_is_answered(server: Server) -> None:
    """Two in front, one in the middle, one at the end, and the assistant speaks first."""
    reply = server.post("/v1/chat/completions", request_of("sillytavern_chat", max_tokens=12), Authorization="Bearer ")
    assert reply.status == 200
    deltas = [json.loads(data)["choices"][0] for data in events(reply.body) if data != "[DONE]"]
    assert "".join(choice["delta"].get("content") or "" for choice in deltas)
    assert [choice["finish_reason"] for choice in deltas if choice["finish_reason"]] in (["length"], ["stop"])


def test_continue_goes_on_in_the_assistants_turn(server: Server) -> None:
    body = request_of("sillytavern_chat", max_tokens=12, stream=False, temperature=0)
    body["messages"] = [*body["messages"], {"role": "assistant", "content": "Seraphina: I am the guardian of"}]
    begun = server.post("/v1/chat/completions", body).json["choices"][0]["message"]["content"]
    assert begun
    assert not begun.startswith("Seraphina: I am")


def test_its_stop_button_is_a_closed_socket(server: Server) -> None:
    body = request_of("sillytavern_chat", max_tokens=1500, ignore_eos=True)
    connection = server.send_raw("/v1/chat/completions", body)
    wait_until(lambda: b"content" in connection.recv(65536), "the first words")
    connection.close()
    server.wait_until_quiet()


def test_an_error_of_the_chat_names_its_message(server: Server) -> None:
    reply = server.post("/v1/chat/completions", request_of("sillytavern_chat", messages=[]))
    assert reply.status == 400
    assert reply.json["error"]["message"]
