"""Prompts in RAM: found by their beginning, a shared beginning stored once, and never more bytes than allowed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.engine import ram_store
from server.engine.ram_store import Block, RamStore
from tests.fake_model import tokens_of

PLENTY = 10_000


@pytest.fixture(scope="module", autouse=True)
def blocks_of_four():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ram_store, "BLOCK", 4)
        yield


def keep(store: RamStore, text: str) -> list[tuple[int, int]]:
    """Add what is missing of a text, one byte for each token; returns which ranges that were."""
    tokens = tokens_of(text)
    ranges = store.missing(tokens)
    for start, end in ranges:
        store.add(tokens[:end], start, text.encode()[start:end])
    return ranges


def store_of(*texts: str, limit: int = PLENTY) -> RamStore:
    store = RamStore(limit)
    for text in texts:
        keep(store, text)
    return store


def found(store: RamStore, text: str) -> str:
    """How much of a text's beginning the store holds; the blocks must hold just that."""
    blocks, length = store.match(tokens_of(text))
    assert b"".join(block.data for block in blocks)[:length] == text.encode()[:length]
    assert [block.start for block in blocks] == list(range(0, length, ram_store.BLOCK))
    return text[:length]


def blocks_below(block: Block) -> list[Block]:
    return [each for child in block.children for each in (child, *blocks_below(child))]


# --- what is found ---


def alike(store: RamStore, text: str) -> set[str]:
    """The stored texts that share all whole blocks with a text's beginning."""
    return {b"".join(block.data for block in blocks).decode() for blocks in store.alike(tokens_of(text))}


def test_chats_that_begin_alike_are_found_whole():
    store = store_of("abcdefghij", "abcdefgXYZ", "abcdXXXXYY", "wxyz")
    assert alike(store, "abcd and so on") == {"abcdefghij", "abcdefgXYZ", "abcdXXXXYY"}
    assert alike(store, "abcdefgh and so on") == {"abcdefghij"}


def test_with_less_than_a_block_in_common_all_chats_are_alike():
    assert alike(store_of("abcdef", "wxyz"), "ab") == {"abcdef", "wxyz"}
    assert alike(RamStore(PLENTY), "ab") == set()


def test_an_empty_store_knows_nothing():
    assert found(RamStore(PLENTY), "abc") == ""


@pytest.mark.parametrize("text", ["a", "abcd", "abcde", "abcdefgh", "abcdefghij"])
def test_what_was_kept_is_found(text):
    assert found(store_of(text), text) == text


def test_a_text_that_goes_on_is_found_as_far_as_it_was_kept():
    assert found(store_of("abcdef"), "abcdefghijkl") == "abcdef"


def test_a_text_that_is_shorter_is_found_as_a_whole():
    assert found(store_of("abcdefghij"), "abcdef") == "abcdef"


@pytest.mark.parametrize("asked", ["abcdXX", "abcdefXX", "abXX", "XX"])
def test_a_text_is_found_up_to_where_it_differs(asked):
    assert found(store_of("abcdefghij"), asked) == asked.removesuffix("XX")


def test_of_several_the_one_with_the_longest_beginning_is_found():
    store = store_of("abcdefXX", "abcdefghYY", "abXXXXXX")
    assert found(store, "abcdefghij") == "abcdefgh"


def test_a_block_counts_only_after_the_very_text_it_was_computed_from():
    assert found(store_of("aaaabbbb", "ccccdddd"), "aaaadddd") == "aaaa"


# --- what is stored ---


def test_a_text_is_stored_in_blocks():
    assert keep(RamStore(PLENTY), "abcdefghij") == [(0, 4), (4, 8), (8, 10)]


@pytest.mark.parametrize("text", ["abcdefghij", "abcdefgh", "abc"])
def test_nothing_is_missing_of_what_is_known(text):
    assert store_of("abcdefghij").missing(tokens_of(text)) == []


def test_a_shared_beginning_is_stored_once():
    store = store_of("abcdefgh1111")
    assert keep(store, "abcdefgh2222") == [(8, 12)]
    assert store.used == 16


def test_texts_that_part_inside_a_block_are_both_found():
    store = store_of("abcdefgh", "abcdeXXX")
    assert found(store, "abcdefgh") == "abcdefgh"
    assert found(store, "abcdeXXX") == "abcdeXXX"


def test_a_text_that_has_grown_replaces_its_unfinished_block():
    store = store_of("abcdef", "abcdefghij")
    assert found(store, "abcdefghij") == "abcdefghij"
    assert store.used == 10


# --- the limit ---


def test_the_bytes_are_counted():
    assert store_of("abcdefghij").used == 10


def test_without_a_limit_nothing_is_kept():
    assert found(store_of("abcd", limit=0), "abcd") == ""


def test_the_one_not_used_for_longest_is_dropped_first():
    store = store_of("aaaa", "bbbb", "cccc", limit=8)
    assert [found(store, text) for text in ("aaaa", "bbbb", "cccc")] == ["", "bbbb", "cccc"]


def test_to_be_found_is_to_be_used():
    store = store_of("aaaa", "bbbb", limit=8)
    found(store, "aaaa")
    keep(store, "cccc")
    assert [found(store, text) for text in ("aaaa", "bbbb", "cccc")] == ["aaaa", "", "cccc"]


def test_an_end_is_dropped_before_what_leads_to_it():
    store = store_of("aaaabbbbcccc", "dddd", limit=12)
    assert found(store, "aaaabbbbcccc") == "aaaabbbb"
    assert found(store, "dddd") == "dddd"


def test_a_beginning_stays_while_any_text_needs_it():
    store = store_of("aaaa1111", "aaaa2222", "bbbb", limit=12)
    assert found(store, "aaaa1111") == "aaaa"
    assert found(store, "aaaa2222") == "aaaa2222"


def test_a_text_larger_than_the_limit_keeps_its_beginning():
    store = store_of("aaaabbbbccccdd", limit=9)
    assert found(store, "aaaabbbbccccdd") == "aaaabbbb"


def test_a_block_larger_than_the_limit_drops_nothing():
    store = store_of("aaaa", limit=5)
    store.add(tokens_of("bbbb"), 0, b"larger than the limit")
    assert found(store, "aaaa") == "aaaa"


def test_a_block_whose_beginning_was_dropped_is_not_kept():
    store = RamStore(PLENTY)
    store.add(tokens_of("aaaabbbb"), 4, b"bbbb")
    assert store.used == 0


# Few different tokens, so that many texts begin alike.
texts = st.text("ab", max_size=14)


@given(st.lists(st.tuples(st.booleans(), texts), max_size=30), st.integers(0, 40))
def test_the_store_is_always_sound(steps, limit):
    store = RamStore(limit)
    for kept, text in steps:
        if kept:
            keep(store, text)
        else:
            found(store, text)
        blocks = blocks_below(store._root)
        assert store.used == sum(len(block.data) for block in blocks) <= limit
        assert set(store._by_use) == set(blocks)
        assert not blocks or not next(iter(store._by_use)).children


@given(texts, texts, texts)
def test_with_room_for_all_nothing_is_forgotten(first, second, third):
    store = store_of(first, second, third)
    assert [found(store, text) for text in (first, second, third)] == [first, second, third]
