"""Other programs: Agnai, RisuAI, the AI Horde's bridge, Pantella, Mantella, CHIM's OpenAI connector, ChatDev."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai import OpenAI

from tests.client_requests import request_of
from tests.conftest import Server

PAGE = "http://localhost:8080"


def events(body: bytes) -> list[Any]:
    lines = [line[6:] for line in body.decode().splitlines() if line.startswith("data: ")]
    return [json.loads(line) for line in lines if line != "[DONE]"]


# --- Agnai ---


def test_agnai_needs_the_name_koboldcpp(server: Server) -> None:
    assert server.get("/api/extra/version").json["result"] == "KoboldCpp"


def test_agnai_streams_with_headers_that_are_numbers(server: Server) -> None:
    """It hands over a text where headers belong, so each letter becomes one."""
    odd = {str(index): letter for index, letter in enumerate("koboldcpp")}
    body = request_of("agnai", max_length=8)
    reply = server.post("/api/extra/generate/stream", body, Accept="text/event-stream", **odd)
    assert reply.status == 200
    *pieces, last = events(reply.body)
    assert all(isinstance(piece["token"], str) for piece in pieces)
    assert last["finish_reason"] in ("stop", "length")
    assert "error" not in last


def test_agnai_gets_the_same_without_a_stream(server: Server) -> None:
    result = server.post("/api/v1/generate", request_of("agnai", max_length=8)).json["results"][0]
    assert "User:" not in result["text"]


# --- RisuAI ---


def test_risuai_reads_from_a_page_of_its_own(server: Server) -> None:
    reply = server.post("/api/v1/generate", request_of("risuai", max_length=8, temperature=0), Origin=PAGE)
    assert reply.headers["Access-Control-Allow-Origin"] == PAGE
    assert reply.json["results"][0]["text"]


def test_risuai_shows_what_was_wrong(server: Server) -> None:
    reply = server.post("/api/v1/generate", request_of("risuai", prompt=None), Origin=PAGE)
    assert reply.status == 400
    assert b"prompt must be text" in reply.body


# --- the AI Horde's bridge ---


def test_the_horde_asks_who_is_there_and_for_soft_prompts(server: Server) -> None:
    assert server.get("/api/latest/model").json["result"].startswith("koboldcpp/")
    assert server.get("/api/latest/config/soft_prompts_list").json == {"values": []}
    assert server.get("/api/latest/config/soft_prompt").json == {"value": ""}
    assert server.request("PUT", "/api/latest/config/soft_prompt/", b'{"value": ""}').status == 200


def test_the_horde_gets_its_text(server: Server) -> None:
    result = server.post("/api/latest/generate", request_of("horde", max_length=8)).json["results"][0]
    assert "\n\n" not in result["text"]
    assert result["completion_tokens"] <= 8


# --- Pantella ---


def test_pantellas_probe_gets_json_after_an_empty_prompt(server: Server) -> None:
    body = request_of("pantella_probe", max_tokens=200)
    body["response_format"]["json_schema"]["additionalProperties"] = False  # a small model would add some for ever
    reply = server.post("/v1/completions", body)
    made = json.loads(reply.json["choices"][0]["text"])
    assert made["mood"] in ("happy", "sad")
    assert len(made["name"]) <= 12


def test_pantella_streams_with_a_template_of_its_own(server: Server) -> None:
    reply = server.post("/v1/completions", request_of("pantella", max_tokens=12, temperature=0))
    text = "".join(event["choices"][0]["text"] for event in events(reply.body))
    assert text
    assert "<|im" not in text


# --- Mantella and others that use OpenAI's library ---


@pytest.mark.parametrize("name", ["mantella", "mantella_actions", "chim_openaijson"])
def test_mods_get_a_turn_from_openais_library(server: Server, name: str) -> None:
    body = request_of(name, max_tokens=12, stream=True)
    with OpenAI(base_url=f"{server.base}/v1", api_key="abc123") as client:
        chunks = list(client.chat.completions.create(**body))
    assert all(len(chunk.choices) == 1 for chunk in chunks)
    assert "#" not in "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert chunks[-1].choices[0].finish_reason in ("stop", "length", "tool_calls")


def test_a_reply_longer_than_the_context_is_simply_shorter(server: Server) -> None:
    """ChatDev asks for 15,821 tokens, and sends stop as null and user as nothing."""
    reply = server.post("/v1/chat/completions", request_of("chatdev", temperature=0))
    assert reply.status == 200
    assert reply.json["choices"][0]["message"]["content"]
    assert reply.json["usage"]["total_tokens"] <= 2048
