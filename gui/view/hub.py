"""The page to get models: what is offered, and the downloads as lines."""

from __future__ import annotations

import enum
import posixpath
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from gui.view.forecast import FIT_WORDS
from gui.view.looks import NOTHING, ListLine, Tone
from gui.view.words import size_words
from server.snapshot import CatalogueEntry, DownloadPhase, DownloadRow, Fit, HubFile, HubRepository

QUANTISATION: Final = re.compile(r"(?i)\b(i?q\d[\w]*|bf16|f16|f32|mxfp4[\w]*)(?=\.|-\d{5}-of|$)")
HEADINGS: Final = ("Name", "About", "Size", "Licence", "Fits")

Fits = Callable[[int], Fit]


class Offer(enum.Enum):
    """What the list shows; the value says it to people."""

    CATALOGUE = "Recommended models"
    REPOSITORIES = "Repositories on Hugging Face"
    FILES = "Files of the repository"


@dataclass(frozen=True)
class DownloadLine:
    """A download: its words, how far it is (0 to 1), and what its buttons do; "" is no button."""

    key: int
    name: str
    words: str
    tone: Tone
    fraction: float
    toggle: str
    end: str
    path: str = ""


def catalogue_lines(entries: Sequence[CatalogueEntry], fits: Fits) -> tuple[ListLine, ...]:
    """The recommended models."""
    return tuple(
        _sized(entry.name, (entry.name, entry.good_for, size_words(entry.size), entry.licence), fits(entry.size))
        for entry in entries
    )


def repository_lines(found: Sequence[HubRepository]) -> tuple[ListLine, ...]:
    """What a search has found."""
    return tuple(ListLine(each.name, (each.name, _about(each), "", each.licence or NOTHING, "")) for each in found)


def file_lines(files: Sequence[HubFile], fits: Fits) -> tuple[ListLine, ...]:
    """The models of a repository."""
    return tuple(_file_line(file, fits(file.size)) for file in files)


def download_lines(rows: Sequence[DownloadRow]) -> tuple[DownloadLine, ...]:
    """The downloads, the newest first."""
    return tuple(_download_line(row) for row in reversed(rows))


def _sized(key: str, cells: tuple[str, ...], fit: Fit) -> ListLine:
    words, tone = FIT_WORDS[fit]
    return ListLine(key, (*cells, words), Tone.BAD if tone is Tone.BAD else Tone.QUIET)


def _about(repository: HubRepository) -> str:
    downloads = f"{repository.downloads:,} downloads" if repository.downloads else ""
    return " · ".join(filter(None, (downloads, "asks to accept its licence" if repository.gated else "")))


def _file_line(file: HubFile, fit: Fit) -> ListLine:
    name = posixpath.basename(file.path)
    quantisation = QUANTISATION.search(name)
    parts = f"{len(file.parts)} parts" if len(file.parts) > 1 else ""
    about = " · ".join(filter(None, (quantisation.group(1).upper() if quantisation else "", parts)))
    return _sized(file.path, (name, about, size_words(file.size), ""), fit)


def _download_line(row: DownloadRow) -> DownloadLine:
    fraction = row.done / row.total if row.total else 0.0
    so_far = f"{size_words(row.done)} of {size_words(row.total)}"
    words, tone, toggle, end = {
        DownloadPhase.RUNNING: (f"{so_far} · {_speed(row)}", Tone.QUIET, "Pause", "Cancel"),
        DownloadPhase.CHECKING: ("Checking that it arrived whole…", Tone.QUIET, "", "Cancel"),
        DownloadPhase.PAUSED: (f"Paused at {so_far}", Tone.BUSY, "Resume", "Cancel"),
        DownloadPhase.FAILED: (row.sentence, Tone.BAD, "Try again", "Cancel"),
        DownloadPhase.DONE: (f"Done, {size_words(row.total)}", Tone.GOOD, "Use", "Clear"),
    }[row.phase]
    return DownloadLine(row.key, posixpath.basename(row.file.path), words, tone, fraction, toggle, end, row.path)


def _speed(row: DownloadRow) -> str:
    if row.speed <= 0:
        return "waiting for the hub…"
    left = (row.total - row.done) / row.speed
    minutes = f"{left / 60:.0f} min left" if left >= 90 else f"{left:.0f} s left"
    return f"{size_words(int(row.speed))}/s · {minutes}"
