"""Lines of texts that change ten times a second, each with a button."""

from __future__ import annotations

import tkinter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import customtkinter as ctk

from gui import theme
from gui.language import tr
from gui.view.live import RequestLine
from gui.widgets.controls import Button
from gui.widgets.display import Label

_ROW_HEIGHT: Final = 28
_BUTTON_WIDTH: Final = 96


@dataclass(frozen=True)
class Column:
    """A column's heading in English, its share of the width, and whether numbers stand in it (to the right)."""

    heading: str
    weight: int
    number: bool = False


class Table(ctk.CTkFrame):
    """The cells of a line lie on one canvas of Tk: many times cheaper to change than the toolkit's labels."""

    def __init__(self, parent: tkinter.Misc, columns: Sequence[Column], pressed: Callable[[int], None]) -> None:
        self._columns = columns
        self._pressed = pressed
        self.rows: list[_Row] = []
        super().__init__(parent, fg_color="transparent", corner_radius=0)
        for place, column in enumerate(columns):
            self.grid_columnconfigure(place, weight=column.weight, uniform="cells")
            heading = Label(self, tr(column.heading), font=theme.SMALL, colour=theme.DIM, anchor=_anchor(column))
            heading.grid(row=0, column=place, sticky="ew", padx=(0, theme.GAP))
        Label(self).grid(row=0, column=len(columns), padx=_BUTTON_WIDTH // 2)

    def show(self, lines: Sequence[RequestLine]) -> None:
        """Show the lines. Of new ones, one appears each time: to make it takes as long as a frame of a film."""
        if len(lines) > len(self.rows):
            self.rows.append(_Row(self, self._columns, len(self.rows) + 1, self._pressed))
            self._paint(self.rows[-1])
        for row, line in zip(self.rows, lines, strict=False):
            row.show(line)
        for row in self.rows[len(lines) :]:
            row.hide()

    def _paint(self, row: _Row) -> None:
        row.paint(
            text=str(self._apply_appearance_mode(theme.TEXT)),
            ground=str(self._apply_appearance_mode(theme.CARD)),
            font=self._apply_font_scaling(theme.SMALL),
            gap=self._apply_widget_scaling(theme.GAP),
        )

    def _set_appearance_mode(self, mode_string: str) -> None:
        super()._set_appearance_mode(mode_string)
        for row in self.rows:
            self._paint(row)

    def _set_scaling(self, *scalings: Any, **named: Any) -> None:
        super()._set_scaling(*scalings, **named)
        for row in self.rows:
            self._paint(row)


class _Row:
    """The widgets of one line, which show one request after the other."""

    def __init__(self, table: Table, columns: Sequence[Column], number: int, pressed: Callable[[int], None]) -> None:
        self._columns = columns
        self._texts = [""] * len(columns)
        self._line: RequestLine | None = None
        self._gap = 0.0
        self.cells = tkinter.Canvas(table, width=1, height=1, borderwidth=0, highlightthickness=0)
        self._items = [self.cells.create_text(0, 0, anchor=_anchor(column)) for column in columns]
        self.cells.bind("<Configure>", self._place)
        self.cells.grid(row=number, column=0, columnspan=len(columns), sticky="nsew")
        self.button = Button(
            table,
            tr("Cancel"),
            lambda: pressed(self._line.request_id) if self._line else None,
            width=_BUTTON_WIDTH,
            height=_ROW_HEIGHT - 4,
            font=theme.SMALL,
        )
        self.button.grid(row=number, column=len(columns), pady=2)

    @property
    def texts(self) -> tuple[str, ...]:
        """What the cells say; () while the row is not in use."""
        return tuple(self._texts) if self._line else ()

    def show(self, line: RequestLine) -> None:
        if line == self._line:
            return
        if self._line is None:
            self.cells.grid()
            self.button.grid()
        self._line = line
        for place, text in enumerate(line.cells):
            if text != self._texts[place]:
                self._texts[place] = text
                # Half the cost of itemconfigure(), whose arguments may be anything.
                self.cells.tk.call(self.cells, "itemconfigure", self._items[place], "-text", text)
        self.button.show(line.cancel)

    def hide(self) -> None:
        if self._line is not None:
            self._line = None
            self.cells.grid_remove()
            self.button.grid_remove()

    def paint(self, *, text: str, ground: str, font: Any, gap: float) -> None:
        self._gap = gap
        self.cells.configure(bg=ground)
        self.cells.itemconfigure("all", fill=text, font=font)
        self._place(None)

    def _place(self, _: tkinter.Event[tkinter.Misc] | None) -> None:
        width, middle = self.cells.winfo_width(), self.cells.winfo_height() / 2
        share = width / sum(column.weight for column in self._columns)
        left = 0.0
        for item, column in zip(self._items, self._columns, strict=True):
            right = left + share * column.weight
            self.cells.coords(item, right - self._gap if column.number else left, middle)
            left = right


def _anchor(column: Column) -> Any:
    return "e" if column.number else "w"
