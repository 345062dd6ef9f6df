"""Finds out about the chosen model while the form changes: its file, its room, its template. The app owns one.

Nothing of this happens on the Tk thread, and no answer is asked for twice.
"""

from __future__ import annotations

import tkinter
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from gui.event_pump import EventPump, Lane
from gui.view.form import Inspection
from server.settings import Settings
from server.snapshot import Forecast, ModelFile, Preview

if TYPE_CHECKING:
    from server.controller import Controller

_TYPING_PAUSE_MS: Final = 250


class ModelDesk:
    """``inspection`` is what is known so far. ``read`` hears of each new model's file, ``changed`` of every answer."""

    def __init__(
        self,
        root: tkinter.Misc,
        pump: EventPump,
        controller: Controller,
        read: Callable[[ModelFile], None],
        changed: Callable[[], None],
    ) -> None:
        self._root = root
        self._pump = pump
        self._controller = controller
        self._read = read
        self._changed = changed
        self._path = ""
        self._timer = ""
        self._settings: Settings | None = None
        self._devices_known = False
        self._template = ("", "")
        self.inspection = Inspection()

    def scan(self) -> None:
        """Ask for the devices and how much of their memory is free now."""
        scanned = self._scanned
        self._pump.submit(Lane.DEVICES, self._controller.models.devices, lambda _: scanned(), lambda _: scanned())

    def choose(self, path: str) -> None:
        """The model field holds ``path``."""
        if path == self._path:
            return
        self._path = path
        self.inspection = Inspection()
        self._settings, self._template = None, ("", "")
        if self._timer:
            self._root.after_cancel(self._timer)
        self._timer = self._root.after(_TYPING_PAUSE_MS, self._inspect, path) if path else ""

    def foresee(self, settings: Settings) -> None:
        """The form means ``settings``; called whenever it may have changed."""
        if self.inspection.file is None or settings.model != self._path:
            return
        if settings != self._settings and self._devices_known:
            self._settings = settings
            self._pump.submit(
                Lane.READING,
                lambda: self._controller.models.forecast(settings),
                lambda forecast: self._foreseen(settings, forecast),
                lambda _: None,  # the model's line says what is wrong with the file
            )
        template = (settings.model, settings.chatcompletionsadapter)
        if template != self._template:
            self._template = template
            self._pump.submit(
                Lane.READING,
                lambda: self._controller.preview(settings),
                lambda preview: self._previewed(template, preview, ""),
                lambda sentence: self._previewed(template, None, sentence),
            )

    def _scanned(self) -> None:
        self._devices_known = True
        self._settings = None
        self._changed()

    def _inspect(self, path: str) -> None:
        self._timer = ""
        self._pump.submit(
            Lane.READING,
            lambda: self._controller.models.inspect(path),
            lambda file: self._inspected(path, Inspection(file=file)),
            lambda sentence: self._inspected(path, Inspection(problem=sentence)),
        )

    def _inspected(self, path: str, inspection: Inspection) -> None:
        if path != self._path:
            return
        self.inspection = inspection
        if inspection.file is not None:
            self._read(inspection.file)
        self._changed()

    def _foreseen(self, settings: Settings, forecast: Forecast) -> None:
        if settings.model == self._path:
            self.inspection = replace(self.inspection, forecast=forecast)
            self._changed()

    def _previewed(self, template: tuple[str, str], preview: Preview | None, problem: str) -> None:
        if template == self._template:
            self.inspection = replace(self.inspection, preview=preview, template_problem=problem)
            self._changed()
