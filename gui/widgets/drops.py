"""Files that are dropped onto the window, where the desktop can do that, or opened with the program on macOS."""

from __future__ import annotations

import logging
import sys
import tkinter
from collections.abc import Callable, Sequence
from typing import Any

from tkinterdnd2 import COPY, DND_FILES, TkinterDnD

logger = logging.getLogger("tavernkeep.window")


def accept_files(root: tkinter.Misc, dropped: Callable[[Sequence[str]], None]) -> None:
    """Call ``dropped`` with the paths of files that are dropped onto the window, or opened with it on macOS."""
    if sys.platform == "darwin":  # elsewhere they stand on the command line
        root.createcommand("::tk::mac::OpenDocument", lambda *paths: dropped(paths))
    try:
        TkinterDnD._require(root)
        root.tk.call("tkdnd::drop_target", "register", root._w, DND_FILES)  # type: ignore[attr-defined]
    except (RuntimeError, tkinter.TclError) as error:
        logger.debug("Files cannot be dropped onto the window: %s", error)
        return

    def take(data: str) -> str:
        dropped([str(path) for path in root.tk.splitlist(data)])
        return COPY

    command: Any = root.register(take)
    root.tk.call("bind", root._w, "<<Drop>>", f"{command} %D")  # type: ignore[attr-defined]
