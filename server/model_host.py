"""The model that is loaded: its engine process, started again when it crashes, and what is known of both.

Owned by the controller.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from collections.abc import Sequence as ReadOnly
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from server.engine.client import EngineClient, Generation
from server.errors import EngineDied, ModelNotReady
from server.events import (
    EngineEvent,
    EngineState,
    EngineStats,
    LoadProgress,
    LogLine,
    ModelFailed,
    ModelInfo,
    ModelLoaded,
)
from server.loading import load_command
from server.prompt import templates
from server.prompt.jinja import Renderer
from server.request.prepare import Preparer
from server.restarts import GIVEN_UP, Restarts
from server.settings import Settings
from server.snapshot import Snapshot, TemplateInfo

log = logging.getLogger("tavernkeep")

Result = TypeVar("Result")

PATIENCE = 60.0
SETTLING = 5.0


@dataclass(frozen=True)
class Loaded:
    """A model that answers: its engine, what it is, and what prepares requests for it."""

    engine: EngineClient
    model: ModelInfo
    preparer: Preparer


class ModelHost:
    """Every method may be called from any thread.

    ``now`` is the state of the launcher, replaced as a whole; whoever waits for another one waits for ``changed``.
    ``ids`` numbers requests, ``on_over`` gets every reply that has ended.
    """

    def __init__(self, ids: Iterator[int], renderer: Renderer, on_over: Callable[[Generation], None]) -> None:
        self.now = Snapshot()
        self.changed = threading.Condition()
        self.loaded_at = 0
        self.choice: templates.Choice | None = None
        self._ids = ids
        self._renderer = renderer
        self._on_over = on_over
        self._switching = threading.Lock()  # one engine follows the other
        self._engine: EngineClient | None = None
        self._preparer: Preparer | None = None
        self._restarts = Restarts()

    @property
    def engine(self) -> EngineClient | None:
        """The engine of the model that is loaded, is being loaded, or has failed."""
        return self._engine

    def generations(self) -> list[Generation]:
        """The replies that are running or waiting, oldest first."""
        engine = self._engine
        return engine.generations() if engine else []

    def load(self, settings: Settings, choice: templates.Choice | None) -> None:
        """Load the settings' model in the background, with the ``choice`` of a template, where none is loaded."""
        with self._switching:
            self.choice = choice
            self._load(settings)

    def unload(self) -> None:
        """End all replies and free the model's memory; returns when that is done."""
        with self._switching:
            engine, self._engine = self._engine, None
            self.change(
                state=EngineState.IDLE, progress=0.0, sentence="", model=None, template=None, stats=EngineStats()
            )
            if engine:
                engine.close()

    def ready(self) -> Loaded:
        """The model that answers. Raises :class:`ModelNotReady`."""
        engine, now, preparer = self._engine, self.now, self._preparer
        if engine and preparer and now.model and now.state is EngineState.READY:
            return Loaded(engine, now.model, preparer)
        raise ModelNotReady(describe(now))

    def have(self, work: Callable[[Loaded], Result]) -> Result:
        """Have the model do something, after a crash its next engine: a restart is waited for, PATIENCE seconds.

        Raises :class:`ModelNotReady`, and what the work raises.
        """
        loaded = self._ready_again()
        try:
            return work(loaded)
        except EngineDied:
            with self.changed:  # its client finds that out at the same time
                self.changed.wait_for(lambda: not self._serves(loaded.engine), SETTLING)
            return work(self._ready_again())

    def change(self, of: EngineClient | None = None, **changes: Any) -> None:
        """Change ``now``. What comes ``of`` an engine that was replaced meanwhile, or after it failed, is void."""
        with self.changed:
            before = self.now
            if of and (of is not self._engine or before.state is EngineState.FAILED):
                return
            self.now = after = replace(before, **changes)
            self.changed.notify_all()
        if after.state is not before.state and after.state in (EngineState.READY, EngineState.FAILED):
            log.log(logging.INFO if after.state is EngineState.READY else logging.ERROR, "%s", describe(after))

    def _serves(self, engine: EngineClient) -> bool:
        return engine is self._engine and self.now.state is EngineState.READY

    def _ready_again(self) -> Loaded:
        with self.changed:
            self.changed.wait_for(lambda: not self.now.restarting, PATIENCE)
        return self.ready()

    def _load(self, settings: Settings, repeated: ReadOnly[Generation] = ()) -> bool:
        """Start an engine, which takes over the ``repeated`` replies of the last one. False if that is impossible."""
        engine = EngineClient(
            self._ids,
            on_event=lambda event: self._take(engine, event, settings),
            on_over=self._on_over,
            on_exit=lambda sentence, waiting: self._revive(engine, settings, sentence, waiting),
            patience=settings.hangtimeout,
        )
        with self.changed:
            self._engine = engine
        log.info("Loading %s.", Path(settings.model).name)
        command = load_command(settings)
        self.change(state=EngineState.LOADING, progress=0.0, threads=command.threads)
        self._renderer.start()  # it is there when the model is
        try:
            engine.start(command, repeated)
        except OSError as error:
            self._fail(engine, f"The engine process could not be started: {error.strerror}.")
            return False
        return True

    def _revive(self, engine: EngineClient, settings: Settings, sentence: str, waiting: list[Generation]) -> bool:
        """An engine ended by itself. Start the next one, which takes over the ``waiting`` replies; False where that is
        not wanted, or in vain because it crashes while it loads, or again and again."""
        with self._switching:
            if engine is not self._engine or self.now.state is not EngineState.READY or not settings.autorestart:
                self._fail(engine, sentence)
                return False
            if not self._restarts.allow():
                self._fail(engine, f"{sentence} {GIVEN_UP}")
                return False
            log.error("%s It is started again.", sentence)
            again = f"{sentence} It was started again."
            self.change(
                state=EngineState.LOADING,
                progress=0.0,
                sentence=again,
                model=None,
                template=None,
                stats=EngineStats(),
                restarts=self._restarts.count,
            )
            return self._load(settings, waiting)

    def _take(self, engine: EngineClient, event: EngineEvent, settings: Settings) -> None:
        """An event of the engine process, on its client's thread."""
        if isinstance(event, LoadProgress):
            self.change(engine, progress=event.fraction)
        elif isinstance(event, ModelLoaded):
            self._take_model(engine, event.info, settings)
        elif isinstance(event, ModelFailed):
            self._fail(engine, event.sentence)
        elif isinstance(event, EngineStats):
            self.change(engine, stats=event)
        elif isinstance(event, LogLine):
            log.log(event.level, "%s", event.text)

    def _take_model(self, engine: EngineClient, model: ModelInfo, settings: Settings) -> None:
        template = templates.choose(self.choice, model, self._renderer)
        info = template.info
        log.log(logging.WARNING if info.warning else logging.INFO, "Chat template: %s. %s", info.name, _why(info))
        with self.changed:
            if engine is not self._engine:  # replaced while its template was tried
                return
            self._preparer = Preparer(engine, model, template, self._renderer, settings)
            self.loaded_at = int(time.time())
            self.change(engine, state=EngineState.READY, progress=1.0, model=model, template=info)

    def _fail(self, engine: EngineClient, sentence: str) -> None:
        self.change(engine, state=EngineState.FAILED, sentence=sentence, model=None, template=None, stats=EngineStats())


def describe(now: Snapshot) -> str:
    """The state in one sentence."""
    if now.state is EngineState.READY and now.model:
        return f"{now.model.name} is ready."
    if now.restarting:
        return f"{now.sentence} The model is loading ({now.progress:.0%})."
    if now.state is EngineState.LOADING:
        return f"The model is loading ({now.progress:.0%})."
    if now.state is EngineState.FAILED:
        return f"No model is loaded: {now.sentence}"
    return "No model is loaded."


def _why(template: TemplateInfo) -> str:
    return f"{template.reason} {template.warning}".rstrip()
