"""A line over time with the area under it filled."""

from __future__ import annotations

import tkinter
from collections.abc import Sequence
from typing import Any, Final

import customtkinter as ctk

from gui import theme
from gui.view.history import round_top

_MARGIN: Final = 4
_GRID_LINES: Final = 2


class Chart(ctk.CTkFrame):
    """Draws samples from left to right; the top of the chart is a round number that they fit under."""

    def __init__(self, parent: tkinter.Misc, *, height: int, unit: str, span: str) -> None:
        self._unit, self._span = unit, span
        self._samples: tuple[float, ...] = ()
        super().__init__(parent, fg_color="transparent", corner_radius=0, height=height)
        self.plot = tkinter.Canvas(self, height=1, highlightthickness=0, borderwidth=0)
        self.plot.place(relwidth=1, relheight=1)
        self.plot.bind("<Configure>", lambda _: self._redraw())

    def show(self, samples: Sequence[float]) -> None:
        """Draw the samples, oldest first, if they are new."""
        if tuple(samples) != self._samples:
            self._samples = tuple(samples)
            self._redraw()

    def _redraw(self) -> None:
        width, height = self.plot.winfo_width(), self.plot.winfo_height()
        self.plot.configure(bg=self._tint(theme.CARD))
        self.plot.delete("all")
        if width < _MARGIN or not self._samples:
            return
        font = self._apply_font_scaling(theme.SMALL)
        top = round_top(max(self._samples))
        bottom = height - _MARGIN
        for line in range(_GRID_LINES + 1):
            y = bottom - (bottom - _MARGIN) * line / _GRID_LINES
            self.plot.create_line(0, y, width, y, fill=self._tint(theme.BORDER))
        step = width / max(len(self._samples) - 1, 1)
        points: list[float] = []
        for index, sample in enumerate(self._samples):
            points += (index * step, bottom - (bottom - _MARGIN) * sample / top)
        self.plot.create_polygon(0, bottom, *points, width, bottom, fill=self._tint(theme.AREA), outline="")
        self.plot.create_line(*points, fill=self._tint(theme.ACCENT), width=2)
        words: dict[str, Any] = {"font": font, "fill": self._tint(theme.DIM)}
        self.plot.create_text(_MARGIN, _MARGIN + 2, text=f"{top:,.0f} {self._unit}", anchor="nw", **words)
        self.plot.create_text(_MARGIN, bottom - 2, text=self._span, anchor="sw", **words)

    def _tint(self, colour: theme.Colour) -> str:
        return str(self._apply_appearance_mode(colour))

    def _set_appearance_mode(self, mode_string: str) -> None:
        super()._set_appearance_mode(mode_string)
        self._redraw()

    def _set_scaling(self, *scalings: Any, **named: Any) -> None:
        super()._set_scaling(*scalings, **named)
        self._redraw()
