"""Models being fetched from the hub, which can be paused and go on after the program was ended. Used by the window.

``huggingface_hub`` begins a file anew when a download was cut off (since its version 1), so its lower half is used: its
addresses, its headers, and ``http_get``, which goes on from where a file ends.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import logging
import os
import shutil
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any, BinaryIO

import platformdirs

from server.errors import DownloadError, TavernkeepError
from server.model import gguf, hub
from server.snapshot import CatalogueEntry, DownloadPhase, DownloadRow, HubFile, HubPart, HubRepository

SPARE = 200_000_000  # bytes to leave on the disk
SPEED_SECONDS = 5.0
CHUNK = 1 << 20

log = logging.getLogger("tavernkeep")


class Downloads:
    """What can be had from the hub, and all downloads since the start of the program. Safe from any thread."""

    def __init__(self, endpoint: str | None = None) -> None:
        self._endpoint = endpoint
        self._ids = itertools.count(1)
        self._lock = threading.Lock()
        self._downloads: dict[int, _Download] = {}

    def catalogue(self) -> tuple[CatalogueEntry, ...]:
        """Models to recommend, small ones first."""
        return hub.catalogue()

    def search(self, text: str, token: str = "") -> tuple[HubRepository, ...]:
        """Repositories with GGUF files; a name or an address is that one alone. Raises :class:`DownloadError`."""
        repository = hub.repository_in(text)
        if repository:
            return (HubRepository(repository, 0, "", False),)
        return hub.search(text, token, self._endpoint)

    def files(self, repository: str, token: str = "") -> tuple[HubFile, ...]:
        """The models in a repository, small ones first. Raises :class:`DownloadError`."""
        return hub.files(repository, token, self._endpoint)

    def recommended(self, entry: CatalogueEntry, token: str = "") -> HubFile:
        """The file of a recommended model, as it is on the hub now. Raises :class:`DownloadError`."""
        found = self.files(entry.repository, token)
        file = next((each for each in found if each.path == entry.file), None)
        if file is None:
            raise DownloadError(f"{entry.file} is not there any more.", f"Look at all files of {entry.repository}.")
        return file

    def folder(self) -> str:
        """Where models go unless the user chooses another folder."""
        return str(Path(platformdirs.user_data_dir("tavernkeep", appauthor=False)) / "models")

    def start(self, file: HubFile, folder: str, token: str = "") -> None:
        """Fetch a model into the folder; the same one that is being fetched already goes on."""
        target = Path(folder, *file.repository.split("/")[-2:])
        with self._lock:
            known = next((each for each in self._downloads.values() if each.is_of(file, target)), None)
            if known is None:
                known = _Download(next(self._ids), file, target, self._endpoint)
                self._downloads[known.key] = known
        known.go_on(token)

    def pause(self, key: int) -> None:
        """Stop fetching, and keep what is there."""
        if download := self._downloads.get(key):
            download.hold()

    def resume(self, key: int, token: str = "") -> None:
        """Go on where it stopped."""
        if download := self._downloads.get(key):
            download.go_on(token)

    def cancel(self, key: int) -> None:
        """Stop fetching, and remove what is there of a model that is not whole."""
        with self._lock:
            download = self._downloads.pop(key, None)
        if download:
            download.discard()

    def rows(self) -> tuple[DownloadRow, ...]:
        """The downloads, oldest first; cheap enough to ask ten times a second."""
        with self._lock:
            return tuple(download.row() for download in self._downloads.values())

    def close(self) -> None:
        """Stop all. What was fetched stays, and is used when the same model is fetched again."""
        for download in tuple(self._downloads.values()):
            download.hold()


class _Held(BaseException):
    """The user wants it to stop. No error: nothing on its way may take it for one."""


class _Download:
    """One model, fetched by a thread that lives as long as it runs."""

    def __init__(self, key: int, file: HubFile, folder: Path, endpoint: str | None) -> None:
        self.key = key
        self._file = file
        self._folder = folder
        self._endpoint = endpoint
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()  # of the thread that runs; a stopped one may still be on its way out
        self._phase = DownloadPhase.PAUSED
        self._sentence = ""
        self._done = 0
        self._arrived: deque[tuple[float, int]] = deque()

    def is_of(self, file: HubFile, folder: Path) -> bool:
        return (self._file, self._folder) == (file, folder)

    def row(self) -> DownloadRow:
        path = str(self._target(self._file.parts[0]))
        return DownloadRow(
            self.key, self._file, path, self._phase, self._done, self._file.size, self._speed(), self._sentence
        )

    def go_on(self, token: str) -> None:
        with self._lock:
            if self._phase in (DownloadPhase.RUNNING, DownloadPhase.CHECKING, DownloadPhase.DONE):
                return
            self._phase, self._sentence = DownloadPhase.RUNNING, ""
            before, self._stop = self._thread, threading.Event()
            self._thread = threading.Thread(
                target=self._run, args=(before, token, self._stop), name=f"download {self._file.path}", daemon=True
            )
            self._thread.start()

    def hold(self) -> None:
        """Have the thread end at its next piece."""
        with self._lock:
            self._stop.set()
            if self._phase in (DownloadPhase.RUNNING, DownloadPhase.CHECKING):
                self._phase = DownloadPhase.PAUSED

    def discard(self) -> None:
        with self._lock:
            whole = self._phase is DownloadPhase.DONE
            self._stop.set()
            thread = self._thread
        if not whole:
            threading.Thread(target=self._remove, args=(thread,), name="discard", daemon=True).start()

    def _remove(self, thread: threading.Thread | None) -> None:
        if thread:
            thread.join()
        for part in self._file.parts:
            with contextlib.suppress(OSError):  # such as in a folder that could not be made
                self._partial(part).unlink()

    def _run(self, before: threading.Thread | None, token: str, stop: threading.Event) -> None:
        if before:
            before.join()
        self._arrived.clear()
        try:
            hub.told(lambda: self._fetch_all(token, stop), self._file.repository)
            gguf.inspect(str(self._target(self._file.parts[0])))
        except _Held:
            return
        except TavernkeepError as error:
            self._fail(str(error), stop)
        except OSError as error:
            if error.errno is None:  # huggingface_hub's own, for a file that ended early
                self._fail("The connection broke off. Resume goes on from there.", stop)
            else:
                self._fail(f"{self._folder} cannot be written: {error.strerror}.", stop)
        else:
            self._reach(DownloadPhase.DONE, stop)
            log.info("%s was downloaded.", self._file.path)

    def _fail(self, sentence: str, stop: threading.Event) -> None:
        log.warning("%s was not downloaded: %s", self._file.path, sentence)
        self._reach(DownloadPhase.FAILED, stop, sentence)

    def _reach(self, phase: DownloadPhase, stop: threading.Event, sentence: str = "") -> None:
        with self._lock:
            if not stop.is_set():
                self._phase, self._sentence = phase, sentence

    def _fetch_all(self, token: str, stop: threading.Event) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._done = sum(self._there(part) for part in self._file.parts)
        missing = self._file.size - self._done
        free = shutil.disk_usage(self._folder).free
        if missing + SPARE > free:
            raise DownloadError(
                f"The disk has {free / 1e9:.1f} GB free, and {missing / 1e9:.1f} GB are needed.",
                "Make room, or choose another folder.",
            )
        for part in self._file.parts:
            if not self._target(part).exists():
                self._fetch(part, token, stop)

    def _fetch(self, part: HubPart, token: str, stop: threading.Event) -> None:
        from huggingface_hub import constants, hf_hub_url
        from huggingface_hub.file_download import http_get
        from huggingface_hub.utils._headers import build_hf_headers

        if part.size > constants.MAX_HTTP_DOWNLOAD_SIZE:
            most = f"{constants.MAX_HTTP_DOWNLOAD_SIZE / 1e9:.0f} GB"
            raise DownloadError(
                f"{part.path} is larger than {most}, and is sent to the hub's own tools only.",
                "Choose a smaller file, or one in several parts.",
            )
        partial = self._partial(part)
        partial.parent.mkdir(parents=True, exist_ok=True)
        url = hf_hub_url(self._file.repository, part.path, revision=self._file.revision, endpoint=self._endpoint)
        with partial.open("ab") as stream:
            if stream.tell() > part.size:
                stream.seek(0)
                stream.truncate()
            http_get(
                url,
                stream,
                resume_size=stream.tell(),
                headers=build_hf_headers(token=token or False),
                expected_size=part.size,
                tqdm_class=self._bar(part, stream, stop),
            )
            stream.flush()
            os.fsync(stream.fileno())
        self._check(part, partial, stop)
        os.replace(partial, self._target(part))

    def _check(self, part: HubPart, partial: Path, stop: threading.Event) -> None:
        """The file must be what the hub says it is."""
        if not part.sha256:
            return
        self._reach(DownloadPhase.CHECKING, stop)
        digest = hashlib.sha256()
        with partial.open("rb") as stream:
            while chunk := stream.read(CHUNK):
                _leave_if(stop)
                digest.update(chunk)
        if digest.hexdigest() != part.sha256:
            partial.unlink()
            raise DownloadError(f"{part.path} arrived damaged and was removed.", "Try again.")
        self._reach(DownloadPhase.RUNNING, stop)

    def _bar(self, part: HubPart, stream: BinaryIO, stop: threading.Event) -> type[Any]:
        """The progress bar that ``http_get`` wants: it tells us, before it writes, instead of drawing itself."""
        from tqdm import tqdm  # type: ignore[import-untyped]

        download = self

        class Bar(tqdm):  # type: ignore[misc]
            def __init__(self, *_: Any, **__: Any) -> None:
                super().__init__(disable=True)

            def update(self, n: float | None = 1) -> None:
                _leave_if(stop)
                if stream.tell() + int(n or 0) > part.size:
                    raise DownloadError(f"{part.path} is longer than the hub said.", "Look into the repository again.")
                download._advance(int(n or 0))

        return Bar

    def _advance(self, size: int) -> None:
        self._done += size
        self._arrived.append((time.monotonic(), size))

    def _speed(self) -> float:
        if self._phase is not DownloadPhase.RUNNING:
            return 0.0
        now = time.monotonic()
        recent = [(at, size) for at, size in tuple(self._arrived) if at > now - SPEED_SECONDS]
        return sum(size for _, size in recent) / max(now - recent[0][0], 1.0) if recent else 0.0

    def _there(self, part: HubPart) -> int:
        if self._target(part).exists():
            return part.size
        partial = self._partial(part)
        return min(partial.stat().st_size, part.size) if partial.exists() else 0

    def _target(self, part: HubPart) -> Path:
        return self._folder / part.path

    def _partial(self, part: HubPart) -> Path:
        """What is not whole yet. The checksum in its name keeps another state of the repository apart."""
        return self._folder / f"{part.path}.{part.sha256[:8] or part.size}.part"


def _leave_if(stop: threading.Event) -> None:
    if stop.is_set():
        raise _Held
