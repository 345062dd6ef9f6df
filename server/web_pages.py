"""Web pages that talk to a server on their reader's PC, which the user may allow. Used by the controller."""

from __future__ import annotations

import json
from pathlib import Path

from server.snapshot import WebPage

FILE = Path(__file__).resolve().parent.parent / "presets" / "web_pages.json"


def web_pages() -> tuple[WebPage, ...]:
    """The known ones."""
    return tuple(
        WebPage(page["name"], tuple(page["origins"]), page["about"]) for page in json.loads(FILE.read_text("utf-8"))
    )
