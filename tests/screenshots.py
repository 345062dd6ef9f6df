"""``python -m tests.screenshots``: the window and the chat page, light and dark, into docs/screenshots.

Both are the real ones, with the starter model: the window, at 100 and 200 %, while it works for six clients.
"""

from __future__ import annotations

import io
import itertools
import logging
import os
import threading
import time
from pathlib import Path

from PIL import Image, ImageGrab
from playwright.sync_api import expect, sync_playwright
from pyvirtualdisplay.display import Display

from bench.window import run_until
from gui import theme
from gui.app import App
from gui.view.looks import Page
from server.controller import Controller
from server.events import EngineState
from tests.browser import Tab, launch, new_tab, upload
from tests.conftest import Server, settings_for_tests

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "screenshots"
CLIENTS = ("Mantella", "CHIM", "SkyrimNet", "SillyTavern", "OpenAI/Python", "Pantella")
CHAT = {"messages": [{"role": "user", "content": "Tell me a long story about a dragon."}]}
LYDIA = {
    "name": "Lydia",
    "description": "{{char}} is a housecarl in Whiterun, sworn to carry {{user}}'s burdens. She is loyal and dry.",
    "first_mes": '*She looks up from her sword.* "My thane. I have been waiting for you."',
}
COLOURS = 256
SEED = 2  # of replies that one can show
SECONDS_OF_WORK = 8.0


def main() -> None:
    """Write the pictures anew."""
    FOLDER.mkdir(exist_ok=True)
    logging.getLogger("tavernkeep").setLevel(logging.INFO)
    with Display(visible=False, size=(2000, 1320), backend="xvfb"):
        for appearance, scale in itertools.product(("light", "dark"), (1.0, 2.0)):
            _picture_window(appearance, scale)
    _picture_chat_page()


def _picture_chat_page() -> None:
    server = Server(Controller())
    server.controller.start(settings_for_tests(contextsize=8192))
    server.wait_for(EngineState.READY)
    with sync_playwright() as playwright:
        chromium = launch(playwright)
        assert chromium
        for appearance in ("light", "dark"):
            tab, _ = new_tab(chromium.new_context(viewport={"width": 1100, "height": 760}, color_scheme=appearance))
            tab.open(server.base)
            tab.wait_until_ready()
            tab.button("Try JSON").click()
            tab.say("Invent a guest of the tavern.")
            tab.import_file(upload("lydia.json", LYDIA))
            tab.button("Settings").click()
            tab.page.get_by_label("Preset").select_option("NPC dialogue")
            tab.page.get_by_label("Length of a reply").fill("60")
            tab.page.get_by_label("Seed").fill(str(SEED))
            _shoot(tab, "chat-settings")
            tab.button("Done").click()
            tab.say("Good morning, Lydia. Where shall we go today?")
            tab.say("*nods* Then lead the way.")
            _shoot(tab, f"chat-page-{appearance}")
            tab.button("Prompt").click()
            expect(tab.page.locator("#prompt .summary")).to_contain_text("tokens")
            _shoot(tab, "chat-prompt")
            tab.button("Done").click()
            tab.page.set_viewport_size({"width": 390, "height": 760})
            _shoot(tab, "chat-phone")
        chromium.close()
    server.controller.stop()


def _shoot(tab: Tab, name: str) -> None:
    expect(tab.toasts()).to_be_empty()
    with Image.open(io.BytesIO(tab.page.screenshot())) as picture:
        picture.convert("RGB").save(FOLDER / f"{name}.png", optimize=True)


def _picture_window(appearance: str, scale: float) -> None:
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
