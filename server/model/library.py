"""The models on this PC: what their files say, which folders have any, and whether they fit. Used by the window."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

from server.loading import load_command
from server.model import devices, fit, gguf
from server.settings import Settings
from server.snapshot import Device, Fit, Forecast, ModelFile

STARTER = Path(__file__).resolve().parent.parent.parent / "assets" / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"
DEEPEST = 4  # folders below the one that was added
MOST_FILES = 2000
NOT_MODELS = ("mmproj",)  # projectors for pictures lie beside their models


class Library:
    """Safe from any thread. What a file says is read once, until the file changes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._read: dict[str, tuple[tuple[int, int], ModelFile]] = {}
        self._devices: tuple[Device, ...] = ()

    def starter(self) -> str:
        """Path of the model that came with the program, or "" when it is not there."""
        return str(STARTER) if STARTER.is_file() else ""

    def inspect(self, path: str) -> ModelFile:
        """Read a GGUF file's header. Raises :class:`ModelLoadError` if it is missing, cut off or not GGUF."""
        try:
            status = os.stat(path)
            stamp = (status.st_mtime_ns, status.st_size)
        except (OSError, ValueError):
            return gguf.inspect(path)  # which says what is wrong
        with self._lock:
            known = self._read.get(path)
        if known and known[0] == stamp:
            return known[1]
        file = gguf.inspect(path)
        with self._lock:
            self._read[path] = (stamp, file)
        return file

    def files(self, folders: Iterable[str]) -> tuple[str, ...]:
        """Paths of the models in the folders and those below them; a folder that is gone has none."""
        found = sorted({path for folder in folders for path in _models_below(folder, DEEPEST)})
        return tuple(found[:MOST_FILES])

    def devices(self) -> tuple[Device, ...]:
        """Ask for the devices and their free memory, for the forecasts from now on; takes a moment."""
        self._devices = devices.scan()
        return self._devices

    def forecast(self, settings: Settings) -> Forecast:
        """Where the settings' model would find room. Raises :class:`ModelLoadError`."""
        command = load_command(settings)
        draft = self.inspect(settings.draftmodel).size if settings.draftmodel and settings.draftgpulayers else 0
        return fit.forecast(self.inspect(settings.model), command, self._devices, taken=draft)

    def likely_fit(self, size: int) -> Fit:
        """Whether a model of ``size`` bytes will fit that is not here yet, with an ordinary context: a guess."""
        return fit.likely(size, self._devices)


def _models_below(folder: str, depth: int) -> Iterator[str]:
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            if depth:
                yield from _models_below(entry.path, depth - 1)
        elif is_model(entry.name):
            yield os.path.abspath(entry.path)


def is_model(name: str) -> bool:
    """Whether a file's name is that of a model to choose: not of its further parts, nor of a projector."""
    lower = name.lower()
    return lower.endswith(".gguf") and not gguf.is_further_part(name) and not lower.startswith(NOT_MODELS)
