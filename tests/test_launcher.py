"""The launcher as a user starts it: a process of its own, without a window."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

import launcher
from server import records
from server.controller import Controller
from tests.conftest import wait_until

ROOT = Path(__file__).resolve().parent.parent
Launch = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def launch(starter_model: Path, tmp_path: Path) -> Iterator[Launch]:
    """Starts ``launcher.py`` with the given flags, without a display unless asked; ``output_of`` is what it prints."""
    started: list[subprocess.Popen[str]] = []

    def start(*flags: str, display: bool = False) -> subprocess.Popen[str]:
        hidden = () if display else ("DISPLAY", "WAYLAND_DISPLAY")
        environment = {name: value for name, value in os.environ.items() if name not in hidden}
        with (tmp_path / f"output{len(started)}").open("w") as output:
            command = [sys.executable, str(ROOT / "launcher.py"), *flags]
            process = subprocess.Popen(
                command, stdout=output, stderr=subprocess.STDOUT, env=environment, text=True, cwd=tmp_path
            )
        process.args = str(tmp_path / f"output{len(started)}")
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def output_of(process: subprocess.Popen[str]) -> str:
    return Path(str(process.args)).read_text()


def wait_for_output(process: subprocess.Popen[str], text: str) -> str:
    wait_until(lambda: text in output_of(process) or process.poll() is not None, f"{text!r} in the output")
    assert text in output_of(process), output_of(process)
    return output_of(process)


def helpers_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """The engine, and the process that renders chat templates."""
    started = psutil.Process(process.pid).children()
    assert len(started) == 2
    return started


def has_ended(process: psutil.Process) -> bool:
    """Also if nobody has asked yet how it ended: the system takes a second for that where the parent is gone."""
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def assert_sigterm_ends_it_and_its_helpers(process: subprocess.Popen[str]) -> None:
    wait_for_output(process, "is ready")
    started = helpers_of(process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    assert not any(helper.is_running() for helper in started)
    assert "Traceback" not in output_of(process)


def test_without_a_display_it_says_so_and_serves_the_starter_model(launch: Launch) -> None:
    process = launch("--port", "0", "--contextsize", "512", "--threads", "1")
    output = wait_for_output(process, "is ready")
    assert "There is no display" in output
    address = re.search(r"Serving on (http://127\.0\.0\.1:\d+)", output)
    assert address
    for line in (
        f"Mantella            {address[1]}/v1",
        f"SillyTavern         {address[1]}",
        f"CHIM / Herika       {address[1]}",
    ):
        assert line in output


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to catch")
def test_it_ends_cleanly_when_it_is_told_to(launch: Launch) -> None:
    process = launch("--skiplauncher", "--port", "0", "--contextsize", "512", "--threads", "1")
    assert_sigterm_ends_it_and_its_helpers(process)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to catch")
def test_with_a_display_a_named_model_is_started_in_the_window_and_ends_with_it(
    launch: Launch, starter_model: Path
) -> None:
    pytest.importorskip("tkinter", reason="this Python was built without tkinter")
    process = launch("--model", str(starter_model), "--port", "0", "--threads", "1", display=True)
    assert_sigterm_ends_it_and_its_helpers(process)


def stream_from(process: subprocess.Popen[str], tokens: int) -> Any:
    """A reply that has begun."""
    address = re.search(r"http://127\.0\.0\.1:\d+", wait_for_output(process, "is ready"))
    assert address
    body = {"prompt": "Once", "max_tokens": tokens, "ignore_eos": True, "stream": True}
    answer = urllib.request.urlopen(f"{address[0]}/v1/completions", json.dumps(body).encode(), timeout=60)
    assert answer.readline().startswith(b"data: {")
    return answer


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to catch")
def test_the_chat_page_is_opened_in_the_users_browser_when_the_model_answers(
    launch: Launch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser, opened = tmp_path / "browser", tmp_path / "opened"
    browser.write_text(f'#!/bin/sh\nprintf "%s" "$1" > {opened}.part && mv {opened}.part {opened}\n')
    browser.chmod(0o755)
    monkeypatch.setenv("BROWSER", str(browser))
    process = launch("--skiplauncher", "--launch", "--port", "0", "--contextsize", "512", "--threads", "1")
    wait_until(opened.exists, "the browser")
    assert "is ready" in output_of(process)
    assert f"Serving on {opened.read_text()}." in output_of(process)
    with urllib.request.urlopen(opened.read_text()) as page:
        assert b"<title>Tavernkeep</title>" in page.read()


def test_a_reply_may_end_before_the_launcher_does(launch: Launch) -> None:
    process = launch("--skiplauncher", "--port", "0", "--contextsize", "512", "--threads", "1")
    with stream_from(process, tokens=80) as stream:
        process.send_signal(signal.SIGTERM)
        assert stream.read().endswith(b"data: [DONE]\n\n")
    assert process.wait(20) == 0


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to catch")
def test_whoever_asks_twice_does_not_wait_for_replies(launch: Launch) -> None:
    process = launch("--skiplauncher", "--port", "0", "--threads", "1")
    with stream_from(process, tokens=4000):
        started = helpers_of(process)
        process.send_signal(signal.SIGTERM)
        wait_until(lambda: process.poll() is not None or process.send_signal(signal.SIGTERM), "the end", 5)
    assert process.wait(20) == -signal.SIGTERM
    wait_until(lambda: all(map(has_ended, started)), "the helpers to end", 2)


def test_the_engine_and_the_templates_process_end_when_the_launcher_is_killed(launch: Launch) -> None:
    process = launch("--skiplauncher", "--port", "0", "--threads", "1")
    with stream_from(process, tokens=4000):
        started = helpers_of(process)
        process.kill()
        process.wait()
        wait_until(lambda: all(map(has_ended, started)), "the helpers to end", 2)


def test_a_port_in_use_is_an_error_that_names_the_program(launch: Launch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = launch("--skiplauncher", "--port", str(port))
        assert process.wait(20) == 2
    assert f"Port {port} is already used by" in output_of(process)
    assert f"(process {os.getpid()})" in output_of(process)


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--port", "many"], "port: 'many' is not a whole number."),
        (["--contextsize", "3"], "contextsize: 3 is too small"),
        (["--nonsense"], "--nonsense"),
        (["--host", "0.0.0.0"], "opens the server to your network"),
        (["--chatcompletionsadapter", "Klingon"], "'Klingon' is neither a preset nor a file"),
    ],
)
def test_a_bad_value_is_one_sentence_and_status_2(launch: Launch, flags: list[str], sentence: str) -> None:
    process = (
        launch("--skiplauncher", "--port", "0", *flags) if "--port" not in flags else launch("--skiplauncher", *flags)
    )
    assert process.wait(20) == 2
    assert sentence in output_of(process)
    assert "Traceback" not in output_of(process)


def test_who_would_open_the_server_to_all_is_offered_a_fresh_key(launch: Launch) -> None:
    keys = set()
    for _ in range(2):
        process = launch("--skiplauncher", "--host", "0.0.0.0")
        assert process.wait(20) == 2
        keys.update(re.findall(r"--password ([0-9a-f]{32})$", output_of(process), re.MULTILINE))
    assert len(keys) == 2


@pytest.mark.parametrize("quiet", [[], ["--quiet"]])
def test_a_model_that_cannot_be_loaded_is_told_and_the_port_stays_open(launch: Launch, quiet: list[str]) -> None:
    process = launch("--skiplauncher", "--port", "0", "--model", "/no/such.gguf", *quiet)
    output = wait_for_output(process, "There is no file /no/such.gguf. Check the path of the model.")
    address = re.search(r"http://127\.0\.0\.1:\d+", wait_for_output(process, "Serving on"))
    assert address, output
    with pytest.raises(urllib.error.HTTPError) as answer:
        urllib.request.urlopen(address[0] + "/health", timeout=20)
    with answer.value as body:
        assert b"There is no file" in body.read()
    assert process.poll() is None


def test_the_window_hears_that_the_last_run_crashed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "2020-01-01_000000_000000.log").touch()
    (tmp_path / "2020-01-01_000000_000000_crash.txt").write_text("Segmentation fault")
    heard: list[str] = []

    def run(controller: Controller, *_: object) -> int:
        heard.extend(line.text for line in controller.poll_log(10))
        return 0

    monkeypatch.setattr(launcher, "run", run)
    monkeypatch.setattr(records, "default_folder", lambda: tmp_path)
    assert launcher.main([]) == 0
    assert any("The last run crashed." in line for line in heard)


def test_a_server_py_in_the_users_folder_is_not_ours(launch: Launch, tmp_path: Path) -> None:
    (tmp_path / "server.py").write_text("raise SystemExit('not this one')")
    wait_for_output(launch("--skiplauncher", "--port", "0", "--contextsize", "512", "--threads", "1"), "is ready")


def test_unknown_flags_of_koboldcpp_are_a_warning(launch: Launch) -> None:
    process = launch("--skiplauncher", "--port", "0", "--usecublas", "normal", "0", "--smartcontext")
    output = wait_for_output(process, "Serving on")
    assert "--usecublas is a flag of KoboldCpp that Tavernkeep does not have" in output
    assert "--smartcontext" in output


def test_the_version_is_printed(launch: Launch) -> None:
    process = launch("--version")
    assert process.wait(20) == 0
    assert re.fullmatch(r"\d+\.\d+\.\d+\n", output_of(process))
