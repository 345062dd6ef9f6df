"""Several replies to one request, prompts that are tokens, echoes and gaps, over real HTTP with the starter model."""

from __future__ import annotations

import json
import re
import threading
from pathlib import Path
from typing import Any

import openai
import pytest

from server.events import EngineState
from tests import tiny_models
from tests.conftest import Server, settings_for_tests, wait_until
from tests.test_gguf import FLOAT32, STRING, UINT32

COUNTING = "one two three four five six one two three"
QUESTION: Any = [{"role": "user", "content": "Name a colour."}]
PARIS = "The capital of France is Paris"


@pytest.fixture
def client(server: Server) -> Any:
    with openai.OpenAI(base_url=f"{server.base}/v1", api_key="abc123", max_retries=0) as client:
        yield client


def complete(server: Server, **body: Any) -> Any:
    reply = server.post("/v1/completions", {"max_tokens": 6, "temperature": 0, **body})
    assert reply.status == 200, reply.body
    return reply.json


def chunks_of(body: bytes) -> list[Any]:
    *frames, done = body.decode().strip().split("\n\n")
    assert done == "data: [DONE]"
    return [json.loads(frame.removeprefix("data: ")) for frame in frames if frame.startswith("data: ")]


def tokens_of(server: Server, text: str) -> list[int]:
    ids: list[int] = server.post("/api/extra/tokencount", {"prompt": text}).json["ids"]
    return ids


# --- n and best_of ---


def test_n_replies_come_in_their_order(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="x", messages=QUESTION, n=3, max_tokens=6, temperature=0)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert len({choice.message.content for choice in answer.choices}) == 1  # the likeliest token is always the same


def test_a_seed_gives_each_of_n_replies_another_draw(server: Server) -> None:
    answer = complete(server, prompt="A name:", n=4, temperature=5, top_k=0, top_p=1, seed=1, max_tokens=8)
    assert len({choice["text"] for choice in answer["choices"]}) == 4


def test_each_prompt_is_counted_once_and_every_reply(client: openai.OpenAI) -> None:
    one = client.chat.completions.create(model="x", messages=QUESTION, max_tokens=4, temperature=0).usage
    four = client.chat.completions.create(model="x", messages=QUESTION, max_tokens=4, temperature=0, n=4).usage
    assert one
    assert four
    assert four.prompt_tokens == one.prompt_tokens
    assert four.completion_tokens == 4 * one.completion_tokens
    assert four.total_tokens == four.prompt_tokens + four.completion_tokens
    assert four.completion_tokens_details
    assert four.completion_tokens_details.reasoning_tokens == 0


def test_streamed_replies_are_told_apart_by_their_index(client: openai.OpenAI) -> None:
    words = ["apple", "river"]
    prompts = ["".join(f"{number}. {word}\n" for number in range(1, 9)) + "9." for word in words]
    texts, reasons = {0: "", 1: ""}, {}
    for chunk in client.completions.create(model="x", prompt=prompts, max_tokens=12, temperature=0, stream=True):
        (choice,) = chunk.choices
        texts[choice.index] += choice.text
        if choice.finish_reason:
            reasons[choice.index] = choice.finish_reason
    assert [set(re.findall("[a-z]+", texts[index])) for index in (0, 1)] == [{"apple"}, {"river"}]
    assert reasons == {0: "length", 1: "length"}


def test_each_streamed_choice_of_a_chat_names_its_role_once(client: openai.OpenAI) -> None:
    chunks = list(client.chat.completions.create(model="x", messages=QUESTION, max_tokens=4, n=3, stream=True))
    roles = [chunk.choices[0].index for chunk in chunks if chunk.choices[0].delta.role]
    assert sorted(roles) == [0, 1, 2]


def test_more_prompts_than_run_at_once_are_all_answered_in_their_order(server: Server) -> None:
    words = ["apple", "river", "stone", "cloud", "horse", "table", "music", "light", "bread", "paper", "night", "green"]
    prompts = ["".join(f"{number}. {word}\n" for number in range(1, 9)) + "9." for word in words]
    answer = complete(server, prompt=prompts, max_tokens=12)
    assert [choice["index"] for choice in answer["choices"]] == list(range(len(words)))
    assert [re.findall("[a-z]+", choice["text"])[0] for choice in answer["choices"]] == words


def test_streamed_prompts_end_with_one_usage_and_one_done(server: Server) -> None:
    body = {"prompt": [COUNTING] * 10, "max_tokens": 3, "stream": True, "stream_options": {"include_usage": True}}
    chunks = chunks_of(server.post("/v1/completions", body).body)
    assert sum(not chunk["choices"] for chunk in chunks) == 1
    assert chunks[-1]["usage"]["completion_tokens"] == 30
    ended = [chunk["choices"][0]["index"] for chunk in chunks[:-1] if chunk["choices"][0]["finish_reason"]]
    assert sorted(ended) == list(range(10))


def test_the_best_of_several_come_likeliest_first(server: Server) -> None:
    body = {"prompt": "A name:", "temperature": 3, "top_k": 0, "top_p": 1, "seed": 5, "max_tokens": 6}
    best = complete(server, **body, n=4, best_of=6, logprobs=0, ignore_eos=True)
    numbers = [choice["logprobs"]["token_logprobs"] for choice in best["choices"]]
    means = [sum(each) / len(each) for each in numbers]
    assert len(set(means)) == 4
    assert means == sorted(means, reverse=True)
    assert [choice["index"] for choice in best["choices"]] == [0, 1, 2, 3]
    assert best["usage"]["completion_tokens"] == 6 * 6


def test_probabilities_that_only_best_of_needs_are_not_told(server: Server) -> None:
    (choice,) = complete(server, prompt="A name:", temperature=1, best_of=2)["choices"]
    assert choice["logprobs"] is None


def test_an_abort_ends_those_that_run_and_those_that_wait(server: Server) -> None:
    answers: list[Any] = []
    body = {"prompt": ["Once upon a time"] * 20, "max_tokens": 1500, "ignore_eos": True, "genkey": "KCPPmany"}
    asking = threading.Thread(target=lambda: answers.append(server.post("/v1/completions", body).json))
    asking.start()
    wait_until(lambda: server.snapshot().stats.running >= 8, "eight replies")
    server.post("/api/extra/abort", {"genkey": "KCPPmany"})
    asking.join()
    assert len(answers[0]["choices"]) == 8
    assert answers[0]["usage"]["completion_tokens"] < 8 * 1500


def test_where_only_one_may_run_several_come_one_after_the_other(own_server: Server) -> None:
    own_server.controller.start(settings_for_tests(multiuser=0))
    own_server.wait_for(EngineState.READY)
    assert [choice["index"] for choice in complete(own_server, prompt=["a", "b", "c"])["choices"]] == [0, 1, 2]


# --- prompts that are tokens ---


def test_a_prompt_of_tokens_is_continued_as_its_text_is(server: Server) -> None:
    ids = tokens_of(server, COUNTING)
    as_tokens, as_text, as_list = (complete(server, prompt=prompt) for prompt in (ids, COUNTING, [ids]))
    texts = {answer["choices"][0]["text"] for answer in (as_tokens, as_text, as_list)}
    assert len(texts) == 1
    assert as_tokens["usage"]["prompt_tokens"] == len(ids)


def test_lists_of_tokens_are_several_prompts(server: Server) -> None:
    ids = tokens_of(server, COUNTING)
    answer = complete(server, prompt=[ids, ids[:-1]], echo=True, max_tokens=1)
    one, other = (choice["text"] for choice in answer["choices"])
    assert one.startswith(COUNTING)
    assert other.startswith(COUNTING.removesuffix(" three"))


def test_a_token_that_does_not_exist_is_refused(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="does not know") as caught:
        client.completions.create(model="x", prompt=[5, 2_000_000])
    assert caught.value.param == "prompt"


# --- echo ---


@pytest.mark.parametrize("stream", [False, True])
def test_an_echoed_prompt_stands_before_the_reply(server: Server, stream: bool) -> None:
    plain = complete(server, prompt=COUNTING)["choices"][0]["text"]
    body = {"prompt": COUNTING, "echo": True, "stream": stream, "max_tokens": 6, "temperature": 0}
    reply = server.post("/v1/completions", body)
    choices = [chunk["choices"][0] for chunk in chunks_of(reply.body)] if stream else reply.json["choices"]
    assert "".join(choice["text"] for choice in choices) == COUNTING + plain


def test_the_probabilities_of_an_echoed_prompt_are_told(server: Server) -> None:
    """As lm-eval's gguf class reads them: where its context ends, the tokens of its continuation begin."""
    body = json.loads((Path(__file__).parent / "client_requests" / "lm_eval_gguf.json").read_text())
    choice = server.post("/v1/completions", body).json["choices"][0]
    told = choice["logprobs"]
    assert "".join(told["tokens"]) == choice["text"]
    assert [told["text_offset"][at] for at in (0, 1)] == [0, len(told["tokens"][0])]
    assert told["token_logprobs"][0] is None  # nothing came before it
    assert told["top_logprobs"][0] is None
    at = told["text_offset"].index(len("The capital of France is"))
    assert told["tokens"][at] == " Paris"
    assert told["token_logprobs"][at] == pytest.approx(told["top_logprobs"][at][" Paris"])
    assert len(told["tokens"]) == len(tokens_of(server, PARIS)) + 1


def test_what_a_model_says_itself_is_as_likely_in_an_echo(server: Server) -> None:
    """The prompt is read in small steps, and from its beginning though it is in the cache: the figures are the same."""
    said = complete(server, prompt=COUNTING, max_tokens=24, logprobs=2)["choices"][0]
    echoed = complete(server, prompt=COUNTING + said["text"], max_tokens=0, echo=True, logprobs=2)["choices"][0]
    count = len(said["logprobs"]["tokens"])
    assert echoed["logprobs"]["tokens"][-count:] == said["logprobs"]["tokens"]
    told = echoed["logprobs"]["token_logprobs"][-count:]
    assert told == pytest.approx(said["logprobs"]["token_logprobs"], abs=0.2)  # other batches round otherwise


def test_with_no_tokens_asked_for_only_the_prompt_is_echoed(server: Server) -> None:
    answer = complete(server, prompt=PARIS, max_tokens=0, echo=True, logprobs=1)
    (choice,) = answer["choices"]
    assert choice["text"] == PARIS
    assert answer["usage"]["completion_tokens"] == 0
    assert len(choice["logprobs"]["tokens"]) == answer["usage"]["prompt_tokens"]


def test_prompts_are_told_beside_others_that_run(server: Server) -> None:
    prompts = [f"{COUNTING} {number} " + "word " * 40 for number in range(12)]
    alone = [complete(server, prompt=each, max_tokens=0, echo=True, logprobs=0)["choices"][0] for each in prompts[:2]]
    together = complete(server, prompt=prompts, max_tokens=0, echo=True, logprobs=0)["choices"]
    assert [choice["text"] for choice in together] == prompts
    for one, other in zip(alone, together, strict=False):
        assert one["logprobs"]["tokens"] == other["logprobs"]["tokens"]
        assert one["logprobs"]["token_logprobs"][1:] == pytest.approx(other["logprobs"]["token_logprobs"][1:], abs=0.2)


# --- suffix ---


def test_a_gap_is_filled_where_the_model_has_the_tokens(own_server: Server, tmp_path: Path) -> None:
    parts = enumerate(("pre", "suf", "mid"))
    infill = {f"tokenizer.ggml.fim_{part}_token_id": (UINT32, 4 + at) for at, part in parts}
    path = tmp_path / "filler.gguf"
    path.write_bytes(tiny_models.plain(more=infill))
    own_server.controller.start(settings_for_tests(model=str(path)))
    own_server.wait_for(EngineState.READY)
    answer = complete(own_server, prompt="ab", suffix="cde", max_tokens=2)
    plain = complete(own_server, prompt="ab", max_tokens=2)
    # Tokens are bytes here: three of them mark the gap, and every text begins with the letter for a blank.
    assert answer["usage"]["prompt_tokens"] == plain["usage"]["prompt_tokens"] + 3 + len("\u2581cde".encode())


def test_a_model_without_the_tokens_says_so(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="filling in the middle") as caught:
        client.completions.create(model="x", prompt="a", suffix="b")
    assert caught.value.param == "suffix"


# --- what comes with an answer ---


def test_answers_have_ids_of_their_own_and_the_models_fingerprint(client: openai.OpenAI) -> None:
    options: Any = {"model": "x", "messages": QUESTION, "max_tokens": 1}
    one, other = client.chat.completions.create(**options), client.chat.completions.create(**options)
    assert one.id != other.id
    assert one.system_fingerprint
    assert one.system_fingerprint == other.system_fingerprint
    chunks = list(client.chat.completions.create(**options, stream=True))
    assert {chunk.id for chunk in chunks} == {chunks[0].id}
    assert {chunk.system_fingerprint for chunk in chunks} == {one.system_fingerprint}


@pytest.mark.parametrize("usage", [False, True])
def test_timings_are_told_as_llama_server_tells_them(server: Server, usage: bool) -> None:
    body = {"prompt": COUNTING, "max_tokens": 5, "ignore_eos": True}
    whole = server.post("/v1/completions", body).json["timings"]
    streamed = {**body, "stream": True, "stream_options": {"include_usage": usage}}
    last = chunks_of(server.post("/v1/completions", streamed).body)[-1]["timings"]
    for timings in (whole, last):
        assert timings["predicted_n"] == 5
        assert timings["cache_n"] + timings["prompt_n"] == len(tokens_of(server, COUNTING))
        assert timings["predicted_per_second"] > 0


# --- what a request leaves open ---


def test_the_models_own_recommendation_comes_before_the_settings_and_behind_the_request(
    own_server: Server, tmp_path: Path
) -> None:
    recommended = {"general.sampling.temp": (FLOAT32, 0.5), "general.sampling.top_k": (UINT32, 7)}
    odd = {"general.sampling.min_p": (STRING, "nonsense")}
    path = tmp_path / "recommends.gguf"
    path.write_bytes(tiny_models.plain(more={**recommended, **odd}))
    defaults = '{"temperature": 0.9, "xtc_probability": 0.25}'
    own_server.controller.start(settings_for_tests(model=str(path), gendefaults=defaults))
    own_server.wait_for(EngineState.READY)
    assert own_server.controller.sampler_defaults() == {"temperature": 0.5, "top_k": 7, "xtc_probability": 0.25}
