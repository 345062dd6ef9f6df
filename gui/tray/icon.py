"""Finds the tray of this desktop; the window's presence asks for it."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from gui.view.looks import Tone
from gui.view.tray import TrayAction, TrayView

logger = logging.getLogger("tavernkeep.window")


class Tray(Protocol):
    """An icon in the tray. Its methods return at once."""

    def show(self, view: TrayView) -> None:
        """Show it from now on, as soon as there is a tray."""

    def close(self) -> None:
        """Take it away."""


@dataclass(frozen=True)
class TrayEvents:
    """What a tray tells, on threads of its own: an entry was chosen; the icon is in sight, or no longer."""

    chosen: Callable[[TrayAction], None]
    in_sight: Callable[[bool], None]


def open_tray(events: TrayEvents) -> Tray | None:
    """The tray of this desktop; None where there is none of a known kind (macOS keeps windows in its dock)."""
    if sys.platform == "win32":
        from gui.tray.windows import WindowsTray

        return WindowsTray(events)
    if sys.platform == "linux":
        from gui.tray.status_notifier import StatusNotifier

        return StatusNotifier(events)
    return None


def icon_name(tone: Tone) -> str:
    """The name of the icon for a state, without its ending; it lies in :data:`gui.theme.ICONS`."""
    return f"tavernkeep-tray-{tone.value}"
