"""KoboldAI Lite: a page in the browser, so all answers must be readable across origins; it streams, polls, aborts."""

from __future__ import annotations

import json
import re
import threading
from typing import Any

import pytest

from tests.client_requests import request_of
from tests.conftest import Reply, Server, read_to_end, wait_until

PAGE = "http://localhost:8080"
STREAM = "/api/extra/generate/stream"
EVENT = re.compile(rb"^event: ([^\r\n]*)\ndata: ([^\r\n]*)(?:\r?\n){2}", re.MULTILINE)
ENDLESS = {"max_length": 3000, "use_default_badwordsids": True, "stop_sequence": []}
# What Lite switches on from which version of KoboldCpp, and the field of a request that it then sends.
GATES = {
    "1.37": "mirostat",
    "1.40": "SSE",
    "1.44": "grammar",
    "1.49": "memory",
    "1.70": "dry_multiplier",
    "1.74": "xtc_probability",
    "1.88": "replace_instruct_placeholders",
}


class Lite:
    """The page: what it asks when it connects, and how it reads what comes back."""

    def __init__(self, server: Server) -> None:
        self.server = server

    def get(self, path: str) -> Any:
        """Lite sends a JSON content type with GET too, so the browser asks first whether it may."""
        preflight = self.server.request(
            "OPTIONS",
            path,
            Origin=PAGE,
            Access_Control_Request_Method="GET",
            Access_Control_Request_Headers="content-type",
            Access_Control_Request_Private_Network="true",
        )
        assert preflight.status in (200, 204)
        assert "content-type" in preflight.headers["Access-Control-Allow-Headers"].lower()
        assert preflight.headers["Access-Control-Allow-Private-Network"] == "true"
        return readable(self.server.get(path, Origin=PAGE, Content_Type="application/json")).json

    def post(self, path: str, body: Any) -> Reply:
        return readable(self.server.post(path, body, Origin=PAGE, Content_Type="application/json"))

    def generate(self, **changes: Any) -> Any:
        return self.post("/api/v1/generate", request_of("lite", **changes)).json["results"][0]

    def check(self, genkey: str) -> str:
        text: str = self.post("/api/extra/generate/check", {"genkey": genkey}).json["results"][0]["text"]
        return text


def readable(reply: Reply) -> Reply:
    """What a page from elsewhere may read: only answers that name it."""
    assert reply.headers["Access-Control-Allow-Origin"] == PAGE
    return reply


def events(stream: bytes) -> list[dict[str, Any]]:
    found = list(EVENT.finditer(stream))
    assert b"".join(event[0] for event in found) == stream  # nothing that Lite would not see
    return [json.loads(event[2]) for event in found if event[1] == b"message"]


def said(stream: bytes) -> str:
    return "".join(event["token"] for event in events(stream))


def numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]


@pytest.fixture
def lite(server: Server) -> Lite:
    return Lite(server)


def test_it_connects(lite: Lite) -> None:
    model = lite.get("/api/v1/model")["result"]
    assert model not in ("", "ReadOnly", "inactive")
    assert numbers(lite.get("/api/v1/info/version")["result"]) >= [1, 2, 4]  # else it sends no stop texts
    longest = lite.get("/api/v1/config/max_context_length")["value"]
    version = lite.get("/api/extra/version")
    assert version["result"] == "KoboldCpp"
    assert version["protected"] is False
    assert lite.get("/api/extra/true_max_context_length")["value"] >= longest > 0
    assert lite.get("/api/extra/preloadstory") == {}
    assert [entry["id"] for entry in lite.get("/v1/models")["data"]]


def test_no_picture_models_are_an_empty_list(lite: Lite) -> None:
    assert lite.get("/sdapi/v1/sd-models") == []


@pytest.mark.parametrize("flag", ["txt2img", "vision", "audio", "transcribe", "multiplayer", "websearch", "tts"])
def test_it_is_promised_nothing_that_there_is_not(lite: Lite, flag: str) -> None:
    assert lite.get("/api/extra/version")[flag] is False


def test_the_version_opens_the_gates_of_what_there_is(lite: Lite) -> None:
    version = numbers(lite.get("/api/extra/version")["version"])
    assert [gate for gate in GATES if numbers(gate) > version] == []


def test_every_field_that_it_sends_is_known(lite: Lite) -> None:
    reply = lite.post("/api/v1/generate", request_of("lite", max_length=4, temperature=0))
    assert reply.status == 200
    assert reply.headers["X-Tavernkeep-Ignored"] is None
    assert reply.json["results"][0]["text"]


def test_a_stream_is_seen_whole_and_says_what_a_reply_does(lite: Lite) -> None:
    body = request_of("lite", max_length=24, temperature=0)
    reply = lite.post(STREAM, body)
    assert reply.headers["Content-Type"].startswith("text/event-stream")
    assert said(reply.body) == lite.post("/api/v1/generate", body).json["results"][0]["text"]
    *pieces, last = events(reply.body)
    assert last == {"token": "", "finish_reason": "length"}
    assert [piece["finish_reason"] for piece in pieces] == [None] * len(pieces)


def test_polling_reads_the_reply_while_it_grows_and_recovers_it_afterwards(lite: Lite) -> None:
    results: list[Any] = []
    body: Any = {**ENDLESS, "genkey": "KCPP1111", "max_length": 300}
    asking = threading.Thread(target=lambda: results.append(lite.generate(**body)))
    asking.start()
    read = [wait_until(lambda: lite.check("KCPP1111"), "the first words")]
    while asking.is_alive():
        read.append(lite.check("KCPP1111"))
    asking.join()
    whole = results[0]["text"]
    assert all(whole.startswith(text.rstrip("\ufffd")) for text in read)
    assert sorted(read, key=len) == read
    assert lite.check("KCPP1111") == whole
    assert lite.check("KCPP2222") == ""


def test_an_abort_ends_the_stream_and_keeps_what_was_said(lite: Lite) -> None:
    body = request_of("lite", **{**ENDLESS, "genkey": "KCPP3333"})
    connection = lite.server.send_raw(STREAM, body, f"Origin: {PAGE}", "Connection: close")
    wait_until(lambda: lite.check("KCPP3333"), "the first words")
    assert lite.post("/api/extra/abort", {"genkey": "KCPP3333"}).json == {"success": "true", "done": "true"}
    stream = read_to_end(connection).partition(b"\r\n\r\n")[2]
    assert events(stream)[-1] == {"token": "", "finish_reason": "length"}
    assert lite.check("KCPP3333") == said(stream) != ""


def test_an_abort_of_one_page_leaves_the_others_reply_alone(lite: Lite) -> None:
    mine = request_of("lite", **{**ENDLESS, "genkey": "KCPP4444"})
    connection = lite.server.send_raw(STREAM, mine, "Connection: close")
    wait_until(lambda: lite.check("KCPP4444"), "the first words")
    assert lite.post("/api/extra/abort", {"genkey": "KCPP5555"}).json["success"] == "false"
    before = lite.check("KCPP4444")
    wait_until(lambda: len(lite.check("KCPP4444")) > len(before), "it to go on")
    assert lite.check("KCPP5555") == ""
    connection.close()


def test_a_page_that_is_closed_stops_its_reply(lite: Lite) -> None:
    connection = lite.server.send_raw(STREAM, request_of("lite", **ENDLESS), f"Origin: {PAGE}")
    wait_until(lambda: b"event: message" in connection.recv(65536), "the first words")
    connection.close()
    lite.server.wait_until_quiet()


def test_probabilities_are_fetched_after_the_reply(lite: Lite) -> None:
    body = request_of("lite", genkey="KCPP6666", logprobs=True, max_length=8, use_default_badwordsids=True)
    text = said(lite.post(STREAM, body).body)
    told = lite.post("/api/extra/last_logprobs", {"genkey": "KCPP6666"}).json["logprobs"]
    assert "".join(entry["token"] for entry in told["content"]) == text
    assert all(entry["logprob"] <= 0 and len(entry["top_logprobs"]) == 5 for entry in told["content"])
    assert lite.post("/api/extra/last_logprobs", {"genkey": "KCPP9999"}).json == {"logprobs": None}


def test_it_counts_tokens_without_the_beginning_of_text(lite: Lite) -> None:
    text = "Hello there! " * 3000  # some 39,000 letters: KoboldCpp counts very long texts as nothing
    plain = lite.post("/api/extra/tokencount", {"prompt": text, "special": False}).json
    whole = lite.post("/api/extra/tokencount", {"prompt": text}).json
    assert plain["value"] == len(plain["ids"]) > 3000
    assert whole["ids"][-len(plain["ids"]) :] == plain["ids"]
    assert lite.post("/api/extra/detokenize", {"ids": plain["ids"]}).json == {"result": text, "success": True}


def test_placeholders_become_the_tags_of_the_model(lite: Lite) -> None:
    tags = {
        "memory": "<|im_start|>system\nYou tell tales.<|im_end|>\n",
        "prompt": "<|im_start|>user\nTell me of the old mill.<|im_end|>\n<|im_start|>assistant\n",
        "stop_sequence": ["<|im_start|>user", "<|im_start|>assistant"],
    }
    short: Any = {"max_length": 12, "temperature": 0}
    assert lite.generate(**short) == lite.generate(**short, **tags)


def test_placeholders_without_ends_stand_for_both_tags(lite: Lite) -> None:
    short: Any = {"max_length": 12, "temperature": 0, "memory": "", "stop_sequence": []}
    given = lite.generate(**short, prompt="Hi.{{[OUTPUT]}}Hello!{{[INPUT]}}Go on.{{[OUTPUT]}}")
    meant = lite.generate(
        **short,
        prompt="Hi.<|im_end|>\n<|im_start|>assistant\nHello!<|im_end|>\n<|im_start|>user\nGo on."
        "<|im_end|>\n<|im_start|>assistant\n",
    )
    assert given == meant


def test_a_placeholder_may_be_a_stop_text(lite: Lite) -> None:
    grammar = 'root ::= "Well.<|im_start|>user\\nAnd then?"'
    result = lite.generate(grammar=grammar, max_length=60, stop_sequence=["{{[INPUT]}}"])
    assert result["text"] == "Well."
    assert result["finish_reason"] == "stop"


def test_a_chat_goes_on_where_the_assistants_turn_ends(lite: Lite) -> None:
    """What Lite sends in instruct mode to a server that says it knows Jinja."""
    reply = lite.post("/v1/chat/completions", request_of("lite_chat", max_tokens=12, max_length=12, temperature=0))
    *frames, done = reply.body.decode().strip().split("\n\n")
    assert done == "data: [DONE]"
    text = "".join(json.loads(frame[6:])["choices"][0]["delta"].get("content", "") for frame in frames)
    assert text
    assert not text.startswith("The old mill stood by")


def test_the_popup_lists_every_figure_of_version_and_perf(lite: Lite) -> None:
    lite.generate(max_length=4)
    figures = {**lite.get("/api/extra/version"), **lite.get("/api/extra/perf")}
    assert all(isinstance(value, (bool, int, float, str)) for value in figures.values())
    assert figures["idle"] in (0, 1)
    assert figures["queue"] == 0
    assert figures["uptime"] > 0
    assert figures["total_gens"] > 0


@pytest.mark.parametrize("path", ["/api/v1/generate", STREAM, "/nothing"])
def test_an_error_can_be_read_by_the_page(lite: Lite, path: str) -> None:
    reply = lite.post(path, b'{"prompt": ')
    assert reply.status in (400, 404)
    assert reply.json["detail"]["msg"]


def test_a_key_is_asked_for_only_where_there_is_one(lite: Lite) -> None:
    """Also of a page, whose browser sends no key unless it was told that it may."""
    asking = {"Access_Control_Request_Method": "POST", "Access_Control_Request_Headers": "authorization,content-type"}
    preflight = lite.server.request("OPTIONS", "/api/v1/generate", Origin=PAGE, **asking)
    assert "authorization" in preflight.headers["Access-Control-Allow-Headers"].lower()
    assert "POST" in preflight.headers["Access-Control-Allow-Methods"]
