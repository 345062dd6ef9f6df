"""The log page: the last lines, a filter, and buttons that copy them or a report for a bug."""

from __future__ import annotations

import tkinter
from collections.abc import Callable, Sequence
from typing import Final

import customtkinter as ctk

from gui import theme
from gui.language import tr
from gui.theme import GAP, PADDING
from gui.view.log import LINES_KEPT, LogBook, LogEntry, LogFilter
from gui.view.looks import Tone
from gui.widgets.controls import CopyButton, Entry, Tick
from gui.widgets.display import Card, Label, LongText

_LEAST_HEIGHT: Final = 48


class LogPage:
    """A read-only text that follows its end unless the user has scrolled up. ``report`` makes the report to copy."""

    def __init__(self, parent: tkinter.Misc, book: LogBook, report: Callable[[], str]) -> None:
        self._book = book
        self._shown = 0
        self._filter = LogFilter()
        self.frame = Card(parent)
        self.frame.grid_columnconfigure(1, weight=1)
        self.frame.grid_rowconfigure(1, weight=1)
        self._build_bar(report)
        self.text = LongText(
            self.frame,
            colour=theme.DIM,
            height=_LEAST_HEIGHT,
            wrap="none",
            fg_color=theme.CARD,
            scrollbar_button_color=theme.TRACK,
            scrollbar_button_hover_color=theme.LOCKED,
            corner_radius=theme.RADIUS,
            state="disabled",
        )
        self.text.grid(row=1, column=0, columnspan=5, sticky="nsew", padx=6, pady=6)
        self._top = 0.0
        self.text.bind("<Configure>", self._resized)
        self.tint()

    def show(self) -> None:
        """Add the lines that came since it was shown last, and forget the oldest."""
        fresh = self._book.since(self._shown)
        if not fresh:
            return
        self._shown = self._book.count
        follows = self._follows()
        self._write(fresh)
        if follows:
            self._show_end()

    def tint(self) -> None:
        """Colour warnings and errors for the current appearance; Tk's tags know only one colour each."""
        dark = ctk.get_appearance_mode() == "Dark"
        self.text.tag_config("warning", foreground=theme.TONES[Tone.BUSY][dark])
        self.text.tag_config("error", foreground=theme.TONES[Tone.BAD][dark])

    def _build_bar(self, report: Callable[[], str]) -> None:
        Label(self.frame, tr("Filter")).grid(row=0, column=0, padx=(PADDING, GAP), pady=(GAP, 0))
        self.filter_entry = Entry(self.frame, self._filter_changed)
        self.filter_entry.grid(row=0, column=1, sticky="ew", pady=(GAP, 0))
        self.problems_tick = Tick(self.frame, tr("Problems only"), self._filter_changed)
        self.problems_tick.grid(row=0, column=2, padx=PADDING, pady=(GAP, 0))
        self.copy_button = CopyButton(self.frame, tr("Copy"), self._lines_in_sight, width=72)
        self.copy_button.grid(row=0, column=3, pady=(GAP, 0))
        self.report_button = CopyButton(self.frame, tr("Copy a report for a bug"), report, width=176)
        self.report_button.grid(row=0, column=4, padx=(GAP, PADDING), pady=(GAP, 0))

    def _lines_in_sight(self) -> str:
        return "".join(f"{entry.text}\n" for entry in self._book.entries if self._filter.lets(entry))

    def _filter_changed(self) -> None:
        wanted = LogFilter(self.filter_entry.get(), self.problems_tick.ticked)
        if wanted == self._filter:
            return
        self._filter = wanted
        self.text.configure(state="normal")
        self.text.delete("1.0", "end")
        self._write(self._book.since(0))
        self._shown = self._book.count
        self._show_end()

    def _write(self, entries: Sequence[LogEntry]) -> None:
        self.text.configure(state="normal")
        for entry in filter(self._filter.lets, entries):
            start = "" if self.text.index("end-1c") == "1.0" else "\n"
            self.text.insert("end", start + entry.text, entry.tag)
        surplus = int(self.text.index("end-1c").split(".")[0]) - LINES_KEPT
        if surplus > 0:
            self.text.delete("1.0", f"{surplus + 1}.0")
        self.text.configure(state="disabled")

    def _follows(self) -> bool:
        """Whether the end is in sight, or was when its text was last moved: another page may have covered it."""
        top, bottom = self.text.yview()
        return bottom >= 0.999 or top == self._top

    def _show_end(self) -> None:
        self.text.yview_moveto(1.0)
        self._top = self.text.yview()[0]

    def _resized(self, _: tkinter.Event[tkinter.Misc]) -> None:
        if self._follows():
            self._show_end()
