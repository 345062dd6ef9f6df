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
    """The cells are Tk's own labels: many times cheaper to change than the toolkit's."""

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
        self._texts = [""] * len(columns)
        self._line: RequestLine | None = None
        self.cells = [tkinter.Label(table, width=1, borderwidth=0, anchor=_anchor(column)) for column in columns]
        for place, cell in enumerate(self.cells):
            cell.grid(row=number, column=place, sticky="ew", padx=(0, theme.GAP))
        self.button = Button(
            table,
            tr("Cancel"),
            lambda: pressed(self._line.request_id) if self._line else None,
            width=_BUTTON_WIDTH,
            height=_ROW_HEIGHT - 4,
            font=theme.SMALL,
        )
        self.button.grid(row=number, column=len(columns), pady=2)
        self._widgets: tuple[tkinter.Grid, ...] = (*self.cells, self.button)

    @property
    def texts(self) -> tuple[str, ...]:
        """What the cells say; () while the row is not in use."""
        return tuple(self._texts) if self._line else ()

    def show(self, line: RequestLine) -> None:
        if line == self._line:
            return
        if self._line is None:
            for widget in self._widgets:
                widget.grid()
        self._line = line
        for place, text in enumerate(line.cells):
            if text != self._texts[place]:
                self._texts[place] = text
                cell = self.cells[place]
                cell.tk.call(cell, "configure", "-text", text)  # half the cost of cell.configure()
        self.button.show(line.cancel)

    def hide(self) -> None:
        if self._line is not None:
            self._line = None
            for widget in self._widgets:
                widget.grid_remove()

    def paint(self, *, text: str, ground: str, font: Any) -> None:
        for cell in self.cells:
            cell.configure(fg=text, bg=ground, font=font)


def _anchor(column: Column) -> Any:
    return "e" if column.number else "w"
