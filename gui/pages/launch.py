"""The form: model, memory, context, template, address, further options, Start and Stop; built by the app."""

from __future__ import annotations

import os
import tkinter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from tkinter import filedialog
from typing import Final

from gui import theme
from gui.language import N_, tr
from gui.pages.access import ROWS, AccessRows
from gui.pages.advanced import AdvancedOptions
from gui.theme import GAP, PADDING
from gui.view.form import (
    AT_ONCE,
    AUTO_LAYERS,
    LARGEST_RESERVE,
    RESERVE_STEPS,
    THINKING,
    Form,
    FormView,
    gpulayers_at,
    help_of,
    model_path,
    template_label,
)
from gui.view.looks import ButtonRole
from gui.widgets.controls import Button, Entry, Menu, Slider, Tick
from gui.widgets.display import Card, Label, Row, Scroll, Tip, show_if
from gui.widgets.memory_bar import MemoryBar
from server.snapshot import WebPage

_MODELS: Final = (N_("GGUF models"), "*.gguf")
_TEMPLATES: Final = (N_("Templates"), "*.json *.jinja *.jinja2")
_CONFIGURATIONS: Final = (N_("KoboldCpp's configurations"), "*.kcpps *.kcppt")


@dataclass(frozen=True)
class LaunchActions:
    """What the form tells the app: any edit, a context size that the user chose, and the buttons."""

    changed: Callable[[], None]
    context_chosen: Callable[[], None]
    start: Callable[[], None]
    stop: Callable[[], None]
    preview: Callable[[], None]
    import_settings: Callable[[str], None]
    export_settings: Callable[[str], None]


class LaunchCard:
    """The form's widgets. ``form`` reads them, ``fill`` writes them, ``show`` draws what the app decided."""

    def __init__(
        self, parent: tkinter.Misc, templates: Sequence[str], pages: Sequence[WebPage], actions: LaunchActions
    ) -> None:
        self._actions = actions
        self._view: FormView | None = None
        self._gpulayers = AUTO_LAYERS
        self._reservevram = 0.0
        self._host = ""
        self.frame = Card(parent)
        self.frame.grid_columnconfigure(0, weight=1)
        self.frame.grid_rowconfigure(0, weight=1)
        self.scroll = Scroll(self.frame)
        self.scroll.grid(row=0, column=0, sticky="nsew", padx=(2, 4), pady=(2, 0))
        self.body = self.scroll.body
        self.body.grid_columnconfigure(1, weight=1)
        self._build_model(0)
        self._build_layers(2)
        self._build_memory(3)
        self._build_context(6)
        self._build_at_once(8)
        self._build_template(9, templates)
        self._build_thinking(11)
        self.access = AccessRows(self.body, 12, actions.changed)
        self._build_options(12 + ROWS, pages)
        self._build_buttons(1)

    @property
    def form(self) -> Form:
        """What the fields hold."""
        return Form(
            model=self.model_entry.get(),
            gpulayers=self._gpulayers,
            contextsize=self.context_entry.get(),
            template=self.template_menu.choice,
            thinking=self.thinking_menu.choice,
            access=self.access.menu.choice,
            host=self._host,
            port=self.access.port_entry.get(),
            password=self.access.key_entry.get(),
            allowclients=self.access.addresses_entry.get(),
            gamemode=self.gamemode_tick.ticked,
            reservevram=self._reservevram,
            multiuser=self.at_once_menu.choice,
            options=self.options.typed,
        )

    def fill(self, form: Form) -> None:
        """Put ``form`` into the fields."""
        self._gpulayers = form.gpulayers
        self.model_entry.show(form.model)
        self.context_entry.show(form.contextsize)
        self.template_menu.choose(form.template, template_label(form.template))
        self.thinking_menu.choose(form.thinking)
        self._host = form.host
        self.access.menu.choose(form.access)
        self.access.port_entry.show(form.port)
        self.access.key_entry.show(form.password)
        self.access.addresses_entry.show(form.allowclients)
        self.gamemode_tick.show(form.gamemode)
        self._reservevram = form.reservevram
        self.at_once_menu.choose(form.multiuser, tr("{count}, running or waiting").format(count=form.multiuser))
        self.options.fill(form.options)

    def show(self, view: FormView) -> None:
        """Draw what changed."""
        if view == self._view:
            return
        self._view = view
        free = not view.locked
        for entry in (self.model_entry, self.context_entry):
            entry.lock(view.locked)
        for menu in (self.template_menu, self.thinking_menu, self.at_once_menu):
            menu.lock(view.locked)
        self.gamemode_tick.lock(view.locked)
        self.browse_button.enable(free)
        self.model_line.show(view.model_line, theme.TONES[view.model_tone])
        # Without a layer count there is nothing to choose from: one position switches the slider off.
        first = AUTO_LAYERS if view.layers else 0
        self.layers_slider.show(first, view.layers, max(view.layers_position, first), enabled=free)
        self.layers_value.show(view.layers_text)
        self.memory_bar.show(view.memory.parts)
        show_if(self.memory_bar, bool(view.memory.parts))
        self.memory_line.show(view.memory.text, theme.TONES[view.memory.tone])
        show_if(self.memory_line, bool(view.memory.text))
        self.reserve_slider.show(0, LARGEST_RESERVE, view.reserve_position, enabled=free)
        self.reserve_value.show(view.reserve_text)
        self.context_slider.show(0, len(view.stops) - 1, view.stop, enabled=free)
        self.context_hint.show(view.context_hint, theme.TONES[view.context_tone])
        self.access.show(view.access, locked=view.locked)
        self.template_line.show(view.template_line, theme.TONES[view.template_tone])
        show_if(self.template_line, bool(view.template_line))
        self.preview_button.enable(bool(view.preview))
        self.options.show(view.options_title, locked=view.locked)
        self.import_button.enable(free)
        self.start_button.show(view.start)
        show_if(self.restart_button, view.can_restart)
        show_if(self.stop_server_button, view.can_stop_server)

    def _build_model(self, row: int) -> None:
        self._label(tr("Model file"), row, above=PADDING)
        self.model_entry = Entry(self.body, self._actions.changed)
        self.model_entry.grid(row=row, column=1, sticky="ew", pady=(PADDING, 0))
        self.browse_button = Button(self.body, tr("Browse…"), self._browse)
        self.browse_button.grid(row=row, column=2, padx=(GAP, PADDING), pady=(PADDING, 0))
        self.model_line = Label(self.body, font=theme.SMALL, colour=theme.DIM, wraps=True)
        self.model_line.grid(row=row + 1, column=1, columnspan=2, sticky="ew", padx=(2, PADDING), pady=(2, GAP))

    def _build_layers(self, row: int) -> None:
        self._label(tr("GPU layers"), row)
        self.layers_slider = Slider(self.body, self._move_layers)
        self.layers_slider.grid(row=row, column=1, sticky="ew", pady=6)
        self.layers_value = Label(self.body, anchor="e", height=theme.FIELD_HEIGHT)
        self.layers_value.grid(row=row, column=2, sticky="e", padx=(GAP, PADDING))

    def _build_memory(self, row: int) -> None:
        self.memory_bar = MemoryBar(self.body)
        self.memory_bar.grid(row=row, column=1, columnspan=2, sticky="ew", padx=(2, PADDING), pady=(2, 0))
        self.memory_line = Label(self.body, font=theme.SMALL, colour=theme.DIM, wraps=True)
        self.memory_line.grid(row=row + 1, column=1, columnspan=2, sticky="ew", padx=(2, PADDING))
        self._label(tr("Leave for the game"), row + 2)
        self.reserve_slider = Slider(self.body, self._move_reserve)
        self.reserve_slider.grid(row=row + 2, column=1, sticky="ew", pady=6)
        self.reserve_value = Label(self.body, anchor="e", height=theme.FIELD_HEIGHT)
        self.reserve_value.grid(row=row + 2, column=2, sticky="e", padx=(GAP, PADDING))
        self.reserve_tip = Tip(self.reserve_slider, help_of("reservevram"))

    def _build_at_once(self, row: int) -> None:
        self._label(tr("Requests at once"), row)
        self.at_once_menu = Menu(self.body, [(value, tr(label)) for value, label in AT_ONCE], self._actions.changed)
        self.at_once_menu.grid(row=row, column=1, columnspan=2, sticky="ew", padx=(0, PADDING), pady=4)
        self.at_once_tip = Tip(self.at_once_menu, help_of("multiuser"))

    def _build_context(self, row: int) -> None:
        self._label(tr("Context size"), row, above=6)
        self.context_slider = Slider(self.body, self._move_context)
        self.context_slider.grid(row=row, column=1, sticky="ew", pady=(6, 0))
        self.context_entry = Entry(self.body, self._context_typed, justify="right")
        self.context_entry.grid(row=row, column=2, padx=(GAP, PADDING), pady=(6, 0))
        self.context_hint = Label(self.body, font=theme.SMALL, colour=theme.DIM, wraps=True)
        self.context_hint.grid(row=row + 1, column=1, columnspan=2, sticky="ew", padx=(2, PADDING), pady=(0, GAP))

    def _build_template(self, row: int, templates: Sequence[str]) -> None:
        self._label(tr("Instruct template"), row)
        choices = [(name, template_label(name)) for name in templates]
        more = (tr("Choose a file…"), self._choose_template)
        self.template_menu = Menu(self.body, choices, self._actions.changed, more)
        self.template_menu.grid(row=row, column=1, sticky="ew", pady=4)
        self.preview_button = Button(self.body, tr("Preview"), self._actions.preview)
        self.preview_button.grid(row=row, column=2, padx=(GAP, PADDING), pady=4)
        self.template_line = Label(self.body, font=theme.SMALL, colour=theme.DIM, wraps=True)
        self.template_line.grid(row=row + 1, column=1, columnspan=2, sticky="ew", padx=(2, PADDING))
        self.template_tip = Tip(self.template_menu, help_of("chatcompletionsadapter"))

    def _build_thinking(self, row: int) -> None:
        self._label(tr("Thinking"), row)
        self.thinking_menu = Menu(self.body, [(value, tr(label)) for value, label in THINKING], self._actions.changed)
        self.thinking_menu.grid(row=row, column=1, columnspan=2, sticky="ew", padx=(0, PADDING), pady=4)
        self.thinking_tip = Tip(self.thinking_menu, help_of("thinking"))

    def _build_options(self, row: int, pages: Sequence[WebPage]) -> None:
        self.options = AdvancedOptions(self.body, pages, self._actions.changed)
        self.options.frame.grid(row=row, column=0, columnspan=3, sticky="ew", padx=PADDING, pady=PADDING)
        self.import_button = Button(self.options.frame, tr("Import…"), self._import, height=28)
        self.import_button.grid(row=0, column=1)
        self.import_tip = Tip(self.import_button, tr("Take the settings from a .kcpps file, such as KoboldCpp's."))
        self.export_button = Button(self.options.frame, tr("Export…"), self._export, height=28)
        self.export_button.grid(row=0, column=2, padx=(GAP, 0))
        self.export_tip = Tip(self.export_button, tr("Write the settings to a .kcpps file, without the passwords."))

    def _build_buttons(self, row: int) -> None:
        box = Row(self.frame)
        box.grid(row=row, column=0, sticky="ew", padx=PADDING, pady=PADDING)
        box.grid_columnconfigure(0, weight=1)
        self.start_button = Button(
            box,
            tr("Start"),
            self._start_or_stop,
            height=theme.START_HEIGHT,
            font=theme.CARD_TITLE,
            role=ButtonRole.START,
        )
        self.start_button.grid(row=0, column=0, sticky="ew")
        self.restart_button = Button(box, tr("Restart with changes"), self._actions.start, height=theme.START_HEIGHT)
        self.restart_button.configure(width=180)
        self.restart_button.grid(row=0, column=1, padx=(GAP, 0))
        self.restart_button.grid_remove()
        self.stop_server_button = Button(
            box, tr("Stop server"), self._actions.stop, height=theme.START_HEIGHT, width=120
        )
        self.stop_server_button.grid(row=0, column=2, padx=(GAP, 0))
        self.stop_server_button.grid_remove()
        self.gamemode_tick = Tick(box, tr("Game mode"), self._actions.changed)
        self.gamemode_tick.grid(row=0, column=3, padx=(PADDING, 0))
        self.gamemode_tip = Tip(self.gamemode_tick, help_of("gamemode"))

    def _label(self, text: str, row: int, above: int = 0) -> Label:
        label = Label(self.body, text, height=theme.FIELD_HEIGHT)
        label.grid(row=row, column=0, sticky="w", padx=PADDING, pady=(above, 0))
        return label

    def _browse(self) -> None:
        path = self._ask_file(tr("Choose a model"), model_path(self.model_entry.get()), _MODELS)
        if path:
            self.model_entry.show(path)
            self._actions.changed()

    def _choose_template(self) -> None:
        path = self._ask_file(tr("Choose an instruct template"), self.template_menu.choice, _TEMPLATES)
        if path:
            self.template_menu.choose(path, template_label(path))
            self._actions.changed()

    def _ask_file(self, title: str, near: str, kind: tuple[str, str]) -> str:
        """The path of the file that the user chooses in the folder where ``near`` lies, or ""."""
        return filedialog.askopenfilename(
            parent=self.frame,
            title=title,
            initialdir=os.path.dirname(near) or None,
            filetypes=(_file_type(kind), (tr("All files"), "*")),
        )

    def _move_layers(self, position: int) -> None:
        if self._view is not None:
            self._gpulayers = gpulayers_at(position, self._view.layers)
            self._actions.changed()

    def _move_reserve(self, position: int) -> None:
        self._reservevram = position / RESERVE_STEPS
        self._actions.changed()

    def _import(self) -> None:
        path = self._ask_file(tr("Import settings"), "", _CONFIGURATIONS)
        if path:
            self._actions.import_settings(path)

    def _export(self) -> None:
        path = filedialog.asksaveasfilename(
            parent=self.frame,
            title=tr("Export settings"),
            defaultextension=".kcpps",
            filetypes=(_file_type(_CONFIGURATIONS),),
        )
        if path:
            self._actions.export_settings(path)

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


def _file_type(kind: tuple[str, str]) -> tuple[str, str]:
    name, patterns = kind
    return tr(name), patterns
