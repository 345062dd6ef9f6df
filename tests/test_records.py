"""What a run leaves on disk: its log, and a report if it crashed. The runs are processes of their own."""

import json
import os
import re
import signal
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest

from server import privacy

ROOT = Path(__file__).resolve().parent.parent
RUN = """
import logging, os, sys, threading
from pathlib import Path
from server import privacy
console = logging.StreamHandler()
console.setFormatter(privacy.LineFormatter())
logging.basicConfig(handlers=[console])
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


def lines(folder):
    """The log of the first run, each line an object."""
    return [json.loads(line) for line in texts(folder, "*.log")[0].splitlines()]


def test_a_run_leaves_its_log_and_nothing_else(tmp_path):
    run(tmp_path / "new", "logging.getLogger('tavernkeep.engine').warning('The roof leaks.')")
    assert [file.suffix for file in (tmp_path / "new").iterdir()] == [".log"]
    first, second = lines(tmp_path / "new")
    assert re.match(r"Tavernkeep \d+\.\d+\.\d+, Python 3", first["message"])
    assert datetime.strptime(first["time"], "%Y-%m-%dT%H:%M:%S%z").tzinfo
    assert second == {**second, "level": "WARNING", "message": "The roof leaks."}


def test_a_line_of_the_log_has_the_fields_that_belong_to_it_and_the_console_has_the_sentence(tmp_path):
    said = run(tmp_path, "logging.getLogger('tavernkeep').info('Two ales.', extra={'route': '/bar', 'tokens': 2})")
    assert list(lines(tmp_path)[1])[1:] == ["level", "message", "route", "tokens"]
    assert said.splitlines()[-1].endswith("Two ales.")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such modes")
def test_nobody_but_the_user_reads_logs_and_reports(tmp_path):
    run(tmp_path, "for number in range(200): logging.getLogger('tavernkeep.engine').info('Round %d.', number)\n1 / 0")
    assert {file.suffix for file in tmp_path.iterdir()} == {".log", ".1", ".txt"}
    assert {file.stat().st_mode & 0o777 for file in tmp_path.iterdir()} == {0o600}


def test_an_error_that_ends_the_run_is_reported_and_told_by_the_next_run_alone(tmp_path):
    said = run(tmp_path, "{}['ale']")
    (report,) = texts(tmp_path, "*_crash.txt")
    assert "KeyError: 'ale'" in report
    assert "Traceback" in said
    assert "Tavernkeep crashed: KeyError" in lines(tmp_path)[-1]["message"]
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
    assert lines(tmp_path)[1]["message"] == "Loading m\udcff.gguf."
    assert "Logging error" not in said


def test_a_thread_that_goes_wrong_is_logged_and_the_run_goes_on(tmp_path):
    code = "thread = threading.Thread(target=lambda: {}['a secret'], name='tap'); thread.start(); thread.join()"
    said = run(tmp_path, code)
    last = lines(tmp_path)[-1]
    assert last["message"] == "The thread tap went wrong."
    assert "in <lambda>" in last["stack"]
    assert last["stack"].endswith(f"KeyError ({privacy.HIDDEN})")
    assert "a secret" not in said + texts(tmp_path, "*.log")[0]


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
    assert lines(tmp_path)[-1]["message"] == "Round 199."


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
