"""A list in columns from which one line is chosen, by mouse or keyboard; for any number of lines."""

from __future__ import annotations

import tkinter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from tkinter import ttk
from typing import Any, Final

import customtkinter as ctk

from gui import theme
from gui.language import tr
from gui.view.looks import ButtonRole, ListLine, Tone

_ROW_HEIGHT: Final = 26


@dataclass(frozen=True)
class ListColumn:
    """A column's heading in English, its width at 100 %, and whether it takes what is left over."""

    heading: str
    width: int
    stretches: bool = False


class Listing(ctk.CTkFrame):
    """Tk's own tree view in our look. ``chosen`` is called when another line is chosen, ``opened`` on a double click or
    Return."""

    def __init__(
        self,
        parent: tkinter.Misc,
        columns: Sequence[ListColumn],
        chosen: Callable[[], None],
        opened: Callable[[], None],
    ) -> None:
        self._columns = columns
        self._lines: dict[str, ListLine] = {}
        super().__init__(parent, fg_color="transparent", corner_radius=0)
        self.grid_columnconfigure(0, weight=1)
        self.grid_rowconfigure(0, weight=1)
        self._style = f"{id(self)}.Treeview"
        names = [column.heading for column in columns]
        ttk.Style(self).theme_use("clam")  # the others draw their own colours
        self.tree = ttk.Treeview(self, columns=names, show="headings", selectmode="browse", style=self._style, height=3)
        self.tree.grid(row=0, column=0, sticky="nsew")
        self._bar = ctk.CTkScrollbar(self, command=self.tree.yview, width=12, height=0)
        self._bar.grid(row=0, column=1, sticky="ns")
        self.tree.configure(yscrollcommand=self._bar.set)
        for column in columns:
            self.tree.heading(column.heading, text=tr(column.heading), anchor="w")
        self.tree.bind("<<TreeviewSelect>>", lambda _: chosen())
        self.tree.bind("<Double-1>", lambda _: opened())
        self.tree.bind("<Return>", lambda _: opened())
        self._paint()

    @property
    def key(self) -> str:
        """The key of the chosen line, or ""."""
        selection = self.tree.selection()
        return str(selection[0]) if selection else ""

    @property
    def lines(self) -> tuple[ListLine, ...]:
        """What is shown."""
        return tuple(self._lines.values())

    def choose(self, key: str) -> None:
        """Choose a line and bring it in sight."""
        if key in self._lines:
            self.tree.selection_set(key)
            self.tree.focus(key)
            self.tree.see(key)

    def show(self, lines: Sequence[ListLine]) -> None:
        """Show the lines; only what changed is drawn, and the choice stays."""
        wanted = {line.key: line for line in lines}
        if list(wanted.items()) == list(self._lines.items()):
            return
        for key in [key for key in self._lines if key not in wanted]:
            self.tree.delete(key)
        for place, line in enumerate(wanted.values()):
            known = self._lines.get(line.key)
            if known is None:
                self.tree.insert("", place, iid=line.key, values=line.cells, tags=(line.tone.value,))
            elif known != line:
                self.tree.item(line.key, values=line.cells, tags=(line.tone.value,))
        order = list(wanted)
        if list(self.tree.get_children()) != order:
            for place, key in enumerate(order):
                self.tree.move(key, "", place)
        self._lines = wanted

    def _paint(self) -> None:
        style, tint, font = ttk.Style(self), self._tint, self._apply_font_scaling
        scaled = self._apply_widget_scaling
        style.configure(
            self._style,
            background=tint(theme.CARD),
            fieldbackground=tint(theme.CARD),
            foreground=tint(theme.TEXT),
            bordercolor=tint(theme.CARD),
            lightcolor=tint(theme.CARD),
            darkcolor=tint(theme.CARD),
            borderwidth=0,
            font=font(theme.SMALL),
            rowheight=round(scaled(_ROW_HEIGHT)),
        )
        style.map(
            self._style,
            background=[("selected", tint(theme.BUTTONS[ButtonRole.CHOSEN].fill))],
            foreground=[("selected", tint(theme.TEXT))],
        )
        heading = f"{self._style}.Heading"
        style.configure(
            heading,
            background=tint(theme.CARD),
            foreground=tint(theme.DIM),
            font=font(theme.SMALL),
            borderwidth=0,
            relief="flat",
        )
        style.map(heading, background=[("active", tint(theme.CARD))])
        for column in self._columns:
            self.tree.column(column.heading, width=round(scaled(column.width)), stretch=column.stretches, anchor="w")
        for tone in Tone:
            colour = theme.TEXT if tone is Tone.QUIET else theme.TONES[tone]
            self.tree.tag_configure(tone.value, foreground=tint(colour))
        self._bar.configure(button_color=theme.TRACK, button_hover_color=theme.LOCKED, fg_color="transparent")

    def _tint(self, colour: theme.Colour) -> str:
        return str(self._apply_appearance_mode(colour))

    def _set_appearance_mode(self, mode_string: str) -> None:
        super()._set_appearance_mode(mode_string)
        self._paint()

    def _set_scaling(self, *scalings: Any, **named: Any) -> None:
        super()._set_scaling(*scalings, **named)
        self._paint()
