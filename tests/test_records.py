"""What a run leaves on disk: its log, and a report if it crashed. The runs are processes of their own."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
RUN = """
import logging, os, sys, threading
from pathlib import Path
logging.basicConfig()
logging.getLogger("tavernkeep").setLevel(logging.INFO)
from server import records
records.LARGEST_LOG = 2000
kept = records.Records(Path(sys.argv[1]))
{}
kept.close()
"""


def run(folder, code="pass"):
    """A run that does ``code``; returns what it said on standard error."""
    command = [sys.executable, "-c", RUN.format(code), str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    return done.stderr


def texts(folder, pattern):
    return [file.read_text("utf-8") for file in sorted(folder.glob(pattern))]


def test_a_run_leaves_its_log_and_nothing_else(tmp_path):
    run(tmp_path / "new", "logging.getLogger('tavernkeep.engine').warning('The roof leaks.')")
    (log,) = texts(tmp_path / "new", "*")
    assert re.search(r"INFO Tavernkeep \d+\.\d+\.\d+, Python 3", log)
    assert "WARNING The roof leaks." in log


def test_an_error_that_ends_the_run_is_reported_and_told_by_the_next_run_alone(tmp_path):
    said = run(tmp_path, "{}['ale']")
    (report,) = texts(tmp_path, "*_crash.txt")
    assert "KeyError: 'ale'" in report
    assert "Traceback" in said
    assert "Tavernkeep crashed: KeyError" in texts(tmp_path, "*.log")[0]
    assert "The last run crashed. Its report is" in run(tmp_path)
    assert "crashed" not in run(tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals to send")
def test_a_native_crash_is_reported(tmp_path):
    run(tmp_path, f"os.kill(os.getpid(), {int(signal.SIGSEGV)})")
    (report,) = texts(tmp_path, "*_crash.txt")
    assert "Segmentation fault" in report
    assert "The last run crashed" in run(tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals to send")
def test_a_run_that_was_killed_has_not_crashed(tmp_path):
    run(tmp_path, f"os.kill(os.getpid(), {int(signal.SIGKILL)})")
    assert "crashed" not in run(tmp_path)


def test_a_run_that_only_woke_a_window_leaves_nothing(tmp_path):
    run(tmp_path, "kept.discard()")
    assert not list(tmp_path.iterdir())


def test_names_that_are_no_text_are_written_all_the_same(tmp_path):
    said = run(
        tmp_path, r"logging.getLogger('tavernkeep').info('Loading %s.', b'm\xff.gguf'.decode(errors='surrogateescape'))"
    )
    assert "Loading m\\udcff.gguf." in texts(tmp_path, "*.log")[0]
    assert "Logging error" not in said


def test_a_thread_that_goes_wrong_is_logged_and_the_run_goes_on(tmp_path):
    code = "thread = threading.Thread(target=lambda: 1 / 0, name='tap'); thread.start(); thread.join()"
    run(tmp_path, code)
    (log,) = texts(tmp_path, "*")
    assert "The thread tap went wrong." in log
    assert "ZeroDivisionError" in log


def test_the_last_ten_runs_stay(tmp_path):
    for number in range(12):
        name = f"2020-01-01_000000_{number:06}"
        (tmp_path / f"{name}.log").touch()
        (tmp_path / f"{name}.log.1").touch()
        (tmp_path / f"{name}_crash.txt").touch()
    run(tmp_path)
    logs = sorted(file.name for file in tmp_path.glob("*.log"))
    assert len(logs) == 10
    assert logs[0] == "2020-01-01_000000_000003.log"
    assert len(list(tmp_path.iterdir())) == 10 + 9 + 9


def test_a_run_that_says_much_keeps_its_end(tmp_path):
    run(tmp_path, "for number in range(200): logging.getLogger('tavernkeep').info('Round %d.', number)")
    assert {file.suffix for file in tmp_path.iterdir()} == {".log", ".1"}
    assert all(file.stat().st_size <= 2000 for file in tmp_path.iterdir())
    assert "Round 199." in texts(tmp_path, "*.log")[0]


def test_two_runs_at_once_have_logs_of_their_own(tmp_path):
    run(tmp_path, f"import subprocess; subprocess.run([sys.executable, '-c', {RUN.format('pass')!r}, sys.argv[1]])")
    assert len(texts(tmp_path, "*.log")) == 2


def test_without_a_folder_to_write_the_run_goes_on_and_says_so(tmp_path):
    taken = tmp_path / "a file"
    taken.touch()
    said = run(taken / "logs", "print('still here', file=sys.stderr)")
    assert "No log is kept of this run" in said
    assert "still here" in said
    assert os.listdir(tmp_path) == ["a file"]
