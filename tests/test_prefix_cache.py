"""Where the beginning of a prompt comes from, and what leaves the KV cache when cells or slots run short."""

from __future__ import annotations

import pytest

from server.engine.prefix_cache import LEAST_FROM_RAM, LEAST_SHIFT, PrefixCache, Slot
from server.engine.ram_store import BLOCK, Block
from server.engine.tokens import as_tokens
from tests.fake_model import FakeKV, tokens_of

SYSTEM = "You are a guard of Whiterun, and arrows are not to be joked about.  "
PLENTY = 1_000_000


def message(name: str, length: int = 100) -> str:
    """A text that is unlike any other message, from its first letter on."""
    return (f"{name}: " + "".join(f"{name}{number} " for number in range(length)))[:length]


ONE, TWO, THREE, FOUR = (message(name) for name in ("anna", "berta", "cora", "dora"))


class Cache:
    """A prefix cache over a strict KV cache, and the texts that were read into it."""

    def __init__(self, cells: int = 2000, slots: int = 8, *, ram: int = 0, reuse: bool = True, **memory: bool) -> None:
        self.kv = FakeKV(cells, slots, **memory)
        self.prefixes = PrefixCache(self.kv, ram_limit=ram, reuse=reuse)

    def begin(self, text: str) -> tuple[Slot, str]:
        """Take a slot for a prompt; returns it and what of the prompt it holds already."""
        slot = self.prefixes.take(as_tokens(tokens_of(text)))
        self.check(slot)
        return slot, text[: len(slot.tokens)]

    def read(self, slot: Slot, text: str) -> None:
        """Read what is missing of a text, as a decode does."""
        missing = tokens_of(text)[len(slot.tokens) :]
        assert self.prefixes.make_room(len(missing))
        self.kv.make_up_for_moves()
        for position, token in enumerate(missing, len(slot.tokens)):
            self.kv.append(slot.number, position, token)
        self.prefixes.extend(slot, missing)
        self.check(slot)

    def run(self, text: str) -> tuple[Slot, str]:
        """A running prompt that has been read."""
        slot, held = self.begin(text)
        self.read(slot, text)
        return slot, held

    def keep(self, *texts: str) -> None:
        """Prompts that were read and ended, one after the other."""
        for text in texts:
            slot, _ = self.run(text)
            self.prefixes.release(slot)

    def check(self, slot: Slot) -> None:
        assert self.kv.tokens(slot.number) == tuple(slot.tokens)
        self.kv.check_slot(slot.number, len(slot.tokens))
        assert self.prefixes.cells_busy() + self.prefixes.cells_kept() == self.kv.used


# --- in the KV cache ---


def test_a_prompt_that_is_like_no_other_begins_with_nothing():
    assert Cache().begin(ONE)[1] == ""


def test_a_chat_that_goes_on_keeps_its_slot():
    cache = Cache()
    first, _ = cache.run(SYSTEM + ONE)
    cache.prefixes.release(first)
    slot, held = cache.begin(SYSTEM + ONE + TWO)
    assert slot is first
    assert held == SYSTEM + ONE


def test_the_last_token_of_a_prompt_is_never_held_because_it_must_be_decoded():
    cache = Cache()
    cache.keep(ONE)
    assert cache.begin(ONE)[1] == ONE[:-1]


def test_another_reply_to_the_same_prompt_takes_the_slot_over():
    cache = Cache()
    cache.keep(SYSTEM + ONE + "a reply")
    slot, held = cache.begin(SYSTEM + ONE)
    assert held == (SYSTEM + ONE)[:-1]
    assert cache.kv.used == len(held)
    assert slot.number == 0


def test_a_beginning_that_others_go_on_from_is_copied_and_held_once():
    cache = Cache()
    cache.keep(SYSTEM + ONE)
    slot, held = cache.run(SYSTEM + TWO)
    assert held == SYSTEM
    assert slot.number == 1
    assert cache.kv.holds(SYSTEM + ONE)
    assert cache.kv.used == len(SYSTEM + ONE + TWO)


def test_the_beginning_of_a_running_prompt_is_copied():
    cache = Cache()
    first, _ = cache.run(SYSTEM + ONE)
    second, held = cache.run(SYSTEM + TWO)
    assert held == SYSTEM
    assert first is not second
    assert cache.prefixes.cells_busy() == len(SYSTEM + ONE + TWO)


def test_a_running_prompt_is_copied_whole_by_its_twin():
    cache = Cache()
    cache.run(ONE)
    assert cache.begin(ONE)[1] == ONE[:-1]


def test_an_idle_slot_is_taken_over_rather_than_a_running_one_copied():
    cache = Cache()
    cache.run(ONE + "one thing")
    idle, _ = cache.run(ONE + "another")
    cache.prefixes.release(idle)
    assert cache.begin(ONE + "!!!") == (idle, ONE)


def test_of_several_the_longest_beginning_is_taken():
    cache = Cache()
    cache.keep(SYSTEM + ONE, SYSTEM + TWO + THREE)
    assert cache.begin(SYSTEM + TWO + FOUR)[1] == SYSTEM + TWO


def test_busy_cells_and_kept_ones_are_counted_apart():
    cache = Cache()
    cache.keep(SYSTEM + ONE)
    cache.run(SYSTEM + TWO)
    assert cache.prefixes.cells_busy() == len(SYSTEM + TWO)
    assert cache.prefixes.cells_kept() == len(ONE)


def test_without_reuse_every_prompt_begins_with_nothing():
    cache = Cache(reuse=False, ram=PLENTY)
    cache.keep(SYSTEM + ONE)
    assert cache.kv.used == 0
    cache.run(SYSTEM)
    assert cache.begin(SYSTEM + ONE)[1] == ""


# --- running short ---


def test_what_was_not_used_for_longest_makes_room_first():
    cache = Cache(cells=320)
    cache.keep(ONE, TWO, THREE, ONE, FOUR)
    assert [cache.kv.holds(text) for text in (ONE, TWO, THREE, FOUR)] == [True, False, True, True]


def test_no_more_is_dropped_than_is_needed():
    cache = Cache(cells=320)
    cache.keep(ONE, TWO, THREE)
    assert cache.prefixes.make_room(120)
    assert cache.kv.used == 200


def test_a_kept_beginning_goes_with_the_last_that_holds_it():
    cache = Cache(cells=len(SYSTEM + ONE + TWO))
    cache.keep(SYSTEM + ONE, SYSTEM + TWO)
    assert cache.prefixes.make_room(len(ONE))
    assert cache.kv.holds(SYSTEM)
    assert not cache.prefixes.make_room(cache.kv.cells + 1)
    assert cache.kv.used == 0


def test_what_runs_is_never_dropped():
    cache = Cache(cells=320)
    cache.run(ONE)
    cache.run(TWO)
    assert not cache.prefixes.make_room(200)
    assert cache.kv.holds(ONE)
    assert cache.kv.holds(TWO)


def test_when_slots_run_short_the_one_not_used_for_longest_is_emptied():
    cache = Cache(slots=2)
    cache.keep(ONE, TWO, THREE)
    assert [cache.kv.holds(text) for text in (ONE, TWO, THREE)] == [False, True, True]


def test_a_prompt_fits_when_kept_ones_can_make_room_for_it():
    cache = Cache(cells=320)
    cache.keep(ONE, TWO, THREE)
    cache.run(FOUR)
    assert cache.prefixes.fits(as_tokens(tokens_of("x" * 200)), 20)
    assert not cache.prefixes.fits(as_tokens(tokens_of("x" * 200)), 21)


def test_what_a_prompt_shares_with_a_running_one_needs_no_room():
    cache = Cache(cells=320)
    cache.run(SYSTEM + ONE)
    left = 320 - len(SYSTEM + ONE)
    assert cache.prefixes.fits(as_tokens(tokens_of(SYSTEM + "x" * left)), 0)
    assert not cache.prefixes.fits(as_tokens(tokens_of(SYSTEM + "x" * left)), 1)


def test_what_a_prompt_shares_with_a_kept_one_needs_room_all_the_same():
    cache = Cache(cells=320)
    cache.keep(ONE + TWO)
    cache.run(THREE)
    assert not cache.prefixes.fits(as_tokens(tokens_of(ONE + TWO + FOUR)), 0)


# --- in RAM ---


def swapped_out(*texts: str, cells: int = 400, ram: int = PLENTY) -> Cache:
    """A cache whose texts all lie in RAM, and nothing in the KV cache."""
    cache = Cache(cells=cells, ram=ram)
    for text in texts:
        cache.keep(text)
        assert cache.prefixes.make_room(cells)
    return cache


def test_a_prompt_that_fell_out_comes_back_from_ram():
    cache = swapped_out(ONE + TWO + THREE)
    assert cache.begin(ONE + TWO + THREE + FOUR)[1] == ONE + TWO + THREE


def test_a_part_of_a_prompt_comes_back_from_ram():
    cache = swapped_out(ONE + TWO + THREE)
    assert cache.begin(ONE + TWO + FOUR)[1] == ONE + TWO


def test_what_comes_back_can_go_on_and_fall_out_again():
    cache = swapped_out(ONE + TWO, ONE + TWO + THREE, ONE + TWO + FOUR)
    assert cache.begin(ONE + TWO + THREE + FOUR)[1] == ONE + TWO + THREE


def test_a_beginning_that_several_share_goes_to_ram_once():
    shared = message("shared", 2 * BLOCK)
    cache = swapped_out(shared + ONE, shared + TWO)
    assert cache.kv.saved == [(0, BLOCK), (BLOCK, 2 * BLOCK), *[(2 * BLOCK, 2 * BLOCK + 100)] * 2]
    assert cache.begin(shared + TWO + "!")[1] == shared + TWO


def test_what_is_in_ram_already_is_not_saved_again():
    cache = swapped_out(ONE + TWO, ONE + TWO)
    assert len(cache.kv.saved) == 2


def test_only_what_the_kv_cache_does_not_hold_comes_from_ram():
    first, second = message("first", BLOCK), message("second", BLOCK)
    cache = swapped_out(first + second + ONE, cells=800)
    cache.run(first + "and now for something else")
    cache.kv.loaded.clear()
    assert cache.begin(first + second + ONE + TWO)[1] == first + second + ONE
    assert cache.kv.loaded == [(BLOCK, 2 * BLOCK), (2 * BLOCK, 2 * BLOCK + 100)]
    assert cache.kv.used == len(first + "and now for something else" + second + ONE)


def test_for_a_few_tokens_nothing_is_loaded():
    few = message("few", LEAST_FROM_RAM - 1)
    cache = swapped_out(ONE + few)
    cache.run(ONE)
    cache.kv.loaded.clear()
    assert cache.begin(ONE + few + TWO)[1] == ONE
    assert not cache.kv.loaded


def test_as_much_is_loaded_as_there_is_room_for():
    text = message("long", 3 * BLOCK)
    cache = swapped_out(text, cells=400)
    cache.run(ONE)
    assert cache.begin(text)[1] == text[: 2 * BLOCK]


def test_the_bytes_in_ram_never_exceed_their_limit():
    cache = swapped_out(ONE, TWO, THREE, ram=4000)
    assert 0 < cache.prefixes.ram_used <= 4000
    assert cache.begin(ONE + FOUR)[1] == ""
    assert cache.begin(THREE + FOUR)[1] == THREE


def test_without_ram_nothing_comes_back():
    cache = swapped_out(ONE, ram=0)
    assert cache.begin(ONE + TWO)[1] == ""
    assert cache.prefixes.ram_used == 0


def test_what_is_known_is_in_the_kv_cache_or_in_ram():
    cache = swapped_out(ONE + TWO)
    cache.keep(SYSTEM)
    assert cache.prefixes.known(as_tokens(tokens_of(ONE + TWO + THREE))) == 200
    assert cache.prefixes.known(as_tokens(tokens_of(SYSTEM + THREE))) == len(SYSTEM)
    assert cache.prefixes.known(as_tokens(tokens_of(THREE))) == 0


# --- chats that lost their oldest messages ---


def test_a_chat_that_lost_its_oldest_message_keeps_the_rest():
    cache = Cache()
    cache.keep(SYSTEM + ONE + TWO + THREE)
    slot, held = cache.begin(SYSTEM + TWO + THREE + FOUR)
    assert held == SYSTEM + TWO + THREE
    assert slot.shifted
    cache.read(slot, SYSTEM + TWO + THREE + FOUR)
    assert not slot.shifted


def test_a_chat_without_a_beginning_can_lose_its_oldest_message():
    cache = Cache()
    cache.keep(ONE + TWO + THREE)
    assert cache.begin(TWO + THREE + FOUR)[1] == TWO + THREE


def test_what_followed_the_part_that_is_left_goes():
    cache = Cache()
    cache.keep(SYSTEM + ONE + TWO + THREE)
    assert cache.begin(SYSTEM + TWO + FOUR[:50])[1] == SYSTEM + TWO
    assert not cache.kv.holds(SYSTEM + ONE)


def test_the_longest_part_that_is_left_counts():
    cache = Cache()
    cache.keep(SYSTEM + ONE + TWO[:80] + FOUR, SYSTEM + ONE + TWO + THREE)
    assert cache.begin(SYSTEM + TWO + THREE + FOUR[:50])[1] == SYSTEM + TWO + THREE


def test_a_model_that_cannot_shift_reads_the_rest_again():
    cache = Cache(can_shift=False)
    cache.keep(SYSTEM + ONE + TWO + THREE)
    assert cache.begin(SYSTEM + TWO + THREE + FOUR)[1] == SYSTEM


def test_a_running_chat_is_not_shifted_for_another():
    cache = Cache()
    cache.run(SYSTEM + ONE + TWO + THREE)
    assert cache.begin(SYSTEM + TWO + THREE + FOUR)[1] == SYSTEM
    assert cache.kv.holds(SYSTEM + ONE + TWO + THREE)


def test_a_short_passage_that_two_chats_share_is_not_moved_from_one_to_the_other():
    cache = Cache()
    shared = TWO[: LEAST_SHIFT - 1]
    cache.keep(SYSTEM + ONE + shared + THREE)
    assert cache.begin(SYSTEM + shared + "?!")[1] == SYSTEM


def test_a_passage_is_moved_only_when_it_is_most_of_the_prompt():
    cache = Cache()
    cache.keep(SYSTEM + ONE + TWO)
    assert cache.begin(SYSTEM + TWO + THREE + "!")[1] == SYSTEM


def test_a_passage_that_is_not_the_next_message_is_not_moved():
    cache = Cache()
    cache.keep(SYSTEM + ONE + TWO)
    assert cache.begin(SYSTEM + FOUR[:10] + TWO)[1] == SYSTEM


def test_what_is_held_elsewhere_anyway_is_not_shifted_for():
    cache = Cache()
    cache.keep(SYSTEM + ONE + TWO, SYSTEM + TWO + THREE + FOUR)
    assert cache.begin(SYSTEM + TWO + "!")[1] == SYSTEM + TWO
    assert cache.kv.cuts == 0


def test_a_chat_that_went_to_ram_is_shifted_from_there():
    long = message("long", 2 * BLOCK)
    cache = swapped_out(SYSTEM + ONE + TWO + THREE + long, cells=1000)
    slot, held = cache.begin(SYSTEM + TWO + THREE + long + FOUR)
    assert held == SYSTEM + TWO + THREE + long
    assert slot.shifted
    cache.read(slot, SYSTEM + TWO + THREE + long + FOUR)


def test_of_several_chats_in_ram_the_right_one_is_shifted():
    others = [SYSTEM + message(f"other {number}", 3 * BLOCK) for number in range(3)]
    cache = swapped_out(others[0], SYSTEM + ONE + TWO + THREE, *others[1:], cells=1000)
    assert cache.begin(SYSTEM + TWO + THREE + FOUR[:50])[1] == SYSTEM + TWO + THREE


@pytest.mark.parametrize(("cells", "held"), [(500, SYSTEM + TWO[: 2 * BLOCK - len(SYSTEM + ONE)]), (400, SYSTEM)])
def test_a_chat_in_ram_is_shifted_as_far_as_there_is_room_to_load_it(cells: int, held: str):
    cache = swapped_out(SYSTEM + ONE + TWO + THREE, cells=cells)
    cache.run(message("busy", 200))
    assert cache.begin(SYSTEM + TWO + THREE[:50])[1] == held


def shared_chats(cells: int) -> Cache:
    """An idle chat, and a running one that holds most of its cells too."""
    cache = Cache(cells=cells)
    cache.keep(SYSTEM + ONE + TWO + THREE)
    cache.run(SYSTEM + ONE + TWO + FOUR)
    return cache


def test_cells_that_another_chat_holds_too_are_moved_as_copies():
    cache = shared_chats(cells=2000)
    slot, held = cache.run(SYSTEM + TWO + THREE)
    assert held == (SYSTEM + TWO + THREE)[:-1]
    assert cache.kv.holds(SYSTEM + ONE + TWO + FOUR)
    assert slot.number == 0


def test_without_room_for_copies_the_rest_is_read_again():
    cache = shared_chats(cells=len(SYSTEM + ONE + TWO + FOUR) + 110)
    assert cache.begin(SYSTEM + TWO + THREE[:20])[1] == SYSTEM
    assert cache.kv.holds(SYSTEM + ONE + TWO + FOUR)


def test_moved_cells_that_no_decode_has_made_up_for_are_not_kept():
    cache = Cache(ram=PLENTY)
    cache.keep(SYSTEM + ONE + TWO + THREE)
    slot, _ = cache.begin(SYSTEM + TWO + THREE + FOUR)
    assert cache.prefixes.shifting
    cache.prefixes.release(slot)
    assert not cache.prefixes.shifting
    assert cache.kv.used == 0


def test_a_copy_of_moved_cells_is_not_kept_either():
    cache = Cache()
    cache.keep(SYSTEM + ONE + TWO + THREE)
    cache.begin(SYSTEM + TWO + THREE + FOUR)
    twin, held = cache.begin(SYSTEM + TWO + THREE + ONE)
    assert held == SYSTEM + TWO + THREE
    cache.prefixes.release(twin)
    assert not twin.tokens


# --- a range that is taken out ---


def test_what_follows_a_cut_moves_down():
    cache = Cache()
    slot, _ = cache.run(ONE + TWO + THREE)
    cache.prefixes.cut(slot, 100, 200)
    assert tuple(slot.tokens) == tokens_of(ONE + THREE)
    cache.check(slot)


def test_where_nothing_can_move_a_cut_drops_what_follows_too():
    cache = Cache(can_shift=False)
    slot, _ = cache.run(ONE + TWO + THREE)
    cache.prefixes.cut(slot, 100, 200)
    assert tuple(slot.tokens) == tokens_of(ONE)
    cache.check(slot)


def test_where_nothing_can_be_trimmed_a_cut_drops_all():
    cache = Cache(can_trim=False)
    slot, _ = cache.run(ONE + TWO + THREE)
    cache.prefixes.cut(slot, 100, 200)
    assert slot.tokens == []
    cache.check(slot)


def test_cells_that_are_only_dropped_may_be_shared():
    cache = Cache(cells=320)
    cache.run(ONE + TWO)
    slot, _ = cache.run(ONE + TWO + THREE)
    cache.prefixes.cut(slot, 50, 200)  # there is no room to copy anything, and no need
    assert tuple(slot.tokens) == tokens_of(ONE[:50] + THREE)
    cache.check(slot)


def test_moved_cells_cannot_be_copied_before_the_next_decode():
    cache = Cache()
    slot, _ = cache.run(ONE + TWO + THREE)
    cache.prefixes.cut(slot, 100, 200)
    cache.begin(ONE + THREE + FOUR)
    cache.prefixes.cut(slot, 50, 100)
    assert tuple(slot.tokens) == tokens_of(ONE[:50])
    cache.check(slot)


def test_a_trim_to_more_than_there_is_changes_nothing():
    cache = Cache()
    slot, _ = cache.run(ONE)
    cache.prefixes.trim(slot, 100)
    assert tuple(slot.tokens) == tokens_of(ONE)


# --- models whose memory cannot be trimmed ---


def state_cache(*texts: str) -> Cache:
    cache = Cache(slots=2, can_trim=False, ram=PLENTY)
    cache.keep(*texts)
    return cache


def test_a_running_state_goes_on_where_it_stopped():
    assert state_cache(ONE).begin(ONE + TWO)[1] == ONE


def test_of_two_states_the_one_that_has_read_more_goes_on():
    cache = state_cache()
    running = [cache.run(text)[0] for text in (ONE, ONE + TWO)]
    for slot in running:
        cache.prefixes.release(slot)
    assert cache.begin(ONE + TWO + THREE)[1] == ONE + TWO


@pytest.mark.parametrize("prompt", [ONE, ONE[:50] + TWO, ONE + TWO[:50], THREE])
def test_a_state_that_has_read_anything_else_is_of_no_use(prompt):
    assert state_cache(ONE + TWO).begin(prompt)[1] == ""


def test_a_state_is_never_saved():
    cache = state_cache(ONE, TWO, THREE)
    assert cache.prefixes.ram_used == 0


def test_a_running_state_is_not_shared():
    cache = state_cache()
    cache.run(ONE)
    assert cache.begin(ONE + TWO)[1] == ""
    assert not cache.prefixes.fits(as_tokens(tokens_of(ONE + "x" * 1801)), 0)


def test_with_ram_to_go_to_only_the_prompt_used_last_keeps_its_cells():
    cache = Cache(cells=1600, ram=PLENTY)
    texts = [f"{number}" * 150 for number in range(6)]
    cache.keep(*texts)
    assert cache.prefixes.cells_kept() == 150
    assert cache.begin(texts[5])[1] == texts[5][:-1]
    assert cache.begin(texts[0])[1] == texts[0][:-1], "from RAM"


def test_with_ram_to_go_to_no_idle_prompt_keeps_cells_beside_a_running_one():
    cache = Cache(cells=1600, ram=PLENTY)
    cache.keep("a" * 150, "b" * 150)
    cache.run("c" * 150)
    assert cache.prefixes.cells_kept() == 0
    assert cache.begin("b" * 150)[1] == "b" * 149, "from RAM"


def test_without_ram_to_go_to_idle_prompts_keep_all_cells():
    cache = Cache(cells=1600)
    cache.keep(*(f"{number}" * 150 for number in range(6)))
    assert cache.prefixes.cells_kept() == 900


def test_the_prompt_used_last_is_kept_whole_however_long():
    cache = Cache(cells=1600, ram=PLENTY)
    cache.keep("a" * 900)
    assert cache.prefixes.cells_kept() == 900


# --- what can be taken elsewhere and brought back ---


LONG = "".join(message(name) for name in ("emil", "frida", "gustav"))


def said_in(blocks: list[Block]) -> str:
    """The text of blocks that must stand one behind the other."""
    assert [block.start for block in blocks] == [0, *(block.end for block in blocks[:-1])]
    return bytes(token for block in blocks for token in block.tokens).decode()


def test_nothing_was_used_last_where_nothing_was_read():
    assert Cache().prefixes.newest() == []
    assert Cache(reuse=False).prefixes.newest() == []


@pytest.mark.parametrize("ram", [0, PLENTY])
def test_the_chat_that_ended_last_is_given_whole_and_in_blocks(ram):
    cache = Cache(ram=ram)
    cache.keep(ONE, LONG)
    blocks = cache.prefixes.newest()
    assert said_in(blocks) == LONG
    assert [len(block.tokens) for block in blocks] == [BLOCK, BLOCK, len(LONG) - 2 * BLOCK]
    assert cache.kv.holds(LONG), "it is still there"


def test_a_running_chat_was_used_later_than_one_that_ended_before_it_began():
    cache = Cache()
    cache.keep(ONE)
    cache.run(TWO)
    assert said_in(cache.prefixes.newest()) == TWO


def test_a_chat_that_ended_was_used_later_than_one_that_runs_since_before():
    cache = Cache()
    ended, _ = cache.run(ONE)
    cache.run(TWO)
    cache.prefixes.release(ended)
    assert said_in(cache.prefixes.newest()) == ONE


def test_cells_that_are_being_moved_are_not_given():
    cache = Cache()
    slot, _ = cache.run(ONE + TWO + THREE)
    cache.prefixes.cut(slot, 50, 100)
    assert cache.prefixes.newest() == []


@pytest.mark.parametrize("ram", [0, 3000, PLENTY], ids=["no ram", "little ram", "ram"])
def test_what_is_brought_back_is_found_by_the_prompt_that_goes_on_from_it(ram):
    first, second = Cache(), Cache(ram=ram)
    first.keep(LONG)
    second.keep(ONE)
    assert second.prefixes.restore(first.prefixes.newest()) == len(LONG)
    assert said_in(second.prefixes.newest()) == LONG, "it is what was used last now"
    slot, held = second.run(LONG + TWO)
    assert held == LONG
    second.check(slot)


def test_what_is_brought_back_goes_to_ram_like_any_other_chat():
    first, second = Cache(), Cache(ram=PLENTY)
    first.keep(LONG)
    second.prefixes.restore(first.prefixes.newest())
    second.run(TWO)
    assert not second.kv.holds(LONG)
    assert second.begin(LONG + THREE)[1] == LONG


def test_what_is_brought_back_makes_room_for_itself_but_not_at_the_cost_of_a_running_prompt():
    first, second = Cache(), Cache(cells=490)
    first.keep(LONG)
    second.keep(ONE)
    second.run(TWO + THREE)
    assert second.prefixes.restore(first.prefixes.newest()) == 2 * BLOCK, "whole blocks, as many as fit"
    assert second.kv.holds(TWO + THREE)
    assert second.begin(LONG)[1] == LONG[: 2 * BLOCK]


def test_without_reuse_nothing_is_brought_back():
    first, second = Cache(), Cache(reuse=False)
    first.keep(LONG)
    assert second.prefixes.restore(first.prefixes.newest()) == 0
    assert second.kv.used == 0


def test_nothing_is_brought_back_where_every_slot_runs():
    first, second = Cache(), Cache(slots=2)
    first.keep(LONG)
    second.run(ONE)
    second.run(TWO)
    assert second.prefixes.restore(first.prefixes.newest()) == 0
