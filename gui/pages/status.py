"""What is happening: state, progress, speed, requests, model and the addresses to paste; built by the app."""

from __future__ import annotations

import tkinter
from typing import Final

import customtkinter as ctk

from gui import theme
from gui.browser import show_in_browser
from gui.language import N_, tr
from gui.theme import GAP, PADDING
from gui.view.status import StatusView
from gui.widgets.controls import Button, CopyButton, Entry
from gui.widgets.display import Bar, Card, Label, Row, Tip, show_if

_ROW_HEIGHT: Final = 20
_ADDRESS_HEIGHT: Final = 28
_TRIMMED_TIP: Final = N_("The oldest part did not fit the context. A larger context size keeps more.")


class AddressRow:
    """An address with its Copy button."""

    def __init__(self, parent: tkinter.Misc, name: str, row: int) -> None:
        label = Label(parent, name, colour=theme.DIM)
        label.grid(row=row, column=0, sticky="w", pady=(4, 0))
        self.entry = Entry(parent, height=_ADDRESS_HEIGHT)
        self.entry.read_only()
        self.entry.grid(row=row, column=1, sticky="ew", padx=(GAP, GAP), pady=(4, 0))
        self.copy_button = CopyButton(parent, tr("Copy"), self.entry.get, width=72, height=_ADDRESS_HEIGHT)
        self.copy_button.grid(row=row, column=2, pady=(4, 0))

    def show(self, address: str) -> None:
        """Show the address; none means there is nothing to copy."""
        self.entry.show(address)
        self.copy_button.enable(bool(address))


class StatusCard:
    """The card's widgets; ``show`` draws the parts of a view that changed."""

    def __init__(self, parent: tkinter.Misc) -> None:
        self._view: StatusView | None = None
        self.frame = Card(parent)
        self.frame.grid_columnconfigure(0, weight=1)
        self._build_headline(0)
        self._build_progress(1)
        self._build_problem(2)
        self._build_speed(3)
        self._build_rows(4)
        self._build_model(5)
        self.frame.grid_rowconfigure(6, weight=1)
        self._build_addresses(7)

    def show(self, view: StatusView) -> None:
        """Draw what changed."""
        if view == self._view:
            return
        self._view = view
        self.dot.show("●", theme.TONES[view.tone])
        self.headline.show(view.headline, theme.TONES[view.tone])
        show_if(self.progress, view.progress is not None)
        self.progress.show(view.progress or 0.0)
        self.problem.show(view.problem)
        show_if(self.problem_box, bool(view.problem))
        show_if(self.speed_box, view.numbers)
        show_if(self.rows, view.numbers)
        show_if(self.model_box, view.numbers)
        self.speed.show(view.speed, theme.TEXT if view.busy else theme.LOCKED)
        self.speed_unit.show(view.speed_unit)
        self.prompt_speed.show(view.prompt_speed)
        self.replies.show(view.replies)
        self.trimmed_name.show(view.trimmed_name)
        self.trimmed.show(view.trimmed, theme.WARNING if view.trimming else theme.TEXT)
        show_if(self.trimmed_name, bool(view.trimmed))
        show_if(self.trimmed, bool(view.trimmed))
        self.cached.show(view.cached)
        self.context.show(view.context)
        self.context_bar.show(view.context_fill)
        self.kept.show(view.kept)
        self.drafts.show(view.drafts)
        show_if(self.drafts_name, bool(view.drafts))
        show_if(self.drafts, bool(view.drafts))
        self.model.show(view.model)
        self.model_detail.show(view.model_detail)
        self.template.show(view.template)
        self.template_tip.show(view.template_tip)
        show_if(self.template_name, bool(view.template))
        show_if(self.template, bool(view.template))
        self.template_warning.show(view.template_warning)
        show_if(self.template_warning, bool(view.template_warning))
        self.kobold.show(view.kobold_address)
        self.openai.show(view.openai_address)
        self.chat_button.enable(bool(view.kobold_address))

    def _build_headline(self, row: int) -> None:
        box = Row(self.frame)
        box.grid(row=row, column=0, sticky="ew", padx=PADDING, pady=(PADDING, 0))
        box.grid_columnconfigure(1, weight=1)
        self.dot = Label(box, "●", font=theme.CARD_TITLE, colour=theme.DIM)
        self.dot.grid(row=0, column=0, sticky="n", padx=(0, 6))
        self.headline = Label(box, font=theme.CARD_TITLE, colour=theme.DIM, wraps=True)
        self.headline.grid(row=0, column=1, sticky="ew")

    def _build_progress(self, row: int) -> None:
        self.progress = Bar(self.frame)
        self.progress.grid(row=row, column=0, sticky="ew", padx=PADDING, pady=(GAP, 0))
        self.progress.grid_remove()

    def _build_problem(self, row: int) -> None:
        self.problem_box = ctk.CTkFrame(
            self.frame,
            fg_color=theme.PROBLEM_FILL,
            border_color=theme.PROBLEM_BORDER,
            border_width=1,
            corner_radius=theme.RADIUS,
        )
        self.problem_box.grid(row=row, column=0, sticky="ew", padx=PADDING, pady=(GAP, 0))
        self.problem_box.grid_columnconfigure(0, weight=1)
        self.problem = Label(self.problem_box, wraps=True)
        self.problem.grid(row=0, column=0, sticky="ew", padx=10, pady=6)
        self.problem_box.grid_remove()

    def _build_speed(self, row: int) -> None:
        box = self.speed_box = Row(self.frame)
        box.grid(row=row, column=0, sticky="w", padx=PADDING, pady=(4, 4))
        self.speed = Label(box, font=theme.HERO, height=48)
        self.speed.grid(row=0, column=0, rowspan=2)
        self.speed_unit = Label(box, colour=theme.DIM)
        self.speed_unit.grid(row=0, column=1, sticky="sw", padx=GAP)
        self.prompt_speed = Label(box, colour=theme.DIM)
        self.prompt_speed.grid(row=1, column=1, sticky="nw", padx=GAP)

    def _build_rows(self, row: int) -> None:
        box = self.rows = Row(self.frame)
        box.grid(row=row, column=0, sticky="ew", padx=PADDING)
        box.grid_columnconfigure(1, weight=1)
        _, self.replies = self._row(box, tr("Replies"), 0)
        self.trimmed_name, self.trimmed = self._row(box, tr("Prompts cut"), 1)
        self.trimmed_tip = Tip(self.trimmed, tr(_TRIMMED_TIP))
        _, self.cached = self._row(box, tr("Prompts cached"), 2)
        self.drafts_name, self.drafts = self._row(box, tr("Guessed right"), 3)
        _, self.context = self._row(box, tr("Context in use"), 4)
        self.context_bar = Bar(box)
        self.context_bar.grid(row=5, column=0, columnspan=2, sticky="ew", pady=(0, 4))
        _, self.kept = self._row(box, tr("Kept for later"), 6)

    def _build_model(self, row: int) -> None:
        box = self.model_box = Row(self.frame)
        box.grid(row=row, column=0, sticky="ew", padx=PADDING)
        box.grid_columnconfigure(1, weight=1)
        Label(box, tr("Model"), colour=theme.DIM, height=_ROW_HEIGHT).grid(row=0, column=0, sticky="nw")
        self.model = Label(box, anchor="e", height=_ROW_HEIGHT, wraps=True)
        self.model.grid(row=0, column=1, sticky="ew", padx=(GAP, 0))
        self.model_detail = Label(box, font=theme.SMALL, colour=theme.DIM, anchor="e", wraps=True)
        self.model_detail.grid(row=1, column=0, columnspan=2, sticky="ew")
        self.template_name, self.template = self._row(box, tr("Template"), 2)
        self.template_tip = Tip(self.template)
        self.template_warning = Label(box, font=theme.SMALL, colour=theme.WARNING, wraps=True)
        self.template_warning.grid(row=3, column=0, columnspan=2, sticky="ew")

    def _row(self, box: tkinter.Misc, name: str, row: int) -> tuple[Label, Label]:
        label = Label(box, name, colour=theme.DIM, height=_ROW_HEIGHT)
        label.grid(row=row, column=0, sticky="w")
        value = Label(box, anchor="e", height=_ROW_HEIGHT)
        value.grid(row=row, column=0, columnspan=2, sticky="e")
        return label, value

    def _build_addresses(self, row: int) -> None:
        box = Row(self.frame)
        box.grid(row=row, column=0, sticky="ew", padx=PADDING, pady=(GAP, PADDING))
        box.grid_columnconfigure(1, weight=1)
        Label(box, tr("Paste into your mod or SillyTavern:"), font=theme.SMALL, colour=theme.DIM).grid(
            row=0, column=0, columnspan=2, sticky="w"
        )
        self.chat_button = Button(box, tr("Chat"), self._chat, width=72, height=_ADDRESS_HEIGHT)
        self.chat_button.grid(row=0, column=2)
        self.chat_tip = Tip(self.chat_button, tr("Talk to the model in your browser."))
        self.kobold = AddressRow(box, "KoboldAI", 1)
        self.openai = AddressRow(box, "OpenAI", 2)

    def _chat(self) -> None:
        show_in_browser(self.kobold.entry.get())
