"""A card over the page, for a text to read or a question to answer. It lies in the window, not in one of its own."""

from __future__ import annotations

import tkinter
from collections.abc import Callable, Sequence
from typing import Final

from gui import theme
from gui.language import tr
from gui.theme import GAP, PADDING
from gui.view.looks import ButtonRole
from gui.widgets.controls import Button
from gui.widgets.display import Card, Label, LongText, Row

_TEXT_HEIGHT: Final = 320
_WIDTH: Final = 620


class Sheet:
    """One sheet for all questions of a window; ``tell`` and ``ask`` bring it up, Escape takes it away."""

    def __init__(self, root: tkinter.Misc) -> None:
        self._root = root
        self.card = Card(root)
        self.card.configure(fg_color=theme.CARD)
        self.card.grid_columnconfigure(0, weight=1)
        self.title = Label(self.card, font=theme.CARD_TITLE)
        self.title.grid(row=0, column=0, sticky="ew", padx=PADDING, pady=(PADDING, GAP))
        self.sentence = Label(self.card, wraps=True)
        self.text = LongText(self.card, width=_WIDTH, height=_TEXT_HEIGHT, wrap="word", fg_color=theme.FIELD)
        self.buttons: list[Button] = []
        self._answers = Row(self.card)
        self._answers.grid(row=2, column=0, sticky="e", padx=PADDING, pady=PADDING)
        root.winfo_toplevel().bind("<Escape>", lambda _: self.close(), add=True)

    @property
    def open(self) -> bool:
        """Whether the sheet is in sight."""
        return bool(self.card.winfo_manager())

    def tell(self, title: str, text: str) -> None:
        """Show a long text, which can be selected and copied."""
        self.sentence.grid_forget()
        self.text.configure(state="normal")
        self.text.delete("1.0", "end")
        self.text.insert("1.0", text)
        self.text.configure(state="disabled")
        self.text.grid(row=1, column=0, sticky="nsew", padx=PADDING)
        self._bring_up(title, ((tr("Close"), ButtonRole.PLAIN, lambda: None),))

    def ask(self, title: str, sentence: str, answers: Sequence[tuple[str, ButtonRole, Callable[[], None]]]) -> None:
        """Ask a question; each answer has a text, a look, and what it does."""
        self.text.grid_forget()
        self.sentence.configure(width=_WIDTH)
        self.sentence.show(sentence)
        self.sentence.grid(row=1, column=0, sticky="ew", padx=PADDING)
        self._bring_up(title, answers)

    def close(self) -> None:
        """Take the sheet away."""
        self.card.place_forget()

    def _bring_up(self, title: str, answers: Sequence[tuple[str, ButtonRole, Callable[[], None]]]) -> None:
        self.title.show(title)
        for button in self.buttons:
            button.destroy()
        self.buttons = [self._button(*answer) for answer in answers]
        for place, button in enumerate(self.buttons):
            button.grid(row=0, column=place, padx=(GAP, 0))
        self.card.place(relx=0.5, rely=0.5, anchor="center")
        self.card.lift()
        self.buttons[0].focus_set()

    def _button(self, text: str, role: ButtonRole, does: Callable[[], None]) -> Button:
        def answer() -> None:
            self.close()
            does()

        return Button(self._answers, text, answer, role=role)
