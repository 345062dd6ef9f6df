"""What comes to the server in a soak: each kind of visit is a small function, named in ``KINDS``. Used by
:mod:`bench.soak`.

To add a kind: write a function of a visitor that returns the outcome in a few words, and name it with its weight and
the outcomes that are right for it.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bench.prompts import prose
from bench.visitor import CLOSED, CUT_OFF, LEFT, NO_ANSWER, Visitor

KOBOLD = "/api/v1/generate"
KOBOLD_STREAM = "/api/extra/generate/stream"
COMPLETIONS = "/v1/completions"
CHAT = "/v1/chat/completions"
MESSAGES = "/v1/messages"
OLLAMA = "/api/chat"
CROWD = "{} streams at once"
SWAP = "model swap"
STORM = 40
TOO_LARGE = 64 * 1024 * 1024
SHARED = 40  # tokens that the prompts of a world have alike
WORLDS = 6
NOT_NOW = frozenset(("503 busy", "503 loading", "503 unloaded"))
BROKEN_OFF = frozenset(("error in the stream: unloaded", "error in the stream: loading"))


@dataclass(frozen=True)
class Visit:
    """What became of one visit. ``first`` is how long it took to the first token, 0 where none came; in seconds."""

    kind: str
    outcome: str
    seconds: float
    first: float
    right: bool


@dataclass(frozen=True)
class Kind:
    """A kind of visit. ``weight`` is how often it comes, ``right`` are the outcomes that are no fault."""

    name: str
    weight: int
    run: Callable[[Visitor], str]
    right: frozenset[str]


def visit(kind: Kind, port: int, key: str, rng: random.Random) -> Visit:
    """Pay one visit."""
    visitor = Visitor(port, key, rng)
    began = time.perf_counter()
    try:
        outcome = kind.run(visitor)
    except TimeoutError:
        outcome = NO_ANSWER
    except (ConnectionError, EOFError):
        outcome = CLOSED
    return Visit(kind.name, outcome, time.perf_counter() - began, visitor.first, outcome in kind.right)


# --- replies --------------------------------------------------------------------------------------------------


def kobold_generate(visitor: Visitor) -> str:
    return visitor.ask(KOBOLD, _kobold(visitor)).outcome


def kobold_stream(visitor: Visitor) -> str:
    with visitor.stream(KOBOLD_STREAM, _kobold(visitor)) as stream:
        return stream.read()


def kobold_check(visitor: Visitor) -> str:
    """Ask what a running reply has said so far."""
    genkey = _genkey(visitor)
    with visitor.stream(KOBOLD_STREAM, {**_kobold(visitor), "genkey": genkey}) as stream:
        stream.read(3)
        checked = visitor.ask("/api/extra/generate/check", {"genkey": genkey}).outcome
        read = stream.read()
    return read if checked == "200" else checked


def kobold_abort(visitor: Visitor) -> str:
    """Stop a reply by its genkey; it ends as a whole stream does."""
    genkey = _genkey(visitor)
    with visitor.stream(KOBOLD_STREAM, {**_kobold(visitor), "genkey": genkey, "max_length": 400}) as stream:
        stream.read(visitor.rng.randrange(1, 8))
        aborted = visitor.ask("/api/extra/abort", {"genkey": genkey}).outcome
        read = stream.read()
    return read if aborted == "200" else aborted


def openai_completion(visitor: Visitor) -> str:
    return visitor.ask(COMPLETIONS, _completion(visitor)).outcome


def openai_stream(visitor: Visitor) -> str:
    with visitor.stream(COMPLETIONS, {**_completion(visitor), "stream": True}) as stream:
        return stream.read()


def openai_chat(visitor: Visitor) -> str:
    return visitor.ask(CHAT, _chat(visitor)).outcome


def openai_chat_stream(visitor: Visitor) -> str:
    with visitor.stream(CHAT, {**_chat(visitor), "stream": True}) as stream:
        return stream.read()


def anthropic_message(visitor: Visitor) -> str:
    with visitor.stream(MESSAGES, {**_chat(visitor), "stream": True}) as stream:
        return stream.read()


def ollama_chat(visitor: Visitor) -> str:
    chat = _chat(visitor)
    with visitor.stream(OLLAMA, {"messages": chat["messages"], "options": {"num_predict": 12}}) as stream:
        return stream.read()


# --- questions ------------------------------------------------------------------------------------------------


def tokencount(visitor: Visitor) -> str:
    return visitor.ask("/api/extra/tokencount", {"prompt": _prompt(visitor)}).outcome


def health(visitor: Visitor) -> str:
    return visitor.ask("/health").outcome


def perf(visitor: Visitor) -> str:
    return visitor.ask("/api/extra/perf").outcome


def models(visitor: Visitor) -> str:
    return visitor.ask(visitor.rng.choice(("/v1/models", "/api/v1/model", "/api/tags", "/slots"))).outcome


# --- those that behave badly ----------------------------------------------------------------------------------


def leave_stream(visitor: Visitor) -> str:
    """Close the connection somewhere in the stream, or before it begins."""
    body = {**_kobold(visitor), "max_length": 300}
    with visitor.stream(KOBOLD_STREAM, body) as stream:
        stream.read(visitor.rng.randrange(8))
        return LEFT if stream.outcome == CUT_OFF else stream.outcome


def leave_reply(visitor: Visitor) -> str:
    """Close the connection at a random moment of a reply that is not streamed."""
    data = json.dumps({**_completion(visitor), "max_tokens": 300}).encode()
    with visitor.connect() as connection:
        connection.sendall(visitor.head("POST", COMPLETIONS, len(data)) + data)
        time.sleep(visitor.rng.random())
    return LEFT


def storm(visitor: Visitor) -> str:
    """Many replies are asked for, and nobody waits for any."""
    connections = [visitor.connect() for _ in range(STORM)]
    for connection in connections:
        data = json.dumps({**_kobold(visitor), "max_length": 300}).encode()
        connection.sendall(visitor.head("POST", KOBOLD_STREAM, len(data)) + data)
    for connection in connections:
        time.sleep(0.02 * visitor.rng.random())
        connection.close()
    return LEFT


def half_headers(visitor: Visitor) -> str:
    """Begin a request and never end it."""
    with visitor.connect() as connection:
        whole = visitor.head("POST", KOBOLD, 100)
        connection.sendall(whole[: visitor.rng.randrange(len(whole) - 4)])
        time.sleep(3 * visitor.rng.random())
    return LEFT


def half_body(visitor: Visitor) -> str:
    data = json.dumps(_kobold(visitor)).encode()
    with visitor.connect() as connection:
        connection.sendall(visitor.head("POST", KOBOLD, len(data)) + data[: visitor.rng.randrange(len(data))])
        time.sleep(3 * visitor.rng.random())
    return LEFT


def trickle(visitor: Visitor) -> str:
    """Send a body byte by byte for some seconds."""
    with visitor.connect() as connection:
        connection.sendall(visitor.head("POST", KOBOLD, 1000))
        for _ in range(visitor.rng.randrange(10, 40)):
            connection.sendall(b" ")
            time.sleep(0.1)
    return LEFT


def slow_reader(visitor: Visitor) -> str:
    """Read a few bytes a second of a stream with much in it."""
    body = {**_completion(visitor), "max_tokens": 120, "logprobs": 10, "stream": True}
    data = json.dumps(body).encode()
    with visitor.connect() as connection:
        connection.sendall(visitor.head("POST", COMPLETIONS, len(data)) + data)
        for _ in range(visitor.rng.randrange(4, 16)):
            if not connection.recv(4):
                return CLOSED
            time.sleep(0.5)
    return LEFT


def oversize(visitor: Visitor) -> str:
    """Announce a body that is too large, and send a part of it."""
    with visitor.connect() as connection:
        connection.sendall(visitor.head("POST", KOBOLD, TOO_LARGE) + bytes(100_000))
        received = connection.recv(100)
    return received.split(b" ")[1].decode() if received else CLOSED


def wrong_key(visitor: Visitor) -> str:
    return visitor.ask(CHAT, _chat(visitor), Authorization="Bearer guessed").outcome


def strange_page(visitor: Visitor) -> str:
    return visitor.ask(CHAT, _chat(visitor), Origin="https://example.org").outcome


def malformed(visitor: Visitor) -> str:
    whole = json.dumps(_chat(visitor)).encode()
    broken = visitor.rng.choice((whole[: visitor.rng.randrange(2, len(whole))], b"[" * 5000, b"\xff\xfe", b'"text"'))
    return visitor.ask(CHAT, broken).outcome


def no_http(visitor: Visitor) -> str:
    """What a port scanner sends."""
    with visitor.connect() as connection:
        connection.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n")
        received = connection.recv(100)
    return received.split(b" ")[1].decode() if received else CLOSED


def keep_alive(visitor: Visitor) -> str:
    """Two questions on one connection, with a pause between."""
    with visitor.connect() as connection:
        for pause in (visitor.rng.uniform(0, 4), 0):
            with visitor.send(connection, "/api/v1/model") as response:
                response.read()
            time.sleep(pause)
        return str(response.status)


REPLY = NOT_NOW | {"200"}
STREAM = REPLY | BROKEN_OFF
KINDS = (
    Kind("Kobold generate", 10, kobold_generate, REPLY),
    Kind("Kobold stream", 10, kobold_stream, STREAM),
    Kind("Kobold stream, checked", 5, kobold_check, STREAM),
    Kind("Kobold stream, aborted", 5, kobold_abort, STREAM),
    Kind("OpenAI completion", 10, openai_completion, REPLY),
    Kind("OpenAI completion, streamed", 10, openai_stream, STREAM),
    Kind("OpenAI chat", 10, openai_chat, REPLY),
    Kind("OpenAI chat, streamed", 10, openai_chat_stream, STREAM),
    Kind("Anthropic message, streamed", 3, anthropic_message, STREAM),
    Kind("Ollama chat, streamed", 3, ollama_chat, STREAM),
    Kind("count tokens", 5, tokencount, REPLY),
    Kind("/health", 5, health, REPLY),
    Kind("/api/extra/perf", 5, perf, frozenset(("200",))),
    Kind("models and slots", 5, models, REPLY),
    Kind("leaves a stream", 8, leave_stream, STREAM | {LEFT}),
    Kind("leaves a reply", 5, leave_reply, frozenset((LEFT,))),
    Kind(f"storm of {STORM} that leave", 1, storm, frozenset((LEFT,))),
    Kind("half the headers", 3, half_headers, frozenset((LEFT, CLOSED))),
    Kind("half the body", 3, half_body, frozenset((LEFT, CLOSED))),
    Kind("body byte by byte", 2, trickle, frozenset((LEFT, CLOSED))),
    Kind("slow reader", 4, slow_reader, frozenset((LEFT, CLOSED))),
    Kind("body too large", 2, oversize, frozenset(("413", CLOSED))),
    Kind("wrong key", 3, wrong_key, frozenset(("401",))),
    Kind("page from elsewhere", 2, strange_page, frozenset(("403",))),
    Kind("malformed JSON", 3, malformed, frozenset(("400",))),
    Kind("no HTTP", 1, no_http, frozenset(("400", CLOSED))),
    Kind("connection kept", 3, keep_alive, frozenset(("200", CLOSED))),
)


# --- bodies ---------------------------------------------------------------------------------------------------


def _prompt(visitor: Visitor) -> str:
    """Some begin alike, as those of NPCs in one world do."""
    world = prose(f"world {visitor.rng.randrange(WORLDS)}", SHARED)
    return f"{world} {prose(str(visitor.rng.random()), visitor.rng.randrange(5, 60))}"


def _kobold(visitor: Visitor) -> dict[str, Any]:
    return {"prompt": _prompt(visitor), "max_length": visitor.rng.randrange(4, 24), "ban_eos_token": True}


def _completion(visitor: Visitor) -> dict[str, Any]:
    return {"prompt": _prompt(visitor), "max_tokens": visitor.rng.randrange(4, 24), "ignore_eos": True}


def _chat(visitor: Visitor) -> dict[str, Any]:
    messages = [{"role": "system", "content": "You are a guard."}, {"role": "user", "content": _prompt(visitor)}]
    return {"messages": messages, "max_tokens": visitor.rng.randrange(4, 24)}


def _genkey(visitor: Visitor) -> str:
    return f"KCPP{visitor.rng.randrange(10**6):06}"
