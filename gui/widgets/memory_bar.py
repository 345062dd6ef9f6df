"""A bar in parts: what fills a memory."""

from __future__ import annotations

import tkinter
from typing import Final

from gui import theme
from gui.language import tr
from gui.view.forecast import Part
from gui.widgets.drawing import Drawing

_HEIGHT: Final = 12
_LEGEND_DOT: Final = 8
_GAP: Final = 4


class MemoryBar(Drawing):
    """The parts from left to right, and their names beneath."""

    def __init__(self, parent: tkinter.Misc) -> None:
        self._parts: tuple[tuple[Part, float], ...] = ()
        super().__init__(parent, height=36)

    @property
    def parts(self) -> tuple[tuple[Part, float], ...]:
        """What is drawn."""
        return self._parts

    def show(self, parts: tuple[tuple[Part, float], ...]) -> None:
        """Draw the parts, shares of the whole, if they changed."""
        if parts != self._parts:
            self._parts = parts
            self.redraw()

    def redraw(self) -> None:
        super().redraw()
        width = self.plot.winfo_width()
        height = self._apply_widget_scaling(_HEIGHT)
        dot, gap = self._apply_widget_scaling(_LEGEND_DOT), self._apply_widget_scaling(_GAP)
        self.plot.create_rectangle(0, 0, width, height, fill=self.tint(theme.TRACK), outline="")
        left, text_left = 0.0, 0.0
        middle = height + gap + dot
        for part, share in self._parts:
            colour = self.tint(theme.MEMORY[part])
            right = left + share * width
            self.plot.create_rectangle(left, 0, right, height, fill=colour, outline="")
            left = right
            top = middle - dot / 2
            self.plot.create_rectangle(text_left, top, text_left + dot, top + dot, fill=colour, outline="")
            name = self.plot.create_text(text_left + dot + gap, middle, text=tr(part.value), anchor="w", **self.words())
            text_left = self.plot.bbox(name)[2] + 2 * gap
