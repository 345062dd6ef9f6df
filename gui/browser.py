"""Shows the chat page in the user's browser; used by the status card and by the launcher's --launch."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import webbrowser
from typing import TYPE_CHECKING, Final

from server.events import EngineState

if TYPE_CHECKING:
    from server.controller import Controller

_LOOK_SECONDS: Final = 0.5


def show_in_browser(address: str) -> None:
    """Open it, without waiting for the browser."""
    threading.Thread(target=_show, args=(address,), name="browser", daemon=True).start()


def show_when_ready(controller: Controller) -> None:
    """Open the chat page as soon as a model answers, without waiting for that; not if the first one does not load."""
    threading.Thread(target=_show_when_ready, args=(controller,), name="browser", daemon=True).start()


def _show_when_ready(controller: Controller) -> None:
    pause = threading.Event()
    while (now := controller.snapshot()).state not in (EngineState.READY, EngineState.FAILED):
        pause.wait(_LOOK_SECONDS)
    if now.state is EngineState.READY:
        _show(now.address)


def _show(address: str) -> None:
    opener = shutil.which("xdg-open")
    if sys.platform == "linux" and opener and getattr(sys, "frozen", False):
        # The packaged program finds its own libraries by this variable, which would be the wrong ones for a browser.
        environment = {name: value for name, value in os.environ.items() if name != "LD_LIBRARY_PATH"}
        subprocess.run([opener, address], env=environment, check=False)
    else:
        webbrowser.open(address)
