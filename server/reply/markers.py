"""The texts that frame tool calls, and where they stand in a reply. Called by :mod:`server.reply.tool_calls`."""

from __future__ import annotations

import functools
import re

# What may stand around JSON: an object that is a call, or a list of them. Some have no closing tag.
TAGS = {
    "<tool_call>": "</tool_call>",  # Hermes, Qwen
    "<tool_calls>": "</tool_calls>",  # MiniMax M1, Apriel
    "<TOOLCALL>": "</TOOLCALL>",  # Nemotron
    "<seed:tool_call>": "</seed:tool_call>",  # Seed
    "<|tool_call|>": "<|/tool_call|>",  # Granite, Phi 4
    "<|START_ACTION|>": "<|END_ACTION|>",  # Command R
    "<|python_tag|>": "",  # Llama 3
    "[TOOL_CALLS]": "",  # Mistral
}
FUNCTION = "<function="  # Llama 3, Qwen 3 Coder
CHANNEL, START, MESSAGE = "<|channel|>", "<|start|>", "<|message|>"  # gpt-oss
KIMI_CALL, KIMI_ARGUMENTS = "<|tool_call_begin|>", "<|tool_call_argument_begin|>"
_DEEPSEEK = "<\uff5ctool▁{}\uff5c>"  # its bars are full-width ones
DEEPSEEK_CALL, DEEPSEEK_NAME = _DEEPSEEK.format("call▁begin"), _DEEPSEEK.format("sep")

# What else belongs to calls, or to the frame that a reply with calls is written in; nothing is read behind it.
FRAMES = (
    *(_DEEPSEEK.format(part) for part in ("calls▁begin", "calls▁end", "call▁end", "sep")),
    *("<|tool_calls_section_begin|>", "<|tool_calls_section_end|>", "<|tool_call_end|>", KIMI_ARGUMENTS),
    *("<|call|>", "<|constrain|>", MESSAGE, "<|end|>", "<|return|>"),
)
ALL = tuple(filter(None, (*TAGS, *TAGS.values(), FUNCTION, CHANNEL, START, KIMI_CALL, DEEPSEEK_CALL, *FRAMES)))


def first(text: str) -> re.Match[str] | None:
    """The first marker in a text."""
    return _pattern().search(text)


def undecided(text: str) -> int:
    """How many characters at the end of a text may be the beginning of a marker."""
    lengths = range(min(len(text), max(map(len, ALL)) - 1), 0, -1)
    return next((length for length in lengths if text[-length:] in _beginnings()), 0)


@functools.cache
def _pattern() -> re.Pattern[str]:
    return re.compile("|".join(map(re.escape, ALL)))


@functools.cache
def _beginnings() -> frozenset[str]:
    return frozenset(marker[:length] for marker in ALL for length in range(1, len(marker)))
