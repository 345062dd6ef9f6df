"""Replies that reach the end of the context, over real HTTP with the real starter model and a tiny context."""

from __future__ import annotations

import json
from typing import Any

import pytest

from server.events import EngineState
from tests.conftest import Server, settings_for_tests, wait_until

CONTEXT = 256
MORE_THAN_FITS = 300
STORY: Any = {"prompt": "Once upon a time there was a dragon", "memory": "A tale for children. ", "ban_eos_token": True}


def start(server: Server, contextsize: int = CONTEXT, **changes: Any) -> None:
    server.controller.start(settings_for_tests(contextsize=contextsize, **changes))
    server.wait_for(EngineState.READY)


def generate(server: Server, **body: Any) -> Any:
    reply = server.post("/api/v1/generate", {**STORY, "max_length": MORE_THAN_FITS, **body})
    assert reply.status == 200
    return reply.json["results"][0]


def test_a_kobold_reply_goes_on_beyond_it_and_an_openai_reply_ends_there(own_server: Server) -> None:
    start(own_server)
    kobold = generate(own_server)
    assert kobold["completion_tokens"] == MORE_THAN_FITS
    assert kobold["finish_reason"] == "length"

    openai = own_server.post("/v1/completions", {**STORY, "max_tokens": MORE_THAN_FITS}).json
    assert openai["usage"]["total_tokens"] == CONTEXT
    assert openai["choices"][0]["finish_reason"] == "length"


def test_a_streamed_kobold_reply_goes_on_too(own_server: Server) -> None:
    start(own_server)
    frames = own_server.post("/api/extra/generate/stream", {**STORY, "max_length": MORE_THAN_FITS}).body.decode()
    assert json.loads(frames.strip().rpartition("data: ")[2]) == {"token": "", "finish_reason": "length"}
    wait_until(lambda: own_server.get("/api/extra/perf").json["last_token_count"] == MORE_THAN_FITS, "the count")


def test_a_smaller_context_of_the_request_limits_only_its_prompt(own_server: Server) -> None:
    start(own_server)
    reply = generate(own_server, prompt="noise " * 200, max_length=40, max_context_length=64)
    assert reply["prompt_tokens"] == 64 - 16
    assert reply["completion_tokens"] == 40


def test_with_noshift_a_kobold_reply_ends_there_as_well(own_server: Server) -> None:
    start(own_server, noshift=True)
    reply = generate(own_server)
    assert reply["prompt_tokens"] + reply["completion_tokens"] == CONTEXT
    assert reply["finish_reason"] == "length"


@pytest.mark.parametrize("reuse", [True, False])
def test_the_next_turn_works_after_a_reply_that_lost_its_beginning(own_server: Server, reuse: bool) -> None:
    start(own_server, nofastforward=not reuse)
    text = generate(own_server, temperature=0)["text"]
    again = generate(own_server, prompt=STORY["prompt"] + text, max_length=20)
    assert again["completion_tokens"] == 20


def passage(name: str) -> str:
    return "\n" + " ".join(f"{name} went to room {number} and opened door {number * 7}." for number in range(20))


def test_a_chat_that_lost_its_oldest_message_is_not_read_again_though_another_came_between(own_server: Server) -> None:
    start(own_server, contextsize=2048)

    def read(text: str) -> Any:
        usage = own_server.post("/v1/completions", {"prompt": text, "max_tokens": 4}).json["usage"]
        return usage["prompt_tokens"], usage["prompt_tokens_details"]["cached_tokens"]

    system, oldest, middle = "You are a guard in a tavern by the sea.", passage("Anna"), passage("Berta")
    read(system + oldest + middle)
    read(passage("Somebody else"))
    prompt, cached = read(system + middle + "\nWho went to room 3?")
    assert prompt - 20 < cached < prompt
