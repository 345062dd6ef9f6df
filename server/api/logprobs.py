"""Probabilities of tokens as the dialects word them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from server.events import TokenLogprob

Json = dict[str, Any]


def of_chat(entries: Sequence[TokenLogprob]) -> Json | None:
    """OpenAI's shape for chats; None where nobody asked for any."""
    return {"content": [_entry(entry) for entry in entries], "refusal": None} if entries else None


def of_text(entries: Sequence[TokenLogprob], offset: int = 0) -> Json | None:
    """OpenAI's older shape for completions. ``offset`` letters of the reply came before these tokens."""
    if not entries:
        return None
    tokens = [_text(entry.token) for entry in entries]
    lengths = map(len, tokens)
    return {
        "tokens": tokens,
        "token_logprobs": [entry.logprob for entry in entries],
        "top_logprobs": [{_text(token): value for token, value in entry.top} for entry in entries],
        "text_offset": list(itertools.accumulate(lengths, initial=offset))[:-1],
    }


def both_shapes(entries: Sequence[TokenLogprob]) -> Json | None:
    """KoboldCpp's shape, which has the keys of both."""
    text = of_text(entries)
    return {"content": [_entry(entry) for entry in entries], **text} if text else None


def _entry(entry: TokenLogprob) -> Json:
    return {**_token(entry.token, entry.logprob), "top_logprobs": [_token(*other) for other in entry.top]}


def _token(token: bytes, logprob: float) -> Json:
    return {"token": _text(token), "logprob": logprob, "bytes": list(token)}


def _text(token: bytes) -> str:
    return token.decode("utf-8", "replace")
