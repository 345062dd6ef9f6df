"""The page to get models: a list to choose from, and the downloads with their buttons; built by the app."""

from __future__ import annotations

import tkinter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from tkinter import filedialog
from typing import Final

from gui import theme
from gui.language import N_, tr
from gui.theme import GAP, PADDING
from gui.view.hub import DownloadLine, Offer
from gui.view.looks import ListLine, Tone, main_button
from gui.widgets.controls import Button, Entry
from gui.widgets.display import Bar, Card, Label, Row, Scroll, Tip, show_if
from gui.widgets.listing import ListColumn, Listing

_COLUMNS: Final = (
    ListColumn(N_("Name"), 200, stretches=True),
    ListColumn(N_("About"), 260),
    ListColumn(N_("Size"), 80),
    ListColumn(N_("Licence"), 100),
    ListColumn(N_("Fits"), 130),
)
_DOWNLOADS_HEIGHT: Final = 132


@dataclass(frozen=True)
class HubActions:
    """What the page tells the app. Lists and downloads are named by their keys."""

    changed: Callable[[], None]
    search: Callable[[str], None]
    look_into: Callable[[str], None]
    fetch: Callable[[str], None]
    back: Callable[[], None]
    toggle: Callable[[DownloadLine], None]
    end: Callable[[DownloadLine], None]
    choose_folder: Callable[[str], None]


class HubPage:
    """The page's widgets; ``show`` draws what the app decided."""

    def __init__(self, parent: tkinter.Misc, actions: HubActions) -> None:
        self._actions = actions
        self._offer = Offer.CATALOGUE
        self.frame = Card(parent)
        self.frame.grid_columnconfigure(0, weight=1)
        self.frame.grid_rowconfigure(2, weight=1)
        self._build_top()
        self.title = Label(self.frame, font=theme.CARD_TITLE)
        self.title.grid(row=1, column=0, sticky="ew", padx=PADDING)
        self.listing = Listing(self.frame, _COLUMNS, actions.changed, self._open)
        self.listing.grid(row=2, column=0, sticky="nsew", padx=PADDING, pady=(4, 0))
        self._build_buttons()
        self.downloads = Row(self.frame)
        self.downloads.grid_columnconfigure(0, weight=1)
        self.downloads.grid(row=4, column=0, sticky="ew", padx=PADDING, pady=(0, GAP))
        self._scroll = Scroll(self.downloads)
        self._scroll.configure(height=_DOWNLOADS_HEIGHT)
        self._scroll.body.grid_columnconfigure(0, weight=1)
        self._scroll.grid(row=0, column=0, sticky="ew")
        self.rows: list[DownloadRowWidgets] = []

    @property
    def token(self) -> str:
        """The token that is typed in."""
        return self.token_entry.get().strip()

    def show(
        self,
        offer: Offer,
        lines: Sequence[ListLine],
        downloads: Sequence[DownloadLine],
        *,
        problem: str,
        busy: bool,
        folder: str,
    ) -> None:
        """Draw what changed."""
        self._offer = offer
        title = tr(offer.value)
        self.title.show(tr("{title} — asking the hub…").format(title=title) if busy else title)
        self.listing.show(lines)
        self.problem.show(problem)
        chosen = bool(self.listing.key) and not busy
        self.fetch_button.show(main_button(tr("Download"), enabled=chosen and offer is not Offer.REPOSITORIES))
        self.files_button.enable(chosen and offer is not Offer.FILES)
        self.search_button.enable(not busy)
        show_if(self.back_button, offer is not Offer.CATALOGUE)
        self.folder_button.configure(text=tr("To {folder}").format(folder=_shortened(folder)))
        self._folder = folder
        while len(self.rows) < len(downloads):
            self.rows.append(DownloadRowWidgets(self._scroll.body, len(self.rows), self._actions))
        for row, line in zip(self.rows, downloads, strict=False):
            row.show(line)
        for row in self.rows[len(downloads) :]:
            row.show(None)
        show_if(self.downloads, bool(downloads))

    def _build_top(self) -> None:
        box = Row(self.frame)
        box.grid(row=0, column=0, sticky="ew", padx=PADDING, pady=(PADDING, GAP))
        box.grid_columnconfigure(1, weight=1)
        Label(box, tr("Search")).grid(row=0, column=0, padx=(0, GAP))
        self.search_entry = Entry(box)
        self.search_entry.grid(row=0, column=1, sticky="ew")
        self.search_entry.bind("<Return>", lambda _: self._search())
        self.search_tip = Tip(
            self.search_entry, tr("Words, a repository's name (owner/name), or the address of its page.")
        )
        self.search_button = Button(box, tr("Search"), self._search)
        self.search_button.grid(row=0, column=2, padx=GAP)
        Label(box, tr("Token")).grid(row=0, column=3, padx=(GAP, GAP))
        self.token_entry = Entry(box, width=140)
        self.token_entry.configure(show="•")
        self.token_entry.grid(row=0, column=4)
        self.token_tip = Tip(
            self.token_entry,
            tr("Your access token of huggingface.co, for models whose licence must be accepted there."),
        )

    def _build_buttons(self) -> None:
        box = Row(self.frame)
        box.grid(row=3, column=0, sticky="ew", padx=PADDING, pady=GAP)
        box.grid_columnconfigure(0, weight=1)
        self.problem = Label(box, font=theme.SMALL, colour=theme.TONES[Tone.BAD], wraps=True)
        self.problem.grid(row=0, column=0, sticky="ew", padx=(0, PADDING))
        self._folder = ""
        self.folder_button: Button = Button(box, "", self._choose_folder, width=160)
        self.folder_button.grid(row=0, column=1)
        self.folder_tip = Tip(
            self.folder_button, tr("The folder that models are downloaded to. Press to choose another.")
        )
        self.back_button: Button = Button(box, tr("Back"), self._actions.back)
        self.back_button.grid(row=0, column=2, padx=(GAP, 0))
        self.files_button: Button = Button(box, tr("All files"), lambda: self._actions.look_into(self.listing.key))
        self.files_button.grid(row=0, column=3, padx=(GAP, 0))
        self.fetch_button: Button = Button(
            box, tr("Download"), lambda: self._actions.fetch(self.listing.key), width=120
        )
        self.fetch_button.grid(row=0, column=4, padx=(GAP, 0))

    def _search(self) -> None:
        if self.search_button.cget("state") == "normal":
            self._actions.search(self.search_entry.get())

    def _open(self) -> None:
        button = self.fetch_button if self._offer is Offer.FILES else self.files_button
        button.invoke()

    def _choose_folder(self) -> None:
        title = tr("Choose a folder for models")
        folder = filedialog.askdirectory(parent=self.frame, title=title, initialdir=self._folder)
        if folder:
            self._actions.choose_folder(folder)


class DownloadRowWidgets:
    """A download's name, bar, words and buttons; shows one after the other."""

    def __init__(self, parent: tkinter.Misc, number: int, actions: HubActions) -> None:
        self._line: DownloadLine | None = None
        self.box = Row(parent)
        self.box.grid_columnconfigure(0, weight=1)
        self.box.grid(row=number, column=0, sticky="ew", pady=2)
        self.name = Label(self.box, font=theme.SMALL)
        self.name.grid(row=0, column=0, sticky="w")
        self.words = Label(self.box, font=theme.SMALL, wraps=True)
        self.words.grid(row=1, column=0, sticky="ew")
        self.bar = Bar(self.box)
        self.bar.grid(row=2, column=0, sticky="ew")
        self.toggle = Button(self.box, "", lambda: self._press(actions.toggle), height=28)
        self.toggle.grid(row=0, column=1, rowspan=3, padx=(PADDING, 0))
        self.end = Button(self.box, "", lambda: self._press(actions.end), height=28)
        self.end.grid(row=0, column=2, rowspan=3, padx=(GAP, 0))

    def _press(self, does: Callable[[DownloadLine], None]) -> None:
        if self._line:
            does(self._line)

    @property
    def line(self) -> DownloadLine | None:
        """What is shown."""
        return self._line

    def show(self, line: DownloadLine | None) -> None:
        """Draw the line; None hides the row."""
        if line == self._line:
            return
        self._line = line
        show_if(self.box, line is not None)
        if line is None:
            return
        self.name.show(line.name)
        self.words.show(line.words, theme.TONES[line.tone])
        self.bar.show(line.fraction)
        for button, text in ((self.toggle, line.toggle), (self.end, line.end)):
            show_if(button, bool(text))
            button.configure(text=text)


def _shortened(folder: str) -> str:
    return folder if len(folder) <= 24 else f"…{folder[-23:]}"
