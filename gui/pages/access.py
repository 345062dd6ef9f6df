"""Who may connect, on the form: the choice, the port, and what the choice asks for; built by the form."""

from __future__ import annotations

import tkinter
from collections.abc import Callable
from typing import Any, Final

from gui import theme
from gui.language import tr
from gui.theme import GAP, PADDING
from gui.view.access import ACCESS, MOST_NETWORKS, AccessView, NetworkTick, with_subnet
from gui.view.form import help_of
from gui.widgets.controls import Button, CopyButton, Entry, Menu, Tick
from gui.widgets.display import Label, Row, Tip, show_if
from server.access import new_key

_HIDDEN: Final = "•"
_COLUMNS: Final = 2
ROWS: Final = 5


class AccessRows:
    """The rows of ``body`` from ``row`` on. The form reads and fills the fields, ``show`` draws what goes with them."""

    def __init__(self, body: Any, row: int, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._view: AccessView | None = None
        self._build_choice(body, row)
        self._build_key(body, row + 2)
        self._build_addresses(body, row + 3)

    @property
    def entries(self) -> tuple[Entry, ...]:
        """The fields to type into."""
        return self.port_entry, self.key_entry, self.addresses_entry

    def show(self, view: AccessView, *, locked: bool) -> None:
        """Draw what changed."""
        self.menu.lock(locked)
        for entry in self.entries:
            entry.lock(locked)
        self.new_key_button.enable(not locked)
        for tick in self.ticks:
            tick.lock(locked)
        if view == self._view:
            return
        self._view = view
        self.hint.show(view.hint)
        for widget in (self.key_label, self.key_box):
            show_if(widget, view.asks_key)
        for widget in (self.addresses_label, self.addresses_entry):
            show_if(widget, view.asks_addresses)
        for place, tick in enumerate(self.ticks):
            if place < len(view.networks):
                self._show_network(tick, view.networks[place])
            show_if(tick, place < len(view.networks))
        show_if(self.networks_box, bool(view.networks))

    def _show_network(self, tick: Tick, network: NetworkTick) -> None:
        if tick.cget("text") != network.label:
            tick.configure(text=network.label)
        tick.show(network.chosen)

    def _build_choice(self, body: Any, row: int) -> None:
        self._label(body, tr("Who may connect"), row)
        box = Row(body)
        box.grid(row=row, column=1, columnspan=2, sticky="ew", padx=(0, PADDING), pady=(4, 0))
        box.grid_columnconfigure(0, weight=1)
        self.menu = Menu(box, [(value, tr(label)) for value, label in ACCESS], self._changed)
        self.menu.grid(row=0, column=0, sticky="ew")
        Label(box, tr("Port")).grid(row=0, column=1, padx=GAP)
        self.port_entry = Entry(box, self._changed, justify="right")
        self.port_entry.grid(row=0, column=2)
        self.hint = Label(body, font=theme.SMALL, colour=theme.DIM, wraps=True)
        self.hint.grid(row=row + 1, column=1, columnspan=2, sticky="ew", padx=(2, PADDING), pady=(2, 0))

    def _build_key(self, body: Any, row: int) -> None:
        self.key_label = self._label(body, tr("Key"), row)
        self.key_box = Row(body)
        self.key_box.grid(row=row, column=1, columnspan=2, sticky="ew", padx=(0, PADDING), pady=(4, 0))
        self.key_box.grid_columnconfigure(0, weight=1)
        self.key_entry = Entry(self.key_box, self._changed)
        self.key_entry.configure(show=_HIDDEN)
        self.key_entry.grid(row=0, column=0, sticky="ew")
        self.new_key_button = Button(self.key_box, tr("New key"), self._make_key, width=80)
        self.new_key_button.grid(row=0, column=1, padx=(GAP, 0))
        self.copy_button = CopyButton(self.key_box, tr("Copy"), self.key_entry.get, width=72)
        self.copy_button.grid(row=0, column=2, padx=(GAP, 0))
        self.key_tip = Tip(self.key_entry, help_of("password"))

    def _build_addresses(self, body: Any, row: int) -> None:
        self.addresses_label = self._label(body, tr("Addresses"), row)
        self.addresses_entry = Entry(body, self._changed)
        self.addresses_entry.grid(row=row, column=1, columnspan=2, sticky="ew", padx=(0, PADDING), pady=(4, 0))
        self.addresses_tip = Tip(self.addresses_entry, help_of("allowclients"))
        self.networks_box = Row(body)
        self.networks_box.grid(row=row + 1, column=1, columnspan=2, sticky="ew", padx=(0, PADDING))
        self.networks_box.grid_columnconfigure(tuple(range(_COLUMNS)), weight=1, uniform="networks")
        self.ticks = [self._build_tick(place) for place in range(MOST_NETWORKS)]

    def _build_tick(self, place: int) -> Tick:
        tick = Tick(self.networks_box, "", lambda: self._tick(place))
        tick.grid(row=place // _COLUMNS, column=place % _COLUMNS, sticky="w", pady=(4, 0))
        return tick

    def _label(self, body: tkinter.Misc, text: str, row: int) -> Label:
        label = Label(body, text, height=theme.FIELD_HEIGHT)
        label.grid(row=row, column=0, sticky="w", padx=PADDING, pady=(4, 0))
        return label

    def _make_key(self) -> None:
        """A new key is shown, for another PC where it must be typed; the next window shows dots again."""
        self.key_entry.configure(show="")
        self.key_entry.show(new_key())
        self._changed()

    def _tick(self, place: int) -> None:
        if self._view is not None and place < len(self._view.networks):
            subnet, chosen = self._view.networks[place].subnet, self.ticks[place].ticked
            self.addresses_entry.show(with_subnet(self.addresses_entry.get(), subnet, chosen=chosen))
            self._changed()
