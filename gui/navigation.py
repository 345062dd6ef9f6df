"""The pages and the buttons that lead to them; one page is in sight at a time."""

from __future__ import annotations

import tkinter
from collections.abc import Callable
from typing import Any, Final

from gui.language import tr
from gui.theme import GAP
from gui.view.looks import ButtonRole, ButtonView, Page
from gui.widgets.controls import Button
from gui.widgets.display import Row

_WIDTH: Final = 56
_HEIGHT: Final = 28


class Navigation:
    """The row of buttons. ``add`` takes each page's frame, which must be gridded already."""

    def __init__(self, parent: tkinter.Misc, changed: Callable[[], None]) -> None:
        self.frame = Row(parent)
        self.page = Page.LAUNCH
        self._changed = changed
        self._frames: dict[Page, Any] = {}
        self.buttons: dict[Page, Button] = {}
        for place, page in enumerate(Page):
            button = Button(self.frame, tr(page.value), self._leads_to(page), width=_WIDTH, height=_HEIGHT)
            button.grid(row=0, column=place, padx=(0, GAP))
            self.buttons[page] = button
            parent.winfo_toplevel().bind(f"<Control-Key-{place + 1}>", self._leads_to(page))
        self._mark()

    def add(self, page: Page, frame: Any) -> None:
        """A page's frame; it is in sight if it is the current page's."""
        self._frames[page] = frame
        if page is not self.page:
            frame.grid_remove()

    def go(self, page: Page) -> None:
        """Bring a page in sight."""
        if page is self.page:
            return
        self._frames[self.page].grid_remove()
        self.page = page
        self._changed()
        self._frames[page].grid()
        self._mark()

    def _leads_to(self, page: Page) -> Callable[..., None]:
        return lambda *_: self.go(page)

    def _mark(self) -> None:
        for page, button in self.buttons.items():
            role = ButtonRole.CHOSEN if page is self.page else ButtonRole.PLAIN
            button.show(ButtonView(tr(page.value), role, enabled=True))
