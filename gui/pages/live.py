"""The live page: figures, the speed of the last minutes, and the requests with a Cancel button each."""

from __future__ import annotations

import tkinter
from collections.abc import Callable, Sequence
from typing import Final

import customtkinter as ctk

from gui import theme
from gui.language import N_, tr
from gui.theme import CARD_GAP, GAP, PADDING
from gui.view.live import COLUMNS, Figure, LiveView
from gui.widgets.chart import Chart
from gui.widgets.display import Bar, Card, Label, Row, show_if
from gui.widgets.table import Column, Table

_NAMES: Final = (
    ("speed", N_("Tokens per second")),
    ("prompts", N_("Prompt tokens per second")),
    ("first_token", N_("First token after")),
    ("replies", N_("Running + waiting")),
    ("context", N_("Context in use")),
    ("cached", N_("Prompts cached")),
    ("processor", N_("Processor")),
    ("memory", N_("Memory")),
)
_ACROSS: Final = 4
_WEIGHTS: Final = (3, 4, 3, 2, 2, 2, 2)
_FIRST_NUMBER: Final = 3
_CHART_HEIGHT: Final = 112
_LEAST_HEIGHT: Final = 100


class Tile:
    """A figure with its name above and its note below."""

    def __init__(self, parent: tkinter.Misc, name: str, place: int) -> None:
        box = Row(parent)
        box.grid(row=place // _ACROSS, column=place % _ACROSS, sticky="nsew", padx=PADDING, pady=(GAP, 4))
        box.grid_columnconfigure(0, weight=1)
        Label(box, name, font=theme.SMALL, colour=theme.DIM).grid(row=0, column=0, sticky="w")
        self.value = Label(box, font=theme.FIGURE, height=28)
        self.value.grid(row=1, column=0, sticky="w")
        self.note = Label(box, font=theme.SMALL, colour=theme.DIM)
        self.note.grid(row=2, column=0, sticky="w")
        self.bar = Bar(box)
        self.bar.grid(row=3, column=0, sticky="ew", pady=(2, 0))
        self.bar.grid_remove()

    def show(self, figure: Figure) -> None:
        """Draw what changed."""
        self.value.show(figure.value)
        self.note.show(figure.note)
        show_if(self.bar, figure.fill is not None)
        self.bar.show(figure.fill or 0.0)


class LivePage:
    """The page's widgets; ``show`` draws the parts of a view that changed."""

    def __init__(self, parent: tkinter.Misc, cancel: Callable[[int], None]) -> None:
        self._view: LiveView | None = None
        self.frame = Row(parent)
        self.frame.grid_columnconfigure(0, weight=1)
        self.frame.grid_rowconfigure(1, weight=1)
        self.tiles = self._build_figures()
        self._build_requests(cancel)

    def show(self, view: LiveView, samples: Sequence[float]) -> None:
        """Draw what changed."""
        self.chart.show(samples)
        self.table.show(view.lines)
        if view == self._view:
            return
        self._view = view
        for name, tile in self.tiles.items():
            tile.show(getattr(view, name))
        self.quiet.show(view.quiet)
        show_if(self.quiet, bool(view.quiet))
        self.more.show(view.more)
        show_if(self.more, bool(view.more))

    def _build_figures(self) -> dict[str, Tile]:
        card = Card(self.frame)
        card.grid(row=0, column=0, sticky="ew", pady=(0, CARD_GAP))
        card.grid_columnconfigure(0, weight=1)
        box = Row(card)
        box.grid(row=0, column=0, sticky="ew", padx=2, pady=(2, 0))
        for column in range(_ACROSS):
            box.grid_columnconfigure(column, weight=1, uniform="tiles")
        tiles = {key: Tile(box, tr(name), place) for place, (key, name) in enumerate(_NAMES)}
        self.chart = Chart(card, height=_CHART_HEIGHT, top=tr("{top:,.0f} tokens/s"), span=tr("the last 3 minutes"))
        self.chart.grid(row=1, column=0, sticky="ew", padx=PADDING, pady=(GAP, PADDING))
        return tiles

    def _build_requests(self, cancel: Callable[[int], None]) -> None:
        self.requests = ctk.CTkScrollableFrame(
            self.frame,
            height=_LEAST_HEIGHT,
            fg_color=theme.CARD,
            border_color=theme.BORDER,
            border_width=1,
            corner_radius=theme.CARD_RADIUS,
            scrollbar_button_color=theme.TRACK,
            scrollbar_button_hover_color=theme.LOCKED,
        )
        self.requests.grid(row=1, column=0, sticky="nsew")
        self.requests._scrollbar.configure(height=0)  # or it asks for 200 pixels
        self.requests.grid_columnconfigure(0, weight=1)
        columns = [
            Column(heading, weight, number=place >= _FIRST_NUMBER)
            for place, (heading, weight) in enumerate(zip(COLUMNS, _WEIGHTS, strict=True))
        ]
        self.table = Table(self.requests, columns, cancel)
        self.table.grid(row=0, column=0, sticky="ew", padx=GAP)
        self.quiet = Label(self.requests, colour=theme.DIM)
        self.quiet.grid(row=1, column=0, sticky="w", padx=GAP, pady=GAP)
        self.more = Label(self.requests, font=theme.SMALL, colour=theme.DIM)
        self.more.grid(row=2, column=0, sticky="w", padx=GAP, pady=GAP)
