"""What is asked of the vocabulary: a text, or a list of token ids."""

from __future__ import annotations

from typing import Any

from server.errors import BadRequest

MOST_TOKENS = 1_000_000
LARGEST = 2**31  # llama.cpp's tokens have 32 bits


def read_text(body: dict[str, Any], name: str) -> str:
    """The text in a field; an absent one is empty. Raises :class:`BadRequest`."""
    value = body.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise BadRequest(f"{name} must be text.", param=name)
    return value


def are_tokens(values: list[Any]) -> bool:
    """Whether a list holds nothing but numbers that can be token ids; bool is a kind of int in Python."""
    return bool(values) and all(type(value) is int and 0 <= value < LARGEST for value in values)


def read_tokens(body: dict[str, Any], name: str) -> tuple[int, ...]:
    """The token ids in a field, which may be numbers as text; an absent one has none. Raises :class:`BadRequest`."""
    value = body.get(name)
    entries = [] if value is None else value
    if not isinstance(entries, list) or len(entries) > MOST_TOKENS:
        raise BadRequest(f"{name} must be a list of at most {MOST_TOKENS:,} token ids.", param=name)
    try:
        ids = tuple(int(entry) for entry in entries)
    except (TypeError, ValueError, OverflowError):
        ids = (-1,)
    if not all(0 <= token < LARGEST for token in ids):
        raise BadRequest(f"{name} must hold token ids: whole numbers from 0 on.", param=name)
    return ids
