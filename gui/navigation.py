"""The pages and the buttons that lead to them; one page is in sight at a time.

A page is built when it is first needed: all of them take longer than people want to wait for a window.
"""

from __future__ import annotations

import tkinter
from collections.abc import Callable, Mapping
from typing import Any, Final

from gui.language import tr
from gui.theme import GAP
from gui.view.looks import ButtonRole, ButtonView, Page
from gui.widgets.controls import Button
from gui.widgets.display import Row

_WIDTH: Final = 56
_HEIGHT: Final = 28


class Navigation:
    """The row of buttons. ``builders`` make the pages' frames, ``place`` grids one, ``changed`` hears of a new page."""

    def __init__(
        self,
        parent: tkinter.Misc,
        builders: Mapping[Page, Callable[[], Any]],
        place: Callable[[Any], None],
        changed: Callable[[], None],
    ) -> None:
        self.frame = Row(parent)
        self.page = Page.LAUNCH
        self._builders = builders
        self._place = place
        self._changed = changed
        self._frames: dict[Page, Any] = {}
        self.buttons: dict[Page, Button] = {}
        for column, page in enumerate(Page):
            button = Button(self.frame, tr(page.value), self._leads_to(page), width=_WIDTH, height=_HEIGHT)
            button.grid(row=0, column=column, padx=(0, GAP))
            self.buttons[page] = button
            parent.winfo_toplevel().bind(f"<Control-Key-{column + 1}>", self._leads_to(page))
        self._frame(self.page)
        self._mark()

    def go(self, page: Page) -> None:
        """Bring a page in sight."""
        if page is self.page:
            return
        frame = self._frame(page)
        self._frame(self.page).grid_remove()
        self.page = page
        self._changed()
        frame.grid()
        self._mark()

    def build_next(self) -> bool:
        """Build a page that nobody has needed yet. False when there is none left."""
        missing = [page for page in Page if page not in self._frames]
        for page in missing[:1]:
            self._frame(page)
        return bool(missing)

    def _frame(self, page: Page) -> Any:
        if page not in self._frames:
            self._frames[page] = self._builders[page]()
            self._place(self._frames[page])
            if page is not self.page:
                self._frames[page].grid_remove()
        return self._frames[page]

    def _leads_to(self, page: Page) -> Callable[..., None]:
        return lambda *_: self.go(page)

    def _mark(self) -> None:
        for page, button in self.buttons.items():
            role = ButtonRole.CHOSEN if page is self.page else ButtonRole.PLAIN
            button.show(ButtonView(tr(page.value), role, enabled=True))
