"""Asks the hub for models while the user looks around there, away from the Tk thread. The app owns one.

It asks nothing of the network before the user presses a button.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gui.event_pump import EventPump, Lane
from gui.language import tr
from gui.memory import Memory
from gui.view.hub import DownloadLine, Offer, catalogue_lines, download_lines, file_lines, repository_lines
from gui.view.looks import ListLine
from server.snapshot import DownloadPhase, HubFile, HubRepository

if TYPE_CHECKING:
    from server.controller import Controller


class HubDesk:
    """``offer`` says what is listed, ``problem`` why something did not come, ``busy`` that an answer is awaited."""

    def __init__(
        self,
        pump: EventPump,
        controller: Controller,
        memory: Memory,
        use_model: Callable[[str], None],
        changed: Callable[[], None],
    ) -> None:
        self._pump = pump
        self._memory = memory
        self._use_model = use_model
        self._downloads = controller.downloads
        self._models = controller.models
        self._changed = changed
        self._found: tuple[HubRepository, ...] = ()
        self._files: tuple[HubFile, ...] = ()
        self._back = Offer.CATALOGUE
        self.offer = Offer.CATALOGUE
        self.problem = ""
        self.busy = False

    def lines(self) -> tuple[ListLine, ...]:
        """The list."""
        if self.offer is Offer.FILES:
            return file_lines(self._files, self._models.likely_fit)
        if self.offer is Offer.REPOSITORIES:
            return repository_lines(self._found)
        return catalogue_lines(self._downloads.catalogue(), self._models.likely_fit)

    def downloads(self) -> tuple[DownloadLine, ...]:
        """The downloads."""
        return download_lines(self._downloads.rows())

    def search(self, text: str, token: str) -> None:
        """Look for repositories; the name of one leads to its files at once."""
        if text.strip():
            self._ask(lambda: self._downloads.search(text, token), lambda found: self._show_found(found, token))

    def look_into(self, key: str, token: str) -> None:
        """List the files of the line's repository."""
        repository = next((each.repository for each in self._downloads.catalogue() if each.name == key), key)
        self._ask(lambda: self._downloads.files(repository, token), self._show_files)

    @property
    def folder(self) -> str:
        """Where models are downloaded to."""
        return self._memory.download_folder or self._downloads.folder()

    def choose_folder(self, folder: str) -> None:
        """Download to another folder from now on."""
        keep = self._memory.keep_download_folder
        self._pump.submit(Lane.SAVING, lambda: keep(folder), lambda _: self._changed(), lambda _: self._changed())

    def fetch(self, key: str, token: str) -> None:
        """Download the line's model."""
        folder = self.folder
        if self.offer is Offer.FILES:
            file = next(each for each in self._files if each.path == key)
            self._ask(lambda: self._downloads.start(file, folder, token), lambda _: None)
            return
        entry = next(each for each in self._downloads.catalogue() if each.name == key)

        def begin() -> None:
            self._downloads.start(self._downloads.recommended(entry, token), folder, token)

        self._ask(begin, lambda _: None)

    def go_back(self) -> None:
        """From the files to where they were found, and from there to the catalogue."""
        self.problem = ""
        self.offer, self._back = self._back, Offer.CATALOGUE
        self._changed()

    def toggle(self, line: DownloadLine, token: str) -> None:
        """What a download's first button does."""
        if line.phase is DownloadPhase.DONE:
            self._use_model(line.path)
            return
        if line.phase is DownloadPhase.RUNNING:
            self._downloads.pause(line.key)
        else:
            self._downloads.resume(line.key, token)
        self._changed()

    def end(self, line: DownloadLine) -> None:
        """Cancel a download, or clear away its line."""
        self._downloads.cancel(line.key)
        self._changed()

    def _show_found(self, found: tuple[HubRepository, ...], token: str) -> None:
        self._found, self.offer, self._back = found, Offer.REPOSITORIES, Offer.CATALOGUE
        if not found:
            self.problem = tr("Nothing was found. Try fewer words, or the name of a repository: owner/name.")
        elif len(found) == 1:
            self.look_into(found[0].name, token)

    def _show_files(self, files: tuple[HubFile, ...]) -> None:
        self._files = files
        self._back, self.offer = self.offer, Offer.FILES

    def _ask(self, work: Callable[[], Any], done: Callable[[Any], None]) -> None:
        self.busy, self.problem = True, ""

        def answered(result: Any) -> None:
            self.busy = False
            done(result)
            self._changed()

        def refused(sentence: str) -> None:
            self.busy, self.problem = False, sentence
            self._changed()

        self._pump.submit(Lane.HUB, work, answered, refused)
        self._changed()
