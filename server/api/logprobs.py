"""Probabilities of tokens as the dialects word them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from server.events import TextPiece, TokenLogprob

Json = dict[str, Any]


def of_chat(told: Sequence[TokenLogprob]) -> Json | None:
    """OpenAI's shape for chats; None where nobody asked for any."""
    return {"content": entries(told), "refusal": None} if told else None


def entries(told: Sequence[TokenLogprob]) -> list[Json]:
    """OpenAI's entries of chats and responses."""
    return list(map(_entry, told))


def of_text(told: Sequence[TokenLogprob], offset: int = 0) -> Json | None:
    """OpenAI's older shape for completions. ``offset`` letters of the reply came before these tokens."""
    if not told:
        return None
    tokens = [_text(entry.token) for entry in told]
    lengths = map(len, tokens)
    return {
        "tokens": tokens,
        "token_logprobs": [entry.logprob for entry in told],
        "top_logprobs": [
            None if entry.logprob is None else {_text(token): value for token, value in entry.top} for entry in told
        ],
        "text_offset": list(itertools.accumulate(lengths, initial=offset))[:-1],
    }


def both_shapes(told: Sequence[TokenLogprob]) -> Json | None:
    """KoboldCpp's shape, which has the keys of both."""
    text = of_text(told)
    return {"content": entries(told), **text} if text else None


def token_by_token(piece: TextPiece) -> list[TextPiece]:
    """A piece for each token whose probability is told: SillyTavern shows the first one's alternatives for the text of
    an event. Tokens that only together are whole characters stay together."""
    pieces: list[TextPiece] = []
    waiting: list[TokenLogprob] = []
    for entry in piece.logprobs:
        waiting.append(entry)
        try:
            text = b"".join(each.token for each in waiting).decode()
        except UnicodeDecodeError:
            continue
        pieces.append(replace(piece, text=text, thought="", logprobs=tuple(waiting)))
        waiting = []
    if len(pieces) < 2 or waiting or "".join(each.text for each in pieces) != piece.text:
        return [piece]  # its text is not just that of its tokens
    return [replace(pieces[0], thought=piece.thought), *pieces[1:]]


def _entry(entry: TokenLogprob) -> Json:
    return {**_token(entry.token, entry.logprob), "top_logprobs": [_token(*other) for other in entry.top]}


def _token(token: bytes, logprob: float | None) -> Json:
    return {"token": _text(token), "logprob": logprob, "bytes": list(token)}


def _text(token: bytes) -> str:
    return token.decode("utf-8", "replace")
