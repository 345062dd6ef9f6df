"""The live page's words and the history behind its chart, decided without a display."""

import pytest

from gui.view.history import SECONDS, STEP, History, round_top
from gui.view.live import MOST_ROWS, live_view
from server.events import EngineState, EngineStats
from server.snapshot import MachineUse, RequestRow, Snapshot

READY = Snapshot(EngineState.READY)


def test_a_sample_is_the_mean_of_what_was_seen_meanwhile():
    history = History()
    history.take(0.0, 10.0)
    for tick in range(1, 5):
        history.take(tick * STEP / 5, 20.0)
    history.take(STEP, 70.0)
    assert list(history.samples)[-2:] == [10.0, 30.0]
    assert history.peak == 70.0


def test_the_history_forgets_what_is_older_than_the_chart():
    history = History()
    for step in range(int(SECONDS / STEP) + 10):
        history.take(step * STEP, float(step))
    assert len(history.samples) == SECONDS / STEP
    assert history.samples[0] == 10.0


@pytest.mark.parametrize(
    ("highest", "top"), [(0, 10), (10, 10), (10.1, 20), (21, 50), (51, 100), (100.5, 200), (450, 500), (999, 1000)]
)
def test_the_top_of_the_chart_is_a_round_number(highest, top):
    assert round_top(highest) == top


def test_more_requests_than_lines_are_counted():
    requests = tuple(RequestRow(number, "x", "/v1", 1, 1) for number in range(MOST_ROWS + 5))
    view = live_view(Snapshot(EngineState.READY, requests=requests), History(), set())
    assert len(view.lines) == MOST_ROWS
    assert view.more == "… and 5 requests more"


def test_before_the_first_reply_nothing_is_invented():
    view = live_view(READY, History(), set())
    assert [view.first_token.value, view.cached.value, view.context.value, view.memory.value] == ["—"] * 4
    assert view.speed.note == "none yet"
    assert "Nobody is asking" in view.quiet


def test_without_a_model_the_page_says_what_to_do():
    assert "launch page" in live_view(Snapshot(), History(), set()).quiet


def test_with_a_gpu_its_memory_is_shown_and_ours_in_ram_beside_it():
    machine = MachineUse(0.5, 8 * 10**9, 16 * 10**9, own=10**9)
    stats = EngineStats(vram_used=6 * 10**9, vram_total=8 * 10**9)
    memory = live_view(Snapshot(EngineState.READY, stats=stats, machine=machine), History(), set()).memory
    assert (memory.value, memory.note, memory.fill) == ("6.0 GB", "of 8.0 GB VRAM; RAM: 1.0 GB", 0.75)
    assert live_view(Snapshot(EngineState.READY, machine=machine), History(), set()).memory.value == "1.0 GB"
