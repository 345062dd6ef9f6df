"""KoboldCpp's saved stories: one JSON file with a number of slots, which KoboldAI Lite reads and writes.

Used by :mod:`server.api.saves`. The layout is KoboldCpp's, ``{"0": {"title", "format", "data"}}``, so that its files
can be used.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from server import json_text
from server.errors import BadRequest, TavernkeepError
from server.whole_file import whole_file

SLOTS = 12
LONGEST_STORY = 10 * 1024 * 1024  # characters, as in KoboldCpp
LONGEST_NAME = 200

Story = dict[str, Any]


class SavesBroken(TavernkeepError):
    """The file cannot be read or written."""

    code = "saves_broken"


class Saves:
    """The slots of the file that ``path`` names now, or that there is none of ("" switches saving off).

    May be used from any thread. A file that does not exist yet has empty slots; one that cannot be read stays as it is.
    Every method raises :class:`SavesBroken`, or :class:`BadRequest` when saving is off.
    """

    def __init__(self, path: Callable[[], str]) -> None:
        self._path = path
        self._lock = threading.Lock()

    def titles(self) -> list[str]:
        """What is in each slot; "" if nothing is."""
        stories = self._read()
        return [_title(stories.get(str(slot))) for slot in range(SLOTS)]

    def load(self, slot: int) -> Story | None:
        """``title``, ``format`` and ``data`` of a slot; None if it is empty."""
        story = self._read().get(str(slot))
        return story if _title(story) else None

    def save(self, slot: int, title: str, format: str, data: str) -> None:
        """Fill a slot, or empty it where there is no ``data``. Raises :class:`BadRequest` too."""
        if not 0 <= slot < SLOTS:
            raise BadRequest(f"There is no slot {slot}: they are numbered 0 to {SLOTS - 1}.", param="slot")
        if len(data) > LONGEST_STORY:
            raise BadRequest(f"The story is longer than {LONGEST_STORY // 1024 // 1024} MB.", param="data")
        story = {
            "title": title[:LONGEST_NAME] or "Untitled Save",
            "format": format[:LONGEST_NAME],
            "data": data,
        }
        with self._lock:
            self._write({**self._read(), str(slot): story if data else {"title": "", "format": "", "data": ""}})

    def _file(self) -> Path:
        if not self._path():
            raise BadRequest("Saving stories is switched off.", "Start Tavernkeep with --savedatafile FILE.")
        return Path(self._path())

    def _read(self) -> dict[str, Any]:
        file = self._file()
        try:
            stories = json_text.loads(file.read_text("utf-8"))
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise SavesBroken(f"The stories in {file.name} cannot be read: {error.strerror}.") from None
        except ValueError:
            stories = None
        if not isinstance(stories, dict):
            raise SavesBroken(
                f"The file {file.name} holds no saved stories; it was left as it is.",
                "Choose another file with --savedatafile.",
            )
        return stories

    def _write(self, stories: dict[str, Any]) -> None:
        file = self._file()
        try:
            with whole_file(file) as writing:
                writing.write(json.dumps(stories).encode())
        except OSError as error:
            raise SavesBroken(f"The story cannot be written to {file.name}: {error.strerror}.") from None


def _title(story: Any) -> str:
    """The title of a slot that holds something."""
    if not isinstance(story, dict) or not story.get("data"):
        return ""
    return str(story.get("title") or "Untitled Save")
