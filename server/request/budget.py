"""The context budget: how long a reply may get, and what of a prompt is left out when both do not fit.

A prompt that is too long is shortened and served, because a refused request is a silent NPC.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable
from collections.abc import Sequence as ReadOnly

from server.prompt.chat import Message

LARGEST_RESERVE = 4
SMALLEST_REPLY = 16


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


def drop_oldest(
    messages: ReadOnly[Message], tokens_of: Callable[[ReadOnly[Message]], list[int]], room: int
) -> tuple[list[int], int]:
    """The prompt of ``messages`` within ``room`` tokens, and how many messages were left out.

    The oldest turns go first; system messages and the last message stay. Where those alone are too long, the prompt
    still is.
    """
    droppable = [index for index, message in enumerate(messages[:-1]) if message.role != "system"]

    def without(count: int) -> list[int]:
        gone = set(droppable[:count])
        return tokens_of([message for index, message in enumerate(messages) if index not in gone])

    whole = without(0)
    if len(whole) <= room:
        return whole, 0
    count = bisect.bisect_left(
        range(len(droppable)), True, lo=min(1, len(droppable)), key=lambda dropped: len(without(dropped)) <= room
    )
    return without(count), count
