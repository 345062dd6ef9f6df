"""Who runs next: slots, cells, order of arrival, and how much of each prompt goes into a step."""

import pytest

from server.engine.scheduler import Chunk, Scheduler
from server.engine.sequence import NO_SLOT, Sequence
from server.engine.token_stream import TokenStream
from server.events import Generate


def sequence(prompt: int = 4, reply: int = 4, request_id: int = 1) -> Sequence:
    request = Generate(request_id, prompt=(7,) * prompt, max_tokens=reply)
    return Sequence(request, arrived=0.0, stream=TokenStream())


def replying(sequence: Sequence) -> Sequence:
    """As after the step that read its whole prompt: one token generated and not decoded yet."""
    sequence.cached = len(sequence.tokens)
    sequence.tokens.append(9)
    return sequence


def scheduler(*waiting: Sequence, slots: int = 4, cells: int = 100, batch: int = 16) -> Scheduler:
    made = Scheduler(slots, cells, batch)
    for entry in waiting:
        made.enqueue(entry)
    return made


def counts(plan: list[Chunk]) -> list[int]:
    return [chunk.count for chunk in plan]


def test_nothing_to_do_is_idle():
    assert scheduler().idle
    assert not scheduler(sequence()).idle


def test_everyone_starts_at_once_while_there_is_room():
    first, second = sequence(), sequence()
    made = scheduler(first, second)
    assert made.admit() == [first, second]
    assert {first.slot, second.slot} == {0, 1}
    assert not made.waiting


def test_the_third_waits_when_there_are_two_slots():
    made = scheduler(sequence(request_id=1), sequence(request_id=2), sequence(request_id=3), slots=2)
    made.admit()
    assert [entry.request.request_id for entry in made.waiting] == [3]


def test_cells_are_kept_for_the_longest_reply():
    made = scheduler(sequence(prompt=10, reply=50), sequence(prompt=10, reply=31), cells=100)
    assert len(made.admit()) == 1


def test_the_last_cell_can_be_used():
    made = scheduler(sequence(prompt=10, reply=50), sequence(prompt=10, reply=30), cells=100)
    assert len(made.admit()) == 2


def test_a_small_request_does_not_overtake_a_large_one():
    running, large, small = sequence(reply=80), sequence(prompt=50, request_id=2), sequence(request_id=3)
    made = scheduler(running, large, small)
    assert made.admit() == [running]
    made.remove(running)
    assert made.admit() == [large, small]


def test_a_slot_is_used_again_after_its_sequence_is_removed():
    first, second = sequence(request_id=1), sequence(request_id=2)
    made = scheduler(first, second, slots=1)
    made.admit()
    made.remove(first)
    assert first.slot == NO_SLOT
    assert made.admit() == [second]
    assert second.slot == 0


def test_a_waiting_sequence_can_be_removed():
    first, second = sequence(request_id=1), sequence(request_id=2)
    made = scheduler(first, second, slots=1)
    made.admit()
    made.remove(second)
    assert made.running == [first]
    assert not made.waiting


@pytest.mark.parametrize("request_id", [1, 2])
def test_a_request_is_found_while_it_runs_and_while_it_waits(request_id):
    made = scheduler(sequence(request_id=1), sequence(request_id=2), slots=1)
    made.admit()
    found = made.find(request_id)
    assert found
    assert found.request.request_id == request_id


def test_a_request_that_is_over_is_not_found():
    assert scheduler(sequence(request_id=1)).find(5) is None


def test_a_prompt_alone_fills_the_whole_batch():
    made = scheduler(sequence(prompt=40))
    made.admit()
    assert counts(made.plan()) == [16]


def test_prompts_share_a_batch_in_order_of_arrival():
    made = scheduler(sequence(prompt=10), sequence(prompt=10), sequence(prompt=10))
    made.admit()
    assert counts(made.plan()) == [10, 6]


def test_a_prompt_goes_on_where_its_last_chunk_ended():
    reader = sequence(prompt=20)
    made = scheduler(reader)
    made.admit()
    reader.cached = 16
    assert counts(made.plan()) == [4]


def test_beside_replies_a_prompt_gets_only_a_share_of_the_batch():
    reply, reader = replying(sequence()), sequence(prompt=40)
    made = scheduler(reply, reader)
    made.admit()
    assert made.plan() == [Chunk(reply, 1), Chunk(reader, 4)]


def test_every_reply_gets_its_token_in_every_step():
    replies = [replying(sequence(request_id=number)) for number in range(4)]
    made = scheduler(*replies, batch=16)
    made.admit()
    assert made.plan() == [Chunk(reply, 1) for reply in replies]
