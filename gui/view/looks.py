"""How states and buttons feel, whichever page shows them; the theme has the colours."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final

from gui.language import N_
from server.events import EngineState

RUNNING: Final = (EngineState.LOADING, EngineState.READY)  # a model is there or on its way
NOTHING: Final = "—"


class Tone(enum.Enum):
    """How a state feels; the theme has a colour for each."""

    QUIET = "quiet"
    BUSY = "busy"
    GOOD = "good"
    BAD = "bad"


class ButtonRole(enum.Enum):
    """What a button does; the theme has a style for each."""

    START = "start"
    STOP = "stop"
    BUSY = "busy"
    PLAIN = "plain"
    CHOSEN = "chosen"


class Page(enum.Enum):
    """The pages, in their order; the value is what their button says in English."""

    LAUNCH = N_("Launch")
    LIBRARY = N_("Library")
    HUB = N_("Get models")
    LIVE = N_("Live")
    CONNECT = N_("Connect")
    LOG = N_("Log")
    OPTIONS = N_("Options")


class Pending(enum.Enum):
    """What the user asked for and the controller has not answered yet."""

    NONE = "none"
    STARTING = "starting"
    STOPPING = "stopping"


@dataclass(frozen=True)
class ButtonView:
    """A button's text, style and whether it can be pressed."""

    text: str
    role: ButtonRole
    enabled: bool


def main_button(text: str, *, enabled: bool) -> ButtonView:
    """The button a page is there for; it stands back while it cannot be pressed."""
    return ButtonView(text, ButtonRole.START if enabled else ButtonRole.BUSY, enabled)


@dataclass(frozen=True)
class ListLine:
    """A line of a list: its key, a cell for each column, and how it feels."""

    key: str
    cells: tuple[str, ...]
    tone: Tone = Tone.QUIET
