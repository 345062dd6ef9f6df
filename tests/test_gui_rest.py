"""The window comes to rest, whatever its sentences say and however wide it is.

Where a text's lines hung on its width and its width on its lines, two cards gave and took a pixel for ever: a frozen
window whose memory grew until the system ended it.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import time

import pytest

from gui.view.looks import Page
from tests.fake_controller import BUSY
from tests.window import controller, open_window, shown, wait_for_ticks, wait_until

pytest.importorskip("tkinter", reason="this Python was built without tkinter")

NEVER_AT_REST = 3
MOST_TURNS = 20
SENTENCE = "Port {} is already used by python (process {}). Close that program, or choose another port with --port."


def show_many_sentences(at_many_sizes: bool) -> None:
    """In a process of its own: a window that turns for ever leaves Tk no more, so this ends with the process."""
    from gui.app import App
    from server.settings import Settings
    from tests.fake_controller import FakeController

    app = App(FakeController(), Settings(), appearance="dark", scale=1.0)
    wait_until(app, lambda: "30 layers" in shown(app.launch.model_line))
    turns = []

    def turn(event):
        turns.append(event.width)
        if len(turns) > MOST_TURNS:
            os._exit(NEVER_AT_REST)

    app.status.frame.bind("<Configure>", turn)
    draw = random.Random(5)
    for port in range(32768, 33468, 7):
        turns.clear()
        app.status.problem.show(SENTENCE.format(port, draw.randrange(300, 32768)))
        app.status.problem_box.grid()
        if at_many_sizes:
            app.root.geometry(f"{draw.randrange(900, 1590)}x{draw.randrange(560, 990)}")
        for _ in range(5):
            app.root.update()
            time.sleep(0.001)  # for the display's answers
    os._exit(0)


@pytest.mark.parametrize("at_many_sizes", [False, True], ids=["at its first size", "at many sizes"])
def test_the_window_comes_to_rest_after_every_sentence(at_many_sizes):
    spawn = multiprocessing.get_context("spawn")
    window = spawn.Process(target=show_many_sentences, args=(at_many_sizes,), daemon=True)
    window.start()
    window.join()
    assert window.exitcode == 0


def test_a_text_that_wraps_asks_for_no_width_but_for_all_its_lines(open_window):
    app = open_window()
    app.root.update()
    label = app.status.headline
    narrow, low = label.winfo_reqwidth(), label.winfo_reqheight()
    label.show("A sentence that is longer than the card it stands on is wide, for it goes on and on. " * 3)
    app.root.update()
    assert label.winfo_reqwidth() == narrow
    assert label.winfo_reqheight() >= 2 * low


def wrapped_texts(widget):
    from gui.widgets.display import Label

    for child in widget.winfo_children():
        if isinstance(child, Label) and child.cget("wraplength") and child.winfo_ismapped() and shown(child):
            yield child
        yield from wrapped_texts(child)


@pytest.mark.parametrize("scale", [1.0, 1.5])
@pytest.mark.parametrize("page", [Page.LAUNCH, Page.CONNECT], ids=lambda page: page.name.lower())
def test_every_text_that_wraps_is_drawn_as_wide_as_its_lines(open_window, controller, page, scale):
    controller.state = BUSY
    app = open_window(scale=scale)
    app.navigation.go(page)
    wait_for_ticks(app, controller)
    app.root.update()
    labels = list(wrapped_texts(app.root))
    assert len(labels) >= 5
    for label in labels:
        drawn = label._label
        lines = int(str(drawn.cget("wraplength")))
        assert lines <= drawn.winfo_width() <= lines + 2 * scale, shown(label)
