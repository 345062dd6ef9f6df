"""What clients may ask of the choice of tokens, over real HTTP with the starter model."""

from __future__ import annotations

import json
import math
import threading
from typing import Any

import pytest

from tests.conftest import Server, read_to_end

PROMPT = "The capital of France is Paris. The capital of Germany is"
GREEDY = {"temperature": 0, "rep_pen": 1, "max_length": 24}
STREAM = "/api/extra/generate/stream"
# The starter model ends its reply to this after two tokens.
BRIEF = (
    "<|im_start|>system\nYou answer in one word.<|im_end|>\n"
    "<|im_start|>user\nReply with one word: hello<|im_end|>\n<|im_start|>assistant\n"
)


def text_of(server: Server, **body: Any) -> str:
    answer = server.post("/api/v1/generate", {"prompt": PROMPT, **GREEDY, **body})
    assert answer.status == 200, answer.body
    text: str = answer.json["results"][0]["text"]
    return text


def result(server: Server, **body: Any) -> Any:
    return server.post("/api/v1/generate", {"prompt": PROMPT, **GREEDY, **body}).json["results"][0]


# --- banned phrases ---


@pytest.mark.parametrize("name", ["banned_tokens", "banned_strings"])
def test_a_banned_phrase_is_never_said(server: Server, name: str) -> None:
    said = text_of(server)
    word = said.split()[0].strip(".,")
    assert word in said
    instead = text_of(server, **{name: [word.upper()]})
    assert instead
    assert word.lower() not in instead.lower()


def test_what_comes_before_a_banned_phrase_stays(server: Server) -> None:
    said = text_of(server)
    words = said.split()
    phrase = " ".join(words[3:5])
    instead = text_of(server, banned_tokens=[phrase])
    assert phrase.lower() not in instead.lower()
    assert instead.startswith(said[: said.index(phrase)].rstrip())


def test_a_stream_never_shows_a_banned_phrase(server: Server) -> None:
    said = text_of(server)
    banned = [" ".join(said.split()[at : at + 2]) for at in (0, 2, 4)]
    frames = read_to_end(
        server.send_raw(STREAM, {"prompt": PROMPT, **GREEDY, "banned_tokens": banned}, "Connection: close")
    )
    tokens = [json.loads(line[6:])["token"] for line in frames.decode().splitlines() if line.startswith("data: ")]
    streamed = "".join(tokens)
    assert streamed
    assert not any(phrase.lower() in streamed.lower() for phrase in banned)


def test_a_banned_letter_is_in_no_token(server: Server) -> None:
    said = text_of(server, banned_tokens=["e", ","], max_length=40)
    assert said
    assert not {"e", "E", ","} & set(said)


def test_banned_phrases_hold_inside_a_grammar(server: Server) -> None:
    grammar = 'root ::= ("red" | "blue" | "green") " " ("red" | "blue" | "green")'
    for banned in (["red", "blue"], ["green", "red"], ["blue", "green"]):
        said = text_of(server, grammar=grammar, banned_tokens=banned)
        (left,) = {"red", "blue", "green"} - set(banned)
        assert said == f"{left} {left}"


def test_banned_phrases_hold_inside_a_schema(server: Server) -> None:
    schema = {"enum": ["grim", "gay", "grey"]}
    body = {"messages": [{"role": "user", "content": "How are you?"}], "temperature": 0, "banned_strings": ["gr"]}
    answer = server.post("/v1/chat/completions", {**body, "json_schema": schema, "max_tokens": 60})
    assert answer.json["choices"][0]["message"]["content"] == '"gay"'


def test_a_grammar_that_allows_only_what_is_banned_ends_the_reply(server: Server) -> None:
    assert text_of(server, grammar='root ::= "ab" "cd"', banned_tokens=["bc"]) in ("", "a", "ab")


def test_a_stop_text_and_a_banned_phrase_work_together(server: Server) -> None:
    said = text_of(server, max_length=40)
    words = said.split()
    both = result(server, max_length=40, banned_tokens=[words[0]], stop_sequence=["."])
    assert words[0].lower() not in both["text"].lower()
    assert "." not in both["text"]


def test_several_replies_with_banned_phrases_share_a_batch(server: Server) -> None:
    """Each gets what it gets alone."""
    first = text_of(server).split()
    lists = [[word] for word in first[:4]]
    said: dict[int, str] = {}

    def ask(number: int) -> None:
        said[number] = text_of(server, banned_tokens=lists[number])

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(len(lists))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(lists[number][0].lower() not in text.lower() for number, text in said.items())
    assert len(said) == len(lists)


def test_tokens_in_vain_do_not_shorten_a_reply(server: Server) -> None:
    said = result(server, ban_eos_token=True)
    word = said["text"].split()[0]
    instead = result(server, ban_eos_token=True, banned_tokens=[word])
    assert instead["completion_tokens"] == said["completion_tokens"] == GREEDY["max_length"]


# --- other switches ---


def test_a_reply_has_at_least_the_tokens_that_were_asked_for(server: Server) -> None:
    body = {"prompt": BRIEF, "max_length": 40, "temperature": 0, "rep_pen": 1}
    plain = server.post("/api/v1/generate", body).json["results"][0]
    longer = server.post("/api/v1/generate", {**body, "min_tokens": 30}).json["results"][0]
    assert plain["completion_tokens"] < 30 <= longer["completion_tokens"]


def test_a_reply_goes_on_behind_the_models_end(server: Server) -> None:
    body = {"prompt": BRIEF, "max_length": 40, "temperature": 0, "rep_pen": 1}
    plain = server.post("/api/v1/generate", body).json["results"][0]
    assert plain["finish_reason"] == "stop"
    beyond = server.post("/api/v1/generate", {**body, "bypass_eos": True}).json["results"][0]
    assert beyond["completion_tokens"] == 40
    assert beyond["text"].startswith(plain["text"])


def test_special_tokens_are_written_out_when_they_are_asked_for(server: Server) -> None:
    body = {"prompt": BRIEF, "max_length": 40, "temperature": 0, "rep_pen": 1}
    answer = server.post("/api/v1/generate", {**body, "bypass_eos": True, "render_special": True})
    assert "<|im_end|>" in answer.json["results"][0]["text"]


def test_guidance_leads_away_from_the_negative_prompt(server: Server) -> None:
    plain = text_of(server)
    assert text_of(server, guidance_scale=1, negative_prompt="Berlin") == plain
    assert text_of(server, guidance_scale=3, negative_prompt="The capital of Germany is") != plain
    # Led away from itself by nothing at all, it stays what it was: s * (l - l) + l.
    assert text_of(server, guidance_scale=3, negative_prompt=PROMPT) == plain


@pytest.mark.parametrize("odd", [None, "", "much", [], -1, 1e9])
def test_odd_guidance_breaks_nothing(server: Server, odd: Any) -> None:
    assert text_of(server, guidance_scale=odd, negative_prompt=odd, max_length=3)


def test_what_is_not_there_is_told_in_a_header(server: Server) -> None:
    body = {"prompt": "Hi", "max_length": 1, "no_repeat_ngram_size": 3, "penalty_alpha": 0}
    answer = server.post("/api/v1/generate", body)
    assert answer.status == 200
    assert answer.headers["X-Tavernkeep-Ignored"] == "no_repeat_ngram_size"


# --- probabilities ---


def test_probabilities_come_in_koboldcpps_shape(server: Server) -> None:
    told = result(server, logprobs=True, max_length=5)
    shape = told["logprobs"]
    assert set(shape) == {"content", "tokens", "token_logprobs", "top_logprobs", "text_offset"}
    assert len(shape["content"]) == len(shape["tokens"]) == told["completion_tokens"] == 5
    assert "".join(shape["tokens"]) == told["text"]
    first = shape["content"][0]
    assert set(first) == {"token", "logprob", "bytes", "top_logprobs"}
    assert bytes(first["bytes"]).decode() == first["token"]
    top = [entry["logprob"] for entry in first["top_logprobs"]]
    assert len(top) == 5
    assert top == sorted(top, reverse=True)
    assert first["logprob"] == top[0]  # the likeliest one was taken
    assert sum(map(math.exp, top)) <= 1.0001
    assert shape["text_offset"] == [len("".join(shape["tokens"][:at])) for at in range(5)]


def test_probabilities_of_the_last_reply_belong_to_its_key(server: Server) -> None:
    told = result(server, logprobs=True, max_length=3, genkey="KCPP1")["logprobs"]
    assert server.post("/api/extra/last_logprobs", {"genkey": "KCPP1"}).json == {"logprobs": told}
    assert server.post("/api/extra/last_logprobs", {"genkey": "KCPP2"}).json == {"logprobs": None}
    result(server, max_length=3, genkey="KCPP1")
    assert server.post("/api/extra/last_logprobs", {"genkey": "KCPP1"}).json == {"logprobs": None}


@pytest.mark.parametrize("stream", [False, True])
def test_probabilities_of_a_completion_come_in_openais_older_shape(server: Server, stream: bool) -> None:
    body = {"prompt": PROMPT, "max_tokens": 4, "temperature": 0, "logprobs": 2, "stream": stream}
    answer = server.post("/v1/completions", body)
    chunks = events_of(answer.body) if stream else [answer.json]
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    shapes = [choice["logprobs"] for choice in choices if choice["logprobs"]]
    text = "".join(choice["text"] for choice in choices)
    assert "".join(token for shape in shapes for token in shape["tokens"]) == text
    assert all(len(top) == 2 for shape in shapes for top in shape["top_logprobs"])
    offsets = [offset for shape in shapes for offset in shape["text_offset"]]
    assert offsets == sorted(offsets)
    assert len(offsets) == 4


@pytest.mark.parametrize("stream", [False, True])
def test_probabilities_of_a_chat_come_in_openais_shape(server: Server, stream: bool) -> None:
    body = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4, "temperature": 0, "stream": stream}
    answer = server.post("/v1/chat/completions", {**body, "logprobs": True, "top_logprobs": 3})
    chunks = events_of(answer.body) if stream else [answer.json]
    told = [entry for chunk in chunks for entry in (chunk["choices"][0]["logprobs"] or {}).get("content", [])]
    assert len(told) == 4
    assert all(len(entry["top_logprobs"]) == 3 for entry in told)


def test_too_many_probabilities_are_refused_in_words(server: Server) -> None:
    body = {"messages": [{"role": "user", "content": "Hi"}], "logprobs": True, "top_logprobs": 1000}
    answer = server.post("/v1/chat/completions", body)
    assert answer.status == 400
    assert answer.json["error"]["message"].startswith("top_logprobs must be at most 20")


def events_of(body: bytes) -> list[Any]:
    data = [line[6:] for line in body.decode().splitlines() if line.startswith("data: ")]
    assert data[-1] == "[DONE]"
    return [json.loads(event) for event in data[:-1]]
