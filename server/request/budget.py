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
LONGEST_TOKEN = 16  # characters that are looked at for each token of room; texts have about four
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

    Whole turns go, the oldest first; a turn is what the user says and all that answers it. System messages and the last
    turn stay: where those alone are too long, the longest of them loses its middle.
    """
    if measure(messages) <= room:
        return tuple(messages)
    turns = _turns(messages)

    def without(count: int) -> tuple[Message, ...]:
        gone = {index for turn in turns[:count] for index in turn}
        return tuple(message for index, message in enumerate(messages) if index not in gone)

    droppable = len(turns) - 1
    count = bisect.bisect_left(
        range(droppable), True, lo=min(1, droppable), key=lambda dropped: measure(without(dropped)) <= room
    )
    return _shortened(without(count), measure, room)


def _turns(messages: ReadOnly[Message]) -> list[list[int]]:
    """Indices of the messages of each turn, without system messages. What precedes the first user is a turn too."""
    turns: list[list[int]] = []
    for index, message in enumerate(messages):
        if message.role == "system":
            continue
        if message.role == "user" and turns and messages[turns[-1][-1]].role == "user":
            turns[-1].append(index)  # two users in a row say one thing
        elif message.role == "user" or not turns:
            turns.append([index])
        else:
            turns[-1].append(index)
    return turns or [[]]


def _shortened(messages: tuple[Message, ...], measure: Measure, room: int) -> tuple[Message, ...]:
    """``messages`` within ``room``: the longest loses its middle, then the next, as far as needed."""
    by_length = sorted(range(len(messages)), key=lambda index: -len(messages[index].content))
    for index in by_length:
        if measure(messages) <= room or len(messages[index].content) <= len(GAP):
            break
        messages = _without_middle(messages, index, measure, room)
    return messages


def _without_middle(messages: tuple[Message, ...], index: int, measure: Measure, room: int) -> tuple[Message, ...]:
    """As much as fits ``room`` of the beginning and the end of one message."""
    text = messages[index].content

    def cut(kept: int) -> tuple[Message, ...]:
        half = kept // 2
        content = text[:half] + GAP + text[len(text) - half :]
        return (*messages[:index], replace(messages[index], content=content), *messages[index + 1 :])

    lengths = range(min(len(text), room * LONGEST_TOKEN))
    fitting = bisect.bisect_left(lengths, True, key=lambda kept: measure(cut(kept)) > room)
    return cut(max(fitting - 1, 0))
