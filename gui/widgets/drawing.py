"""A place to draw on that is drawn anew when its size, the colours or the scale change."""

from __future__ import annotations

import tkinter
from typing import Any

import customtkinter as ctk

from gui import theme


class Drawing(ctk.CTkFrame):
    """``plot`` is Tk's canvas; ``redraw`` is what a kind of drawing is made of. ``height`` is that at 100 %."""

    def __init__(self, parent: tkinter.Misc, *, height: int) -> None:
        super().__init__(parent, fg_color="transparent", corner_radius=0, height=height)
        self.plot = tkinter.Canvas(self, height=1, highlightthickness=0, borderwidth=0)
        self.plot.place(relwidth=1, relheight=1)
        self.plot.bind("<Configure>", lambda _: self.redraw())

    def redraw(self) -> None:
        """Draw all anew."""
        self.plot.configure(bg=self.tint(theme.CARD))
        self.plot.delete("all")

    def tint(self, colour: theme.Colour) -> str:
        """The colour as it is in the light or in the dark."""
        return str(self._apply_appearance_mode(colour))

    def words(self) -> dict[str, Any]:
        """How small texts look."""
        return {"font": self._apply_font_scaling(theme.SMALL), "fill": self.tint(theme.DIM)}

    def _set_appearance_mode(self, mode_string: str) -> None:
        super()._set_appearance_mode(mode_string)
        self.redraw()

    def _set_scaling(self, *scalings: Any, **named: Any) -> None:
        super()._set_scaling(*scalings, **named)
        self.redraw()
