"""Draws the program's icons, all sizes of them, into ``assets/icons``: ``python assets/draw_icons.py``.

A tankard with three dots on it, as somebody has who is about to speak. In the tray a dot in its corner has the colour
of the state (:class:`gui.view.looks.Tone`).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from PIL import Image, ImageDraw

FOLDER: Final = Path(__file__).resolve().parent / "icons"
SIZES: Final = (16, 24, 32, 48, 64, 128, 256, 512)
WINDOWS_SIZES: Final = (16, 20, 24, 32, 40, 48, 64, 256)
MAC_SIZES: Final = (32, 64, 128, 256, 512, 1024)
TRAY_SIZE: Final = 64
FINE: Final = 8  # drawn so many times larger, then made small, which smooths the edges
NIGHT: Final = "#22304f"
ALE: Final = "#f0b429"
SHADE: Final = "#c98a12"
FOAM: Final = "#fff7e6"
STATES: Final = {"quiet": "#9aa2ab", "busy": "#f0b429", "good": "#3fc97f", "bad": "#e5484d"}


def app_icon(size: int) -> Image.Image:
    """The program's icon, ``size`` pixels square."""
    image, pen = _canvas(size)
    pen.rounded_rectangle(_box(image, 0.02, 0.02, 0.98, 0.98), radius=0.22 * image.width, fill=NIGHT)
    _tankard(image, pen, grow=1.12)
    return image.resize((size, size), Image.Resampling.LANCZOS)


def tray_icon(size: int, state: str) -> Image.Image:
    """The icon for the tray, which lies on whatever colour the tray has."""
    image, pen = _canvas(size)
    _tankard(image, pen, grow=1.22)
    pen.ellipse(_box(image, 0.56, 0.56, 1.0, 1.0), fill=(0, 0, 0, 0))
    pen.ellipse(_box(image, 0.62, 0.62, 0.99, 0.99), fill=STATES[state])
    return image.resize((size, size), Image.Resampling.LANCZOS)


def draw(folder: Path) -> None:
    """Write every icon into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    for size in SIZES:
        app_icon(size).save(folder / f"tavernkeep-{size}.png", optimize=True)
    _save_windows(folder / "tavernkeep.ico", [app_icon(size) for size in WINDOWS_SIZES])
    largest, *others = [app_icon(size) for size in reversed(MAC_SIZES)]
    largest.save(folder / "tavernkeep.icns", append_images=others)
    for state in STATES:
        tray_icon(TRAY_SIZE, state).save(folder / f"tavernkeep-tray-{state}.png", optimize=True)
        _save_windows(folder / f"tavernkeep-tray-{state}.ico", [tray_icon(size, state) for size in (16, 24, 32, 48)])


def _save_windows(file: Path, images: list[Image.Image]) -> None:
    largest = images[-1]
    largest.save(file, sizes=[image.size for image in images], append_images=images[:-1])


def _canvas(size: int) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    image = Image.new("RGBA", (size * FINE, size * FINE), (0, 0, 0, 0))
    return image, ImageDraw.Draw(image)


def _box(image: Image.Image, *sides: float) -> list[float]:
    return [side * image.width for side in sides]


def _tankard(image: Image.Image, pen: ImageDraw.ImageDraw, grow: float) -> None:
    def at(*sides: float) -> list[float]:
        return _box(image, *(0.5 + (side - 0.5) * grow for side in sides))

    width = image.width * grow
    pen.rounded_rectangle(at(0.56, 0.40, 0.84, 0.72), radius=0.12 * width, outline=SHADE, width=round(0.07 * width))
    pen.rounded_rectangle(at(0.22, 0.34, 0.68, 0.84), radius=0.07 * width, fill=ALE)
    pen.rounded_rectangle(at(0.22, 0.76, 0.68, 0.84), radius=0.04 * width, fill=SHADE)
    for left, top, right, bottom in ((0.17, 0.22, 0.37, 0.42), (0.32, 0.15, 0.56, 0.39), (0.50, 0.22, 0.73, 0.42)):
        pen.ellipse(at(left, top, right, bottom), fill=FOAM)
    pen.rounded_rectangle(at(0.18, 0.30, 0.72, 0.42), radius=0.06 * width, fill=FOAM)
    for middle in (0.33, 0.45, 0.57):
        pen.ellipse(at(middle - 0.042, 0.55, middle + 0.042, 0.634), fill=NIGHT)


if __name__ == "__main__":
    draw(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
