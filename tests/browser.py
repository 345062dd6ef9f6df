"""A real browser for the tests of the chat page, and what a person does with the page in it."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, Playwright, Route, expect, sync_playwright

from bootstrap import BROWSERS
from tests.conftest import PATIENCE

COMPLETIONS = "**/v1/chat/completions"
LONG = 120  # tokens; a reply that is still being written while a test looks at it
expect.set_options(timeout=1000 * PATIENCE)


def launch(playwright: Playwright) -> Browser | None:
    """Chromium without a screen: Debian's, where the test command has installed it; else Chrome or Edge, if any."""
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    channel = {"win32": "msedge", "darwin": "chrome"}.get(sys.platform)
    if not program and not channel:
        return None
    return playwright.chromium.launch(executable_path=program, channel=None if program else channel)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser for all tests of a module."""
    with sync_playwright() as playwright:
        browser = launch(playwright)
        if not browser:
            pytest.skip("no Chromium here; `python3 bootstrap.py test` installs Debian's where it may")
        yield browser
        browser.close()


@dataclass
class Tab:
    """The chat page in a tab, used as a person does. ``asked`` are the bodies of the chats it asked for."""

    page: Page
    asked: list[dict[str, Any]] = field(default_factory=list)

    def open(self, address: str) -> None:
        self.page.goto(address)

    def wait_until_ready(self) -> None:
        expect(self.page.locator("#status")).to_have_attribute("data-tone", "good")

    def begin_chat(self, address: str) -> None:
        """Open the page and have one question answered, in a few words."""
        self.open(address)
        self.talkative(8)
        self.say("Who are you?")

    def begin_long_reply(self, address: str) -> None:
        """Open the page and ask for something that is still being written afterwards."""
        self.open(address)
        self.talkative(LONG)
        self.write("Tell me of a dragon.")
        self.wait_for_words()

    def join_chat(self, address: str) -> None:
        """Open the page where another tab has begun a chat."""
        self.open(address)
        expect(self.messages()).to_have_count(2)

    def talkative(self, tokens: int) -> None:
        """From now on replies are as long as that; the starter model likes to say little."""
        self.page.unroute(COMPLETIONS)
        self.page.route(COMPLETIONS, lambda route: _go_on(route, ignore_eos=True, max_tokens=tokens))

    def hears(self, *chunks: dict[str, Any], whole: bool) -> None:
        """From now on replies are these; one that is not ``whole`` breaks off."""
        body = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + ("data: [DONE]\n\n" if whole else "")
        self.page.route(COMPLETIONS, lambda route: route.fulfill(content_type="text/event-stream", body=body))

    def button(self, name: str) -> Locator:
        return self.page.get_by_role("button", name=name, exact=True)

    def write(self, text: str) -> None:
        """Type a message and send it, without waiting for the reply."""
        self.page.get_by_label("Your message").fill(text)
        self.page.keyboard.press("Enter")

    def say(self, text: str) -> None:
        """Send a message and wait until it is answered."""
        self.write(text)
        self.wait_until_written()

    def wait_until_written(self) -> None:
        expect(self.button("Stop")).to_be_hidden()
        expect(self.button("Send")).to_be_visible()

    def messages(self, who: str = "") -> Locator:
        return self.page.locator(f"article[aria-label={who!r}]" if who else "article")

    def last_text(self) -> str:
        return self.messages().last.locator(".text").inner_text()

    def wait_for_words(self) -> None:
        expect(self.messages("Assistant").last.locator(".text")).not_to_be_empty()

    def import_file(self, *files: Any) -> None:
        self.page.set_input_files("#import-file", list(files))

    def toasts(self) -> Locator:
        return self.page.locator("#toasts")


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A browser of somebody who was never here."""
    context = browser.new_context(viewport={"width": 1100, "height": 760})
    yield context
    context.close()


@pytest.fixture
def tab(context: BrowserContext) -> Iterator[Tab]:
    """A tab; the test fails if the page has made a mistake in it."""
    tab, mistakes = new_tab(context)
    yield tab
    assert mistakes == []


other = tab  # one more tab of the same browser, for tests with two


def new_tab(context: BrowserContext) -> tuple[Tab, list[str]]:
    """A tab, and the mistakes that its page makes: uncaught errors, and what its policy forbids."""
    tab, mistakes = Tab(context.new_page()), []
    tab.page.on("pageerror", lambda error: mistakes.append(str(error)))
    tab.page.on("console", lambda line: mistakes.append(line.text) if "Content Security Policy" in line.text else None)
    tab.page.on("request", lambda request: tab.asked.append(request.post_data_json) if request.post_data else None)
    return tab, mistakes


def upload(name: str, content: Any) -> dict[str, Any]:
    """A file to import, of these bytes or this JSON."""
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    return {"name": name, "mimeType": "", "buffer": data}


def _go_on(route: Route, **changes: Any) -> None:
    route.continue_(post_data={**route.request.post_data_json, **changes})
