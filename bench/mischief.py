"""Clients that leave, stall, send half of something or what is no request: kinds of :mod:`bench.traffic`."""

from __future__ import annotations

import contextlib
import json
import time

from bench.visitor import CHAT, CLOSED, COMPLETIONS, CUT_OFF, KOBOLD, KOBOLD_STREAM, LEFT, Visitor

STORM = 40
TOO_LARGE = 64 * 1024 * 1024


def leave_stream(visitor: Visitor) -> str:
    """Close the connection somewhere in the stream, or before it begins."""
    with visitor.stream(KOBOLD_STREAM, visitor.kobold(max_length=300)) as stream:
        stream.read(visitor.rng.randrange(8))
        return LEFT if stream.outcome == CUT_OFF else stream.outcome


def leave_reply(visitor: Visitor) -> str:
    """Close the connection at a random moment of a reply that is not streamed."""
    with visitor.connect() as connection:
        visitor.send(connection, COMPLETIONS, visitor.completion(max_tokens=300))
        time.sleep(visitor.rng.random())
    return LEFT


def storm(visitor: Visitor) -> str:
    """Many replies are asked for, and nobody waits for any."""
    with contextlib.ExitStack() as stack:
        for _ in range(STORM):
            connection = stack.enter_context(visitor.connect())
            visitor.send(connection, KOBOLD_STREAM, visitor.kobold(max_length=300))
        time.sleep(visitor.rng.random())
    return LEFT


def half_headers(visitor: Visitor) -> str:
    """Begin a request and never end it."""
    with visitor.connect() as connection:
        whole = visitor.head("POST", KOBOLD, 100)
        connection.sendall(whole[: visitor.rng.randrange(len(whole) - 4)])
        time.sleep(3 * visitor.rng.random())
    return LEFT


def half_body(visitor: Visitor) -> str:
    data = json.dumps(visitor.kobold()).encode()
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
    with visitor.connect() as connection:
        visitor.send(connection, COMPLETIONS, visitor.completion(max_tokens=120, logprobs=10, stream=True))
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
    return visitor.ask(CHAT, visitor.chat(), Authorization="Bearer guessed").outcome


def strange_page(visitor: Visitor) -> str:
    return visitor.ask(CHAT, visitor.chat(), Origin="https://example.org").outcome


def malformed(visitor: Visitor) -> str:
    whole = json.dumps(visitor.chat()).encode()
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
            with visitor.talk(connection, "/api/v1/model") as response:
                response.read()
            time.sleep(pause)
        return str(response.status)
