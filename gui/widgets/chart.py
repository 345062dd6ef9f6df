"""A line over time with the area under it filled."""

from __future__ import annotations

import tkinter
from collections.abc import Sequence
from typing import Final

from gui import theme
from gui.view.history import round_top
from gui.widgets.drawing import Drawing

_MARGIN: Final = 4
_GRID_LINES: Final = 2


class Chart(Drawing):
    """Draws samples from left to right, under a round number that is written as ``top`` says."""

    def __init__(self, parent: tkinter.Misc, *, height: int, top: str, span: str) -> None:
        self._top, self._span = top, span
        self._samples: tuple[float, ...] = ()
        super().__init__(parent, height=height)

    def show(self, samples: Sequence[float]) -> None:
        """Draw the samples, oldest first, if they are new."""
        if tuple(samples) != self._samples:
            self._samples = tuple(samples)
            self.redraw()

    def redraw(self) -> None:
        super().redraw()
        width, height = self.plot.winfo_width(), self.plot.winfo_height()
        if width < _MARGIN or not self._samples:
            return
        top = round_top(max(self._samples))
        bottom = height - _MARGIN
        for line in range(_GRID_LINES + 1):
            y = bottom - (bottom - _MARGIN) * line / _GRID_LINES
            self.plot.create_line(0, y, width, y, fill=self.tint(theme.BORDER))
        step = width / max(len(self._samples) - 1, 1)
        points: list[float] = []
        for index, sample in enumerate(self._samples):
            points += (index * step, bottom - (bottom - _MARGIN) * sample / top)
        self.plot.create_polygon(0, bottom, *points, width, bottom, fill=self.tint(theme.AREA), outline="")
        self.plot.create_line(*points, fill=self.tint(theme.ACCENT), width=2)
        self.plot.create_text(_MARGIN, _MARGIN + 2, text=self._top.format(top=top), anchor="nw", **self.words())
        self.plot.create_text(_MARGIN, bottom - 2, text=self._span, anchor="sw", **self.words())
