"""The log page without its widgets: which lines are in sight, and a report to send with a bug."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import itertools
import logging
import platform
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from server import VERSION
from server.events import LogLine
from server.settings import Settings, rule_of
from server.snapshot import Snapshot

LONGEST_LINE: Final = 2000  # one line of 200,000 characters freezes Tk for seconds
LINES_KEPT: Final = 1000
REPORTED_LINES: Final = 200
_PACKAGES: Final = ("llama-cpp-python", "customtkinter", "flask", "waitress", "psutil")


@dataclass(frozen=True)
class LogEntry:
    """A line as it is shown, with the time it came, and the level that it was logged with."""

    text: str
    level: int

    @property
    def tag(self) -> str:
        """What it is coloured as: "error", "warning" or "" for neither."""
        if self.level >= logging.ERROR:
            return "error"
        return "warning" if self.level >= logging.WARNING else ""


@dataclass(frozen=True)
class LogFilter:
    """Which lines are in sight: those that hold all ``words``, and are problems if only those are wanted."""

    words: str = ""
    problems: bool = False

    def lets(self, entry: LogEntry) -> bool:
        """Whether a line passes."""
        text = entry.text.lower()
        return (bool(entry.tag) or not self.problems) and all(word in text for word in self.words.lower().split())


class LogBook:
    """The last lines that came, whether or not somebody looks."""

    def __init__(self) -> None:
        self.entries: deque[LogEntry] = deque(maxlen=LINES_KEPT)
        self.count = 0

    def add(self, lines: Sequence[LogLine]) -> None:
        """Lines that came now; the oldest are forgotten."""
        now = time.strftime("%H:%M:%S")
        self.entries.extend(entry_of(line.text, line.level, now) for line in lines)
        self.count += len(lines)

    def since(self, count: int) -> tuple[LogEntry, ...]:
        """What came after the first ``count`` lines, as far as it is still there."""
        fresh = min(self.count - count, len(self.entries))
        return tuple(itertools.islice(self.entries, len(self.entries) - fresh, None))


def entry_of(text: str, level: int, clock: str) -> LogEntry:
    """A line of the log that came at ``clock``."""
    return LogEntry(f"{clock} {text.rstrip()[:LONGEST_LINE]}", level)


def bug_report(settings: Settings, snapshot: Snapshot, entries: Sequence[LogEntry]) -> str:
    """What a person who looks for a bug wants to know. No password is in it, and no name of the user's folder."""
    parts = [
        f"Tavernkeep {VERSION} on {platform.platform()}, Python {platform.python_version()}",
        ", ".join(f"{package} {_version(package)}" for package in _PACKAGES),
        f"{psutil.cpu_count(logical=False) or '?'} cores, {psutil.virtual_memory().total / 1e9:.1f} GB of memory",
        "",
        f"State: {snapshot.state.value}. {snapshot.sentence}".rstrip(),
        *_model(snapshot),
        "",
        "Settings that are not the defaults:",
        *_settings(settings),
        "",
        f"The last {REPORTED_LINES} lines of the log:",
        *(entry.text for entry in entries[-REPORTED_LINES:]),
    ]
    return "\n".join(parts).replace(str(Path.home()), "~") + "\n"


def _model(snapshot: Snapshot) -> Iterable[str]:
    model, template = snapshot.model, snapshot.template
    if model:
        yield f"Model: {model.name}, {model.architecture}, {model.quantisation}, on {', '.join(model.devices)}"
    if template:
        yield f"Template: {template.name}, {template.source}. {template.reason} {template.warning}".rstrip()


def _settings(settings: Settings) -> Iterable[str]:
    changed = False
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if value != field.default:
            changed = True
            yield f"  {field.name}: {'(hidden)' if rule_of(field).secret else value}"
    if not changed:
        yield "  none"


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "of unknown version"
