"""What a reply is made of: speech and calls of functions, in pieces as they stream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from server.prompt.message import ToolCall


@dataclass(frozen=True)
class Content:
    """What the model says besides its calls."""

    text: str


@dataclass(frozen=True)
class CallBegun:
    """A call whose name is known. ``index`` counts the calls of a reply from 0."""

    index: int
    id: str
    name: str


@dataclass(frozen=True)
class Arguments:
    """The next piece of a call's arguments: JSON text."""

    index: int
    text: str


Part = Content | CallBegun | Arguments


def gathered(parts: Sequence[Part]) -> tuple[str, list[ToolCall]]:
    """The parts of a reply put together: what it says, and its calls."""
    begun = [part for part in parts if isinstance(part, CallBegun)]
    arguments = [[part.text for part in parts if isinstance(part, Arguments) and part.index == n.index] for n in begun]
    calls = [ToolCall(call.name, "".join(texts), call.id) for call, texts in zip(begun, arguments, strict=True)]
    return "".join(part.text for part in parts if isinstance(part, Content)), calls


def joined(parts: Sequence[Part]) -> list[Part]:
    """Neighbours that continue each other as one part."""
    joined: list[Part] = []
    for part in parts:
        last = joined[-1] if joined else None
        if isinstance(part, Content) and isinstance(last, Content):
            joined[-1] = Content(last.text + part.text)
        elif isinstance(part, Arguments) and isinstance(last, Arguments) and last.index == part.index:
            joined[-1] = Arguments(part.index, last.text + part.text)
        else:
            joined.append(part)
    return joined
