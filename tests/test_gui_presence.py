"""How the window comes and goes: the close button, a second start, with the system."""

from __future__ import annotations

import json
import queue
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from gui import autostart
from gui.instance import claim
from gui.memory import Habits, Memory, OnClose
from gui.view.looks import Page
from server import kcpps
from server.settings import from_mapping
from tests.fake_controller import READY
from tests.window import app, controller, open_window, shown, wait_until

ROOT = Path(__file__).resolve().parent.parent


def press_close(app):
    app.root.tk.eval(app.root.tk.call("wm", "protocol", app.root._w, "WM_DELETE_WINDOW"))


@pytest.fixture
def serving(open_window, controller, tmp_path):
    controller.state = READY
    app = open_window(memory=Memory(tmp_path / "window.json"))
    app.root.minimised = 0

    def iconify():  # a window manager's work, and there is none on this display
        app.root.minimised += 1

    app.root.iconify = iconify
    wait_until(app, lambda: app._snapshot.address)
    return app


# --- the close button


def test_without_a_served_model_the_window_just_closes(app):
    press_close(app)
    wait_until(app, lambda: app.closed)


def test_while_a_model_is_served_it_is_asked_once_and_the_answer_remembered(serving, open_window, tmp_path):
    press_close(serving)
    assert serving.sheet.open
    keep, _ = serving.sheet.buttons
    assert shown(keep) == "Keep serving, minimised"
    keep.invoke()
    assert serving.root.minimised == 1
    assert not serving.closed
    wait_until(serving, lambda: Memory(tmp_path / "window.json").habits.on_close is OnClose.KEEP)
    press_close(serving)
    assert not serving.sheet.open
    assert serving.root.minimised == 2
    assert serving.options.close_menu.choice == "keep"


def test_quit_stops_the_server_and_closes(serving, controller):
    press_close(serving)
    serving.sheet.buttons[1].invoke()
    wait_until(serving, lambda: serving.closed)
    assert "close" in controller.calls


def test_pressed_twice_it_closes_and_escape_takes_the_question_away(serving):
    press_close(serving)
    serving.root.focus_force()
    serving.root.event_generate("<Escape>")
    assert not serving.sheet.open
    press_close(serving)
    press_close(serving)
    wait_until(serving, lambda: serving.closed)


def test_the_options_page_changes_what_is_remembered(serving, tmp_path):
    serving.navigation.go(Page.OPTIONS)
    serving.options.minimised_tick.toggle()
    serving.options.serve_tick.toggle()
    serving.options.close_menu._dropdown_callback("Stop and quit")
    expected = Habits(minimised=True, serve=True, on_close=OnClose.QUIT)
    wait_until(serving, lambda: Memory(tmp_path / "window.json").habits == expected)


@pytest.mark.parametrize("kept", [3, {}, {"on_close": 7, "minimised": "yes"}])
def test_odd_habits_in_the_file_count_as_none(tmp_path, kept):
    memory = Memory(tmp_path / "window.json")
    memory._kept["habits"] = kept
    assert memory.habits == Habits()


# --- a second start


@pytest.fixture
def instance(tmp_path):
    heard: queue.SimpleQueue = queue.SimpleQueue()
    first = claim("", heard.put, tmp_path)
    first.heard = heard
    yield first
    first.close()


def test_a_second_start_tells_the_first_one_its_model_and_is_none(instance, tmp_path):
    assert claim("/models/ä b.gguf", print, tmp_path) is None
    assert instance.heard.get(timeout=10) == "/models/ä b.gguf"


def test_after_the_first_one_ended_the_next_is_the_first(instance, tmp_path):
    instance.close()
    second = claim("", print, tmp_path)
    assert second is not None
    second.close()


@pytest.mark.parametrize("left", ["", "{}", '{"port": 9, "key": "00"}', '{"port": "x", "key": 3}'])
def test_what_a_crashed_one_left_behind_does_not_count(tmp_path, left):
    (tmp_path / "instance.json").write_text(left)
    first = claim("", print, tmp_path)
    assert first is not None
    first.close()


def test_a_first_one_that_does_not_answer_does_not_hold_up_the_next(tmp_path, monkeypatch):
    monkeypatch.setattr("gui.instance.PATIENCE", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        where = {"port": silent.getsockname()[1], "key": "00", "answer": "01"}
        (tmp_path / "instance.json").write_text(json.dumps(where))
        first = claim("", print, tmp_path)
    assert first is not None
    first.close()


def test_a_stranger_is_not_heard_and_does_no_harm(instance, tmp_path):
    where = json.loads((tmp_path / "instance.json").read_text())
    with socket.create_connection(("127.0.0.1", where["port"]), timeout=10) as stranger:
        stranger.sendall(b"guess")
        assert stranger.recv(100) == b""
    assert claim("again", print, tmp_path) is None
    assert instance.heard.get(timeout=10) == "again"
    assert (tmp_path / "instance.json").stat().st_mode & 0o777 == 0o600


def test_a_woken_window_comes_back_and_shows_the_model(app):
    app.navigation.go(Page.LOG)
    app.root.withdraw()
    app.presence.wake("/models/woken.gguf")
    wait_until(app, lambda: app.launch.model_entry.get() == "/models/woken.gguf")
    assert app.root.state() == "normal"
    assert app.navigation.page is Page.LAUNCH


@pytest.mark.parametrize(
    "message",
    ["a\0b.gguf", "a\nb.gguf", "\udcff.gguf", "~\0/x.gguf", "~\udcff", "x" * 8192, " ", '"', "\0.kcpps", "\n.kcpps"],
    ids=lambda message: ascii(message)[:20],
)
def test_a_window_woken_with_an_odd_message_answers_the_next(app, controller, message):
    app.presence.wake(message)
    app.presence.wake("/models/next.gguf")
    wait_until(app, lambda: app.launch.model_entry.get() == "/models/next.gguf")
    assert app.navigation.page is Page.LAUNCH
    assert controller.calls.count(f"import {message}") == message.endswith(".kcpps")


def test_a_window_shows_why_an_odd_configuration_cannot_be_used(app, controller, monkeypatch):
    monkeypatch.setattr(controller, "import_settings", lambda path: from_mapping(kcpps.load(path)))
    app.presence.wake("\0.kcpps")
    wait_until(app, lambda: "no file has such a name" in app._notice)


def test_a_woken_window_uses_the_settings_of_a_configuration(app, controller):
    app.presence.wake("/games/mine.kcpps")
    wait_until(app, lambda: controller.calls[-1:] == ["import /games/mine.kcpps"])
    assert app.navigation.page is Page.LAUNCH


def test_a_second_launcher_ends_at_once_and_says_why(instance, tmp_path, monkeypatch, open_window):
    code = (
        "import sys; from pathlib import Path; import gui.instance, gui.mainloop;"
        "from server.controller import Controller; from server.settings import Settings;"
        "gui.instance.default_folder = lambda: Path(sys.argv[1]);"
        "sys.exit(gui.mainloop.run(Controller(), Settings(), start=False))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (
        0,
        "tavernkeep: It runs already; its window was brought to the front.\n",
    )


# --- with the system


@pytest.mark.skipif(sys.platform != "linux", reason="the file is that of Linux desktops")
def test_starting_with_the_system_is_a_file_of_the_desktop(app, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    app.navigation.go(Page.OPTIONS)
    assert not app.options.autostart_tick.ticked
    app.options.autostart_tick.toggle()
    entry = (tmp_path / "autostart" / "tavernkeep.desktop").read_text()
    assert f"Exec={sys.executable} {ROOT / 'launcher.py'}\n" in entry
    assert autostart.enabled()
    app.options.autostart_tick.toggle()
    assert not autostart.enabled()


@pytest.mark.parametrize(
    ("running", "started"),
    [("/games/Tavernkeep/tavernkeep-cli", "Tavernkeep"), ("/games/Tavernkeep/Tavernkeep.exe", "Tavernkeep.exe")],
)
def test_the_packaged_program_starts_without_a_console(running, started, monkeypatch):
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    monkeypatch.setattr(sys, "executable", running)
    assert autostart.command() == (str(Path("/games/Tavernkeep", started)),)


@pytest.mark.skipif(sys.platform != "linux", reason="the file is that of Linux desktops")
def test_a_desktop_that_cannot_be_changed_is_told(app, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "file"))
    app.navigation.go(Page.OPTIONS)
    app.options.autostart_tick.toggle()
    assert "could not be changed" in shown(app.options.problem)
    assert not app.options.autostart_tick.ticked
