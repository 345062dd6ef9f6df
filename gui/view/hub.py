"""The page to get models: what is offered, and the downloads as lines."""

from __future__ import annotations

import enum
import posixpath
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from gui.language import N_, tr, trn
from gui.view.forecast import FIT_WORDS
from gui.view.looks import NOTHING, ListLine, Tone
from gui.view.words import size_words
from server.snapshot import CatalogueEntry, DownloadPhase, DownloadRow, Fit, HubFile, HubRepository

QUANTISATION: Final = re.compile(r"(?i)\b(i?q\d[\w]*|bf16|f16|f32|mxfp4[\w]*)(?=\.|-\d{5}-of|$)")

Fits = Callable[[int], Fit]


class Offer(enum.Enum):
    """What the list shows; the value says it to people, in English."""

    CATALOGUE = N_("Recommended models")
    REPOSITORIES = N_("Repositories on Hugging Face")
    FILES = N_("Files of the repository")


@dataclass(frozen=True)
class DownloadLine:
    """A download: its words, how far it is (0 to 1), and what its buttons say; "" is no button."""

    key: int
    phase: DownloadPhase
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
        _sized(entry.name, (entry.name, tr(entry.good_for), size_words(entry.size), entry.licence), fits(entry.size))
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
    return ListLine(key, (*cells, tr(words)), Tone.BAD if tone is Tone.BAD else Tone.QUIET)


def _about(repository: HubRepository) -> str:
    count = repository.downloads
    downloads = trn("{count:,} download", "{count:,} downloads", count).format(count=count) if count else ""
    return " · ".join(filter(None, (downloads, tr("asks to accept its licence") if repository.gated else "")))


def _file_line(file: HubFile, fit: Fit) -> ListLine:
    name = posixpath.basename(file.path)
    quantisation = QUANTISATION.search(name)
    count = len(file.parts)
    parts = trn("{count} part", "{count} parts", count).format(count=count) if count > 1 else ""
    about = " · ".join(filter(None, (quantisation.group(1).upper() if quantisation else "", parts)))
    return _sized(file.path, (name, about, size_words(file.size), ""), fit)


def _download_line(row: DownloadRow) -> DownloadLine:
    fraction = row.done / row.total if row.total else 0.0
    sizes = {"done": size_words(row.done), "total": size_words(row.total)}
    words, tone, toggle, end = {
        DownloadPhase.RUNNING: (_progress(row, sizes), Tone.QUIET, tr("Pause"), tr("Cancel")),
        DownloadPhase.CHECKING: (tr("Checking that it arrived whole…"), Tone.QUIET, "", tr("Cancel")),
        DownloadPhase.PAUSED: (
            tr("Paused at {done} of {total}").format(**sizes),
            Tone.BUSY,
            tr("Resume"),
            tr("Cancel"),
        ),
        DownloadPhase.FAILED: (row.sentence, Tone.BAD, tr("Try again"), tr("Cancel")),
        DownloadPhase.DONE: (tr("Done, {total}").format(**sizes), Tone.GOOD, tr("Use"), tr("Clear")),
    }[row.phase]
    name = posixpath.basename(row.file.path)
    return DownloadLine(row.key, row.phase, name, words, tone, fraction, toggle, end, row.path)


def _progress(row: DownloadRow, sizes: Mapping[str, str]) -> str:
    so_far = tr("{done} of {total}").format(**sizes)
    if row.speed <= 0:
        return f"{so_far} · " + tr("waiting for the hub…")
    left = (row.total - row.done) / row.speed
    if left >= 90:
        time = tr("{minutes:.0f} min left").format(minutes=left / 60)
    else:
        time = tr("{seconds:.0f} s left").format(seconds=left)
    speed = tr("{size}/s").format(size=size_words(int(row.speed)))
    return f"{so_far} · {speed} · {time}"
