"""``python -m tests.screenshots``: every page, light and dark, at 100 and 200 %, into docs/screenshots.

The window is the real one, with the starter model at work for six clients.
"""

from __future__ import annotations

import itertools
import logging
import os
import threading
import time
from pathlib import Path

from PIL import ImageGrab
from pyvirtualdisplay.display import Display

from bench.window import run_until
from gui import theme
from gui.app import App
from gui.view.looks import Page
from server.controller import Controller
from server.events import EngineState
from tests.conftest import Server, settings_for_tests

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "screenshots"
CLIENTS = ("Mantella", "CHIM", "SkyrimNet", "SillyTavern", "OpenAI/Python", "Pantella")
CHAT = {"messages": [{"role": "user", "content": "Tell me a long story about a dragon."}]}
COLOURS = 256
SECONDS_OF_WORK = 8.0


def main() -> None:
    """Write the pictures anew."""
    FOLDER.mkdir(exist_ok=True)
    logging.getLogger("tavernkeep").setLevel(logging.INFO)
    with Display(visible=False, size=(2000, 1320), backend="xvfb"):
        for appearance, scale in itertools.product(("light", "dark"), (1.0, 2.0)):
            _picture_all(appearance, scale)


def _picture_all(appearance: str, scale: float) -> None:
    controller = Controller()
    logging.getLogger("tavernkeep").addHandler(controller.window_log())
    app = App(controller, settings_for_tests(contextsize=8192), appearance=appearance, scale=scale)
    app.start()
    run_until(app, lambda: controller.snapshot().state is EngineState.READY)
    server = Server(controller)
    first = [_ask(server, client, 60) for client in CLIENTS[:3]]
    run_until(app, lambda: not any(thread.is_alive() for thread in first))
    running = [_ask(server, client, 1200) for client in CLIENTS]
    until = time.monotonic() + SECONDS_OF_WORK
    run_until(app, lambda: time.monotonic() > until)
    app.connect.choose("skyrimnet")
    app.connect.test_button.invoke()
    run_until(app, lambda: not app._outcomes["skyrimnet"].running)
    # Away with the mouse, or there are tips in the pictures.
    app.root.event_generate("<Motion>", warp=True, x=app.root.winfo_width() // 2, y=4)
    for page in Page:
        app.navigation.go(page)
        until = time.monotonic() + 1.0
        run_until(app, lambda until=until: time.monotonic() > until)
        width, height = (int(side * scale) for side in theme.WINDOW_SIZE)
        picture = ImageGrab.grab((0, 0, width, height), xdisplay=os.environ["DISPLAY"])
        name = page.value.lower().replace(" ", "-")
        picture.quantize(COLOURS).save(FOLDER / f"{name}-{appearance}-{100 * scale:.0f}.png", optimize=True)
    app.close()
    run_until(app, lambda: app.closed)
    for thread in running:
        thread.join()


def _ask(server: Server, client: str, tokens: int) -> threading.Thread:
    body = {**CHAT, "max_tokens": tokens, "ignore_eos": True}
    thread = threading.Thread(target=server.post, args=("/v1/chat/completions", body), kwargs={"User_Agent": client})
    thread.start()
    return thread


if __name__ == "__main__":
    main()
