"""The form: model, GPU layers, context, template, address, Start and Stop; built by the app."""

from __future__ import annotations

import os
import tkinter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from tkinter import filedialog
from typing import Final

from gui import theme
from gui.theme import GAP, PADDING
from gui.view.form import AUTO_LAYERS, THINKING, Form, FormView, gpulayers_at, help_of, model_path, template_label
from gui.view.looks import ButtonRole
from gui.widgets.controls import Button, Entry, Menu, Slider, Tick
from gui.widgets.display import Card, Label, Row, Tip, show_if

_MODELS: Final = ("GGUF models", "*.gguf")
_TEMPLATES: Final = ("Templates", "*.json *.jinja *.jinja2")


@dataclass(frozen=True)
class LaunchActions:
    """What the form tells the app: any edit, a context size that the user chose, and the buttons."""

    changed: Callable[[], None]
    context_chosen: Callable[[], None]
    start: Callable[[], None]
    stop: Callable[[], None]


class LaunchCard:
    """The form's widgets. ``form`` reads them, ``fill`` writes them, ``show`` draws what the app decided."""

    def __init__(self, parent: tkinter.Misc, templates: Sequence[str], actions: LaunchActions) -> None:
        self._actions = actions
        self._view: FormView | None = None
        self._gpulayers = AUTO_LAYERS
        self.frame = Card(parent)
        self.frame.grid_columnconfigure(1, weight=1)
        self._build_model(0)
        self._build_layers(2)
        self._build_context(3)
        self._build_template(5, templates)
        self._build_thinking(6)
        self._build_address(7)
        self._build_password(9)
        self.frame.grid_rowconfigure(10, weight=1)
        self._build_buttons(11)

    @property
    def form(self) -> Form:
        """What the fields hold."""
        return Form(
            model=self.model_entry.get(),
            gpulayers=self._gpulayers,
            contextsize=self.context_entry.get(),
            template=self.template_menu.choice,
            thinking=self.thinking_menu.choice,
            host=self.host_entry.get(),
            port=self.port_entry.get(),
            password=self.password_entry.get(),
            gamemode=self.gamemode_tick.ticked,
        )

    def fill(self, form: Form) -> None:
        """Put ``form`` into the fields."""
        self._gpulayers = form.gpulayers
        self.model_entry.show(form.model)
        self.context_entry.show(form.contextsize)
        self.template_menu.choose(form.template, template_label(form.template))
        self.thinking_menu.choose(form.thinking)
        self.host_entry.show(form.host)
        self.port_entry.show(form.port)
        self.password_entry.show(form.password)
        self.gamemode_tick.show(form.gamemode)

    def show(self, view: FormView) -> None:
        """Draw what changed."""
        if view == self._view:
            return
        self._view = view
        free = not view.locked
        for entry in (self.model_entry, self.context_entry, self.host_entry, self.port_entry, self.password_entry):
            entry.lock(view.locked)
        self.template_menu.lock(view.locked)
        self.thinking_menu.lock(view.locked)
        self.gamemode_tick.lock(view.locked)
        self.browse_button.enable(free)
        self.model_line.show(view.model_line, theme.TONES[view.model_tone])
        # Without a layer count there is nothing to choose from: one position switches the slider off.
        first = AUTO_LAYERS if view.layers else 0
        self.layers_slider.show(first, view.layers, max(view.layers_position, first), enabled=free)
        self.layers_value.show(view.layers_text)
        self.context_slider.show(0, len(view.stops) - 1, view.stop, enabled=free)
        self.context_hint.show(view.context_hint, theme.TONES[view.context_tone])
        self.address_hint.show(view.address_hint)
        show_if(self.password_label, view.asks_password)
        show_if(self.password_entry, view.asks_password)
        self.start_button.show(view.start)
        show_if(self.stop_server_button, view.can_stop_server)

    def _build_model(self, row: int) -> None:
        self._label("Model file", row, above=PADDING)
        self.model_entry = Entry(self.frame, self._actions.changed)
        self.model_entry.grid(row=row, column=1, sticky="ew", pady=(PADDING, 0))
        self.browse_button = Button(self.frame, "Browse…", self._browse)
        self.browse_button.grid(row=row, column=2, padx=(GAP, PADDING), pady=(PADDING, 0))
        self.model_line = Label(self.frame, font=theme.SMALL, colour=theme.DIM, wraps=True)
        self.model_line.grid(row=row + 1, column=1, columnspan=2, sticky="ew", padx=(2, PADDING), pady=(2, GAP))

    def _build_layers(self, row: int) -> None:
        self._label("GPU layers", row)
        self.layers_slider = Slider(self.frame, self._move_layers)
        self.layers_slider.grid(row=row, column=1, sticky="ew", pady=6)
        self.layers_value = Label(self.frame, anchor="e", height=theme.FIELD_HEIGHT)
        self.layers_value.grid(row=row, column=2, sticky="e", padx=(GAP, PADDING))

    def _build_context(self, row: int) -> None:
        self._label("Context size", row, above=6)
        self.context_slider = Slider(self.frame, self._move_context)
        self.context_slider.grid(row=row, column=1, sticky="ew", pady=(6, 0))
        self.context_entry = Entry(self.frame, self._context_typed, justify="right")
        self.context_entry.grid(row=row, column=2, padx=(GAP, PADDING), pady=(6, 0))
        self.context_hint = Label(self.frame, font=theme.SMALL, colour=theme.DIM, wraps=True)
        self.context_hint.grid(row=row + 1, column=1, columnspan=2, sticky="ew", padx=(2, PADDING), pady=(0, GAP))

    def _build_template(self, row: int, templates: Sequence[str]) -> None:
        self._label("Instruct template", row)
        choices = [(name, template_label(name)) for name in templates]
        more = ("Choose a file…", self._choose_template)
        self.template_menu = Menu(self.frame, choices, self._actions.changed, more)
        self.template_menu.grid(row=row, column=1, columnspan=2, sticky="ew", padx=(0, PADDING), pady=4)
        self.template_tip = Tip(self.template_menu, help_of("chatcompletionsadapter"))

    def _build_thinking(self, row: int) -> None:
        self._label("Thinking", row)
        self.thinking_menu = Menu(self.frame, THINKING, self._actions.changed)
        self.thinking_menu.grid(row=row, column=1, columnspan=2, sticky="ew", padx=(0, PADDING), pady=4)
        self.thinking_tip = Tip(self.thinking_menu, help_of("thinking"))

    def _build_address(self, row: int) -> None:
        self._label("Address", row, above=4)
        box = Row(self.frame)
        box.grid(row=row, column=1, columnspan=2, sticky="ew", padx=(0, PADDING), pady=(4, 0))
        box.grid_columnconfigure(0, weight=1)
        self.host_entry = Entry(box, self._actions.changed)
        self.host_entry.grid(row=0, column=0, sticky="ew")
        Label(box, "Port").grid(row=0, column=1, padx=GAP)
        self.port_entry = Entry(box, self._actions.changed, justify="right")
        self.port_entry.grid(row=0, column=2)
        self.address_hint = Label(self.frame, font=theme.SMALL, colour=theme.DIM, wraps=True)
        self.address_hint.grid(row=row + 1, column=1, columnspan=2, sticky="ew", padx=(2, PADDING), pady=(2, 0))

    def _build_password(self, row: int) -> None:
        self.password_label = self._label("Password", row, above=4)
        self.password_entry = Entry(self.frame, self._actions.changed)
        self.password_entry.configure(show="•")
        self.password_entry.grid(row=row, column=1, columnspan=2, sticky="ew", padx=(0, PADDING), pady=(4, 0))

    def _build_buttons(self, row: int) -> None:
        box = Row(self.frame)
        box.grid(row=row, column=0, columnspan=3, sticky="ew", padx=PADDING, pady=PADDING)
        box.grid_columnconfigure(0, weight=1)
        self.start_button = Button(
            box,
            "Start",
            self._start_or_stop,
            height=theme.START_HEIGHT,
            font=theme.CARD_TITLE,
            role=ButtonRole.START,
        )
        self.start_button.grid(row=0, column=0, sticky="ew")
        self.stop_server_button = Button(box, "Stop server", self._actions.stop, height=theme.START_HEIGHT, width=120)
        self.stop_server_button.grid(row=0, column=1, padx=(GAP, 0))
        self.stop_server_button.grid_remove()
        self.gamemode_tick = Tick(box, "Game mode", self._actions.changed)
        self.gamemode_tick.grid(row=0, column=2, padx=(PADDING, 0))
        self.gamemode_tip = Tip(self.gamemode_tick, help_of("gamemode"))

    def _label(self, text: str, row: int, above: int = 0) -> Label:
        label = Label(self.frame, text, height=theme.FIELD_HEIGHT)
        label.grid(row=row, column=0, sticky="w", padx=PADDING, pady=(above, 0))
        return label

    def _browse(self) -> None:
        path = self._ask_file("Choose a model", model_path(self.model_entry.get()), _MODELS)
        if path:
            self.model_entry.show(path)
            self._actions.changed()

    def _choose_template(self) -> None:
        path = self._ask_file("Choose an instruct template", self.template_menu.choice, _TEMPLATES)
        if path:
            self.template_menu.choose(path, template_label(path))
            self._actions.changed()

    def _ask_file(self, title: str, near: str, kind: tuple[str, str]) -> str:
        """The path of the file that the user chooses in the folder where ``near`` lies, or ""."""
        return filedialog.askopenfilename(
            parent=self.frame,
            title=title,
            initialdir=os.path.dirname(near) or None,
            filetypes=(kind, ("All files", "*")),
        )

    def _move_layers(self, position: int) -> None:
        if self._view is not None:
            self._gpulayers = gpulayers_at(position, self._view.layers)
            self._actions.changed()

    def _move_context(self, stop: int) -> None:
        if self._view is not None:
            self.context_entry.show(str(self._view.stops[stop]))
            self._actions.context_chosen()

    def _context_typed(self) -> None:
        if self._view is not None and self._view.locked:
            return
        self._actions.context_chosen()

    def _start_or_stop(self) -> None:
        if self._view is None:
            return
        if self._view.start.role is ButtonRole.STOP:
            self._actions.stop()
        else:
            self._actions.start()
