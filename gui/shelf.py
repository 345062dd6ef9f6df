"""Finds the models in the user's folders and reads them one by one, away from the Tk thread. The app owns one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from gui.event_pump import EventPump, Lane
from gui.memory import Memory
from gui.view.library import ShelfEntry
from server.settings import Settings

if TYPE_CHECKING:
    from server.controller import Controller


class Shelf:
    """``entries`` are the models by their paths, ``recent`` those that were used before, the last one first.

    ``changed`` hears when there is more to know.
    """

    def __init__(self, pump: EventPump, controller: Controller, memory: Memory, changed: Callable[[], None]) -> None:
        self._pump = pump
        self._models = controller.models
        self._downloads = controller.downloads
        self._memory = memory
        self._changed = changed
        self._round = 0
        self.searching = False
        self.recent: tuple[str, ...] = ()
        self.entries: dict[str, ShelfEntry] = {}

    @property
    def folders(self) -> tuple[str, ...]:
        """The folders that the user has added."""
        return self._memory.folders

    def look(self) -> None:
        """Look into the folders again. What was known stays until it is read anew."""
        self._round += 1
        self.searching = True
        this = self._round
        self._pump.submit(
            Lane.LIBRARY, self._search, lambda found: self._found(this, *found), lambda _: self._done(this)
        )
        self._changed()

    def add(self, folder: str) -> None:
        """Add a folder, and look."""
        self._keep((*(each for each in self.folders if each != folder), folder))

    def remove(self, folder: str) -> None:
        """Forget a folder; nothing in it is touched."""
        self._keep(tuple(each for each in self.folders if each != folder))

    def _keep(self, folders: tuple[str, ...]) -> None:
        self._pump.submit(
            Lane.SAVING, lambda: self._memory.keep_folders(folders), lambda _: self.look(), lambda _: self.look()
        )

    def _search(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Paths of all models, and of those that were used before, the last one first."""
        downloads = self._memory.download_folder or self._downloads.folder()
        recent, starter = self._memory.recent_models, self._models.starter()
        found = self._models.files((*self.folders, downloads))
        return tuple(dict.fromkeys((*recent, *filter(None, (starter,)), *found))), recent

    def _found(self, this: int, paths: tuple[str, ...], recent: tuple[str, ...]) -> None:
        if this != self._round:
            return
        self.recent = recent
        self.entries = {path: self.entries.get(path, ShelfEntry(path)) for path in paths}
        for path in paths:
            self._pump.submit(
                Lane.LIBRARY,
                partial(self._read, path),
                self._known,
                partial(self._refused, path),
            )
        self._pump.submit(Lane.LIBRARY, lambda: None, lambda _: self._done(this), lambda _: None)
        self._changed()

    def _read(self, path: str) -> ShelfEntry:
        file = self._models.inspect(path)
        return ShelfEntry(path, file, self._models.forecast(self._memory.recall(Settings(), path)))

    def _refused(self, path: str, sentence: str) -> None:
        self._known(ShelfEntry(path, problem=sentence))

    def _known(self, entry: ShelfEntry) -> None:
        if entry.path in self.entries:
            self.entries[entry.path] = entry
            self._changed()

    def _done(self, this: int) -> None:
        if this == self._round:
            self.searching = False
            self._changed()
