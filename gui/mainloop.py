"""Shows the window, the only one of this user, until it is closed; the launcher calls :func:`run`."""

from __future__ import annotations

import logging
import os
import tkinter
from typing import TYPE_CHECKING

from filelock import Timeout

from gui.app import App
from gui.instance import Instance, claim
from gui.memory import Memory, default_file
from server.settings import Settings

if TYPE_CHECKING:
    from server.controller import Controller

logger = logging.getLogger("tavernkeep.window")


class NoDisplay(Exception):
    """There is no display to show a window on."""


def run(controller: Controller, settings: Settings, opened: str = "", *, start: bool) -> bool:
    """Show the window until it is closed; with ``start`` as if Start had been pressed at once.

    If there is one already, that is brought to the front and uses the ``opened`` file; False then. Raises
    :class:`NoDisplay`.
    """
    memory = Memory(default_file())
    apps: list[App] = []
    instance: Instance | None = None
    file = opened or (os.path.abspath(settings.model) if settings.model else "")
    try:
        instance = claim(file, lambda message: apps[0].presence.wake(message) if apps else None)
    except (OSError, Timeout) as error:
        logger.warning("Whether there is another window cannot be found out: %s", error)
    else:
        if instance is None:
            print("tavernkeep: It runs already; its window was brought to the front.")
            return False
    try:
        apps.append(_open(controller, settings, memory))
        _show(apps[0], start=start or memory.habits.serve, minimised=memory.habits.minimised)
        if not apps[0].closed:
            controller.close()
    finally:
        if instance:
            instance.close()
    return True


def _open(controller: Controller, settings: Settings, memory: Memory) -> App:
    try:
        return App(controller, settings, memory=memory)
    except tkinter.TclError as error:
        if "display" in str(error):  # all that Tk says is "no display name" or "couldn't connect to display"
            raise NoDisplay from error
        raise


def _show(app: App, *, start: bool, minimised: bool) -> None:
    if minimised:
        app.presence.hide()
    try:
        app.root.update()  # in sight, before anything else takes time
        app.presence.join_tray()
        if start:
            app.start()
        app.build_in_advance()
        app.root.mainloop()
    except KeyboardInterrupt:
        logger.info("Stopped from the terminal.")
