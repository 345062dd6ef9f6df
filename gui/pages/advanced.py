"""The options that are folded away, beneath the form; built when they are opened for the first time."""

from __future__ import annotations

import tkinter
from collections.abc import Callable, Sequence
from typing import Final

from gui import theme
from gui.language import tr
from gui.pages.web_pages import WebPages
from gui.theme import GAP
from gui.view.advanced import ON, Option, OptionKind, Typed, groups
from gui.widgets.controls import Button, Entry, Menu, Tick
from gui.widgets.display import Label, Row, Tip, show_if
from server.snapshot import WebPage

Field = Entry | Menu | Tick | WebPages
_LABEL_WIDTH: Final = 200


class AdvancedOptions:
    """``typed`` reads the fields, ``fill`` writes them, whether they were opened or not."""

    def __init__(self, parent: tkinter.Misc, pages: Sequence[WebPage], changed: Callable[[], None]) -> None:
        self._changed = changed
        self._pages = pages
        self._typed: dict[str, str] = {}
        self._title = tr("More options")
        self._locked = False
        self.frame = Row(parent)
        self.frame.grid_columnconfigure(0, weight=1)
        self.fold_button = Button(self.frame, self._title, self._fold, width=200, height=28)
        self.fold_button.grid(row=0, column=0, sticky="w")
        self.body = Row(self.frame)
        self.body.grid_columnconfigure(1, weight=1)
        self.body.grid(row=1, column=0, columnspan=3, sticky="ew", pady=(GAP, 0))
        self.body.grid_remove()
        self.fields: dict[str, Field] = {}
        self.tips: list[Tip] = []

    @property
    def typed(self) -> Typed:
        """What the fields hold."""
        return tuple({**self._typed, **{name: _read(field) for name, field in self.fields.items()}}.items())

    def fill(self, typed: Typed) -> None:
        """Put ``typed`` into the fields."""
        self._typed = dict(typed)
        for name, field in self.fields.items():
            _write(field, self._typed.get(name, ""))

    def show(self, title: str, *, locked: bool) -> None:
        """What the button says, and whether the options can be changed."""
        if title != self._title:
            self._title = title
            self._name_button()
        if locked != self._locked:
            self._locked = locked
            for field in self.fields.values():
                field.lock(locked)

    @property
    def open(self) -> bool:
        """Whether the options are in sight."""
        return bool(self.body.winfo_manager())

    def _fold(self) -> None:
        if not self.fields:
            self._build()
        show_if(self.body, not self.open)
        self._name_button()

    def _name_button(self) -> None:
        self.fold_button.configure(text=f"{'▾' if self.open else '▸'}  {self._title}")

    def _build(self) -> None:
        row = 0
        for title, options in groups():
            heading = Label(self.body, title, font=theme.CARD_TITLE)
            heading.grid(row=row, column=0, columnspan=2, sticky="w", pady=(GAP, 4))
            for option in options:
                row += 1
                self._build_option(row, option)
            row += 1

    def _build_option(self, row: int, option: Option) -> None:
        field: Field
        if option.kind is OptionKind.SWITCH:
            field = Tick(self.body, option.label, self._changed)
            field.grid(row=row, column=0, columnspan=2, sticky="w", pady=2)
        else:
            label = Label(self.body, option.label, height=theme.FIELD_HEIGHT)
            label.configure(width=_LABEL_WIDTH)
            label.grid(row=row, column=0, sticky="nw", pady=2)
            if option.kind is OptionKind.PAGES:
                field = WebPages(self.body, self._pages, self._changed)
            elif option.kind is OptionKind.CHOICE:
                field = Menu(self.body, option.choices, self._changed)
            else:
                field = Entry(self.body, self._changed)
                if option.secret:
                    field.configure(show="•")
            field.grid(row=row, column=1, sticky="ew", pady=2)
            self.tips.append(Tip(label, option.help))
        self.tips.append(Tip(field, option.help))
        _write(field, self._typed.get(option.name, ""))
        field.lock(self._locked)
        self.fields[option.name] = field


def _read(field: Field) -> str:
    if isinstance(field, Tick):
        return ON if field.ticked else ""
    return field.choice if isinstance(field, Menu) else field.get()


def _write(field: Field, text: str) -> None:
    if isinstance(field, Tick):
        field.show(text == ON)
    elif isinstance(field, Menu):
        field.choose(text, text)
    else:
        field.show(text)
