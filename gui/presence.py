"""How the window comes and goes: to the front, minimised, with the system, closed. The app owns one."""

from __future__ import annotations

import logging
import tkinter
from collections.abc import Callable
from dataclasses import replace

import customtkinter as ctk

from gui import autostart
from gui.event_pump import EventPump, Lane
from gui.memory import Habits, Memory, OnClose
from gui.pages.options import OptionsActions, OptionsPage
from gui.view.looks import ButtonRole
from gui.widgets.display import Row
from gui.widgets.sheet import Sheet

logger = logging.getLogger("tavernkeep.window")


class Presence:
    """``use_model`` takes a model's path, ``close`` stops everything."""

    def __init__(
        self,
        root: ctk.CTk,
        pump: EventPump,
        memory: Memory,
        use_model: Callable[[str], None],
        close: Callable[[], None],
    ) -> None:
        self._root = root
        self._pump = pump
        self._memory = memory
        self._use_model = use_model
        self._close = close
        self.sheet = Sheet(root)

    def build(self, parent: tkinter.Misc, look: Callable[[tkinter.Misc], Row]) -> OptionsPage:
        """The page where all this is chosen, and the look."""
        actions = OptionsActions(self._keep, self._set_autostart)
        self._page = OptionsPage(parent, self._memory.habits, look, actions)
        return self._page

    def wake(self, model: str) -> None:
        """Come to the front, and choose ``model`` if it is not ""; from any thread."""

        def come() -> None:
            self._root.deiconify()
            self._root.lift()
            self._root.focus_force()
            if model:
                self._use_model(model)

        self._pump.call(come)

    def ask_to_close(self, *, serving: bool) -> None:
        """What the close button does: while a model is served, what the user wants; pressed twice, close."""
        on_close = self._memory.habits.on_close
        if not serving or on_close is OnClose.QUIT or self.sheet.open:
            self._close()
        elif on_close is OnClose.KEEP:
            self._root.iconify()
        else:
            self.sheet.ask(
                "A model is being served",
                "Programs that talk to it would hear nothing any more. Your answer is remembered; the options page can"
                " change it.",
                (
                    ("Keep serving, minimised", ButtonRole.START, lambda: self._answer(OnClose.KEEP)),
                    ("Stop and quit", ButtonRole.STOP, lambda: self._answer(OnClose.QUIT)),
                ),
            )

    def show_autostart(self) -> None:
        """Show on the page whether the program starts with the system."""
        self._page.show_autostart(autostart.enabled())

    def _answer(self, on_close: OnClose) -> None:
        habits = replace(self._memory.habits, on_close=on_close)
        self._page.show_habits(habits)
        self._keep(habits)
        if on_close is OnClose.KEEP:
            self._root.iconify()
        else:
            self._close()

    def _keep(self, habits: Habits) -> None:
        self._pump.submit(Lane.SAVING, lambda: self._memory.keep_habits(habits), lambda _: None, logger.error)

    def _set_autostart(self, wanted: bool) -> None:
        problem = ""
        try:
            autostart.enable(wanted)
        except OSError as error:
            problem = f"That could not be changed: {error.strerror}."
        self._page.show_autostart(autostart.enabled(), problem)
