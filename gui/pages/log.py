"""The last log lines, across the bottom of the window; built by the app, fed once a tick."""

from __future__ import annotations

import logging
import time
import tkinter
from collections.abc import Sequence
from typing import Final

import customtkinter as ctk

from gui import theme
from gui.view.looks import Tone
from gui.widgets.display import Card
from server.events import LogLine

_LONGEST_LINE: Final = 2000  # one line of 200,000 characters freezes Tk for seconds
_LINES_KEPT: Final = 1000
_LEAST_HEIGHT: Final = 48


class LogCard:
    """A read-only text that follows its end unless the user has scrolled up."""

    def __init__(self, parent: tkinter.Misc) -> None:
        self.frame = Card(parent)
        self.frame.grid_columnconfigure(0, weight=1)
        self.frame.grid_rowconfigure(0, weight=1)
        self.text = ctk.CTkTextbox(
            self.frame,
            height=_LEAST_HEIGHT,
            wrap="none",
            font=theme.LOG,
            fg_color=theme.CARD,
            text_color=theme.DIM,
            scrollbar_button_color=theme.TRACK,
            scrollbar_button_hover_color=theme.LOCKED,
            corner_radius=theme.RADIUS,
            state="disabled",
        )
        self.text.grid(row=0, column=0, sticky="nsew", padx=6, pady=6)
        self._top = 0.0
        self.text.bind("<Configure>", self._resized)
        self.tint()

    def append(self, lines: Sequence[LogLine]) -> None:
        """Add lines at the end and forget the oldest."""
        if not lines:
            return
        follows = self._follows()
        now = time.strftime("%H:%M:%S")
        self.text.configure(state="normal")
        for line in lines:
            start = "" if self.text.index("end-1c") == "1.0" else "\n"
            self.text.insert("end", f"{start}{now} {line.text.rstrip()[:_LONGEST_LINE]}", _tag(line.level))
        surplus = int(self.text.index("end-1c").split(".")[0]) - _LINES_KEPT
        if surplus > 0:
            self.text.delete("1.0", f"{surplus + 1}.0")
        self.text.configure(state="disabled")
        if follows:
            self._show_end()

    def _follows(self) -> bool:
        """Whether the end is in sight, or was when its text was last moved: a card that grows may have covered it."""
        top, bottom = self.text.yview()
        return bottom >= 0.999 or top == self._top

    def _show_end(self) -> None:
        self.text.yview_moveto(1.0)
        self._top = self.text.yview()[0]

    def _resized(self, _: tkinter.Event[tkinter.Misc]) -> None:
        if self._follows():
            self._show_end()

    def tint(self) -> None:
        """Colour warnings and errors for the current appearance; Tk's tags know only one colour each."""
        dark = ctk.get_appearance_mode() == "Dark"
        self.text.tag_config("warning", foreground=theme.TONES[Tone.BUSY][dark])
        self.text.tag_config("error", foreground=theme.TONES[Tone.BAD][dark])


def _tag(level: int) -> str:
    if level >= logging.ERROR:
        return "error"
    return "warning" if level >= logging.WARNING else ""
