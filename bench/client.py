"""Asks a server for replies over HTTP and takes their time: one client for all servers. Used by the scenarios.

While a reply runs, only the moments at which bytes come are noted; they are read afterwards, so that the client takes
next to nothing of the cores that the server runs on.
"""

from __future__ import annotations

import dataclasses
import http.client
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

TIMEOUT = 900
ROUTE = "/v1/completions"
# What clients usually ask for, in full, because the servers' defaults differ.
SAMPLING = {"temperature": 0.7, "top_k": 40, "top_p": 0.95, "min_p": 0.05, "repeat_penalty": 1.0, "seed": 7}


class Refused(Exception):
    """A server answered with an error, or broke off."""


@dataclass(frozen=True)
class Reply:
    """One reply: its text and tokens, and the moments when it was asked for, when each piece came and when it ended.

    ``complete`` is False when the client left before the end.
    """

    text: str
    tokens: int
    began: float
    arrivals: tuple[float, ...]
    ended: float
    complete: bool = True

    @property
    def first_token(self) -> float:
        """Seconds to the first token."""
        return self.arrivals[0] - self.began

    @property
    def speed(self) -> float:
        """Tokens per second from the first token to the last."""
        return (self.tokens - 1) / (self.arrivals[-1] - self.arrivals[0])


@dataclass(frozen=True)
class Client:
    """Asks the server at ``port``; ``fields`` go into every body."""

    port: int
    fields: dict[str, Any]

    def stream(self, prompt: str, tokens: int, go_on: Callable[[int], bool] = lambda _: True, **fields: Any) -> Reply:
        """A streamed reply. ``go_on`` is asked after each piece, with their number; on False the client leaves.

        ``fields`` go into the body as they are.
        """
        streamed = {"stream": True, "stream_options": {"include_usage": True}}
        began, response = self._ask(prompt, tokens, {**streamed, **fields})
        pieces: list[tuple[float, bytes]] = []
        complete = True
        with response:
            while complete and (data := response.read1(65536)):
                pieces.append((time.perf_counter(), data))
                complete = go_on(len(pieces))
        return dataclasses.replace(read_stream(pieces, began, time.perf_counter(), tokens), complete=complete)

    def whole(self, prompt: str, tokens: int) -> Reply:
        """A reply that comes in one piece."""
        began, response = self._ask(prompt, tokens, {})
        with response:
            answer = json.loads(response.read())
        ended = time.perf_counter()
        return Reply(answer["choices"][0]["text"], answer["usage"]["completion_tokens"], began, (ended,), ended)

    def _ask(self, prompt: str, tokens: int, extra: dict[str, Any]) -> tuple[float, http.client.HTTPResponse]:
        body = json.dumps({"prompt": prompt, "max_tokens": tokens, **SAMPLING, **self.fields, **extra})
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT)
        began = time.perf_counter()
        headers = {"Content-Type": "application/json", "Connection": "close"}
        connection.request("POST", ROUTE, body, headers)
        response = connection.getresponse()
        if response.status != http.client.OK:
            with response:
                raise Refused(f"status {response.status}: {response.read(300)!r}")
        return began, response


def read_stream(pieces: list[tuple[float, bytes]], began: float, ended: float, asked: int) -> Reply:
    """The reply in a stream of server-sent events, given as pieces of bytes with the moment each came.

    A server that sends no usage has generated all tokens if it says that the length ended the reply, and else one for
    each piece of text.
    """
    texts, arrivals, tokens = [], [], 0
    unfinished = b""
    for moment, data in pieces:
        *lines, unfinished = (unfinished + data).split(b"\n")
        for line in lines:
            if not line.startswith(b"data: {"):
                continue
            event = json.loads(line[6:])
            if "error" in event:
                raise Refused(f"error in the stream: {event['error']!r}")
            choice = (event.get("choices") or [{}])[0]
            if choice.get("text"):
                texts.append(choice["text"])
                arrivals.append(moment)
            if choice.get("finish_reason") == "length":
                tokens = tokens or asked
            tokens = (event.get("usage") or {}).get("completion_tokens", tokens)
    if not arrivals:
        raise Refused("a stream without text")
    return Reply("".join(texts), tokens or len(arrivals), began, tuple(arrivals), ended)
