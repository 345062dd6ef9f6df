"""What the benchmark computes: prompts, the reading of streams, gaps, tables, verdicts; and a soak of some seconds."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench import peers, report, soak_report
from bench.client import Refused, Reply, read_stream
from bench.holdings import Holdings
from bench.prompts import prose, turn
from bench.report import Measurement
from bench.scenarios import SCENARIOS, Row, gaps, percentile
from bench.soak import Findings
from bench.traffic import KINDS, Visit
from bench.visitor import Answer

SPEED = Row("speed", "tokens/s", more_is_better=True)
WAIT = Row("wait", "ms")


def frames(*texts: str, finish: str | None = None, usage: int | None = None) -> list[bytes]:
    events: list[dict[str, object]] = [{"choices": [{"text": text, "finish_reason": None}]} for text in texts]
    events.append({"choices": [{"text": "", "finish_reason": finish}]})
    if usage:
        events.append({"choices": [], "usage": {"completion_tokens": usage}})
    return [b"data: " + json.dumps(event).encode() + b"\n\n" for event in events]


def read(pieces: list[bytes], asked: int = 9) -> Reply:
    return read_stream([(float(moment), piece) for moment, piece in enumerate(pieces, 1)], 0.0, 10.0, asked)


def test_a_prompt_has_the_wanted_length():
    assert len(prose("any", 1200).replace(".", " .").split()) == 1200


def test_another_seed_is_another_prompt_from_its_beginning():
    beginnings = {tuple(prose(f"story {number}", 60).split()[:5]) for number in range(500)}
    assert len(beginnings) == 500


def test_the_same_seed_is_the_same_prompt():
    assert turn("a") == turn("a")


def test_the_pieces_of_a_stream_are_read_with_their_moments():
    reply = read(frames("Hello", " there", usage=2))
    assert (reply.text, reply.tokens, reply.arrivals) == ("Hello there", 2, (1.0, 2.0))


def test_a_piece_may_end_anywhere():
    whole = b"".join(frames("Hello", " there"))
    reply = read([whole[:20], whole[20:90], whole[90:]])
    assert reply.text == "Hello there"


def test_tokens_are_counted_by_usage_then_by_the_reason_of_the_end_then_by_pieces():
    assert read(frames("a", "b", finish="length", usage=7)).tokens == 7
    assert read(frames("a", "b", finish="length")).tokens == 9
    assert read(frames("a", "b", finish="stop")).tokens == 2


def test_an_error_in_a_stream_is_no_reply():
    with pytest.raises(Refused, match="too long"):
        read([b'data: {"error": {"message": "too long"}}\n\n'])


def test_speed_counts_from_the_first_token_to_the_last():
    reply = Reply("", 5, 0.0, (1.0, 2.0, 3.0), 9.0)
    assert (reply.first_token, reply.speed) == (1.0, 2.0)


def test_gaps_are_those_that_touch_the_time_between_two_moments():
    reply = Reply("", 5, 0.0, (1.0, 2.0, 4.0, 7.0, 11.0, 16.0), 16.0)
    assert gaps(reply, 3.0, 8.0) == [2.0, 3.0, 4.0]


@pytest.mark.parametrize(("percent", "expected"), [(50, 50), (99, 99)])
def test_percentiles_are_values_that_were_measured(percent, expected):
    assert percentile(list(range(100, 0, -1)), percent) == expected


def test_the_99th_percentile_of_a_few_values_is_the_largest():
    assert percentile([3.0, 1.0, 2.0], 99) == 3.0


def test_a_ratio_above_one_is_better_whatever_the_unit():
    assert report.times_better(SPEED, [20.0], [10.0]) == 2.0
    assert report.times_better(WAIT, [10.0], [20.0]) == 2.0


def test_a_table_has_medians_ranges_and_ratios():
    values = {"tavernkeep": (90.0, 100.0, 120.0), "other": (50.0, 50.0, 50.0)}
    measured = [Measurement(SPEED, server, 0, value) for server in values for value in values[server]]
    lines = report.tables([*measured, Measurement(WAIT, "tavernkeep", 0, 7.4)]).splitlines()
    assert lines[2:] == [
        "| | tavernkeep | other |",
        "|---|---|---|",
        "| speed, tokens/s | 100.0 (90.0 to 120.0) | 50.0 (50.0 to 50.0), **2.00x** |",
        "| wait, ms | 7 |  |",
    ]


def test_busy_machines_have_tables_of_their_own():
    measured = [Measurement(SPEED, "tavernkeep", busy, 1.0) for busy in (2, 0, 1)]
    titles = [line for line in report.tables(measured).splitlines() if line.startswith("#")]
    assert titles == ["### Quiet machine", "### Beside 1 busy process", "### Beside 2 busy processes"]


def test_results_are_written_between_their_marks(tmp_path):
    file = tmp_path / "RESULTS.md"
    file.write_text("# Results\n", "utf-8")
    report.write(file, "first")
    with file.open("a", encoding="utf-8") as results:
        results.write("a remark\n")
    report.write(file, "second")
    text = file.read_text("utf-8")
    assert "first" not in text
    assert [line for line in text.splitlines() if line][0::2] == ["# Results", "second", "a remark"]


@pytest.mark.parametrize(
    "peer",
    [
        peers.Tavernkeep(),
        peers.LlamaServer(Path("program")),
        peers.LlamaCppServer(Path("program")),
        peers.KoboldCpp(Path("program")),
    ],
    ids=lambda peer: peer.name,
)
def test_every_server_gets_the_same_model_threads_context_and_port(peer):
    command = peer.command(peers.Setup(Path("some.gguf"), threads=3, context=4444), 5555)
    assert {"some.gguf", "3", "4444", "5555"} <= set(command)


def test_scenarios_and_rows_have_names_of_their_own():
    names = [scenario.name for scenario in SCENARIOS]
    titles = [row.title for scenario in SCENARIOS for row in scenario.rows]
    assert len(set(names)) == len(names)
    assert len(set(titles)) == len(titles)


HELD = Holdings(1, 100.0, 50.0, files=18, threads=69, children=2, connections=(("LISTEN", 2),))


def faults(**found: object) -> list[str]:
    held = {"launcher": [HELD, HELD], "engine": [HELD, HELD], "status": [3.0]}
    return soak_report.faults(Findings(**{**held, **found}), growth=5, slowest=200)


def test_a_soak_that_changes_nothing_has_held():
    assert faults(visits=[Visit("a kind", "200", 0.1, 0.0, right=True)]) == []


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"uss": 53.0}, "The launcher has grown by 6.0 %."),
        ({"files": 19}, "The launcher holds 1 files more than after the warm-up."),
        ({"threads": 71}, "The launcher holds 2 threads more than after the warm-up."),
        ({"children": 3}, "The launcher holds 1 children more than after the warm-up."),
    ],
)
def test_a_soak_finds_what_grows(change, sentence):
    assert faults(launcher=[HELD, dataclasses.replace(HELD, **change)]) == [sentence]


def test_a_soak_finds_late_answers_and_wrong_outcomes():
    visits = [Visit("a kind", "500", 0.1, 0.0, right=False)] * 2
    assert faults(visits=visits, status=[201.0, 3.0]) == [
        "a kind: 500, 2 times.",
        "1 of 2 status requests took over 200 ms.",
    ]


@pytest.mark.parametrize(
    ("message", "outcome"),
    [
        ("The server is busy: its queue is full. Try again in a moment.", "503 busy"),
        ("The model is loading (40%).", "503 loading"),
        ("The model was unloaded.", "503 unloaded"),
        ("The cat sat on it.", '503 undocumented: {"error": "The cat sat on it."}'),
    ],
)
def test_a_503_is_told_by_its_documented_reason(message, outcome):
    assert Answer(503, json.dumps({"error": message}).encode()).outcome == outcome


def test_a_small_soak_holds(starter_model):
    small = ["--minutes", "0.1", "--visitors", "4", "--crowd", "4", "--half-open", "20"]
    tolerant = ["--growth", "100", "--slowest", "10000"]  # so little traffic warms nothing up
    command = [sys.executable, "-m", "bench.soak", *small, *tolerant]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert run.stdout.endswith("It held.\n"), run.stdout + run.stderr
    assert run.returncode == 0


def test_kinds_of_visits_have_names_of_their_own():
    assert len({kind.name for kind in KINDS}) == len(KINDS)
