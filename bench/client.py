"""Asks a running server for replies over HTTP, several at a time, and takes their time. Used by the benchmarks."""

from __future__ import annotations

import http.client
import json
import threading
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

TIMEOUT = 300


@dataclass(frozen=True)
class Timing:
    """One streamed reply: seconds to its first token, seconds in all, tokens generated."""

    first_token: float
    seconds: float
    tokens: int


def stream(base: str, prompt: str, tokens: int) -> Timing:
    """Ask for a reply of exactly ``tokens`` tokens and read it to its end."""
    body = {
        "prompt": prompt,
        "max_tokens": tokens,
        "stream": True,
        "stream_options": {"include_usage": True},
        "ignore_eos": True,
    }
    connection = http.client.HTTPConnection(urlsplit(base).netloc, timeout=TIMEOUT)
    began = time.perf_counter()
    connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
    first, counted = 0.0, 0
    for line in connection.getresponse():
        if not line.startswith(b"data: {"):
            continue
        chunk = json.loads(line[6:])
        if chunk["choices"] and chunk["choices"][0]["text"]:
            first = first or time.perf_counter() - began
        counted = (chunk.get("usage") or {}).get("completion_tokens", counted)
    connection.close()
    return Timing(first, time.perf_counter() - began, counted)


def total_speed(base: str, streams: int, tokens: int) -> float:
    """Tokens per second of ``streams`` replies that run at the same time, all together."""
    timings: list[Timing] = []
    threads = [
        threading.Thread(target=lambda n=number: timings.append(stream(base, f"Story number {n}:", tokens)))
        for number in range(streams)
    ]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(timing.tokens for timing in timings) / (time.perf_counter() - began)
