"""Which lines of the log are in sight, and the report for a bug, decided without a display."""

import logging
from pathlib import Path

import pytest

from gui.view.log import LONGEST_LINE, REPORTED_LINES, LogFilter, bug_report, entry_of
from server import VERSION
from server.settings import Settings
from server.snapshot import Snapshot
from tests.fake_controller import BUSY


@pytest.mark.parametrize(
    ("wanted", "passes"),
    [
        (LogFilter(), True),
        (LogFilter("ENGINE ready"), True),
        (LogFilter("ready now"), False),
        (LogFilter(problems=True), False),
    ],
)
def test_a_filter_wants_all_its_words_in_any_order(wanted, passes):
    assert wanted.lets(entry_of("ready is the engine", logging.INFO, "10:00:00")) is passes


@pytest.mark.parametrize(
    ("level", "tag"), [(logging.INFO, ""), (logging.WARNING, "warning"), (logging.ERROR, "error"), (50, "error")]
)
def test_problems_are_warnings_and_errors(level, tag):
    entry = entry_of("x", level, "10:00:00")
    assert entry.tag == tag
    assert LogFilter(problems=True).lets(entry) is bool(tag)


def test_a_line_that_would_freeze_the_window_is_cut():
    assert len(entry_of("x" * 100_000, 20, "").text) == LONGEST_LINE + 1


def test_a_report_names_versions_model_and_settings_and_the_last_lines():
    entries = [entry_of(f"line {number};", 20, "10:00:00") for number in range(REPORTED_LINES + 50)]
    report = bug_report(Settings(gpulayers=12), BUSY, entries)
    assert report.startswith(f"Tavernkeep {VERSION} on ")
    assert "llama-cpp-python 0.3" in report
    assert "Model: Mistral-Nemo-Instruct-2407-Q4_K_M" in report
    assert "gpulayers: 12" in report
    assert "line 50;" in report
    assert "line 49;" not in report


def test_a_report_holds_no_secret_and_no_name_of_the_users_folder():
    settings = Settings(model=str(Path.home() / "models" / "a.gguf"), password="hunter2")
    report = bug_report(settings, Snapshot(), [])
    assert "password: (hidden)" in report
    assert "hunter2" not in report
    assert str(Path.home()) not in report
    assert "model: ~" in report


def test_untouched_settings_are_said_to_be_so():
    assert "not the defaults:\n  none\n" in bug_report(Settings(), Snapshot(), [])
