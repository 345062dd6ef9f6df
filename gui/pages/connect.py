"""The connect page: for each program what to enter, with copy buttons, and a button that tries it."""

from __future__ import annotations

import tkinter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from tkinter import filedialog
from typing import Final

from gui import theme
from gui.language import tr
from gui.theme import CARD_GAP, GAP, PADDING
from gui.view.connect import ConnectView
from gui.view.looks import ButtonRole, ButtonView
from gui.widgets.controls import Button, CopyButton, Entry
from gui.widgets.display import Card, Label, Row, show_if
from server.snapshot import ClientGuide

_MOST_FIELDS: Final = 4
_MOST_ADVICE: Final = 3
_LIST_WIDTH: Final = 168


@dataclass(frozen=True)
class ConnectActions:
    """What the page tells the app: another program was chosen, try it, write Mantella's file in a folder."""

    chosen: Callable[[], None]
    test: Callable[[], None]
    write_config: Callable[[str], None]


class Field:
    """What to enter into one field of the program, with its Copy button."""

    def __init__(self, parent: tkinter.Misc, row: int) -> None:
        self.name = Label(parent, colour=theme.DIM)
        self.name.grid(row=row, column=0, sticky="w", pady=(4, 0))
        self.entry = Entry(parent)
        self.entry.read_only()
        self.entry.grid(row=row, column=1, sticky="ew", padx=GAP, pady=(4, 0))
        self.copy_button = CopyButton(parent, tr("Copy"), self.entry.get, width=72)
        self.copy_button.grid(row=row, column=2, pady=(4, 0))

    def show(self, name: str, value: str) -> None:
        """Show name and value; without a name the row is out of sight."""
        self.name.show(name)
        self.entry.show(value)
        for widget in (self.name, self.entry, self.copy_button):
            show_if(widget, bool(name))


class ConnectPage:
    """The page's widgets; ``key`` is the chosen program's, ``show`` draws what the app decided for it."""

    def __init__(self, parent: tkinter.Misc, guides: Sequence[ClientGuide], actions: ConnectActions) -> None:
        self.key = guides[0].key
        self._actions = actions
        self._names = {guide.key: tr(guide.name) for guide in guides}
        self._view: ConnectView | None = None
        self.frame = Row(parent)
        self.frame.grid_columnconfigure(1, weight=1)
        self.frame.grid_rowconfigure(0, weight=1)
        self.buttons = self._build_list()
        self._build_card()
        self._mark()

    def show(self, view: ConnectView) -> None:
        """Draw what changed."""
        if view == self._view:
            return
        self._view = view
        self.where.show(view.where)
        for place, field in enumerate(self.fields):
            field.show(*(view.fields[place] if place < len(view.fields) else ("", "")))
        for place, label in enumerate(self.advice):
            label.show(view.advice[place] if place < len(view.advice) else "")
            show_if(label, place < len(view.advice))
        self.test_button.show(view.test)
        self.hint.show(view.hint)
        show_if(self.config_button, view.writes_config)
        self.figures.show(view.figures, theme.TONES[view.tone])
        self.reply.show(view.reply)

    def choose(self, key: str) -> None:
        """Show another program."""
        self.key = key
        self._mark()
        self._actions.chosen()

    def _build_list(self) -> dict[str, Button]:
        card = Card(self.frame)
        card.grid(row=0, column=0, sticky="ns", padx=(0, CARD_GAP))
        buttons = {}
        for row, (key, name) in enumerate(self._names.items()):
            buttons[key] = Button(card, name, self._leads_to(key), width=_LIST_WIDTH)
            buttons[key].grid(row=row, column=0, padx=PADDING, pady=(PADDING if row == 0 else GAP, 0))
        return buttons

    def _build_card(self) -> None:
        card = Card(self.frame)
        card.grid(row=0, column=1, sticky="nsew")
        card.grid_columnconfigure(0, weight=1)
        self.where = Label(card, font=theme.CARD_TITLE, wraps=True)
        self.where.grid(row=0, column=0, sticky="ew", padx=PADDING, pady=(PADDING, GAP))
        box = Row(card)
        box.grid(row=1, column=0, sticky="ew", padx=PADDING)
        box.grid_columnconfigure(1, weight=1)
        self.fields = [Field(box, row) for row in range(_MOST_FIELDS)]
        self.advice = [Label(card, font=theme.SMALL, colour=theme.DIM, wraps=True) for _ in range(_MOST_ADVICE)]
        for row, label in enumerate(self.advice, 2):
            label.grid(row=row, column=0, sticky="ew", padx=PADDING, pady=(GAP, 0))
        row = 2 + _MOST_ADVICE
        self._build_buttons(card, row)
        self.figures = Label(card, font=theme.CARD_TITLE)
        self.figures.grid(row=row + 1, column=0, sticky="w", padx=PADDING, pady=(PADDING, 0))
        self.reply = Label(card, wraps=True)
        self.reply.grid(row=row + 2, column=0, sticky="ew", padx=PADDING, pady=(4, PADDING))

    def _build_buttons(self, card: Card, row: int) -> None:
        box = Row(card)
        box.grid(row=row, column=0, sticky="ew", padx=PADDING, pady=(PADDING, 0))
        self.test_button = Button(box, tr("Test it"), self._actions.test, width=120, role=ButtonRole.START)
        self.test_button.grid(row=0, column=0)
        self.config_button = Button(box, tr("Write Mantella's config.ini…"), self._pick_folder, width=208)
        self.config_button.grid(row=0, column=1, padx=GAP)
        self.hint = Label(box, colour=theme.DIM)
        self.hint.grid(row=0, column=2, padx=GAP)

    def _pick_folder(self) -> None:
        folder = filedialog.askdirectory(parent=self.frame, title=tr("Mantella's folder, with its config.ini"))
        if folder:
            self._actions.write_config(folder)

    def _leads_to(self, key: str) -> Callable[[], None]:
        return lambda: self.choose(key)

    def _mark(self) -> None:
        for key, button in self.buttons.items():
            role = ButtonRole.CHOSEN if key == self.key else ButtonRole.PLAIN
            button.show(ButtonView(self._names[key], role, enabled=True))
