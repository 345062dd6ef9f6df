"""The one door to the server, for the window, the headless launcher and the HTTP routes: start, stop, look, ask."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from server import admin, clients, kcpps, privacy
from server.engine.client import EngineClient, Generation, Mailbox
from server.engine.embedder import Embedder
from server.errors import ModelLoadError, ModelNotReady, TavernkeepError
from server.events import (
    EngineState,
    LogLine,
    ModelInfo,
    StateAction,
    StateUsed,
)
from server.loading import SEQUENCES, capacity, embedder_command
from server.machine import Machine
from server.model.downloads import Downloads
from server.model.library import Library
from server.model_host import ModelHost, describe
from server.networks import networks
from server.prompt import templates
from server.prompt.jinja import Renderer
from server.prompt.preview import preview
from server.request.ledger import Ledger, Totals, row_of, to_abort
from server.request.prepare import Prepared
from server.request.text_request import TextRequest
from server.settings import Settings, from_mapping
from server.snapshot import ClientGuide, ModelFile, Network, Phase, Preview, Snapshot, Trial, WebPage
from server.web_pages import web_pages
from server.window_log import WindowLog

if TYPE_CHECKING:
    from server.api.http_server import HttpServer

log = logging.getLogger("tavernkeep")

KEPT_LINES = 1000
PATIENCE = 60.0
FAREWELL = 8.0  # less than the ten seconds after which containers are killed
LONGEST_LOAD = 600.0


class Controller:
    """Owns the engine process and the HTTP server. Every method may be called from any thread.

    ``settings`` are in force; ``initial`` were, before clients swapped the model. ``embedder`` makes embeddings,
    ``models`` are those on this PC, ``downloads`` those that come from the hub.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        self.initial = self.settings
        self._operating = threading.Lock()
        self._wanting = threading.Lock()
        self._closing = False
        self._held = 0  # requests that count on the loaded model
        self._ids = itertools.count(1)
        self.embedder = Embedder(self._ids)
        self.models = Library()
        self.downloads = Downloads()
        self._http: HttpServer | None = None
        self._renderer = Renderer()
        self._host = ModelHost(self._ids, self._renderer, self._end)
        self._fallback: Settings | None = None
        self._ledger = Ledger()
        self._machine = Machine()
        self._log_lines: deque[LogLine] = deque(maxlen=KEPT_LINES)

    def window_log(self) -> logging.Handler:
        """A handler that brings log lines to :meth:`poll_log`."""
        return WindowLog(self._log_lines)

    def start(self, settings: Settings) -> None:
        """Listen on the settings' address, then load their model; returns at once, :meth:`snapshot` shows the rest.

        Called again while running it swaps the model; an address that stays the same keeps its port open. A model file
        that cannot be used leads to the state FAILED with the port open, but never replaces a model that answers: then,
        and when the settings or the port cannot be used, it raises :class:`TavernkeepError` and nothing has changed.
        """
        with self._operating:
            self._closing = False
            self._start(settings)
            self.initial, self._fallback = settings, None

    def swap(self, settings: Settings | None) -> None:
        """As :meth:`start`, in the background; with None the model is only freed. The port stays open.

        A model that cannot be loaded gives way to the last one that could; the snapshot's sentence says why.
        """
        threading.Thread(target=self._swap, args=(settings,), name="swap", daemon=True).start()

    def close(self) -> None:
        """As :meth:`stop`, but running replies may end before it, within FAREWELL seconds; new ones are refused."""
        with self._host.changed:
            self._closing = True
            self._host.changed.wait_for(lambda: not self.generations(), FAREWELL)
        self.stop()

    def stop(self) -> None:
        """End running replies, free the model's memory and close the port; returns when that is done."""
        with self._operating:
            self._fallback = None
            self._host.unload()
            self.embedder.close()
            self._close_port()
            self._renderer.close()

    def cancel(self, request_id: int) -> None:
        """End one reply at the next step; unknown ids are ignored."""
        for generation in self.generations():
            if generation.request.request_id == request_id:
                generation.abort()

    def snapshot(self) -> Snapshot:
        """The state now; cheap enough to call ten times a second."""
        slots = {slot.request_id: slot for slot in self._host.now.stats.slots}
        rows = tuple(row_of(each, slots.get(each.request.request_id)) for each in self.generations())
        engine, totals = self._host.engine, self._ledger.totals()
        machine = self._machine.use(engine.pid if engine else 0)
        now, http = self._host.now, self._http
        return replace(
            now,
            sentence=(http.problem if http else "") or now.sentence,
            requests=rows,
            replies=totals.replies,
            trimmed=totals.trimmed,
            written=totals.written,
            asked=totals.asked + sum(row.prompt_tokens for row in rows if row.phase is not Phase.WAITING),
            cached=totals.cached + sum(row.cached_tokens for row in rows),
            first_token=totals.last.queue_seconds + totals.last.prompt_seconds if totals.last else 0.0,
            machine=machine,
        )

    def poll_log(self, limit: int = 100) -> list[LogLine]:
        """Log lines since the last call, oldest first, at most ``limit``."""
        taken: list[LogLine] = []
        while self._log_lines and len(taken) < limit:
            taken.append(self._log_lines.popleft())
        return taken

    def use_state(self, action: StateAction, slot: int = 0) -> StateUsed:
        """Look at, save, load or clear a conversation on disk. Raises :class:`ModelNotReady`."""
        return self._host.ready().engine.use_state(action, slot)

    def templates(self) -> tuple[str, ...]:
        """Names for the instruct template: ``AutoGuess`` first, then the presets."""
        return templates.names()

    def preview(self, settings: Settings) -> Preview:
        """A chat as the settings' model would read it. Raises :class:`TavernkeepError` for a bad file or template."""
        return preview(self.models.inspect(settings.model), settings.chatcompletionsadapter, self._renderer)

    def import_settings(self, path: str) -> Settings:
        """The settings in a ``.kcpps`` file. Raises :class:`SettingsError`."""
        return from_mapping(kcpps.load(path))

    def export_settings(self, path: str, settings: Settings) -> None:
        """Write a ``.kcpps`` file, without passwords. Raises :class:`SettingsError`."""
        kcpps.save(path, settings)

    def clients(self) -> tuple[ClientGuide, ...]:
        """The programs that people connect, and what to enter there."""
        return clients.guides()

    def web_pages(self) -> tuple[WebPage, ...]:
        """Web pages that can use a server on this PC, which the user may allow."""
        return web_pages()

    def networks(self) -> tuple[Network, ...]:
        """The networks this PC is in, whose programs the user may let in."""
        return networks()

    def try_client(self, key: str) -> Trial:
        """Ask over HTTP as a program asks. Raises :class:`TavernkeepError` with the reason why it heard nothing."""
        return clients.ask_as(key, self.snapshot().address, self.settings.password, self.tokenize)

    def write_mantella_config(self, folder: str) -> str:
        """Have Mantella's settings in ``folder`` name this server; returns the name of the copy of the old ones."""
        return clients.write_mantella_config(
            folder, self.snapshot().address or f"http://127.0.0.1:{self.settings.port}"
        )

    # --- for the HTTP routes ---

    def prepare(self, request: TextRequest) -> Prepared:
        """Render and fit the prompt of ``request``. Raises :class:`ModelNotReady` or :class:`BadRequest`."""
        self._refuse_if_closing()
        return self._host.have(lambda loaded: loaded.preparer.prepare(request))

    def generate(
        self, prepared: Prepared, genkey: str, client: str, route: str, mailbox: Mailbox | None = None
    ) -> Generation:
        """Queue a reply, whose events may go to a ``mailbox`` of several. Raises :class:`ModelNotReady` or
        :class:`ServerBusy`."""
        self._refuse_if_closing()
        generation = self._host.have(
            lambda loaded: loaded.engine.submit(
                prepared.build,
                most=capacity(self.settings),
                genkey=genkey,
                client=client,
                route=route,
                trimmed=prepared.trimmed,
                mailbox=mailbox,
            )
        )
        self._ledger.begin(generation)
        return generation

    def sampler_defaults(self) -> dict[str, Any]:
        """Values for what a request leaves open: the chosen template's, else the model file's, else the settings'."""
        model, choice = self._host.now.model, self._host.choice
        recommended = dict(model.sampling) if model else {}
        own = dict(choice.preset.defaults) if choice else {}
        return {**self.settings.generation_defaults(), **recommended, **own}

    def library(self) -> list[str]:
        """Names of the models that lie in the folder of the models."""
        return list(admin.models(self.initial))

    @contextlib.contextmanager
    def wanted(self, name: object) -> Iterator[None]:
        """The model of the library that a request names, where that is switched on, is loaded; and it stays while the
        request begins its replies.

        One change after the other: replies that are running may end before it, within PATIENCE seconds. Raises
        :class:`ModelNotReady` when the model cannot be loaded.
        """
        path = admin.models(self.initial).get(name) if self.settings.loadonrequest and isinstance(name, str) else None
        if not path:
            yield
            return
        with self._wanting:
            with self._host.changed:
                self._host.changed.wait_for(lambda: self._host.now.state is not EngineState.LOADING, LONGEST_LOAD)
            if not self._answers_with(path):
                self._change_to(path)
            self._hold(1)
        try:
            yield
        finally:
            self._hold(-1)

    def tokenize(self, text: str, *, special: bool) -> tuple[int, ...]:
        """Token ids of ``text`` in the loaded model's vocabulary. Raises :class:`ModelNotReady`."""
        return self._host.have(lambda loaded: loaded.engine.tokenize(text, special=special))

    def detokenize(self, ids: tuple[int, ...]) -> str:
        """The text of token ``ids``. Raises :class:`ModelNotReady`."""
        return self._host.have(lambda loaded: loaded.engine.detokenize(ids))

    def grammar_of(self, schema: str) -> str:
        """The GBNF for a JSON schema's text. Raises :class:`ModelNotReady` and :class:`BadRequest`."""
        return self._host.have(lambda loaded: loaded.engine.grammar_of(schema))

    def reply_of(self, genkey: str) -> Generation | None:
        """The current reply of ``genkey``, or its last until the next one starts; None if there was none."""
        return self._ledger.current(genkey)

    def abort(self, genkey: str, client: str) -> bool:
        """Stop the replies of ``genkey`` (or of a client that uses none); True if there were any."""
        generations = to_abort(self.generations(), genkey, client)
        for generation in generations:
            generation.abort()
        return bool(generations)

    def generations(self) -> list[Generation]:
        """The replies that are running or waiting, oldest first."""
        return self._host.generations()

    def loaded_model(self) -> ModelInfo:
        """The model that answers. Raises :class:`ModelNotReady`."""
        return self._host.ready().model

    def slots(self) -> int:
        """How many replies can run at the same time."""
        return SEQUENCES

    def loaded_at(self) -> int:
        """When the model was loaded, in seconds since 1970."""
        return self._host.loaded_at

    def totals(self) -> Totals:
        """Counters over all replies."""
        return self._ledger.totals()

    # --- inside ---

    def _start(self, settings: Settings) -> None:
        choice = templates.read_choice(settings.chatcompletionsadapter)
        if choice:
            templates.check(choice, self._renderer)
        header = self._header_of(settings)
        problem = header if isinstance(header, ModelLoadError) else None
        if problem and self._host.now.state is EngineState.READY:
            raise problem
        # Set before listening, because the guard reads them from the first request on.
        previous, self.settings = self.settings, settings
        try:
            self._listen(settings)
        except TavernkeepError:
            self.settings = previous
            raise
        privacy.allow_texts(settings.logprompts)
        privacy.warn()
        embeds = isinstance(header, ModelFile) and header.embeds
        self.embedder.load(embedder_command(settings, model_embeds=embeds), restart=settings.autorestart)
        if problem:
            self._host.change(state=EngineState.FAILED, sentence=str(problem))
        else:
            self._host.load(settings, choice)

    def _header_of(self, settings: Settings) -> ModelFile | ModelLoadError:
        """The model's header; or why the files that the settings name cannot be used, as far as their headers say."""
        try:
            header = self.models.inspect(settings.model)
        except ModelLoadError as error:
            return error
        for name, paths in (("lora", settings.lora), ("draftmodel", (settings.draftmodel,))):
            for path in filter(None, paths):
                try:
                    self.models.inspect(path)
                except ModelLoadError as error:
                    return ModelLoadError(f"{name}: {error.message}", f"Check --{name}.")
        return header

    def _swap(self, settings: Settings | None) -> None:
        try:
            with self._operating:
                engine = self._begin_swap(settings)
            with self._host.changed:
                self._host.changed.wait_for(lambda: not self._is_loading(engine))
            with self._operating:
                now = self._host.now
                if settings and self._fallback and self._host.engine is engine and now.state is EngineState.FAILED:
                    reason = now.sentence
                    self._start(self._fallback)
                    self._not_taken(settings, reason)
        except TavernkeepError as error:
            assert settings
            self._not_taken(settings, str(error))

    def _begin_swap(self, settings: Settings | None) -> EngineClient | None:
        if self._http and settings:
            state = self._host.now.state
            if state is EngineState.READY or (state is EngineState.LOADING and not self._fallback):
                self._fallback = self.settings
            self._start(settings)
        elif self._http:  # else all was stopped meanwhile
            self._fallback = None
            self._host.unload()
            log.info("The model was unloaded.")
        return self._host.engine

    def _change_to(self, path: str) -> None:
        with self._host.changed:
            self._host.changed.wait_for(lambda: not self._held and not self.generations(), PATIENCE)
        log.info("A request asks for %s.", Path(path).stem)
        self._swap(replace(self.settings, model=path))
        if not self._answers_with(path):
            raise ModelNotReady(self._host.now.sentence or describe(self._host.now))

    def _refuse_if_closing(self) -> None:
        if self._closing:
            raise ModelNotReady("Tavernkeep is closing.")

    def _hold(self, more: int) -> None:
        with self._host.changed:
            self._held += more
            self._host.changed.notify_all()

    def _answers_with(self, path: str) -> bool:
        now = self._host.now
        return now.state is EngineState.READY and now.model is not None and os.path.abspath(now.model.path) == path

    def _is_loading(self, engine: EngineClient | None) -> bool:
        return self._host.engine is engine and self._host.now.state is EngineState.LOADING

    def _not_taken(self, settings: Settings, reason: str) -> None:
        sentence = f"{Path(settings.model).name} was not loaded: {reason}"
        log.error("%s", sentence)
        self._host.change(sentence=sentence)

    def _listen(self, settings: Settings) -> None:
        """Listen on the settings' address. What the previous model was saying ends before its port closes."""
        if self._http and self._http.serves(settings.host, settings.port):
            self._http.allow_streams(capacity(settings))
            self._host.unload()
            return
        if self._http and self._http.port == settings.port:  # one port cannot be held on two addresses at once
            self._host.unload()
            self._close_port()
        # Imported here because the window should be visible before Flask is.
        from server.api.app import create_app
        from server.api.http_server import HttpServer

        opened = HttpServer(create_app(self), settings.host, settings.port, capacity(settings))
        self._host.unload()
        self._close_port()
        self._http = opened
        self._host.change(address=opened.address)

    def _close_port(self) -> None:
        if self._http:
            self._http.close()
            self._http = None
            self._host.change(address="")

    def _end(self, generation: Generation) -> None:
        self._ledger.finish(generation)
        with self._host.changed:
            self._host.changed.notify_all()
