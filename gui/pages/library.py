"""The models on this PC: a list of all that lie in the user's folders, to choose one from; built by the app."""

from __future__ import annotations

import tkinter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from tkinter import filedialog
from typing import Final

from gui import theme
from gui.language import N_, tr, trn
from gui.theme import GAP, PADDING
from gui.view.looks import ListLine, Tone, main_button
from gui.widgets.controls import Button, Entry, Menu
from gui.widgets.display import Card, Label, Row, show_if
from gui.widgets.listing import ListColumn, Listing

_COLUMNS: Final = (
    ListColumn(N_("Model"), 200, stretches=True),
    ListColumn(N_("Architecture"), 100),
    ListColumn(N_("Size"), 80),
    ListColumn(N_("Quantisation"), 100),
    ListColumn(N_("Trained context"), 110),
    ListColumn(N_("Template"), 80),
    ListColumn(N_("Fits"), 130),
)


@dataclass(frozen=True)
class LibraryActions:
    """What the page tells the app."""

    changed: Callable[[], None]
    use: Callable[[str], None]
    add_folder: Callable[[str], None]
    remove_folder: Callable[[str], None]
    look_again: Callable[[], None]


class LibraryPage:
    """The page's widgets; ``show`` draws what the app decided."""

    def __init__(self, parent: tkinter.Misc, actions: LibraryActions) -> None:
        self._actions = actions
        self._folders: tuple[str, ...] = ()
        self.frame = Card(parent)
        self.frame.grid_columnconfigure(0, weight=1)
        self.frame.grid_rowconfigure(1, weight=1)
        self._build_top()
        self.listing = Listing(self.frame, _COLUMNS, actions.changed, self._use)
        self.listing.grid(row=1, column=0, sticky="nsew", padx=PADDING)
        self.quiet = Label(self.frame, colour=theme.DIM, wraps=True)
        self.quiet.grid(row=2, column=0, sticky="ew", padx=PADDING, pady=GAP)
        self._build_bottom()

    @property
    def path(self) -> str:
        """The chosen model's path, or ""."""
        return self.listing.key

    @property
    def wanted(self) -> str:
        """What is typed into the filter."""
        return self.filter_entry.get()

    def show(self, lines: Sequence[ListLine], quiet: str, detail: tuple[str, Tone], folders: Sequence[str]) -> None:
        """Draw what changed."""
        self.listing.show(lines)
        self.quiet.show(quiet)
        show_if(self.quiet, bool(quiet))
        text, tone = detail
        self.detail.show(text, theme.TONES[tone])
        self.use_button.show(main_button(tr("Use this model"), enabled=bool(self.path) and tone is not Tone.BAD))
        choices = tuple(folders)
        if choices != self._folders:
            self._folders = choices
            removals = ((each, tr("Remove {folder}").format(folder=each)) for each in choices)
            self.folder_menu.offer([("", _folders_label(len(choices))), *removals])
        self.folder_menu.lock(not choices)

    def _build_top(self) -> None:
        box = Row(self.frame)
        box.grid(row=0, column=0, sticky="ew", padx=PADDING, pady=(PADDING, GAP))
        box.grid_columnconfigure(1, weight=1)
        Label(box, tr("Find")).grid(row=0, column=0, padx=(0, GAP))
        self.filter_entry = Entry(box, self._actions.changed)
        self.filter_entry.grid(row=0, column=1, sticky="ew")
        self.folder_menu: Menu = Menu(box, [("", _folders_label(0))], self._remove)
        self.folder_menu.configure(width=240)
        self.folder_menu.choose("")
        self.folder_menu.grid(row=0, column=2, padx=GAP)
        self.add_button = Button(box, tr("Add a folder…"), self._add, width=120)
        self.add_button.grid(row=0, column=3)
        self.again_button = Button(box, tr("Look again"), self._actions.look_again)
        self.again_button.grid(row=0, column=4, padx=(GAP, 0))

    def _build_bottom(self) -> None:
        box = Row(self.frame)
        box.grid(row=3, column=0, sticky="ew", padx=PADDING, pady=PADDING)
        box.grid_columnconfigure(0, weight=1)
        self.detail = Label(box, font=theme.SMALL, colour=theme.DIM, wraps=True)
        self.detail.grid(row=0, column=0, sticky="ew", padx=(0, PADDING))
        self.use_button = Button(box, tr("Use this model"), self._use, width=140)
        self.use_button.grid(row=0, column=1)

    def _use(self) -> None:
        if self.path and self.use_button.cget("state") == "normal":
            self._actions.use(self.path)

    def _add(self) -> None:
        folder = filedialog.askdirectory(parent=self.frame, title=tr("Choose a folder with models"), mustexist=True)
        if folder:
            self._actions.add_folder(folder)

    def _remove(self) -> None:
        folder = self.folder_menu.choice
        self.folder_menu.choose("")
        if folder:
            self._actions.remove_folder(folder)


def _folders_label(count: int) -> str:
    if not count:
        return tr("No folders added")
    return trn("{count} folder added", "{count} folders added", count).format(count=count)
