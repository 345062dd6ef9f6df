"""The context budget: what a reply is sure of, and what of a prompt that is too long is left out."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.prompt.message import Message, ToolCall
from server.request.budget import GAP, fit_chat, keep_memory, prompt_room

SYSTEM = Message("system", "S" * 10)
CALL = Message("assistant", "", tool_calls=(ToolCall("look", "{}", "1"),))
SEEN = Message("tool", "T" * 10, tool_call_id="1")

CHATS = st.lists(
    st.builds(
        Message,
        st.sampled_from(["system", "user", "assistant", "tool"]),
        st.text("ab", max_size=40),
    ),
    min_size=1,
    max_size=10,
)


def user(number: int, length: int = 10) -> Message:
    return Message("user", f"u{number}".ljust(length, "."))


def reply(number: int, length: int = 10) -> Message:
    return Message("assistant", f"a{number}".ljust(length, "."))


def turns(count: int) -> list[Message]:
    """User and assistant by turns, ten characters each: u0, a0, u1, a1 …"""
    return [speaks(number) for number in range(count) for speaks in (user, reply)]


def letters(messages: Sequence[Message]) -> int:
    """One token per character."""
    return sum(len(message.content) for message in messages)


def fitted(messages: Sequence[Message], room: int) -> list[Message]:
    return list(fit_chat(messages, letters, room))


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


# --- whole turns of a chat ---


def test_a_chat_that_fits_is_left_alone():
    messages = [SYSTEM, *turns(2), user(2)]
    assert fitted(messages, 60) == messages


def test_the_oldest_turns_go_first_and_the_system_stays():
    assert fitted([SYSTEM, *turns(2), user(2)], 20) == [SYSTEM, user(2)]


def test_no_more_is_dropped_than_must_be():
    assert fitted([SYSTEM, *turns(3), user(3)], 79) == [SYSTEM, *turns(3)[2:], user(3)]


def test_a_reply_goes_with_the_question_it_answers():
    assert fitted([*turns(2), user(2)], 45) == [*turns(2)[2:], user(2)]


def test_calls_and_their_results_go_with_their_turn():
    messages = [user(0), CALL, SEEN, CALL, SEEN, reply(0), user(1), CALL, SEEN]
    assert fitted(messages, 30) == [user(1), CALL, SEEN]


def test_what_answers_the_last_question_stays():
    messages = [*turns(1), user(1), CALL, SEEN, reply(1)]
    assert fitted(messages, 35) == [user(1), CALL, SEEN, reply(1)]


def test_a_turn_that_is_to_be_continued_stays_with_its_question():
    assert fitted([*turns(3)], 25) == [user(2), reply(2)]


def test_two_users_in_a_row_go_and_stay_together():
    assert fitted([user(0), user(1), reply(1), user(2), user(3)], 25) == [user(2), user(3)]


def test_a_greeting_is_the_oldest_turn():
    assert fitted([SYSTEM, reply(0), user(1)], 25) == [SYSTEM, user(1)]


def test_a_system_message_in_the_middle_stays_where_it_is():
    assert fitted([*turns(1), SYSTEM, *turns(2)[2:], user(2)], 35) == [SYSTEM, user(2)]


@pytest.mark.parametrize("messages", [[SYSTEM, user(0)], [user(0)], [SYSTEM], [reply(0)], [SYSTEM, SYSTEM]])
def test_where_nothing_can_be_dropped_all_messages_stay(messages):
    assert [message.role for message in fitted(messages, 5)] == [message.role for message in messages]


# --- the middle of a message ---


def test_where_one_turn_is_too_long_the_longest_message_loses_its_middle():
    long = Message("user", "begin" + "x" * 1000 + "end!!")
    assert fitted([SYSTEM, *turns(1), long], 39) == [SYSTEM, Message("user", f"beginxxxxxx{GAP}xxxxxxend!!")]


def test_a_system_message_may_be_the_longest():
    long = Message("system", "begin" + "x" * 1000 + "end!!")
    system, said = fitted([long, user(0)], 40)
    assert (system.role, said) == ("system", user(0))
    assert system.content.startswith("begin")
    assert GAP in system.content
    assert system.content.endswith("end!!")


def test_it_loses_no_more_than_it_must():
    assert letters(fitted([Message("user", "x" * 1000)], 101)) in (100, 101)


def test_where_the_longest_is_not_enough_the_next_is_shortened_too():
    messages = [Message("system", "s" * 500), Message("user", "u" * 400)]
    system, said = fitted(messages, 50)
    assert 40 <= letters([system, said]) <= 50
    assert GAP in system.content
    assert said.content.startswith("uuu")


def test_hundreds_of_messages_are_fitted_with_few_measurements():
    measured = []

    def measure(some):
        measured.append(len(some))
        return letters(some)

    systems = [Message("system", "s" * 40) for _ in range(500)]
    assert letters(fit_chat([*systems, Message("user", "u" * 40)], measure, 5000)) <= 5000
    assert len(measured) < 20


def test_of_a_long_turn_the_oldest_calls_go_with_their_results():
    rounds = [
        message
        for number in range(20)
        for message in (
            Message("assistant", "", tool_calls=(ToolCall("look", "{}", f"c{number}"),)),
            Message("tool", f"{number:02}" * 20, tool_call_id=f"c{number}"),
        )
    ]
    kept = fitted([Message("system", "Be brave."), Message("user", "Look around!"), *rounds], 200)
    assert kept[:2] == [Message("system", "Be brave."), Message("user", "Look around!")]
    assert kept[2].tool_calls
    assert list(kept[2:]) == rounds[-len(kept) + 2 :]


def test_a_message_shorter_than_the_gap_is_not_made_longer():
    messages = [Message("system", "s" * 500), Message("user", "Hi"), Message("assistant", "")]
    assert fitted(messages, 5)[1:] == messages[1:]


def test_what_belongs_to_a_message_stays_with_it():
    long = Message("user", "x" * 1000, name="Lydia")
    assert fitted([long], 50)[0].name == "Lydia"


def test_a_long_chat_is_not_rendered_once_for_every_message():
    measured = []

    def measure(messages: Sequence[Message]) -> int:
        measured.append(len(messages))
        return letters(messages)

    fit_chat(turns(500), measure, 50)
    assert len(measured) <= 13


# --- whatever is asked ---


def smallest(messages: Sequence[Message]) -> int:
    """The least that the system messages and the last turn take, with each shortened as far as it can be."""
    users = [index for index, message in enumerate(messages) if message.role == "user"]
    start = users[-1] if users else 0
    while start and messages[start - 1].role in ("user", "system"):
        start -= 1
    stay = [message for index, message in enumerate(messages) if index >= start or message.role == "system"]
    return sum(min(len(message.content), len(GAP)) for message in stay)


@settings(max_examples=300, deadline=None)
@given(messages=CHATS, room=st.integers(1, 120))
def test_a_chat_ends_up_within_its_room_wherever_that_can_be(messages, room):
    if smallest(messages) <= room:
        assert letters(fitted(messages, room)) <= room


@settings(max_examples=300, deadline=None)
@given(messages=CHATS, room=st.integers(1, 120))
def test_the_order_is_kept_and_every_system_message_and_the_last_one(messages, room):
    marked = [Message(message.role, message.content, name=str(index)) for index, message in enumerate(messages)]
    kept = [int(message.name) for message in fitted(marked, room)]
    assert kept == sorted(set(kept))
    assert {index for index, message in enumerate(messages) if message.role == "system"} <= set(kept)
    users = [index for index, message in enumerate(messages) if message.role == "user"]
    assert set(range(users[-1], len(messages)) if users else ()) <= set(kept)
