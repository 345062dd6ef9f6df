"""What the icon in the tray says, and what its menu offers."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final

from gui.language import tr
from gui.view.looks import Pending, Tone
from gui.view.status import StatusView
from server.events import EngineState

SERVING: Final = (EngineState.LOADING, EngineState.READY)


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
    idle = pending is Pending.NONE
    if state in SERVING:
        switch = TrayEntry(TrayAction.STOP, tr("Stop"), idle)
    else:
        switch = TrayEntry(TrayAction.START, tr("Start"), idle)
    model = status.model if state in SERVING else ""
    return TrayView(
        status.tone,
        " · ".join(filter(None, (f"Tavernkeep: {status.headline}", model, status.problem))),
        (
            TrayEntry(TrayAction.OPEN, tr("Open the window")),
            switch,
            TrayEntry(TrayAction.COPY, tr("Copy the address"), bool(status.openai_address)),
            TrayEntry(TrayAction.QUIT, tr("Stop and quit")),
        ),
    )
