"""CHIM (Herika): hand-written HTTP over a socket, answers read line by line until the server closes the connection.

The server cannot tell such a client of an error: what the client does not understand is an NPC who says nothing.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.client_requests import request_of
from tests.conftest import Server, read_to_end, wait_until

STREAM = "/api/extra/generate/stream/"
USUAL_HEADERS = {b"cache-control", b"connection", b"content-type", b"date", b"vary"} | {
    b"cross-origin-resource-policy",
    b"x-content-type-options",
    b"x-frame-options",
}
FRAME = re.compile(
    rb'event: message\ndata: (\{"token": "(?:[^"\\]|\\.)*", "finish_reason": (?:null|"stop"|"length")\})\n\n'
)
ENDLESS: Any = {"prompt": "Once upon a time", "max_length": 3000, "ban_eos_token": True}


def php_json(body: dict[str, Any]) -> bytes:
    """As PHP's json_encode writes it: no blanks, escaped slashes, nothing but ASCII."""
    return json.dumps(body, separators=(",", ":")).replace("/", "\\/").encode("ascii")


def post(path: str, data: bytes, *headers: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", "Content-Type: application/json"]
    return "\r\n".join([*lines, f"Content-Length: {len(data)}", *headers, "", ""]).encode() + data


@dataclass
class Heard:
    """What the game gets: text to speak, or JSON that is collected and spoken in part."""

    head: bytes = b""
    body: bytes = b""
    spoken: str = ""
    collected: str = ""
    json_mode: bool = False

    @property
    def headers(self) -> dict[bytes, bytes]:
        pairs = (line.split(b": ", 1) for line in self.head.split(b"\r\n")[1:])
        return {name.lower(): value for name, value in pairs}

    @property
    def frames(self) -> list[dict[str, Any]]:
        return [json.loads(frame) for frame in FRAME.findall(self.body)]

    def line(self, line: bytes) -> None:
        """One line from the socket, whatever it is: a header, a part of a frame, the size of a chunk."""
        if not line.startswith(b"data: {"):
            return
        token = json.loads(line[6:])["token"]
        self.json_mode = self.json_mode or b'data: {"token": "{' in line
        if self.json_mode:
            self.collected += token
        elif token.strip("\t\0\v"):
            self.spoken += token


def talk(server: Server, body: dict[str, Any], *headers: str) -> Heard:
    """One turn: send, then read lines until the end of the file. There is no other end."""
    heard = Heard()
    with server.connect() as connection, connection.makefile("rb") as lines:
        connection.sendall(post(STREAM, php_json(body), *(headers or ("Connection: close",))))
        received = b""
        for line in iter(lines.readline, b""):
            heard.line(line)
            received += line
    heard.head, _, heard.body = received.partition(b"\r\n\r\n")
    return heard


def json_dialogue(longest: int, **changes: Any) -> dict[str, Any]:
    """The dialogue in JSON, each text of at most ``longest`` letters so that it surely ends, with blanks behind it."""
    body = request_of("chim_json", **changes)
    grammar = body["grammar"].replace(')* "\\""', f'){{0,{longest}}} "\\""').replace('"}" ws', '"}" tail')
    bounded = grammar.replace("ws ::= ([ \\t\\n] ws)?", "ws ::= [ \\t\\n]{0,2}\ntail ::= ([ \\t\\n] tail)?")
    assert "tail ::=" in bounded
    return {**body, "grammar": bounded}


def test_the_request_is_what_php_writes() -> None:
    data = php_json(request_of("chim_dialogue"))
    assert b"Breezehome\\/Whiterun" in data
    assert b"\\u2014" in data
    assert json.loads(data) == request_of("chim_dialogue")


@pytest.mark.parametrize("name", ["chim_dialogue", "chim_diary", "chim_json"])
def test_every_byte_of_a_stream_is_as_chim_compares_it(server: Server, name: str) -> None:
    heard = talk(server, request_of(name, max_length=24))
    assert heard.head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert heard.headers.keys() == USUAL_HEADERS  # no length, no chunks, no compression
    assert heard.headers[b"connection"] == b"close"
    assert heard.headers[b"content-type"] == b"text/event-stream"
    assert b"".join(match[0] for match in FRAME.finditer(heard.body)) == heard.body
    *pieces, last = heard.frames
    assert all(piece["token"] and piece["finish_reason"] is None for piece in pieces)
    assert last["token"] == ""
    assert last["finish_reason"] in ("stop", "length")
    assert all(json.dumps(frame).encode() in heard.body for frame in heard.frames)  # separators and order of keys


def test_a_line_of_dialogue_keeps_to_its_grammar(server: Server) -> None:
    heard = talk(server, request_of("chim_dialogue"))
    assert not heard.json_mode
    assert re.fullmatch(r"Lydia: [a-zA-Z0-9.,?!' ]*", heard.spoken)


def test_a_page_of_the_diary_keeps_to_its_grammar(server: Server) -> None:
    heard = talk(server, request_of("chim_diary", max_length=60))
    assert not heard.json_mode
    assert re.fullmatch(r"\nDear Diary, [a-zA-Z0-9.,?!' \n]*", heard.spoken)


def test_a_dialogue_in_json_is_known_by_its_first_token_and_complete(server: Server) -> None:
    heard = talk(server, json_dialogue(12, temperature=0))
    assert heard.json_mode
    assert heard.spoken == ""
    said = json.loads(heard.collected, strict=False)  # its grammar allows line breaks in texts
    assert list(said) == ["character", "listener", "message", "mood", "action", "target"]
    assert said["mood"] in ("default", "angry", "whispering")
    assert said["action"] in ("Talk", "Attack", "Take_Held_Item")


def test_a_dialogue_in_json_ends_when_it_is_complete(server: Server) -> None:
    """Its grammar allows blanks behind the last brace for ever, and the end is banned; nobody reads those blanks."""
    heard = talk(server, json_dialogue(4, temperature=0))
    assert heard.collected.rstrip().endswith("}")
    assert heard.frames[-1]["finish_reason"] == "stop"
    assert len(heard.collected) - len(heard.collected.rstrip()) < 20


def test_text_without_a_grammar_is_spoken_as_it_comes(server: Server) -> None:
    body = request_of("chim_dialogue", temperature=0, max_length=24)
    del body["grammar"]
    whole = server.post("/api/v1/generate", body).json["results"][0]["text"]
    assert talk(server, body).spoken.strip() == whole.strip()


def test_several_npcs_talk_at_once_and_each_hears_its_own_words(server: Server) -> None:
    names = ["Lydia", "Serana", "Ralof", "Hadvar", "Brelyna", "Farkas"]
    heard: dict[str, Heard] = {}

    def ask(name: str) -> None:
        grammar = f'root ::= "{name}: " [a-z ]*'
        body = request_of("chim_dialogue", grammar=grammar, max_length=30, use_default_badwordsids=True)
        heard[name] = talk(server, body)

    asking = [threading.Thread(target=ask, args=(name,)) for name in names]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join()
    assert all(heard[name].spoken.startswith(f"{name}: ") for name in names)
    assert all(b"".join(m[0] for m in FRAME.finditer(each.body)) == each.body for each in heard.values())


def test_a_dialogue_does_not_wait_for_the_diary(server: Server) -> None:
    with server.connect() as diary, diary.makefile("rb") as lines:
        diary.sendall(post(STREAM, php_json({**request_of("chim_diary"), **ENDLESS}), "Connection: close"))
        wait_until(lambda: lines.readline().startswith(b"data: "), "the diary to be written")
        assert talk(server, request_of("chim_dialogue")).spoken.startswith("Lydia: ")
        assert lines.readline()  # the diary goes on


def test_the_player_speaks_and_the_reply_before_ends_at_once(server: Server) -> None:
    """CHIM's process dies without an abort call; its socket closes with it."""
    with server.connect() as connection, connection.makefile("rb") as lines:
        connection.sendall(post(STREAM, php_json(ENDLESS), "Connection: close"))
        wait_until(lambda: lines.readline().startswith(b"data: "), "the first words")
    server.wait_until_quiet()


def test_chunks_are_read_as_lines_too(server: Server) -> None:
    """PHP's fgets knows nothing of chunks, so each must be a whole frame: no line may be cut in two."""
    body = request_of("chim_dialogue", temperature=0, max_length=24)
    heard = Heard()
    with server.connect() as connection, connection.makefile("rb") as lines:
        connection.sendall(post(STREAM, php_json(body)))
        received = b""
        while not received.endswith(b"\r\n0\r\n\r\n"):
            line = lines.readline()
            heard.line(line)
            received += line
    assert b"Transfer-Encoding: chunked" in received
    assert heard.spoken == talk(server, body).spoken
    for size, chunk in chunks(received.partition(b"\r\n\r\n")[2]):
        assert size == len(chunk)
        assert FRAME.fullmatch(chunk)


def chunks(body: bytes) -> Iterator[tuple[int, bytes]]:
    while body:
        size, _, rest = body.partition(b"\r\n")
        length = int(size, 16)
        if not length:
            return
        yield length, rest[:length]
        body = rest[length + 2 :]


def test_an_old_protocol_gets_neither_chunks_nor_an_open_connection(server: Server) -> None:
    data = php_json(request_of("chim_dialogue", max_length=8))
    connection = server.connect()
    connection.sendall(post(STREAM, data).replace(b"HTTP/1.1", b"HTTP/1.0", 1))
    head, _, body = read_to_end(connection).partition(b"\r\n\r\n")
    assert b"chunked" not in head
    assert b"".join(match[0] for match in FRAME.finditer(body)) == body != b""


@pytest.mark.parametrize(
    "change",
    [
        {"grammar": "root ::= page\npage ::= words | \nwords ::= [a-z]+\n"},
        {"grammar": None, "stop_sequence": None, "rep_pen": None, "use_default_badwordsids": ""},
        {"stop_sequence": ["", None, "\n\n\n"]},
        {"temperature": "0.9", "top_k": 0, "min_p": "", "max_length": 6.0},
        {"prompt": "The road goes ever on. " * 600},
        {"top_k": -1, "temperature": 0},
        {"rep_pen": 0, "trim_stop": None},
    ],
    ids=[
        "broken grammar",
        "nulls",
        "empty stops",
        "numbers as text",
        "longer than the context",
        "greedy",
        "zero penalty",
    ],
)
def test_nothing_that_chim_sends_makes_an_npc_mute(server: Server, change: dict[str, Any]) -> None:
    plain = {"max_length": 6, "grammar": None, "use_default_badwordsids": True, "stop_sequence": []}
    heard = talk(server, request_of("chim_dialogue", **{**plain, **change}))
    assert heard.head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert heard.spoken


def test_a_reply_without_a_length_is_bounded(server: Server) -> None:
    body = request_of("chim_dialogue", grammar='root ::= "My thane."')
    del body["max_length"]
    assert talk(server, body).spoken == "My thane."


def test_a_stop_text_that_is_a_special_token_is_neither_spoken_nor_passed(server: Server) -> None:
    prompt = "<|im_start|>user\nSay hi.<|im_end|>\n<|im_start|>assistant\n"
    # Left to itself the model ends its turn sooner or later, which depends on the processor's rounding.
    body = {"prompt": prompt, "max_length": 200, "grammar": 'root ::= "Hi."', "stop_sequence": ["<|im_end|>"]}
    heard = talk(server, {**body, "trim_stop": True})
    assert heard.spoken == "Hi."
    assert heard.frames[-1]["finish_reason"] == "stop"


def test_the_openai_connector_gets_the_json_it_asked_for(server: Server) -> None:
    """Another connector of CHIM: a file opened on the full address, six letters cut off each line."""
    with server.connect() as connection, connection.makefile("rb") as lines:
        data = php_json(request_of("chim_openaijson"))
        connection.sendall(post("/v1/chat/completions", data, "Authorization: Bearer ", "Connection: close"))
        received = list(iter(lines.readline, b""))
    assert received[0] == b"HTTP/1.1 200 OK\r\n"
    assert received[-2:] == [b"data: [DONE]\n", b"\n"]
    frames = [json.loads(line[6:]) for line in received[:-2] if line.startswith(b"data: ")]
    said = json.loads("".join(frame["choices"][0]["delta"].get("content", "") for frame in frames))
    assert said.keys() == {"character", "message", "mood"}
    assert said["mood"] in ("default", "angry", "whispering")
