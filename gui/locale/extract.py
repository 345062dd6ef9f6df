"""``python -m gui.locale.extract``: lists every text of the window in ``tavernkeep.pot``, for translators.

Beside those that :mod:`gui.language` marks, these are the settings' sentences and what the presets say to people.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir, extract_from_file
from babel.messages.pofile import write_po

ROOT: Final = Path(__file__).resolve().parent.parent.parent
TEMPLATE: Final = Path(__file__).resolve().parent / "tavernkeep.pot"
MARKS: Final = {"tr": None, "N_": None, "trn": (1, 2)}
Text = str | tuple[str, ...]


def catalogue() -> Catalog:
    """All texts, with the files they stand in."""
    found = Catalog(project="Tavernkeep", charset="utf-8")
    for text, place in sorted((*_marked(), *_settings(), *_presets()), key=lambda each: each[1]):
        found.add(text, locations=[(place, 0)])
    return found


def template() -> bytes:
    """The file of all texts. It has no dates in it, so that it changes only when a text does."""
    file = io.BytesIO()
    write_po(file, catalogue(), width=120, omit_header=True, include_lineno=False)
    header = b'# Every text of the window, for translators: see docs/translating.md.\nmsgid ""\nmsgstr ""\n'
    return header + b'"Content-Type: text/plain; charset=utf-8\\n"\n\n' + file.getvalue()


def _marked() -> Iterator[tuple[Text, str]]:
    for name, _, text, _, _ in extract_from_dir(ROOT / "gui", [("**.py", "python")], keywords=MARKS):
        yield text, f"gui/{name}"


def _settings() -> Iterator[tuple[Text, str]]:
    for _, text, _, _ in extract_from_file("python", ROOT / "server" / "settings.py", keywords={"_setting": (2,)}):
        yield text, "server/settings.py"


def _presets() -> Iterator[tuple[Text, str]]:
    for file in sorted((ROOT / "presets" / "clients").glob("*.json")):
        guide: dict[str, Any] = json.loads(file.read_text("utf-8"))
        values = [value for _, value in guide["fields"] if "{address}" not in value]
        for text in (guide["name"], guide["where"], *values, *guide["advice"]):
            yield text, file.relative_to(ROOT).as_posix()
    for model in json.loads((ROOT / "presets" / "models.json").read_text("utf-8"))["models"]:
        yield model["good_for"], "presets/models.json"
    for page in json.loads((ROOT / "presets" / "web_pages.json").read_text("utf-8")):
        yield page["about"], "presets/web_pages.json"


if __name__ == "__main__":
    TEMPLATE.write_bytes(template())
