"""The context budget: what a reply is sure of, and what of a prompt that is too long is left out."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.prompt.chat import Message
from server.request.budget import drop_oldest, keep_memory, prompt_room

SYSTEM = Message("system", "S" * 10)


def turns(count: int) -> list[Message]:
    """User and assistant by turns, ten characters each: a0, b1, a2 …"""
    return [Message("user" if n % 2 == 0 else "assistant", f"{'ab'[n % 2]}{n:09}") for n in range(count)]


def letters(messages: Sequence[Message]) -> list[int]:
    """One token per character."""
    return [ord(letter) for message in messages for letter in message.content]


def text_within(messages: list[Message], room: int) -> tuple[str, int]:
    prompt, dropped = drop_oldest(messages, letters, room)
    return "".join(map(chr, prompt)), dropped


# --- room ---


def test_a_reply_gets_the_room_it_asks_for():
    assert prompt_room(8192, 250) == 8192 - 250


def test_a_reply_is_never_promised_more_than_a_quarter_of_the_context():
    assert prompt_room(8192, 10**9) == 8192 - 2048


def test_a_short_reply_does_not_cost_the_prompt_more_than_its_length():
    assert prompt_room(8192, 1) == 8191


def test_in_a_tiny_context_a_reply_is_still_sure_of_sixteen_tokens():
    assert prompt_room(40, 100) == 24


@settings(max_examples=200, deadline=None)
@given(context=st.integers(2, 100_000), wanted=st.integers(1, 2_000_000))
def test_there_is_always_room_for_one_token_of_prompt_and_one_of_reply(context, wanted):
    room = prompt_room(context, wanted)
    assert 1 <= room < context
    assert context - room >= min(wanted, context // 4)


# --- memory and prompt ---


def test_what_fits_is_left_alone():
    assert keep_memory([1, 2], [3, 4], 4) == [1, 2, 3, 4]


def test_the_prompt_loses_its_beginning_and_the_memory_nothing():
    assert keep_memory([1, 2], [3, 4, 5, 6], 4) == [1, 2, 5, 6]


def test_a_memory_that_fills_the_room_leaves_none_for_the_prompt():
    assert keep_memory([1, 2, 3], [4, 5], 3) == [1, 2, 3]


def test_a_memory_that_is_too_long_loses_its_own_beginning():
    assert keep_memory([1, 2, 3, 4], [5], 2) == [3, 4]


@settings(max_examples=200, deadline=None)
@given(memory=st.lists(st.integers(), max_size=9), prompt=st.lists(st.integers(), max_size=9), room=st.integers(1, 12))
def test_memory_and_prompt_fill_the_room_and_no_more(memory, prompt, room):
    assert len(keep_memory(memory, prompt, room)) == min(room, len(memory) + len(prompt))


# --- a chat ---


def test_a_chat_that_fits_is_left_alone():
    assert text_within([SYSTEM, *turns(3)], 40) == ("S" * 10 + "a000000000b000000001a000000002", 0)


def test_the_oldest_turns_go_first_and_the_system_stays():
    assert text_within([SYSTEM, *turns(5)], 30) == ("S" * 10 + "b000000003a000000004", 3)


def test_no_more_is_dropped_than_must_be():
    assert text_within([SYSTEM, *turns(5)], 59)[1] == 1


def test_a_system_message_in_the_middle_stays_too():
    first, second, third = turns(3)
    assert text_within([first, SYSTEM, second, third], 30) == ("S" * 10 + second.content + third.content, 1)


def test_the_last_message_stays_whoever_spoke_it():
    assert text_within([*turns(4)], 10) == ("b000000003", 3)


def test_where_it_can_never_fit_everything_but_the_last_message_goes():
    text, dropped = text_within([SYSTEM, *turns(3)], 5)
    assert text.endswith("00002")
    assert dropped == 2


@pytest.mark.parametrize("messages", [[SYSTEM, *turns(1)], turns(1), [SYSTEM]])
def test_where_nothing_can_be_dropped_none_is_counted(messages):
    assert text_within(messages, 5)[1] == 0


def test_a_long_chat_is_not_rendered_once_for_every_message():
    rendered = []

    def tokens_of(messages: Sequence[Message]) -> list[int]:
        rendered.append(len(messages))
        return letters(messages)

    drop_oldest(turns(1000), tokens_of, 50)
    assert len(rendered) <= 13


@settings(max_examples=150, deadline=None)
@given(
    roles=st.lists(st.sampled_from(["system", "user", "assistant"]), min_size=1, max_size=8), room=st.integers(1, 99)
)
def test_a_chat_ends_up_within_its_room_and_keeps_its_end(roles, room):
    messages = [Message(role, str(number) * 10) for number, role in enumerate(roles)]
    text, dropped = text_within(messages, room)
    must_stay = 10 * (roles[:-1].count("system") + 1)
    assert len(text) <= max(room, must_stay)
    assert text.endswith(messages[-1].content[-room:])
    assert dropped <= len(roles[:-1]) - roles[:-1].count("system")
