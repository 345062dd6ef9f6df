"""Which web pages may use the server: one tick for each that is known, and a field for others. One of the options."""

from __future__ import annotations

import tkinter
from collections.abc import Callable, Sequence

from gui import theme
from gui.language import tr
from gui.theme import GAP
from gui.view.access import BETWEEN, lets_in, others_than
from gui.widgets.controls import Entry, Tick
from gui.widgets.display import Label, Row
from server.snapshot import WebPage


class WebPages(Row):
    """To be read, filled and locked like a field that holds all origins."""

    def __init__(self, parent: tkinter.Misc, pages: Sequence[WebPage], changed: Callable[[], None]) -> None:
        super().__init__(parent)
        self.grid_columnconfigure(1, weight=1)
        meaning = tr(
            "Other web pages are refused. One that is ticked, and whoever runs it, can use the model while it is open"
            " in a browser, read and stop replies to clients that send no genkey, as many games do, and read and change"
            " saved stories. If there is a key, it must send that; to change the model it needs the admin key."
        )
        Label(self, meaning, font=theme.SMALL, colour=theme.DIM, wraps=True).grid(
            columnspan=2, sticky="ew", pady=(0, 4)
        )
        self._pages = pages
        self.ticks = [self._build_page(row, page, changed) for row, page in enumerate(pages, 1)]
        Label(self, tr("Others"), height=theme.FIELD_HEIGHT).grid(row=len(pages) + 1, column=0, sticky="w")
        self.others = Entry(self, changed)
        self.others.grid(row=len(pages) + 1, column=1, sticky="ew", pady=2)

    def get(self) -> str:
        """The origins, as the settings have them."""
        known = [
            origin for page, tick in zip(self._pages, self.ticks, strict=True) if tick.ticked for origin in page.origins
        ]
        return BETWEEN.join([*known, *filter(None, [self.others.get().strip()])])

    def show(self, origins: str) -> None:
        """Tick the pages that are allowed."""
        for page, tick in zip(self._pages, self.ticks, strict=True):
            tick.show(lets_in(page, origins))
        self.others.show(others_than(self._pages, origins))

    def lock(self, locked: bool) -> None:
        """Show them but refuse changes."""
        for tick in self.ticks:
            tick.lock(locked)
        self.others.lock(locked)

    def _build_page(self, row: int, page: WebPage, changed: Callable[[], None]) -> Tick:
        tick = Tick(self, page.name, changed)
        tick.grid(row=row, column=0, sticky="nw", padx=(0, GAP), pady=2)
        about = Label(self, tr(page.about), font=theme.SMALL, colour=theme.DIM, wraps=True)
        about.grid(row=row, column=1, sticky="ew", pady=2)
        return tick
