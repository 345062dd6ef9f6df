"""Shows the window, the only one of this user, until it is closed; the launcher calls :func:`run`."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from filelock import Timeout

from gui.app import App
from gui.instance import Instance, claim
from gui.memory import Memory, default_file
from server.settings import Settings

if TYPE_CHECKING:
    from server.controller import Controller

logger = logging.getLogger("tavernkeep.window")


def run(controller: Controller, settings: Settings, *, start: bool) -> int:
    """Show the window until it is closed; with ``start`` as if Start had been pressed at once.

    If there is one already, that is brought to the front. Raises ``tkinter.TclError`` when there is no display.
    """
    memory = Memory(default_file())
    apps: list[App] = []
    instance: Instance | None = None
    try:
        instance = claim(settings.model, lambda model: apps[0].presence.wake(model) if apps else None)
    except (OSError, Timeout) as error:
        logger.warning("Whether there is another window cannot be found out: %s", error)
    else:
        if instance is None:
            print("tavernkeep: It runs already; its window was brought to the front.")
            return 0
    try:
        apps.append(App(controller, settings, memory=memory))
        _show(apps[0], start=start or memory.habits.serve, minimised=memory.habits.minimised)
        if not apps[0].closed:
            controller.stop()
    finally:
        if instance:
            instance.close()
    return 0


def _show(app: App, *, start: bool, minimised: bool) -> None:
    app.presence.join_tray()
    if minimised:
        app.presence.hide()
    if start:
        app.start()
    try:
        app.root.mainloop()
    except KeyboardInterrupt:
        logger.info("Stopped from the terminal.")
