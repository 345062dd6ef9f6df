"""Opens the real window on a virtual display against a scripted controller, and drives it as a person would."""

from __future__ import annotations

import gc
import inspect
import os
import shutil
import time

import pytest

from server.settings import Settings
from tests.fake_controller import FakeController

DEADLINE_SECONDS = 20


@pytest.fixture
def controller():
    return FakeController()


@pytest.fixture
def open_window(controller):
    """Opens windows, collects every error of a Tk callback, and closes what the test left open."""
    if not os.environ.get("DISPLAY") and shutil.which("Xvfb") is None:
        pytest.skip("no display, and Xvfb is not installed")
    from gui.app import App

    gc.collect()  # here, on Tk's thread: a font of a closed window that another thread collects waits a second for it
    apps, errors = [], []

    def open_one(settings=None, **look):
        app = App(controller, settings or Settings(), **{"appearance": "dark", "scale": 1.0, **look})
        app.root.report_callback_exception = lambda *error: errors.append(error)
        apps.append(app)
        return app

    yield open_one
    controller.gate.set()
    for app in apps:
        app.close()
        wait_until(app, lambda app=app: app.closed)
    assert errors == []


@pytest.fixture
def app(open_window):
    app = open_window()
    wait_until(app, lambda: "30 layers" in app.launch.model_line.cget("text"))
    return app


def wait_until(app, condition):
    """Let the window live until ``condition`` holds. Its poller wakes this up ten times a second."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"still waiting: {inspect.getsource(condition).strip()}"
        app.root.tk.dooneevent(0)


def wait_for_ticks(app, controller, count=3):
    goal = controller.polls + count
    wait_until(app, lambda: controller.polls >= goal)


def shown(widget) -> str:
    return widget.cget("text")


def type_into(entry, text):
    entry._entry.focus_force()
    entry.show(text)
    entry._entry.event_generate("<KeyRelease>", keysym="a")


def enabled(button) -> bool:
    return button.cget("state") == "normal"
