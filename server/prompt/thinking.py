"""How models think: the tags they think between, and whether a prompt has begun a thought already."""

from __future__ import annotations

from server.events import Thinking
from server.prompt.preset import Preset

# Known to all models, whatever their template: a thought that is spoken is worse than a tag looked for in vain. No tag
# is here that other families end their turns with, as Harmony's is.
TAGS = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("[THINK]", "[/THINK]"),
    ("<seed:think>", "</seed:think>"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|channel>thought", "<channel|>"),
    ("◁think▷", "◁/think▷"),
)


def thinking(family: Preset, prompt: str, *, budget: int, calls: bool) -> Thinking:
    """What the engine needs to tell the thoughts of a reply to ``prompt`` from what it says.

    ``budget`` tokens may be thought, -1 is any number. Many templates, and texts that clients write, begin the thought
    themselves; then the reply only has the closing tag. Where ``calls`` of tools are looked for, the headers that tell
    calls from speech stay in the text.
    """
    tags = tuple(dict.fromkeys((*family.reasoning, *TAGS)))
    dropped = family.dropped
    if calls:
        dropped = tuple(text for text in dropped if any(text == end for _, end in tags))
    return Thinking(tags, closes=_closes(family, tags, prompt), budget=budget, dropped=dropped, closing=family.closing)


def shown(family: Preset) -> tuple[str, ...]:
    """Special tokens that must stay visible, so that thoughts and calls can be told apart."""
    tags = (tag for pair in (*family.reasoning, *TAGS) for tag in pair)
    return tuple(dict.fromkeys((*family.shown, *tags)))


def _closes(family: Preset, tags: tuple[tuple[str, str], ...], prompt: str) -> str:
    """The closing tag of the thought that ``prompt`` ends in, or ""."""
    edges = (family.user_end, family.assistant_start, family.assistant_gen or "")
    begin = max((prompt.rfind(edge.strip()) for edge in edges if edge.strip()), default=-1)
    reply = prompt[begin:] if begin >= 0 else ""
    for start, end in tags:
        if prompt.rstrip().endswith(start) or reply.rfind(start) > reply.rfind(end):
            return end
    return ""
