"""How the window looks, and how it comes and goes; built by the app."""

from __future__ import annotations

import tkinter
from collections.abc import Callable
from dataclasses import dataclass

from gui import theme
from gui.language import tr
from gui.memory import Habits, OnClose
from gui.theme import CARD_GAP, GAP, PADDING
from gui.widgets.controls import Menu, Tick
from gui.widgets.display import Card, Label, Row


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
        card = self._card(tr("Look"), 0)
        look(card).grid(row=1, column=0, sticky="w", padx=PADDING, pady=(0, PADDING))
        self._build_habits(self._card(tr("Window"), 1), habits)

    @property
    def habits(self) -> Habits:
        """What is chosen."""
        return Habits(self.minimised_tick.ticked, self.serve_tick.ticked, OnClose(self.close_menu.choice))

    def show_habits(self, habits: Habits) -> None:
        """Show what was chosen elsewhere."""
        self.minimised_tick.show(habits.minimised)
        self.serve_tick.show(habits.serve)
        self.close_menu.choose(habits.on_close.value)

    def show_tray(self, in_sight: bool) -> None:
        """Say where the window goes when it is put away: into the tray, if that is ``in_sight``."""
        choice = self.close_menu.choice
        self.close_menu.offer(_on_close(in_tray=in_sight))
        self.close_menu.choose(choice)

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
        self.autostart_tick = Tick(card, tr("Start with the system"), self._autostart)
        self.minimised_tick = Tick(card, tr("Open minimised"), self._changed)
        self.serve_tick = Tick(card, tr("Serve the last model as soon as the window opens"), self._changed)
        for row, tick in enumerate((self.autostart_tick, self.minimised_tick, self.serve_tick), 1):
            tick.grid(row=row, column=0, sticky="w", padx=PADDING, pady=2)
        box = Row(card)
        box.grid(row=4, column=0, sticky="w", padx=PADDING, pady=GAP)
        question = Label(box, tr("When the window is closed while a model is served"))
        question.grid(row=0, column=0, padx=(0, PADDING))
        self.close_menu = Menu(box, _on_close(in_tray=False), self._changed)
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


def keep_serving(*, in_tray: bool) -> str:
    """What it is called to put the window away while a model is served."""
    return tr("Keep serving in the tray") if in_tray else tr("Keep serving, minimised")


def _on_close(*, in_tray: bool) -> tuple[tuple[str, str], ...]:
    return (
        (OnClose.ASK.value, tr("Ask what to do")),
        (OnClose.KEEP.value, keep_serving(in_tray=in_tray)),
        (OnClose.QUIT.value, tr("Stop and quit")),
    )
