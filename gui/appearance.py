"""How large everything is, and light or dark: the slider and the button in the window's corner."""

from __future__ import annotations

import sys
import tkinter
from collections.abc import Callable
from typing import Final

import customtkinter as ctk
import darkdetect  # type: ignore[import-untyped]

from gui.language import tr
from gui.memory import Look
from gui.theme import GAP, PADDING, SMALLEST_WINDOW
from gui.widgets.controls import Button, Slider
from gui.widgets.display import Label, Row

SCALES: Final = (0.0, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0)  # 0 is as the display says
_DRAGGING_MS: Final = 300
_MODE_LOOK_MS: Final = 10_000  # the toolkit looks every 30 ms whether the mode has changed, which is never by itself


class Appearance:
    """Sets the look when it is made, and again when the user changes it; ``changed`` hears of that."""

    def __init__(self, root: ctk.CTk, look: Look, *, appearance: str | None, scale: float | None) -> None:
        self._root = root
        self._chosen = look.scale
        self._timer = ""
        self._changed: Callable[[Look], None] = lambda _: None
        ctk.AppearanceModeTracker.update_loop_interval = _MODE_LOOK_MS
        # "system" would start a gsettings process every 30 ms on Linux: ask once.
        ctk.set_appearance_mode(appearance or look.appearance or ("dark" if darkdetect.isDark() else "light"))
        self._set_scale(scale or look.scale)

    def build(self, parent: tkinter.Misc, changed: Callable[[Look], None]) -> Row:
        """The slider and the button."""
        self._changed = changed
        box = Row(parent)
        Label(box, tr("Size")).grid(row=0, column=0, padx=(0, PADDING))
        self.scale_slider = Slider(box, self._drag)
        self.scale_slider.configure(width=240)
        self.scale_slider.grid(row=0, column=1)
        self.scale_value = Label(box, anchor="w")
        self.scale_value.configure(width=72)
        self.scale_value.grid(row=0, column=2, padx=(GAP, PADDING))
        self.mode_button = Button(box, "", self._switch, width=120)
        self.mode_button.grid(row=0, column=3)
        self._show()
        return box

    def _drag(self, position: int) -> None:
        """Wait until the slider rests: everything moves under the mouse when the scale changes."""
        self._chosen = SCALES[position]
        self._show()
        if self._timer:
            self._root.after_cancel(self._timer)
        self._timer = self._root.after(_DRAGGING_MS, self._apply)

    def _apply(self) -> None:
        self._timer = ""
        self._set_scale(self._chosen)
        self._tell()

    def _switch(self) -> None:
        ctk.set_appearance_mode("light" if ctk.get_appearance_mode() == "Dark" else "dark")
        self._show()
        self._tell()

    def _tell(self) -> None:
        self._changed(Look(ctk.get_appearance_mode().lower(), self._chosen))

    def _show(self) -> None:
        position = min(range(len(SCALES)), key=lambda index: abs(SCALES[index] - self._chosen))
        self.scale_slider.show(0, len(SCALES) - 1, position, enabled=True)
        self.scale_value.show(f"{100 * self._chosen:.0f} %" if self._chosen else tr("automatic"))
        self.mode_button.configure(
            text=tr("Light colours") if ctk.get_appearance_mode() == "Dark" else tr("Dark colours")
        )

    def _set_scale(self, scale: float) -> None:
        scale = min(scale, largest_scale(self._root)) if scale else display_scale(self._root)
        ctk.set_widget_scaling(scale)
        ctk.set_window_scaling(scale)


def display_scale(root: tkinter.Misc) -> float:
    """The scale for this display, in quarters, no larger than the smallest window fits on the screen.

    customtkinter asks Windows and macOS itself, but not X11.
    """
    if sys.platform in ("win32", "darwin"):
        return 1.0
    return max(0.75, min(round(root.winfo_fpixels("1i") / 96 * 4) / 4, largest_scale(root)))


def largest_scale(root: tkinter.Misc) -> float:
    """The largest scale, in quarters, with which the smallest window fits on the screen."""
    width, height = SMALLEST_WINDOW
    return max(0.75, int(min(root.winfo_screenwidth() / width, root.winfo_screenheight() / height) * 4) / 4)
