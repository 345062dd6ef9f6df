"""The KoboldAI dialect over real HTTP with the real starter model; streams are read from raw sockets."""

from __future__ import annotations

import json
import logging
import re
import threading
from typing import Any

import pytest

from server.events import EngineState
from tests.conftest import Server, read_to_end, settings_for_tests, wait_until

STREAM = "/api/extra/generate/stream"
ENDLESS: Any = {"prompt": "Once upon a time", "max_length": 3000, "ban_eos_token": True, "temperature": 1.0}
FRAME = re.compile(rb'event: message\ndata: (\{"token": .*\})\n\n')


def frames_of(body: bytes) -> list[dict[str, Any]]:
    return [json.loads(frame) for frame in FRAME.findall(body)]


def test_chim_reads_its_stream_line_by_line_until_the_server_closes(server: Server) -> None:
    """Hand-written HTTP with a trailing slash and ``Connection: close``, read to the end, byte for byte."""
    body = {
        "prompt": "one two three",
        "max_length": 4,
        "temperature": 0,
        "trim_stop": True,
        "stop_sequence": ["", "###"],
    }
    raw = read_to_end(server.send_raw(f"{STREAM}/", body, "Connection: close"))
    head, _, stream = raw.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"chunked" not in head
    assert b"Content-Type: text/event-stream" in head
    assert b"".join(b"event: message\ndata: %s\n\n" % frame for frame in FRAME.findall(stream)) == stream
    assert all(
        line == b"" or line.startswith((b"event: message", b'data: {"token": "')) for line in stream.split(b"\n")
    )


def test_a_stream_ends_with_an_empty_token_and_the_reason(server: Server) -> None:
    *pieces, last = frames_of(server.post(STREAM, {"prompt": "one two", "max_length": 3}).body)
    assert last == {"token": "", "finish_reason": "length"}
    assert all(piece["finish_reason"] is None and piece["token"] for piece in pieces)


def test_a_json_reply_begins_as_chim_compares_it(server: Server) -> None:
    body = {"prompt": "Answer in JSON:", "max_length": 8, "temperature": 0, "grammar": 'root ::= "{" "}"'}
    assert b'data: {"token": "{' in server.post(STREAM, body).body


def test_a_grammar_constrains_the_reply_and_an_invalid_one_is_left_out(server: Server) -> None:
    grammar = 'root ::= "{\\"mood\\": \\"" ("happy" | "sad") "\\"}"'
    body = {"prompt": "How do you feel?", "max_length": 40, "grammar": grammar}
    text = server.post("/api/v1/generate", body).json["results"][0]["text"]
    assert json.loads(text)["mood"] in ("happy", "sad")
    assert server.post("/api/v1/generate", {**body, "max_length": 2, "grammar": "root ::= ((("}).status == 200


def test_a_finished_grammar_ends_the_reply_although_its_end_is_banned(server: Server) -> None:
    """CHIM sends a grammar and bans the end of text with it."""
    body = {"prompt": "Yes or no?", "max_length": 20, "grammar": 'root ::= "yes"', "use_default_badwordsids": True}
    result = server.post("/api/v1/generate", body).json["results"][0]
    assert result["text"] == "yes"
    assert result["finish_reason"] == "stop"


@pytest.mark.parametrize("grammar", ["root ::= " + "(" * 20_000 + '"a"' + ")" * 20_000, "\ud800", "root ::= root"])
def test_a_grammar_that_would_break_the_parser_is_left_out(server: Server, grammar: str) -> None:
    assert server.post("/api/v1/generate", {"prompt": "a", "max_length": 1, "grammar": grammar}).status == 200


def test_a_client_that_leaves_before_the_first_byte_stops_its_generation(server: Server) -> None:
    for _ in range(3):
        server.send_raw(STREAM, {**ENDLESS, "prompt": "story " * 1800}).close()
    server.wait_until_quiet()


@pytest.mark.parametrize("mirostat", [1, 2])
def test_mirostat_samples_with_the_seed_that_was_asked_for(own_server: Server, mirostat: int) -> None:
    """Without the cache: what is read in another batch, or lies elsewhere in the cache, is rounded differently."""
    own_server.controller.start(settings_for_tests(nofastforward=True))
    own_server.wait_for(EngineState.READY)
    body = {"prompt": "The tavern", "max_length": 12, "mirostat": mirostat, "sampler_seed": 3, "ban_eos_token": True}
    texts = {own_server.post("/api/v1/generate", body).json["results"][0]["text"] for _ in range(2)}
    assert len(texts) == 1


def test_generate_answers_with_text_reason_and_counts(server: Server) -> None:
    result = server.post("/api/v1/generate", {"prompt": "The sky is", "max_length": 5, "temperature": 0}).json[
        "results"
    ][0]
    assert result["text"]
    assert result["finish_reason"] == "length"
    assert result["completion_tokens"] == 5
    assert result["prompt_tokens"] == 3


@pytest.mark.parametrize("path", ["/api/v1/generate", "/api/latest/generate", "/api/v1/generate/"])
def test_every_spelling_of_the_route_works(server: Server, path: str) -> None:
    assert server.post(path, {"prompt": "a", "max_length": 1}).status == 200


def test_null_and_odd_values_count_as_absent(server: Server) -> None:
    odd = {"temperature": None, "top_p": "0.9", "rep_pen": None, "stop_sequence": None, "memory": None, "top_k": ""}
    assert server.post("/api/v1/generate", {"prompt": "a", "max_length": "1", **odd}).status == 200


def test_a_prompt_that_is_a_list_is_refused_in_words(server: Server) -> None:
    reply = server.post("/api/v1/generate", {"prompt": ["a"]})
    assert reply.status == 400
    assert reply.json["detail"]["msg"] == "prompt must be text."


def test_memory_survives_when_the_prompt_is_too_long(server: Server) -> None:
    memory, prompt = "The password is swordfish. " * 5, "noise " * 5000
    counted = server.post("/api/extra/tokencount", {"prompt": memory}).json["value"]
    result = server.post("/api/v1/generate", {"prompt": prompt, "memory": memory, "max_length": 4}).json["results"][0]
    assert counted < result["prompt_tokens"] <= 2048 - 4


def test_the_token_count_matches_the_ids(server: Server) -> None:
    answer = server.post("/api/extra/tokencount", {"prompt": "Hello there, traveller!"}).json
    assert answer["value"] == len(answer["ids"]) > 3


def test_the_model_is_named_as_koboldcpp_names_it(server: Server) -> None:
    assert server.get("/api/v1/model").json == {"result": "koboldcpp/SmolLM2-135M-Instruct.Q4_1"}
    assert server.get("/api/latest/model/").json == server.get("/api/v1/model").json


def test_versions_and_lengths_unlock_what_clients_look_for(server: Server) -> None:
    version = server.get("/api/extra/version").json
    assert version["result"] == "KoboldCpp"
    assert version["protected"] is False
    assert server.get("/api/v1/info/version").json == {"result": "1.2.5"}
    assert server.get("/api/v1/config/max_context_length").json == {"value": 2048}
    assert server.get("/api/extra/true_max_context_length").json == {"value": 2048}
    assert server.get("/api/v1/config/max_length").json == {"value": 768}


def test_json_is_laid_out_as_koboldcpp_does(server: Server) -> None:
    assert server.get("/api/v1/info/version").body == b'{"result": "1.2.5"}'


def test_perf_tells_of_the_last_reply(server: Server) -> None:
    perf = perf_after(
        server, "/api/v1/generate", prompt="one two three", max_length=6, ban_eos_token=True, sampler_seed=42
    )
    assert perf["last_token_count"] == 6
    assert perf["last_seed"] == 42
    assert perf["last_eval_speed"] > 0
    assert perf["stop_reason"] == 0


@pytest.mark.parametrize("route", ["/api/v1/generate", STREAM])
def test_perf_tells_that_the_second_turn_of_a_chat_was_mostly_cached(server: Server, route: str) -> None:
    story = f"The tale of {route}: " + "the knight rode on and on. " * 10
    first = perf_after(server, route, prompt=story, max_length=4, ban_eos_token=True)
    second = perf_after(server, route, prompt=f"{story}{check(server, '')} Then he slept.", max_length=4)
    assert first["last_input_count"] <= second["last_cached_count"] < second["last_input_count"]
    read = second["last_input_count"] - second["last_cached_count"]
    assert second["last_process_speed"] == pytest.approx(read / second["last_process_time"])
    assert second["total_cached_count"] - first["total_cached_count"] == second["last_cached_count"]
    assert second["total_input_count"] - first["total_input_count"] == second["last_input_count"]


def test_perf_tells_what_the_cache_holds_and_how_many_threads_run(server: Server) -> None:
    perf = perf_after(server, "/api/v1/generate", prompt="one two three", max_length=3)
    assert perf["kv_cells_total"] == 2048
    assert perf["kv_cells_used"] == 0
    assert 0 < perf["kv_cells_cached"] <= 2048
    assert perf["cache_ram_bytes"] >= 0
    assert 1 <= perf["threads"] <= 2


def test_health_names_its_figures_as_llama_server_does(server: Server) -> None:
    perf_after(server, "/api/v1/generate", prompt="one two three", max_length=3)
    health = server.get("/health").json
    assert health["kv_cache_tokens"] > 0
    assert health["kv_cache_usage_ratio"] == pytest.approx(health["kv_cache_tokens"] / 2048, abs=0.001)
    assert {"prompt_tokens_seconds", "predicted_tokens_seconds"} <= health.keys()


def test_perf_tells_how_many_guessed_tokens_were_right(own_server: Server) -> None:
    own_server.controller.start(settings_for_tests(promptlookup=True))
    own_server.wait_for(EngineState.READY)
    prompt = "one two three four five. " * 8
    perf = perf_after(own_server, "/api/v1/generate", prompt=prompt, max_length=40, temperature=0, ban_eos_token=True)
    assert perf["last_draft_success"] > 0
    assert perf["total_draft_success"] == perf["last_draft_success"]
    assert perf["total_draft_failed"] == perf["last_draft_failed"] >= 0


def test_the_log_tells_how_much_of_a_prompt_was_cached(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    body = {"prompt": "A door, a key, a lock, a hinge.", "max_length": 2, "ban_eos_token": True}
    with caplog.at_level(logging.INFO, "tavernkeep.replies"):
        for _ in range(2):
            count = server.post("/api/v1/generate", body).json["results"][0]["prompt_tokens"]
        wait_until(lambda: len(caplog.messages) == 2, "both lines")
    assert f": {count} tokens ({count - 1} cached) read in" in caplog.messages[-1]


def test_the_text_so_far_can_be_read_by_its_genkey_and_no_other(server: Server) -> None:
    connection = server.send_raw(STREAM, {**ENDLESS, "genkey": "KCPP1234"})
    text = wait_until(lambda: check(server, "KCPP1234"), "some text")
    assert check(server, "KCPP1234").startswith(text)
    assert check(server, "KCPP9999") == ""
    assert server.post("/api/extra/abort", {"genkey": "KCPP1234"}).json == {"success": "true", "done": "true"}
    assert frames_of(read_to_end(connection))[-1] == {"token": "", "finish_reason": "length"}
    assert check(server, "KCPP1234").startswith(text)  # readable until the next reply begins


def test_an_abort_with_another_key_stops_nothing(server: Server) -> None:
    connection = server.send_raw(STREAM, {**ENDLESS, "genkey": "mine"})
    wait_until(lambda: check(server, "mine"), "some text")
    assert server.post("/api/extra/abort", {"genkey": "yours"}).json == {"success": "false", "done": "false"}
    assert server.snapshot().requests
    connection.close()


def test_an_abort_without_a_body_stops_a_reply_of_the_openai_dialect(server: Server) -> None:
    """SillyTavern generates on /v1/completions and presses stop here. The text so far comes back with status 200."""
    answers: list[Any] = []
    body = {"prompt": "Once", "max_tokens": 3000, "ignore_eos": True}
    asking = threading.Thread(target=lambda: answers.append(server.post("/v1/completions", body)))
    asking.start()
    wait_until(lambda: any(row.completion_tokens for row in server.snapshot().requests), "some tokens")
    assert server.post("/api/extra/abort").json["success"] == "true"
    asking.join()
    assert answers[0].status == 200
    assert answers[0].json["choices"][0]["text"]


@pytest.mark.parametrize("body", [b"", b"null", b"what?", b"{}", b"[]"])
def test_an_abort_while_idle_is_a_success_whatever_its_body(server: Server, body: bytes) -> None:
    assert server.post("/api/extra/abort", body).json["success"] == "true"


def test_status_routes_answer_while_a_long_prompt_is_read(server: Server) -> None:
    connection = server.send_raw(STREAM, {"prompt": "story " * 1800, "max_length": 1})
    wait_until(lambda: server.snapshot().stats.running, "the prompt to be read")
    assert server.post("/api/extra/tokencount", {"prompt": "hello"}).json["value"] == 1
    assert server.get("/api/extra/perf").json["idle"] == 0
    read_to_end(connection)


def test_headers_arrive_before_the_prompt_has_been_read(server: Server) -> None:
    connection = server.send_raw(STREAM, {"prompt": "story " * 1800, "max_length": 1}, "Connection: close")
    first = connection.recv(65536)
    assert first.startswith(b"HTTP/1.1 200 OK")
    assert b"data:" not in first
    read_to_end(connection)


def perf_after(server: Server, route: str, **body: Any) -> Any:
    """What perf says of a reply. Its figures may arrive a moment after the reply itself."""
    before = server.get("/api/extra/perf").json
    server.post(route, body)

    def counted() -> Any:
        perf = server.get("/api/extra/perf").json
        asked = perf["total_input_count"] - before["total_input_count"]
        return perf if perf["total_gens"] == before["total_gens"] + 1 and asked == perf["last_input_count"] else None

    return wait_until(counted, "the reply in perf")


def check(server: Server, genkey: str) -> str:
    text: str = server.post("/api/extra/generate/check", {"genkey": genkey}).json["results"][0]["text"]
    return text
