"""A route in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Field = tuple[str, str]  # its kind and its meaning

POST, GET, EITHER = ("POST",), ("GET",), ("POST", "GET")
ANY_METHOD = ("POST", "GET", "PUT", "DELETE")


@dataclass(frozen=True)
class Route:
    """A route under its ``path`` and its ``aliases``, with the first of ``methods`` in its example.

    ``takes`` are the fields of its body; ``example`` is one, None for a request without a body. ``answer`` is what
    comes back, of the type ``content``: JSON, or else its text. ``status`` is that of the example.
    """

    group: str
    path: str
    summary: str
    answer: Any
    methods: tuple[str, ...] = ("GET",)
    aliases: tuple[str, ...] = ()
    takes: Mapping[str, Field] = field(default_factory=dict)
    example: Mapping[str, Any] | None = None
    status: int = 200
    content: str = "application/json"
