"""What a generation request is, whichever dialect it came in."""

from __future__ import annotations

from dataclasses import dataclass, field

from server.events import Sampling
from server.prompt.chat import Message


@dataclass(frozen=True)
class TextRequest:
    """A reply that is asked for: either ``messages``, or a ``prompt`` with a ``memory`` in front that is never cut off.

    ``max_tokens`` None means the server's default reply length; ``context`` None means all of the model's context. With
    ``shift`` a reply may outgrow the context: the oldest text makes room for it, but never the memory.
    """

    prompt: str = ""
    memory: str = ""
    messages: tuple[Message, ...] = ()
    max_tokens: int | None = None
    context: int | None = None
    shift: bool = False
    stop: tuple[str, ...] = ()
    keep_stop: bool = False
    ban_eos: bool = False
    sampling: Sampling = field(default_factory=Sampling)
    genkey: str = ""
    stream: bool = False
    include_usage: bool = False
