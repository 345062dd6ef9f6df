"""Counting the cells of the KV cache: what is free, what is shared, and that a real cache comes to the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.engine.cells import Cells
from tests.fake_model import FakeKV

SLOTS = 3


def test_at_first_every_cell_is_free():
    assert Cells(10, SLOTS).free == 10


def test_each_token_takes_a_cell():
    cells = Cells(10, SLOTS)
    cells.extend(0, 4)
    cells.extend(1, 1)
    assert cells.free == 5


def test_the_last_cell_can_be_taken():
    cells = Cells(10, SLOTS)
    cells.extend(0, 10)
    assert cells.free == 0


def test_more_cells_than_there_are_cannot_be_taken():
    with pytest.raises(AssertionError, match="make room first"):
        Cells(10, SLOTS).extend(0, 11)


@pytest.mark.parametrize("taken", [0, 10])
def test_no_tokens_take_no_cells(taken):
    cells = Cells(10, SLOTS)
    cells.extend(0, taken)
    cells.extend(1, 0)
    assert cells.free == 10 - taken


def test_a_copy_takes_no_cells():
    cells = Cells(10, SLOTS)
    cells.extend(0, 6)
    cells.copy(0, 1, 4)
    assert cells.free == 4


def test_a_shared_cell_is_free_when_nobody_holds_it_any_more():
    cells = Cells(10, SLOTS)
    cells.extend(0, 6)
    cells.copy(0, 1, 4)
    cells.remove(0, 0, 6)
    assert cells.free == 6
    cells.remove(1, 0, 4)
    assert cells.free == 10


def test_shared_cells_count_once():
    cells = Cells(10, SLOTS)
    cells.extend(0, 6)
    cells.copy(0, 1, 4)
    cells.extend(1, 2)
    assert cells.held_by([0]) == cells.held_by([1]) == 6
    assert cells.held_by([0, 1]) == 8
    assert cells.held_by([2]) == cells.held_by([]) == 0


def test_only_the_beginning_is_shared():
    cells = Cells(10, SLOTS)
    cells.extend(0, 6)
    cells.copy(0, 1, 4)
    assert cells.shared(0, 3)
    assert not cells.shared(0, 4)


def test_nothing_is_shared_behind_the_end():
    cells = Cells(10, SLOTS)
    cells.extend(0, 6)
    cells.copy(0, 1, 6)
    assert not cells.shared(0, 6)


def test_after_a_removal_the_later_cells_move_down():
    cells = Cells(10, SLOTS)
    cells.extend(0, 6)
    cells.copy(0, 1, 3)
    cells.remove(0, 1, 4)  # of six cells the first is shared still, the last two never were
    assert cells.shared(0, 0)
    assert not cells.shared(0, 1)
    assert cells.held_by([0]) == 3


operations = st.lists(
    st.tuples(
        st.sampled_from(("extend", "copy", "remove")),
        st.integers(0, SLOTS - 1),
        st.integers(0, SLOTS - 1),
        st.integers(0, 8),
        st.integers(0, 8),
    ),
    max_size=30,
)


@given(operations)
def test_the_count_is_that_of_a_cache_with_real_cells(steps):
    kv, cells = FakeKV(20, SLOTS), Cells(20, SLOTS)
    for name, slot, other, first, second in steps:
        length = len(kv.held[slot])
        if name == "extend" and first <= cells.free:
            cells.extend(slot, first)
            for position in range(length, length + first):
                kv.append(slot, position, 0)
        elif name == "copy" and not kv.held[other] and first < length and slot != other:
            cells.copy(slot, other, first + 1)
            kv.copy(slot, other, first + 1)
        elif name == "remove":
            start, end = sorted((min(first, length), min(second, length)))
            cells.remove(slot, start, end)
            del kv.held[slot][start:end]
    assert cells.free == 20 - kv.used
    assert cells.held_by(range(SLOTS)) == kv.used
    for slot, others in ((0, (1, 2)), (1, (0, 2)), (2, (0, 1))):
        elsewhere = {id(cell) for other in others for cell in kv.held[other]}
        assert cells.shared(slot, 2) == any(id(cell) in elsewhere for cell in kv.held[slot][2:])
