"""Who runs next: order of arrival, room in the KV cache, shared beginnings, and how much of each prompt is read."""

from __future__ import annotations

import pytest

from server.engine.prefix_cache import PrefixCache
from server.engine.scheduler import ROOM_TO_REPLY, WORTH_WAITING, Chunk, Scheduler
from server.engine.sequence import Sequence
from server.engine.token_stream import TokenStream
from server.events import Generate
from tests.fake_model import FakeKV, tokens_of

SYSTEM = "You are a guard of Whiterun. ".ljust(2 * WORTH_WAITING, ".")
REPLY = 9


def sequence(prompt: int | str = 4, reply: int = 4, number: int = 1) -> Sequence:
    """A prompt, or a number of tokens that are unlike any other prompt's."""
    tokens = tokens_of(prompt) if isinstance(prompt, str) else (100 + number,) * prompt
    return Sequence(Generate(number, tokens, max_tokens=reply), arrived=float(number), stream=TokenStream())


def sequences(*prompts: int | str, reply: int = 4) -> list[Sequence]:
    return [sequence(prompt, reply, number) for number, prompt in enumerate(prompts)]


class Bench:
    """A scheduler over a strict KV cache, in which ``read`` does what a decode does."""

    def __init__(self, *waiting: Sequence, most: int = 4, cells: int = 400, can_trim: bool = True) -> None:
        self.kv = FakeKV(cells, 2 * most, can_trim=can_trim)
        self.cache = PrefixCache(self.kv)
        self.scheduler = Scheduler(most, self.cache, share_prefixes=can_trim)
        for entry in waiting:
            self.scheduler.enqueue(entry)

    @property
    def waiting(self) -> list[Sequence]:
        return list(self.scheduler.waiting)

    def admit(self) -> list[Sequence]:
        return self.scheduler.admit()

    def start(self) -> list[Sequence]:
        """Admit, and let everyone who starts read all of the prompt."""
        admitted = self.admit()
        for entry in admitted:
            self.reply(entry)
        return admitted

    def read(self, entry: Sequence, count: int | None = None) -> None:
        slot = entry.slot
        assert slot
        tokens = entry.tokens[entry.cached :][:count]
        for position, token in enumerate(tokens, entry.cached):
            self.kv.append(slot.number, position, token)
        self.cache.extend(slot, tokens)

    def reply(self, entry: Sequence, count: int = 1) -> None:
        """Read what is pending, and draw a token; ``count`` times."""
        for _ in range(count):
            self.read(entry)
            entry.tokens.append(REPLY)
            entry.generated += 1

    def plan(self, room: int = 16, beside_replies: int = 4) -> list[Chunk]:
        return self.scheduler.plan(room, beside_replies)

    def counts(self, room: int = 16, beside_replies: int = 4) -> list[int]:
        return [chunk.count for chunk in self.plan(room, beside_replies)]


def test_nothing_to_do_is_idle():
    assert Bench().scheduler.idle
    assert not Bench(sequence()).scheduler.idle


def test_who_runs_or_waits_is_found():
    entries = sequences(4, 4)
    bench = Bench(*entries, most=1)
    bench.admit()
    assert [bench.scheduler.find(number) for number in (0, 1, 2)] == [*entries, None]


# --- who starts ---


def test_everyone_starts_at_once_while_there_is_room():
    entries = sequences(4, 4)
    bench = Bench(*entries)
    assert bench.admit() == entries
    assert entries[0].slot is not entries[1].slot
    assert not bench.waiting


def test_the_third_waits_when_two_may_run():
    entries = sequences(4, 4, 4)
    bench = Bench(*entries, most=2)
    bench.admit()
    assert bench.waiting == entries[2:]


def test_who_waits_starts_when_another_ends():
    first, second = sequences(4, 4)
    bench = Bench(first, second, most=1)
    bench.start()
    bench.scheduler.remove(first)
    assert first.slot is None
    assert bench.admit() == [second]


def test_who_waits_can_leave():
    first, second = sequences(4, 4)
    bench = Bench(first, second, most=1)
    bench.admit()
    bench.scheduler.remove(second)
    assert bench.scheduler.running == [first]
    assert not bench.waiting


def test_a_prompt_alone_may_fill_all_cells():
    (entry,) = entries = sequences(100, reply=300)
    assert Bench(entry, cells=100).admit() == entries


@pytest.mark.parametrize(("cells", "started"), [(49, 1), (50, 2)])
def test_a_prompt_starts_beside_others_when_it_and_all_short_replies_fit(cells, started):
    bench = Bench(*sequences(20, 20, reply=5), cells=cells)
    assert len(bench.admit()) == started


def test_of_long_replies_only_the_beginning_must_fit():
    cells = 20 + 20 + 2 * ROOM_TO_REPLY
    assert len(Bench(*sequences(20, 20, reply=1000), cells=cells).admit()) == 2
    assert len(Bench(*sequences(20, 20, reply=1000), cells=cells - 1).admit()) == 1


def test_what_the_others_still_have_to_read_is_not_free():
    first, second = sequences(60, 60)
    bench = Bench(first, second, cells=100)
    assert bench.admit() == [first]


def test_kept_prompts_are_in_nobodys_way():
    first, second = sequences(60, 60)
    bench = Bench(first, cells=100)
    bench.start()
    bench.scheduler.remove(first)
    bench.scheduler.enqueue(second)
    assert bench.admit() == [second]


def test_a_small_request_does_not_overtake_a_large_one():
    running, large, small = sequences(80, 50, 4)
    bench = Bench(running, large, small, cells=100)
    assert bench.start() == [running]
    assert bench.admit() == []
    bench.scheduler.remove(running)
    assert bench.admit() == [large, small]


# --- beginnings that are just being read ---


def two_with_one_beginning(**options) -> tuple[Bench, Sequence, Sequence]:
    leader, follower = sequences(SYSTEM + "one", SYSTEM + "two")
    return Bench(leader, follower, **options), leader, follower


def test_a_prompt_waits_for_the_beginning_that_another_is_reading():
    bench, leader, follower = two_with_one_beginning()
    assert bench.admit() == [leader]
    bench.read(leader, WORTH_WAITING - 1)
    assert bench.admit() == []
    bench.read(leader, WORTH_WAITING + 1)
    assert bench.admit() == [follower]
    assert follower.cached == len(SYSTEM)


def test_nobody_waits_for_the_last_few_tokens_of_a_beginning():
    bench, leader, follower = two_with_one_beginning()
    bench.admit()
    bench.read(leader, WORTH_WAITING)
    assert bench.admit() == [follower]
    assert follower.cached == WORTH_WAITING


def test_others_overtake_who_waits_for_a_beginning():
    bench, leader, follower = two_with_one_beginning()
    other = sequence(number=2)
    bench.scheduler.enqueue(other)
    assert bench.admit() == [leader, other]
    assert bench.waiting == [follower]


def test_who_waits_for_a_beginning_starts_when_its_reader_leaves():
    bench, leader, follower = two_with_one_beginning()
    bench.admit()
    bench.read(leader, 20)
    bench.scheduler.remove(leader)
    assert bench.admit() == [follower]
    assert follower.cached == 20


def test_for_a_short_beginning_nobody_waits():
    leader, other = sequences(SYSTEM[: WORTH_WAITING - 1] + "one", SYSTEM[: WORTH_WAITING - 1] + "two")
    bench = Bench(leader, other)
    assert bench.admit() == [leader, other]


def test_nobody_waits_for_what_is_known_already():
    first, leader, other = sequences(SYSTEM + "one", SYSTEM + "two, the longer one", SYSTEM + "two, or so")
    bench = Bench(first)
    bench.start()
    bench.scheduler.enqueue(leader)
    bench.scheduler.enqueue(other)
    assert bench.admit() == [leader, other]
    assert other.cached == len(SYSTEM)


def test_nobody_waits_for_a_memory_that_cannot_be_copied():
    bench, leader, follower = two_with_one_beginning(can_trim=False)
    assert bench.admit() == [leader, follower]


# --- how much of whom ---


def test_a_prompt_alone_fills_the_whole_batch():
    bench = Bench(sequence(40))
    bench.admit()
    assert bench.counts(room=16) == [16]


def test_a_prompt_goes_on_where_its_last_chunk_ended():
    entry = sequence(20)
    bench = Bench(entry)
    bench.admit()
    bench.read(entry, 16)
    assert bench.counts(room=16) == [4]


def test_the_oldest_prompt_gets_half_and_the_others_what_is_short_first():
    bench = Bench(*sequences(40, 30, 5))
    bench.admit()
    assert bench.counts(room=16) == [8, 3, 5]


def test_what_the_others_leave_goes_to_the_oldest():
    bench = Bench(*sequences(40, 3))
    bench.admit()
    assert bench.counts(room=16) == [13, 3]


def test_what_the_oldest_leaves_goes_to_the_others():
    bench = Bench(*sequences(2, 40))
    bench.admit()
    assert bench.counts(room=16) == [2, 14]


def test_who_gets_nothing_is_not_in_the_step():
    entries = sequences(40, 8, 9)
    bench = Bench(*entries)
    bench.admit()
    assert bench.plan(room=16) == [Chunk(entries[0], 8), Chunk(entries[1], 8)]


def test_every_reply_gets_its_token_in_every_step():
    entries = sequences(4, 4, 4, 4)
    bench = Bench(*entries)
    bench.start()
    assert bench.plan(room=2) == [Chunk(entry, 1) for entry in entries]


def test_beside_replies_prompts_get_only_a_share():
    talker, reader = sequences(4, 40)
    bench = Bench(talker)
    bench.start()
    bench.scheduler.enqueue(reader)
    bench.admit()
    assert bench.plan(room=16, beside_replies=4) == [Chunk(talker, 1), Chunk(reader, 4)]


# --- when replies outgrow the cells ---


def full(*prompts: int, spare: int = 1) -> tuple[Bench, list[Sequence]]:
    """Replies of which each has its next token pending, and ``spare`` cells for them."""
    entries = sequences(*prompts, reply=500)
    bench = Bench(*entries, cells=sum(prompts) + (ROOM_TO_REPLY + 1) * len(prompts) + spare)
    bench.start()
    for entry in entries:
        bench.reply(entry, ROOM_TO_REPLY + 1)
    return bench, entries


def test_nobody_is_preempted_while_there_is_room():
    bench, entries = full(20, 20, 20, spare=3)
    plan = bench.plan()
    assert bench.scheduler.make_room(plan) == plan
    assert bench.scheduler.running == entries


def test_the_youngest_is_preempted_and_waits_at_the_head():
    bench, (first, second, third) = full(20, 20, 20)
    late = sequence(number=9)
    bench.scheduler.enqueue(late)
    plan = bench.scheduler.make_room(bench.plan())
    assert plan == [Chunk(first, 1), Chunk(second, 1)]
    assert third.slot is None
    assert bench.waiting == [third, late]


def test_the_youngest_is_the_one_that_came_last_wherever_it_stands():
    bench, (first, second, third) = full(20, 20, 20)
    bench.scheduler.running.reverse()
    bench.scheduler.make_room(bench.plan())
    assert third.slot is None
    assert bench.scheduler.running == [second, first]


def test_of_those_that_came_at_the_same_moment_the_last_one_is_the_youngest():
    bench, entries = full(20, 20, 20)
    for entry in entries:
        entry.arrived = 0.0
    bench.scheduler.make_room(bench.plan())
    assert bench.waiting == entries[2:]


def test_several_are_preempted_when_one_is_not_enough():
    bench, (first, second, third) = full(20, 20, 20)
    plan = bench.scheduler.make_room([Chunk(first, 100)])
    assert plan == [Chunk(first, 100)]
    assert bench.waiting == [second, third]


def test_guesses_are_left_out_before_anyone_is_preempted():
    bench, entries = full(20, 20, spare=4)
    plan = [Chunk(entry, 1, draft=(7, 7)) for entry in entries]
    assert bench.scheduler.make_room(plan) == [Chunk(entry, 1) for entry in entries]


def test_kept_prompts_go_before_anyone_is_preempted():
    bench, (first, second, third) = full(20, 20, 20, spare=0)
    bench.scheduler.remove(third)
    bench.scheduler.make_room(bench.plan())
    assert bench.scheduler.running == [first, second]


def test_who_was_preempted_goes_on_only_after_another_has_left():
    bench, (_, second, third) = full(100, 100, 100)
    bench.scheduler.make_room(bench.plan())
    assert bench.admit() == []
    bench.scheduler.remove(second)
    assert bench.admit() == [third]


def test_who_was_preempted_goes_on_with_all_its_tokens():
    bench, (_, second, third) = full(100, 100, 100)
    tokens = list(third.tokens)
    bench.scheduler.make_room(bench.plan())
    bench.scheduler.remove(second)
    bench.admit()
    assert third.tokens == tokens


def test_who_was_preempted_reads_again_what_was_dropped_meanwhile():
    bench, (_, second, third) = full(100, 100, 100)
    bench.scheduler.make_room(bench.plan())
    bench.scheduler.remove(second)
    bench.admit()
    assert third.reading
    bench.read(third)
    assert third.pending == 0


def test_who_was_preempted_can_leave():
    bench, (first, second, third) = full(20, 20, 20)
    bench.scheduler.make_room(bench.plan())
    bench.scheduler.remove(third)
    assert not bench.waiting
    assert bench.scheduler.running == [first, second]
