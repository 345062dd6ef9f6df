"""One client of the soak at its socket: asks as clients ask, reads streams, and says in a word what became of it.

Used by the kinds of :mod:`bench.traffic`.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import random
import re
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from bench.prompts import prose

KOBOLD = "/api/v1/generate"
KOBOLD_STREAM = "/api/extra/generate/stream"
COMPLETIONS = "/v1/completions"
CHAT = "/v1/chat/completions"
TIMEOUT = 60.0
SHARED = 40  # tokens that the prompts of a world have alike
WORLDS = 6
# What the documents name as reasons of a 503; any other one is a fault.
REASONS = {
    "busy": re.compile(r"queue is full|slots are busy|too many requests", re.IGNORECASE),
    "loading": re.compile(r'model is loading|No model is loaded\.|"status": "(loading|idle)"'),
    "unloaded": re.compile(r"model was unloaded"),
}
LEFT = "left"
CLOSED = "closed by the server"
NO_ANSWER = "no answer"
CUT_OFF = "cut off"


@dataclass(frozen=True)
class Answer:
    """A reply that was read to its end."""

    status: int
    body: bytes

    @property
    def outcome(self) -> str:
        """The status, for a 503 with its reason."""
        if self.status != http.client.SERVICE_UNAVAILABLE:
            return str(self.status)
        return f"503 {reason_in(self.body.decode('utf-8', 'replace'))}"


@dataclass
class Visitor:
    """A client of the server at ``port``, which has the ``key``. ``first`` is how long it waited for a first token."""

    port: int
    key: str
    rng: random.Random
    first: float = 0.0
    began: float = field(default_factory=time.perf_counter)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=TIMEOUT)

    def head(self, method: str, path: str, length: int, **headers: str) -> bytes:
        """The lines before the body; header names are written with underscores."""
        fields = {
            "Host": "127.0.0.1",
            "Authorization": f"Bearer {self.key}",
            "Content-Type": "application/json",
            "Content-Length": str(length),
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
        return "\r\n".join(lines).encode()

    def send(self, connection: socket.socket, path: str, body: Any = None, **headers: str) -> str:
        """Send a request, a GET without a ``body``; returns the method."""
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        method = "GET" if body is None else "POST"
        connection.sendall(self.head(method, path, len(data), **headers) + data)
        return method

    def talk(self, connection: socket.socket, path: str, body: Any = None, **headers: str) -> http.client.HTTPResponse:
        """Send a request; returns when the headers of the reply have come."""
        response = http.client.HTTPResponse(connection, method=self.send(connection, path, body, **headers))
        response.begin()
        return response

    def ask(self, path: str, body: Any = None, **headers: str) -> Answer:
        """A request on a connection of its own, read to the end."""
        with self.connect() as connection, self.talk(connection, path, body, Connection="close", **headers) as response:
            return Answer(response.status, response.read())

    @contextlib.contextmanager
    def stream(self, path: str, body: dict[str, Any]) -> Iterator[Stream]:
        """A streamed reply; whoever leaves the block early closes the connection."""
        with self.connect() as connection, self.talk(connection, path, body, Connection="close") as response:
            yield Stream(self, response)

    def prompt(self) -> str:
        """Some begin alike, as those of NPCs in one world do."""
        world = prose(f"world {self.rng.randrange(WORLDS)}", SHARED)
        return f"{world} {prose(str(self.rng.random()), self.rng.randrange(5, 60))}"

    def kobold(self, **more: Any) -> dict[str, Any]:
        """The body of a Kobold request."""
        return {"prompt": self.prompt(), "max_length": self.rng.randrange(4, 24), "ban_eos_token": True, **more}

    def completion(self, **more: Any) -> dict[str, Any]:
        """The body of an OpenAI completion."""
        return {"prompt": self.prompt(), "max_tokens": self.rng.randrange(4, 24), "ignore_eos": True, **more}

    def chat(self, **more: Any) -> dict[str, Any]:
        """The body of an OpenAI chat."""
        messages = [{"role": "system", "content": "You are a guard."}, {"role": "user", "content": self.prompt()}]
        return {"messages": messages, "max_tokens": self.rng.randrange(4, 24), **more}

    def genkey(self) -> str:
        return f"KCPP{self.rng.randrange(10**6):06}"


class Stream:
    """The lines of a streamed reply. ``outcome`` is right once :meth:`read` has ended."""

    def __init__(self, visitor: Visitor, response: http.client.HTTPResponse) -> None:
        self._visitor = visitor
        self._response = response
        self.pieces = 0
        refused = response.status != http.client.OK
        self.outcome = Answer(response.status, response.read()).outcome if refused else CUT_OFF

    def read(self, pieces: int = 1_000_000) -> str:
        """Read on to so many pieces of text, or to the end. Returns the outcome."""
        while self.pieces < pieces and (line := self._response.readline()):
            self._take(line.removeprefix(b"data: "))
        return self.outcome

    def _take(self, line: bytes) -> None:
        if line.startswith(b"[DONE]"):
            self.outcome = "200"
        if not line.startswith(b"{"):
            return
        event = json.loads(line)
        if event.get("error"):
            self.outcome = f"error in the stream: {reason_in(str(event['error']))}"
        elif event.get("finish_reason") or event.get("done") or event.get("type") == "message_stop":
            self.outcome = "200"
        elif text_in(event):
            if not self.pieces:
                self._visitor.first = time.perf_counter() - self._visitor.began
            self.pieces += 1


def reason_in(text: str) -> str:
    """The documented reason that an error gives, or else its words."""
    return next((reason for reason, words in REASONS.items() if words.search(text)), f"undocumented: {text[:200]}")


def text_in(event: dict[str, Any]) -> str:
    """The text in a piece of a stream, in whichever dialect."""
    choice = (event.get("choices") or [{}])[0]
    delta = choice.get("delta") or event.get("delta") or event.get("message") or {}
    text = event.get("token") or choice.get("text") or delta.get("content") or delta.get("text")
    return text if isinstance(text, str) else ""
