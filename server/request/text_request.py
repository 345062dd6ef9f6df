"""What a generation request is, whichever dialect it came in."""

from __future__ import annotations

from dataclasses import dataclass, field

from server.events import Constraint, Sampling
from server.prompt.message import Chat, Tool
from server.prompt.preset import Preset
from server.request.thinking import ThinkingWish


@dataclass(frozen=True)
class TextRequest:
    """A reply that is asked for: to a ``chat``, or a ``prompt`` with a ``memory`` in front that is never cut off. A
    prompt may be token ids; with a ``suffix`` the reply is what stands between the two.

    ``adapter`` is the template the request brought along; ``forced`` are the tools of which it must call one.
    ``max_tokens`` None means the server's default reply length; ``context`` None means all of the model's context. With
    ``shift`` a reply may outgrow the context: the oldest text makes room for it, but never the memory. ``truncate``
    says whether a prompt that is too long may be shortened, None leaves it to the settings. A ``lenient`` request is
    served without its ``constraint`` if that cannot be used. ``banned`` are texts the reply must not say; ``negative``
    is the prompt that it is guided away from, with the strength ``guidance``, where 1 is none. ``logprobs`` likeliest
    tokens are told with each token, -1 for nothing at all; with ``echo`` those of the prompt are told as well. ``n``
    replies are wanted, the best of ``best_of``. ``placeholders`` in prompt, memory and stop texts stand for
    the model's tags, unless that is switched off. ``unsupported`` are names of fields that ask for what there is not.
    """

    prompt: str | tuple[int, ...] = ""
    suffix: str = ""
    memory: str = ""
    chat: Chat | None = None
    adapter: Preset | None = None
    forced: tuple[Tool, ...] = ()
    max_tokens: int | None = None
    context: int | None = None
    shift: bool = False
    truncate: bool | None = None
    stop: tuple[str, ...] = ()
    keep_stop: bool = False
    ban_eos: bool = False
    bypass_eos: bool = False
    min_tokens: int = 0
    banned: tuple[str, ...] = ()
    guidance: float = 1.0
    negative: str = ""
    logprobs: int = -1
    echo: bool = False
    n: int = 1
    best_of: int = 1
    render_special: bool = False
    placeholders: bool = True
    unsupported: tuple[str, ...] = ()
    sampling: Sampling = field(default_factory=Sampling)
    constraint: Constraint | None = None
    lenient: bool = False
    thinking: ThinkingWish = field(default_factory=ThinkingWish)
    genkey: str = ""
    stream: bool = False
    include_usage: bool = False
