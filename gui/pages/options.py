"""How the window looks, and how it comes and goes; built by the app."""

from __future__ import annotations

import tkinter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from gui import theme
from gui.memory import Habits, OnClose
from gui.theme import CARD_GAP, GAP, PADDING
from gui.widgets.controls import Menu, Tick
from gui.widgets.display import Card, Label, Row

_ON_CLOSE: Final = (
    (OnClose.ASK.value, "Ask what to do"),
    (OnClose.KEEP.value, "Keep serving, minimised"),
    (OnClose.QUIT.value, "Stop and quit"),
)


@dataclass(frozen=True)
class OptionsActions:
    """What the page tells the app."""

    habits_changed: Callable[[Habits], None]
    autostart_changed: Callable[[bool], None]


class OptionsPage:
    """``look`` builds the part with the look into a frame."""

    def __init__(
        self, parent: tkinter.Misc, habits: Habits, look: Callable[[tkinter.Misc], Row], actions: OptionsActions
    ) -> None:
        self._actions = actions
        self.frame = Row(parent)
        self.frame.grid_columnconfigure(0, weight=1)
        card = self._card("Look", 0)
        look(card).grid(row=1, column=0, sticky="w", padx=PADDING, pady=(0, PADDING))
        self._build_habits(self._card("Window", 1), habits)

    @property
    def habits(self) -> Habits:
        """What is chosen."""
        return Habits(self.minimised_tick.ticked, self.serve_tick.ticked, OnClose(self.close_menu.choice))

    def show_habits(self, habits: Habits) -> None:
        """Show what was chosen elsewhere."""
        self.minimised_tick.show(habits.minimised)
        self.serve_tick.show(habits.serve)
        self.close_menu.choose(habits.on_close.value)

    def show_autostart(self, enabled: bool, problem: str = "") -> None:
        """Show whether it starts with the system, or why that could not be changed."""
        self.autostart_tick.show(enabled)
        self.problem.show(problem)

    def _card(self, title: str, row: int) -> Card:
        card = Card(self.frame)
        card.grid(row=row, column=0, sticky="ew", pady=(0, CARD_GAP))
        Label(card, title, font=theme.CARD_TITLE).grid(row=0, column=0, sticky="w", padx=PADDING, pady=(PADDING, GAP))
        return card

    def _build_habits(self, card: Card, habits: Habits) -> None:
        self.autostart_tick = Tick(card, "Start with the system", self._autostart)
        self.minimised_tick = Tick(card, "Open minimised", self._changed)
        self.serve_tick = Tick(card, "Serve the last model as soon as the window opens", self._changed)
        for row, tick in enumerate((self.autostart_tick, self.minimised_tick, self.serve_tick), 1):
            tick.grid(row=row, column=0, sticky="w", padx=PADDING, pady=2)
        box = Row(card)
        box.grid(row=4, column=0, sticky="w", padx=PADDING, pady=GAP)
        Label(box, "When the window is closed while a model is served").grid(row=0, column=0, padx=(0, PADDING))
        self.close_menu = Menu(box, _ON_CLOSE, self._changed)
        self.close_menu.configure(width=220)
        self.close_menu.grid(row=0, column=1)
        self.problem = Label(card, colour=theme.WARNING, wraps=True)
        self.problem.grid(row=5, column=0, sticky="ew", padx=PADDING, pady=(0, PADDING))
        card.grid_columnconfigure(0, weight=1)
        self.show_habits(habits)

    def _changed(self) -> None:
        self._actions.habits_changed(self.habits)

    def _autostart(self) -> None:
        self._actions.autostart_changed(self.autostart_tick.ticked)
