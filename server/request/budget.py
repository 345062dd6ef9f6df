"""The context budget: how long a reply may get, and what of a prompt is left out when both do not fit.

A prompt that is too long is shortened and served, because a refused request is a silent NPC.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable
from collections.abc import Sequence as ReadOnly
from dataclasses import replace

from server.prompt.message import Message

LARGEST_RESERVE = 4
SMALLEST_REPLY = 16
CORRECTIONS = 8
LARGEST_STEP = 0.97  # of what is left, when a little too much is left
GAP = "\n[...]\n"

Measure = Callable[[ReadOnly[Message]], int]


def prompt_room(context: int, wanted: int) -> int:
    """Tokens a prompt may take of ``context`` when ``wanted`` tokens of reply are asked for.

    The reply is sure of what it wants, but never of more than a quarter of the context: a client that asks for
    100,000 tokens does not mean to lose its prompt.
    """
    return context - min(wanted, max(context // LARGEST_RESERVE, min(SMALLEST_REPLY, context - 1)))


def keep_memory(memory: ReadOnly[int], prompt: ReadOnly[int], room: int) -> list[int]:
    """``memory`` and as much of the end of ``prompt`` as fits ``room`` tokens; a memory too long loses its front."""
    kept = list(memory[-room:])
    left = room - len(kept)
    return kept + list(prompt[max(len(prompt) - left, 0) :])


def fit_chat(messages: ReadOnly[Message], measure: Measure, room: int) -> tuple[Message, ...]:
    """What of ``messages`` fits ``room`` tokens, as ``measure`` counts them.

    Whole turns go, the oldest first; a turn is what the user says and all that answers it. Of the last turn the oldest
    calls of tools go with their results. What the system and the user said last stays: where that alone is too long,
    the longest messages lose their middle.
    """
    kept = tuple(messages)
    if measure(kept) <= room:
        return kept
    for parts in (_turns, _rounds):
        kept = _without_oldest(kept, parts(kept), measure, room)
        if measure(kept) <= room:
            return kept
    return _shortened(kept, measure, room)


def _without_oldest(
    messages: tuple[Message, ...], parts: list[list[int]], measure: Measure, room: int
) -> tuple[Message, ...]:
    """Without as many of the ``parts`` (indices of messages) as must go, the first of them first; the last stays."""

    def without(count: int) -> tuple[Message, ...]:
        gone = {index for part in parts[:count] for index in part}
        return tuple(message for index, message in enumerate(messages) if index not in gone)

    most = max(len(parts) - 1, 0)
    return without(bisect.bisect_left(range(most), True, key=lambda count: measure(without(count)) <= room))


def _turns(messages: ReadOnly[Message]) -> list[list[int]]:
    """Indices of the messages of each turn, without system messages. What precedes the first user is a turn too."""
    turns: list[list[int]] = []
    for index, message in enumerate(messages):
        if message.role == "user" or (message.role != "system" and not turns):
            turns.append([index])
        elif message.role != "system":
            turns[-1].append(index)
    return turns


def _rounds(messages: ReadOnly[Message]) -> list[list[int]]:
    """Indices of each call of tools with its results."""
    rounds: list[list[int]] = []
    for index, message in enumerate(messages):
        if message.tool_calls:
            rounds.append([index])
        elif message.role == "tool" and rounds:
            rounds[-1].append(index)
    return rounds


def _shortened(messages: tuple[Message, ...], measure: Measure, room: int) -> tuple[Message, ...]:
    """``messages`` within ``room``: all that are longer than the others lose their middle, down to one length.

    Rendering and counting takes long, so the length is estimated and then corrected, a few times.
    """
    lengths = sorted(len(message.content) for message in messages)
    letters = sum(lengths)
    shortened = messages
    tokens = measure(messages)
    for _ in range(CORRECTIONS):
        if tokens <= room or not letters:
            break
        letters = int(letters * min(room / tokens, LARGEST_STEP))
        most = _common_length(lengths, letters)
        shortened = tuple(_without_middle(message, most) for message in messages)
        tokens = measure(shortened)
    return shortened


def _common_length(lengths: ReadOnly[int], total: int) -> int:
    """To what all longer ones of the sorted ``lengths`` must be cut so that their sum is ``total``."""
    left = total
    for index, length in enumerate(lengths):
        share = left // (len(lengths) - index)
        if length > share:
            return share
        left -= length
    return lengths[-1]


def _without_middle(message: Message, most: int) -> Message:
    """At most ``most`` characters of the beginning and the end of a message, and a sign where they were parted."""
    text = message.content
    if len(text) <= max(most, len(GAP)):
        return message
    half = max(most - len(GAP), 0) // 2
    return replace(message, content=text[:half] + GAP + text[len(text) - half :])
