"""A bar in parts: what fills a memory."""

from __future__ import annotations

import tkinter
from typing import Any, Final

import customtkinter as ctk

from gui import theme
from gui.view.forecast import Part

_HEIGHT: Final = 12
_LEGEND_DOT: Final = 8
_GAP: Final = 4


class MemoryBar(ctk.CTkFrame):
    """The parts from left to right, and their names beneath."""

    def __init__(self, parent: tkinter.Misc) -> None:
        self._parts: tuple[tuple[Part, float], ...] = ()
        super().__init__(parent, fg_color="transparent", corner_radius=0, height=36)
        self.plot = tkinter.Canvas(self, height=1, highlightthickness=0, borderwidth=0)
        self.plot.place(relwidth=1, relheight=1)
        self.plot.bind("<Configure>", lambda _: self._redraw())

    @property
    def parts(self) -> tuple[tuple[Part, float], ...]:
        """What is drawn."""
        return self._parts

    def show(self, parts: tuple[tuple[Part, float], ...]) -> None:
        """Draw the parts, shares of the whole, if they changed."""
        if parts != self._parts:
            self._parts = parts
            self._redraw()

    def _redraw(self) -> None:
        self.plot.configure(bg=self._tint(theme.CARD))
        self.plot.delete("all")
        width = self.plot.winfo_width()
        height = self._apply_widget_scaling(_HEIGHT)
        dot, gap = self._apply_widget_scaling(_LEGEND_DOT), self._apply_widget_scaling(_GAP)
        self.plot.create_rectangle(0, 0, width, height, fill=self._tint(theme.TRACK), outline="")
        left, text_left = 0.0, 0.0
        middle = height + gap + dot
        for part, share in self._parts:
            colour = self._tint(theme.MEMORY[part])
            right = left + share * width
            self.plot.create_rectangle(left, 0, right, height, fill=colour, outline="")
            left = right
            top = middle - dot / 2
            self.plot.create_rectangle(text_left, top, text_left + dot, top + dot, fill=colour, outline="")
            words: dict[str, Any] = {"font": self._apply_font_scaling(theme.SMALL), "fill": self._tint(theme.DIM)}
            name = self.plot.create_text(text_left + dot + gap, middle, text=part.value, anchor="w", **words)
            text_left = self.plot.bbox(name)[2] + 2 * gap

    def _tint(self, colour: theme.Colour) -> str:
        return str(self._apply_appearance_mode(colour))

    def _set_appearance_mode(self, mode_string: str) -> None:
        super()._set_appearance_mode(mode_string)
        self._redraw()

    def _set_scaling(self, *scalings: Any, **named: Any) -> None:
        super()._set_scaling(*scalings, **named)
        self._redraw()
