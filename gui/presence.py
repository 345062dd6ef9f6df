"""How the window comes and goes: to the front, into the tray, with the system, closed. The app owns one."""

from __future__ import annotations

import logging
import tkinter
from collections.abc import Callable
from dataclasses import dataclass, replace

import customtkinter as ctk

from gui import autostart
from gui.event_pump import EventPump, Lane
from gui.language import tr
from gui.memory import Habits, Memory, OnClose
from gui.pages.options import OptionsActions, OptionsPage, keep_serving
from gui.tray.icon import Tray, TrayEvents, open_tray
from gui.view.looks import ButtonRole
from gui.view.tray import TrayAction, TrayView
from gui.widgets.display import Row
from gui.widgets.sheet import Sheet

logger = logging.getLogger("tavernkeep.window")


@dataclass(frozen=True)
class PresenceActions:
    """What the app does when it is asked from outside; ``close`` stops everything."""

    use_file: Callable[[str], None]
    start: Callable[[], None]
    stop: Callable[[], None]
    address: Callable[[], str]
    close: Callable[[], None]


class Presence:
    """The window is put away into the tray where there is one, else minimised."""

    def __init__(self, root: ctk.CTk, pump: EventPump, memory: Memory, actions: PresenceActions) -> None:
        self._root = root
        self._pump = pump
        self._memory = memory
        self._actions = actions
        self._tray: Tray | None = None
        self._tray_view: TrayView | None = None
        self._in_tray = False
        self._hidden = False
        self._page: OptionsPage | None = None
        self.sheet = Sheet(root)
        root.bind("<Map>", self._mapped, add=True)
        if memory.put_aside:
            root.after_idle(self._tell_of_damage)

    def build(self, parent: tkinter.Misc, look: Callable[[tkinter.Misc], Row]) -> OptionsPage:
        """The page where all this is chosen, and the look."""
        actions = OptionsActions(self._keep, self._set_autostart)
        self._page = OptionsPage(parent, self._memory.habits, look, actions)
        self._page.show_tray(self._in_tray)
        return self._page

    def join_tray(self) -> None:
        """Have an icon in the desktop's tray, if there is one or as soon as there is."""
        events = TrayEvents(
            lambda action: self._pump.call(lambda: self._chosen_in_tray(action)),
            lambda in_sight: self._pump.call(lambda: self._tray_changed(in_sight)),
        )
        self._pump.submit(Lane.TRAY, lambda: open_tray(events), self._tray_opened, logger.error)

    def leave_tray(self) -> None:
        """Take the icon away."""
        if self._tray:
            self._tray.close()

    def show_in_tray(self, view: TrayView) -> None:
        """What the icon says from now on."""
        if view != self._tray_view:
            self._tray_view = view
            if self._tray:
                self._tray.show(view)

    @property
    def out_of_sight(self) -> bool:
        """Whether nothing needs to be drawn. Some window managers do not minimise; there it stays in sight."""
        return self._hidden and not self._root.winfo_viewable()

    def wake(self, file: str) -> None:
        """Come to the front, and use the model or configuration ``file`` if it is not ""; from any thread."""

        def come() -> None:
            self._come()
            if file:
                self._actions.use_file(file)

        self._pump.call(come)

    def hide(self) -> None:
        """Put the window away."""
        self._hidden = True
        if self._in_tray:
            self._root.withdraw()
        else:
            self._root.iconify()

    def ask_to_close(self, *, serving: bool) -> None:
        """What the close button does: while a model is served, what the user wants; pressed twice, close."""
        on_close = self._memory.habits.on_close
        if not serving or on_close is OnClose.QUIT or self.sheet.open:
            self._actions.close()
        elif on_close is OnClose.KEEP:
            self.hide()
        else:
            self.sheet.ask(
                tr("A model is being served"),
                tr(
                    "Programs that talk to it would hear nothing any more. Your answer is remembered; the options page"
                    " can change it."
                ),
                (
                    (keep_serving(in_tray=self._in_tray), ButtonRole.START, lambda: self._answer(OnClose.KEEP)),
                    (tr("Stop and quit"), ButtonRole.STOP, lambda: self._answer(OnClose.QUIT)),
                ),
            )

    def show_autostart(self) -> None:
        """Show on the page whether the program starts with the system."""
        if self._page:
            self._page.show_autostart(autostart.enabled())

    def _tell_of_damage(self) -> None:
        sentence = tr(
            "The file of your settings was damaged. Tavernkeep begins with its defaults; what was there lies in {file}."
        ).format(file=self._memory.put_aside)
        self.sheet.ask(
            tr("Your settings could not be read"), sentence, ((tr("Go on"), ButtonRole.PLAIN, lambda: None),)
        )

    def _answer(self, on_close: OnClose) -> None:
        habits = replace(self._memory.habits, on_close=on_close)
        if self._page:
            self._page.show_habits(habits)
        self._keep(habits)
        if on_close is OnClose.KEEP:
            self.hide()
        else:
            self._actions.close()

    def _keep(self, habits: Habits) -> None:
        self._pump.submit(Lane.SAVING, lambda: self._memory.keep_habits(habits), lambda _: None, logger.error)

    def _set_autostart(self, wanted: bool) -> None:
        problem = ""
        try:
            autostart.enable(wanted)
        except OSError as error:
            problem = tr("That could not be changed: {reason}.").format(reason=error.strerror)
        if self._page:
            self._page.show_autostart(autostart.enabled(), problem)

    def _come(self) -> None:
        self._hidden = False
        self._root.deiconify()
        self._root.lift()
        self._root.focus_force()

    def _mapped(self, event: tkinter.Event[tkinter.Misc]) -> None:
        if event.widget is self._root:
            self._hidden = False  # the taskbar brought it back

    def _tray_opened(self, tray: Tray | None) -> None:
        self._tray = tray
        if tray and self._tray_view:
            tray.show(self._tray_view)

    def _tray_changed(self, in_sight: bool) -> None:
        """The icon has come into sight or gone; a window that was put away must stay within reach."""
        self._in_tray = in_sight
        if self._page:
            self._page.show_tray(in_sight)
        if self._hidden:
            self.hide()

    def _chosen_in_tray(self, action: TrayAction) -> None:
        match action:
            case TrayAction.OPEN:
                self._come()
            case TrayAction.START:
                self._actions.start()
            case TrayAction.STOP:
                self._actions.stop()
            case TrayAction.COPY:
                self._root.clipboard_clear()
                self._root.clipboard_append(self._actions.address())
            case TrayAction.QUIT:
                self._actions.close()
