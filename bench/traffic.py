"""What comes to the server in a soak: each kind of visit is a small function, named in ``KINDS``. Used by
:mod:`bench.soak`.

To add a kind: write a function of a visitor that returns the outcome in a few words, and name it with its weight and
the outcomes that are right for it.
"""

from __future__ import annotations

import http.client
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from bench import mischief
from bench.visitor import CHAT, CLOSED, COMPLETIONS, KOBOLD, KOBOLD_STREAM, LEFT, NO_ANSWER, Visitor

MESSAGES = "/v1/messages"
OLLAMA = "/api/chat"
CROWD = "{} streams at once"
SWAP = "model swap"
QUICK = "quick ones, as fast as they go"
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
    """A kind of visit. ``weight`` is how often it comes, ``right`` are the outcomes that are no fault. ``quick`` ones
    take milliseconds."""

    name: str
    weight: int
    run: Callable[[Visitor], str]
    right: frozenset[str]
    quick: bool = False


def visit(kind: Kind, port: int, key: str, rng: random.Random) -> Visit:
    """Pay one visit."""
    visitor = Visitor(port, key, rng)
    began = time.perf_counter()
    try:
        outcome = kind.run(visitor)
    except TimeoutError:
        outcome = NO_ANSWER
    except (OSError, http.client.HTTPException):
        outcome = CLOSED
    return Visit(kind.name, outcome, time.perf_counter() - began, visitor.first, outcome in kind.right)


# --- replies --------------------------------------------------------------------------------------------------


def kobold_generate(visitor: Visitor) -> str:
    return visitor.ask(KOBOLD, visitor.kobold()).outcome


def kobold_stream(visitor: Visitor) -> str:
    with visitor.stream(KOBOLD_STREAM, visitor.kobold()) as stream:
        return stream.read()


def kobold_check(visitor: Visitor) -> str:
    """Ask what a running reply has said so far."""
    genkey = visitor.genkey()
    with visitor.stream(KOBOLD_STREAM, visitor.kobold(genkey=genkey)) as stream:
        stream.read(3)
        checked = visitor.ask("/api/extra/generate/check", {"genkey": genkey}).outcome
        read = stream.read()
    return read if checked == "200" else checked


def kobold_abort(visitor: Visitor) -> str:
    """Stop a reply by its genkey; it ends as a whole stream does."""
    genkey = visitor.genkey()
    with visitor.stream(KOBOLD_STREAM, visitor.kobold(genkey=genkey, max_length=400)) as stream:
        stream.read(visitor.rng.randrange(1, 8))
        aborted = visitor.ask("/api/extra/abort", {"genkey": genkey}).outcome
        read = stream.read()
    return read if aborted == "200" else aborted


def openai_completion(visitor: Visitor) -> str:
    return visitor.ask(COMPLETIONS, visitor.completion()).outcome


def openai_stream(visitor: Visitor) -> str:
    with visitor.stream(COMPLETIONS, visitor.completion(stream=True)) as stream:
        return stream.read()


def openai_chat(visitor: Visitor) -> str:
    return visitor.ask(CHAT, visitor.chat()).outcome


def openai_chat_stream(visitor: Visitor) -> str:
    with visitor.stream(CHAT, visitor.chat(stream=True)) as stream:
        return stream.read()


def anthropic_message(visitor: Visitor) -> str:
    with visitor.stream(MESSAGES, visitor.chat(stream=True)) as stream:
        return stream.read()


def ollama_chat(visitor: Visitor) -> str:
    chat = visitor.chat()
    with visitor.stream(OLLAMA, {"messages": chat["messages"], "options": {"num_predict": 12}}) as stream:
        return stream.read()


def one_token(visitor: Visitor) -> str:
    return visitor.ask(KOBOLD, {"prompt": "Hello", "max_length": 1, "genkey": visitor.genkey()}).outcome


# --- questions ------------------------------------------------------------------------------------------------


def tokencount(visitor: Visitor) -> str:
    return visitor.ask("/api/extra/tokencount", {"prompt": visitor.prompt()}).outcome


def health(visitor: Visitor) -> str:
    return visitor.ask("/health").outcome


def perf(visitor: Visitor) -> str:
    return visitor.ask("/api/extra/perf").outcome


def models(visitor: Visitor) -> str:
    return visitor.ask(visitor.rng.choice(("/v1/models", "/api/v1/model", "/api/tags", "/slots"))).outcome


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
    Kind("one token", 5, one_token, REPLY, quick=True),
    Kind("count tokens", 5, tokencount, REPLY, quick=True),
    Kind("/health", 5, health, REPLY, quick=True),
    Kind("/api/extra/perf", 5, perf, frozenset(("200",)), quick=True),
    Kind("models and slots", 5, models, REPLY, quick=True),
    Kind("leaves a stream", 8, mischief.leave_stream, STREAM | {LEFT}),
    Kind("leaves a reply", 5, mischief.leave_reply, frozenset((LEFT,))),
    Kind(f"storm of {mischief.STORM} that leave", 1, mischief.storm, frozenset((LEFT,))),
    Kind("half the headers", 3, mischief.half_headers, frozenset((LEFT, CLOSED))),
    Kind("half the body", 3, mischief.half_body, frozenset((LEFT, CLOSED))),
    Kind("body byte by byte", 2, mischief.trickle, frozenset((LEFT, CLOSED))),
    Kind("slow reader", 4, mischief.slow_reader, frozenset((LEFT, CLOSED))),
    Kind("body too large", 2, mischief.oversize, frozenset(("413", CLOSED)), quick=True),
    Kind("wrong key", 3, mischief.wrong_key, frozenset(("401",)), quick=True),
    Kind("page from elsewhere", 2, mischief.strange_page, frozenset(("403",)), quick=True),
    Kind("malformed JSON", 3, mischief.malformed, frozenset(("400",)), quick=True),
    Kind("no HTTP", 1, mischief.no_http, frozenset(("400", CLOSED)), quick=True),
    Kind("connection kept", 3, mischief.keep_alive, frozenset(("200", CLOSED))),
)
