"""Colours as (light, dark) pairs, fonts, distances and icons; the widgets and cards read them."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gui.view.forecast import Part
from gui.view.looks import ButtonRole, Tone

Colour = tuple[str, str]
Font = tuple[str, int] | tuple[str, int, str]

PAGE: Final[Colour] = ("#eff1f4", "#16181b")
CARD: Final[Colour] = ("#ffffff", "#202327")
FIELD: Final[Colour] = ("#f4f6f8", "#2a2e33")
FIELD_LOCKED: Final[Colour] = ("#eceff2", "#24282c")
BORDER: Final[Colour] = ("#d3d8de", "#3a4047")
TRACK: Final[Colour] = ("#d3d8de", "#41474e")
TEXT: Final[Colour] = ("#1b1d1f", "#f1f3f5")
DIM: Final[Colour] = ("#5a6169", "#a6adb5")
LOCKED: Final[Colour] = ("#6f767e", "#858c94")
ACCENT: Final[Colour] = ("#2563cf", "#4c8dff")
ACCENT_HOVER: Final[Colour] = ("#1b4fae", "#79a9ff")
FOCUS: Final[Colour] = ("#0b2f70", "#cfe0ff")
AREA: Final[Colour] = ("#dbe7fb", "#22334f")
WARNING: Final[Colour] = ("#8a5c00", "#f0b429")
PROBLEM_FILL: Final[Colour] = ("#fdeeed", "#38211f")
PROBLEM_BORDER: Final[Colour] = ("#e3a49f", "#7d3a34")

TONES: Final[dict[Tone, Colour]] = {
    Tone.QUIET: DIM,
    Tone.BUSY: WARNING,
    Tone.GOOD: ("#1a7f4b", "#3fc97f"),
    Tone.BAD: ("#c0352b", "#ff7b72"),
}


MEMORY: Final[dict[Part, Colour]] = {
    Part.OTHERS: ("#9aa2ab", "#6b737c"),
    Part.WEIGHTS: ("#2563cf", "#4c8dff"),
    Part.KV: ("#1a7f4b", "#3fc97f"),
    Part.BUFFERS: ("#8a5c00", "#f0b429"),
    Part.RESERVE: ("#8250c8", "#b48cf2"),
    Part.FREE: TRACK,
}


@dataclass(frozen=True)
class ButtonStyle:
    """The colours of a button. ``hover`` comes with ``fill``, or a red button turns blue under the mouse."""

    fill: Colour
    hover: Colour
    text: Colour
    border: Colour


_WHITE: Final[Colour] = ("#ffffff", "#ffffff")
_BLUE: Final[Colour] = ("#2563cf", "#2b66d6")
_RED: Final[Colour] = ("#c0352b", "#c0392f")
BUTTONS: Final[dict[ButtonRole, ButtonStyle]] = {
    ButtonRole.START: ButtonStyle(_BLUE, ("#1b4fae", "#2456bb"), _WHITE, _BLUE),
    ButtonRole.STOP: ButtonStyle(_RED, ("#9d2a22", "#a83027"), _WHITE, _RED),
    ButtonRole.BUSY: ButtonStyle(TRACK, TRACK, TEXT, TRACK),
    ButtonRole.CHOSEN: ButtonStyle(("#dbe7fb", "#27364d"), ("#cddcf7", "#2d3f5a"), TEXT, ("#a9c4f2", "#3d5f99")),
    ButtonRole.PLAIN: ButtonStyle(FIELD, ("#e3e7ec", "#363b41"), TEXT, BORDER),
}

# Sizes are multiples of 4: others lose their bottom border at 125 % and 175 % in customtkinter 6.0.0.
GAP: Final = 8
CARD_GAP: Final = 12
PADDING: Final = 16
FIELD_HEIGHT: Final = 32
START_HEIGHT: Final = 44
VALUE_WIDTH: Final = 88
RADIUS: Final = 6
CARD_RADIUS: Final = 10
WINDOW_SIZE: Final = (980, 640)
SMALLEST_WINDOW: Final = (900, 600)

_TEXT_FAMILY: Final = "SF Display" if sys.platform == "darwin" else "Roboto"
_MONO_FAMILY: Final = {"win32": "Consolas", "darwin": "Menlo"}.get(sys.platform, "DejaVu Sans Mono")

BODY: Final[Font] = (_TEXT_FAMILY, 13)
SMALL: Final[Font] = (_TEXT_FAMILY, 12)
CARD_TITLE: Final[Font] = (_TEXT_FAMILY, 15, "bold")
PAGE_TITLE: Final[Font] = (_TEXT_FAMILY, 18, "bold")
FIGURE: Final[Font] = (_TEXT_FAMILY, 20, "bold")
HERO: Final[Font] = (_TEXT_FAMILY, 40, "bold")
LOG: Final[Font] = (_MONO_FAMILY, 11)

ICONS: Final = Path(__file__).resolve().parent.parent / "assets" / "icons"
