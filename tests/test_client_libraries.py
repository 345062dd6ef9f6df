"""Libraries of the package index that were written for KoboldCpp: koboldapi, and langchain-community's KoboldApiLLM."""

from __future__ import annotations

import asyncio
import threading
import warnings

import pytest
import requests
from koboldapi.core.api import KoboldAPI, KoboldAPIError

from tests.conftest import Server, settings_for_tests, wait_until

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # it says that it is no longer maintained
    from langchain_community.llms import KoboldApiLLM

PROMPT = "The capital of France is"


@pytest.fixture
def kobold(server: Server) -> KoboldAPI:
    return KoboldAPI(server.base)


# --- koboldapi ---


def test_it_learns_who_answers(kobold: KoboldAPI) -> None:
    assert kobold.get_version()["result"] == "KoboldCpp"
    assert kobold.get_model() == "koboldcpp/SmolLM2-135M-Instruct.Q4_1"
    assert kobold.get_max_context_length() == 2048


def test_it_generates_the_same_at_once_and_in_a_stream(kobold: KoboldAPI) -> None:
    whole = kobold.generate(PROMPT, max_length=12)
    assert whole
    assert kobold.generate_sync(PROMPT, max_length=12) == whole


def test_it_hears_a_stream_in_pieces(kobold: KoboldAPI) -> None:
    async def pieces() -> list[str]:
        return [piece async for piece in kobold.stream_generate(PROMPT, max_length=100, ban_eos_token=True)]

    assert len(asyncio.run(pieces())) > 1


def test_it_counts_tokens_and_takes_them_apart(kobold: KoboldAPI) -> None:
    text = "Well met, traveller! 日本語"
    counted = kobold.count_tokens(text)
    assert counted["count"] == len(counted["tokens"])
    assert kobold.tokenize(text) == counted["tokens"]
    assert kobold.detokenize(counted["tokens"]) == text


def test_it_looks_at_a_reply_and_stops_it(kobold: KoboldAPI, server: Server) -> None:
    said: list[str] = []
    asking = threading.Thread(target=lambda: said.append(kobold.generate(PROMPT, max_length=1500, ban_eos_token=True)))
    asking.start()
    so_far = wait_until(kobold.check_generation, "some text")
    assert kobold.abort_generation() == "true"
    asking.join()
    assert said[0].startswith(so_far)
    assert kobold.check_generation() == said[0]


def test_it_never_sees_the_reply_of_another(kobold: KoboldAPI, server: Server) -> None:
    other = KoboldAPI(server.base)
    other.genkey = "KCPPother"
    other.generate("A secret:", max_length=4)
    assert kobold.check_generation() == ""
    assert kobold.get_last_logprobs() is None


def test_it_reads_the_probabilities(kobold: KoboldAPI) -> None:
    kobold.generate(PROMPT, max_length=3, logprobs=True)
    told = kobold.get_last_logprobs()
    assert len(told["content"]) == 3
    assert {"token", "logprob", "top_logprobs"} <= told["content"][0].keys()


def test_it_reads_the_figures(kobold: KoboldAPI) -> None:
    kobold.generate(PROMPT, max_length=3, ban_eos_token=True)
    figures = kobold.get_performance_stats()
    assert figures["last_token_count"] == 3
    assert figures["last_eval_speed"] > 0


def test_an_error_is_its_own(kobold: KoboldAPI) -> None:
    with pytest.raises(KoboldAPIError, match="400"):
        kobold.generate(["not", "text"], max_length=3)  # type: ignore[arg-type]


def test_it_brings_its_key(own_server: Server) -> None:
    own_server.controller.start(settings_for_tests(password="secret"))
    assert KoboldAPI(own_server.base, api_password="secret").get_performance_stats()["total_gens"] == 0
    with pytest.raises(KoboldAPIError, match="401"):
        KoboldAPI(own_server.base, api_password="wrong").get_performance_stats()


# --- langchain-community ---


@pytest.mark.parametrize("ending", ["", "/", "/api"])
def test_langchain_generates_wherever_its_endpoint_ends(server: Server, ending: str) -> None:
    llm = KoboldApiLLM(endpoint=server.base + ending, max_length=8, temperature=0.1)
    assert isinstance(llm.invoke(PROMPT), str)


def test_langchain_stops_where_it_says(server: Server) -> None:
    llm = KoboldApiLLM(endpoint=server.base, max_length=60, temperature=0.1)
    said = llm.invoke(PROMPT, stop=["e"])
    assert "e" not in said


def test_langchain_raises_what_the_server_refuses(server: Server) -> None:
    with pytest.raises(requests.HTTPError, match="404"):
        KoboldApiLLM(endpoint=server.base + "/nowhere?x=").invoke(PROMPT)
