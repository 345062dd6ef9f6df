"""What the icon in the tray says, and what its menu offers."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from gui.language import tr
from gui.view.looks import RUNNING, Pending, Tone
from gui.view.status import StatusView
from server.events import EngineState


class TrayAction(enum.Enum):
    """What an entry of the menu does."""

    OPEN = "open"
    START = "start"
    STOP = "stop"
    COPY = "copy"
    QUIT = "quit"


@dataclass(frozen=True)
class TrayEntry:
    """An entry of the menu."""

    action: TrayAction
    text: str
    enabled: bool = True


@dataclass(frozen=True)
class TrayView:
    """``tone`` colours the icon, ``title`` is its tip."""

    tone: Tone
    title: str
    entries: tuple[TrayEntry, ...]


def tray_view(status: StatusView, state: EngineState, pending: Pending) -> TrayView:
    """What the tray shows now."""
    running = state in RUNNING
    switch = (TrayAction.STOP, tr("Stop")) if running else (TrayAction.START, tr("Start"))
    model = status.model if running else ""
    return TrayView(
        status.tone,
        " · ".join(filter(None, (f"Tavernkeep: {status.headline}", model, status.problem))),
        (
            TrayEntry(TrayAction.OPEN, tr("Open the window")),
            TrayEntry(*switch, pending is Pending.NONE),
            TrayEntry(TrayAction.COPY, tr("Copy the address"), bool(status.openai_address)),
            TrayEntry(TrayAction.QUIT, tr("Stop and quit")),
        ),
    )
