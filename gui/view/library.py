"""The models on this PC as lines: what they are, and whether they fit."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gui.language import tr
from gui.view.forecast import fit_words, memory_view
from gui.view.looks import NOTHING, ListLine, Tone
from gui.view.words import size_words
from server.snapshot import Forecast, ModelFile


@dataclass(frozen=True)
class ShelfEntry:
    """What is known of one file: still being read, read, or bad (``problem``)."""

    path: str
    file: ModelFile | None = None
    forecast: Forecast | None = None
    problem: str = ""


def library_lines(entries: Mapping[str, ShelfEntry], recent: Sequence[str], wanted: str) -> tuple[ListLine, ...]:
    """The lines whose path has ``wanted`` in it: those used last first, then by name."""
    used = {path: place for place, path in enumerate(recent)}
    found = [entry for entry in entries.values() if wanted.strip().lower() in entry.path.lower()]
    found.sort(key=lambda entry: (used.get(entry.path, len(used)), os.path.basename(entry.path).lower()))
    return tuple(_line(entry, entry.path in used) for entry in found)


def nothing_found(entries: Mapping[str, ShelfEntry], lines: Sequence[ListLine], *, searching: bool) -> str:
    """What stands under the list where it is empty, or still grows."""
    if searching:
        return tr("Looking for models…")
    if lines:
        return ""
    if entries:
        return tr("No model's name has that in it.")
    return tr("No models yet. Add a folder that has GGUF files in it, or drop one onto this window.")


def details(entry: ShelfEntry | None) -> tuple[str, Tone]:
    """What is said of the chosen line."""
    if entry is None:
        return "", Tone.QUIET
    if entry.problem:
        return entry.problem, Tone.BAD
    view = memory_view(entry.forecast)
    return " — ".join(filter(None, (entry.path, view.text))), view.tone


def _line(entry: ShelfEntry, recent: bool) -> ListLine:
    name = f"{'★ ' if recent else ''}{os.path.basename(entry.path).removesuffix('.gguf')}"
    if entry.problem:
        return ListLine(entry.path, (name, tr("cannot be used"), "", "", "", "", NOTHING), Tone.BAD)
    file = entry.file
    if file is None:
        return ListLine(entry.path, (name, tr("being read…"), "", "", "", "", ""), Tone.QUIET)
    words, tone = fit_words(entry.forecast)
    cells = (
        name,
        file.architecture or NOTHING,
        size_words(file.size),
        file.quantisation or NOTHING,
        f"{file.trained_context:,}" if file.trained_context else NOTHING,
        tr("its own") if file.chat_template else tr("none"),
        words,
    )
    return ListLine(entry.path, cells, Tone.BAD if tone is Tone.BAD else Tone.QUIET)
