"""The window as a whole; :mod:`gui.mainloop` shows it, tests drive an :class:`App` without a main loop."""

from __future__ import annotations

import logging
import os
import sys
import time
import tkinter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

import customtkinter as ctk

from gui import theme
from gui.appearance import Appearance
from gui.event_pump import EventPump, Lane
from gui.hub_desk import HubDesk
from gui.language import tr
from gui.memory import Look, Memory
from gui.model_desk import ModelDesk
from gui.navigation import Navigation
from gui.pages.connect import ConnectActions, ConnectPage
from gui.pages.hub import HubActions, HubPage
from gui.pages.launch import LaunchActions, LaunchCard
from gui.pages.library import LibraryActions, LibraryPage
from gui.pages.live import LivePage
from gui.pages.log import LogPage
from gui.pages.options import OptionsPage
from gui.pages.status import StatusCard
from gui.presence import Presence, PresenceActions
from gui.shelf import Shelf
from gui.theme import CARD_GAP, GAP, PADDING
from gui.view.connect import Outcome, connect_view
from gui.view.form import Form, fitting_context, form_of, form_view, model_path, settings_of
from gui.view.history import History
from gui.view.library import details, library_lines, nothing_found
from gui.view.live import live_view
from gui.view.log import LogBook, bug_report
from gui.view.looks import Page, Pending
from gui.view.status import status_view
from gui.view.tray import tray_view
from gui.widgets.display import Label, Row
from gui.widgets.drops import accept_files
from server.errors import SettingsError
from server.events import EngineState, LogLine
from server.settings import Settings
from server.snapshot import ClientGuide, ModelFile, Network, Snapshot

if TYPE_CHECKING:
    from server.controller import Controller

TITLE: Final = "Tavernkeep"
SHARED: Final = ("model", "access", "host", "port", "password", "allowclients")  # what another model does not change
CONFIGURATIONS: Final = (".kcpps", ".kcppt")
_BETWEEN_PAGES_MS: Final = 50
_LONGEST_STOP_MS: Final = 15_000
logger = logging.getLogger("tavernkeep.window")


class App:
    """The window and its poller.

    ``appearance`` is "dark" or "light", ``scale`` 1.0 at 96 dpi; both default to what is remembered, else to what the
    desktop says. Without a ``memory`` nothing is kept.
    """

    def __init__(
        self,
        controller: Controller,
        settings: Settings,
        *,
        appearance: str | None = None,
        scale: float | None = None,
        memory: Memory | None = None,
    ) -> None:
        self._controller = controller
        self._settings = settings
        self._snapshot = Snapshot()
        self._pending = Pending.NONE
        self._notice = ""
        self._memory = memory or Memory()
        self._history = History()
        self._log_book = LogBook()
        self._cancelled: set[int] = set()
        self._outcomes: dict[str, Outcome] = {}
        self._networks: tuple[Network, ...] = ()
        self._closing = False
        self.closed = False
        look = self._memory.look
        self.root = ctk.CTk(fg_color=theme.PAGE, className=TITLE)
        self.root.report_callback_exception = self._report
        self.appearance = Appearance(self.root, look, appearance=appearance, scale=scale)
        self._dress_window()
        self.pump = EventPump(self.root, controller, self._tick)
        actions = PresenceActions(self._use_file, self.start, self._stop, lambda: self._snapshot.address, self.close)
        self.presence = Presence(self.root, self.pump, self._memory, actions)
        self.hub_desk = HubDesk(self.pump, controller, self._memory, self._use_model, self._refresh)
        self.shelf = Shelf(self.pump, controller, self._memory, self._refresh)
        self.desk = ModelDesk(self.root, self.pump, controller, self._model_read, self._form_changed)
        self._build()
        self._kept = self._memory.form(settings, controller.models.starter())
        self._filled_for = model_path(self._kept.model)
        self._context_chosen = settings.contextsize != Settings().contextsize or self._memory.knows(self._filled_for)
        self.launch.fill(self._kept)
        self._meant_by: Form | None = None
        self._meant: Settings | None = None
        self.desk.scan()
        self._look_for_networks()
        accept_files(self.root, self._dropped)
        self._form_changed()

    def close(self) -> None:
        """Stop the server when its replies have ended, without freezing the window, and take that away. Whoever presses
        twice does not want to wait for them."""
        if self._closing:
            self.pump.submit(Lane.CANCELS, self._controller.stop, lambda _: None, lambda _: None)
            return
        self._closing = True
        self._pending = Pending.STOPPING
        self._refresh()
        self.pump.submit(Lane.ACTIONS, self._controller.close, lambda _: self._destroy(), lambda _: self._destroy())
        self.root.after(_LONGEST_STOP_MS, self._destroy)

    # --- building -------------------------------------------------------------------------------------------

    def _dress_window(self) -> None:
        self.root.maxsize(1_000_000, 1_000_000)  # a new scale pins the window's size for a second
        self.root.minsize(*theme.SMALLEST_WINDOW)
        self.root.geometry("{}x{}".format(*theme.WINDOW_SIZE))
        self.root.title(TITLE)
        if sys.getfilesystemencoding() == "utf-8":  # where no language is set, Tcl would take names of files for ASCII
            self.root.tk.call("encoding", "system", "utf-8")
        if sys.platform == "win32":
            self.root.iconbitmap(theme.ICONS / "tavernkeep.ico")
        else:
            pictures = [
                tkinter.PhotoImage(master=self.root, file=theme.ICONS / f"tavernkeep-{size}.png")
                for size in (128, 48, 32, 16)
            ]
            self.root.iconphoto(True, *pictures)
        self.root.protocol("WM_DELETE_WINDOW", lambda: self.presence.ask_to_close(serving=bool(self._snapshot.address)))

    def _build(self) -> None:
        root = self.root
        root.grid_columnconfigure(0, weight=1)
        root.grid_rowconfigure(1, weight=1)
        header = Row(root)
        header.grid(row=0, column=0, sticky="ew", padx=PADDING, pady=GAP)
        header.grid_columnconfigure(2, weight=1)
        Label(header, TITLE, font=theme.PAGE_TITLE).grid(row=0, column=0, sticky="w", padx=(0, PADDING))
        self.navigation = Navigation(header, self._builders(), _place, self._page_changed)
        self.navigation.frame.grid(row=0, column=1)
        self.state = Label(header, anchor="e")
        self.state.grid(row=0, column=2, sticky="ew", padx=GAP)
        self.sheet = self.presence.sheet

    def _builders(self) -> dict[Page, Callable[[], Any]]:
        return {
            Page.LAUNCH: self._build_launch_page,
            Page.LIBRARY: lambda: self.library.frame,
            Page.HUB: lambda: self.hub.frame,
            Page.LIVE: lambda: self.live.frame,
            Page.CONNECT: lambda: self.connect.frame,
            Page.LOG: lambda: self.log.frame,
            Page.OPTIONS: lambda: self.options.frame,
        }

    @cached_property
    def library(self) -> LibraryPage:
        """The models on this PC."""
        shelf = self.shelf
        actions = LibraryActions(self._refresh, self._use_model, shelf.add, shelf.remove, shelf.look)
        return LibraryPage(self.root, actions)

    @cached_property
    def hub(self) -> HubPage:
        """The page to get models."""
        return HubPage(self.root, self._hub_actions())

    @cached_property
    def live(self) -> LivePage:
        """Figures and requests."""
        return LivePage(self.root, self._cancel)

    @cached_property
    def connect(self) -> ConnectPage:
        """What to enter into other programs."""
        actions = ConnectActions(self._refresh, self._test_client, self._write_config)
        return ConnectPage(self.root, tuple(self.guides.values()), actions)

    @cached_property
    def guides(self) -> dict[str, ClientGuide]:
        """The programs on the connect page."""
        return {guide.key: guide for guide in self._controller.clients()}

    @cached_property
    def log(self) -> LogPage:
        """The last lines of the log."""
        return LogPage(self.root, self._log_book, self._bug_report)

    @cached_property
    def options(self) -> OptionsPage:
        """How the window looks, and how it comes and goes."""
        return self.presence.build(self.root, lambda parent: self.appearance.build(parent, self._look_changed))

    def build_in_advance(self) -> None:
        """Build the pages that are not in sight, one at a time, so that the window answers in between."""
        if not self.closed and self.navigation.build_next():
            self.root.after(_BETWEEN_PAGES_MS, self.build_in_advance)

    def _hub_actions(self) -> HubActions:
        desk = self.hub_desk
        return HubActions(
            changed=self._refresh,
            search=lambda text: desk.search(text, self.hub.token),
            look_into=lambda key: desk.look_into(key, self.hub.token),
            fetch=lambda key: desk.fetch(key, self.hub.token),
            back=desk.go_back,
            toggle=lambda line: desk.toggle(line, self.hub.token),
            end=desk.end,
            choose_folder=desk.choose_folder,
        )

    def _build_launch_page(self) -> Row:
        page = Row(self.root)
        page.grid_columnconfigure(0, weight=3, uniform="cards")
        page.grid_columnconfigure(1, weight=2, uniform="cards")
        page.grid_rowconfigure(0, weight=1)
        actions = LaunchActions(
            self._form_changed,
            self._context_was_chosen,
            self.start,
            self._stop,
            self._show_preview,
            self._import_settings,
            self._export_settings,
        )
        controller = self._controller
        self.launch = LaunchCard(page, controller.templates(), controller.web_pages(), actions)
        self.launch.frame.grid(row=0, column=0, sticky="nsew", padx=(0, CARD_GAP))
        self.status = StatusCard(page)
        self.status.frame.grid(row=0, column=1, sticky="nsew")
        return page

    # --- what the user does ---------------------------------------------------------------------------------

    def start(self) -> None:
        """Start what the form says; what the Start button does."""
        if self._closing:
            return
        self._notice = ""
        try:
            settings = settings_of(self.launch.form, self._settings)
        except SettingsError as error:
            self._action_failed(str(error))
            return
        self._pending = Pending.STARTING
        self._remember(settings)
        self._refresh()
        self.pump.submit(Lane.ACTIONS, lambda: self._controller.start(settings), self._action_done, self._action_failed)

    def _stop(self) -> None:
        self._notice = ""
        self._pending = Pending.STOPPING
        self._refresh()
        self.pump.submit(Lane.ACTIONS, self._controller.stop, self._action_done, self._action_failed)

    def _use_model(self, path: str) -> None:
        self.launch.model_entry.show(path)
        self.navigation.go(Page.LAUNCH)
        self._form_changed()

    def _dropped(self, paths: Sequence[str]) -> None:
        for path in paths:
            self._use_file(path)

    def _use_file(self, path: str) -> None:
        """What was dropped onto the window, or opened with it: a model, a configuration, a folder of models."""
        if os.path.isdir(path):
            self.shelf.add(path)
            self.navigation.go(Page.LIBRARY)
        elif path.lower().endswith(CONFIGURATIONS):
            self._import_settings(path)
            self.navigation.go(Page.LAUNCH)
        else:
            self._use_model(path)

    def _page_changed(self) -> None:
        if self.navigation.page is Page.LIBRARY:
            self.shelf.look()
        elif self.navigation.page is Page.OPTIONS:
            self.presence.show_autostart()
        elif self.navigation.page is Page.LAUNCH:
            self._look_for_networks()  # WSL's is there while WSL runs
        self._refresh()

    def _look_for_networks(self) -> None:
        self.pump.submit(Lane.DEVICES, self._controller.networks, self._take_networks, logger.error)

    def _take_networks(self, networks: tuple[Network, ...]) -> None:
        self._networks = networks
        self._refresh()

    def _show_preview(self) -> None:
        preview = self.desk.inspection.preview
        if preview:
            title = tr("A chat as {template} writes it").format(template=preview.template.name)
            self.sheet.tell(title, preview.text or preview.problem)

    def _import_settings(self, path: str) -> None:
        self.pump.submit(
            Lane.SAVING, lambda: self._controller.import_settings(path), self._imported, self._action_failed
        )

    def _imported(self, settings: Settings) -> None:
        """The settings of a file, which keep the model if it names none."""
        form = self._memory.form_of(settings, self.launch.form.model)
        self._filled_for = model_path(form.model)
        self._context_chosen = True
        self.launch.fill(form)
        self._action_failed("")
        self._form_changed()

    def _export_settings(self, path: str) -> None:
        try:
            settings = settings_of(self.launch.form, self._settings)
        except SettingsError as error:
            self._action_failed(str(error))
            return
        export = self._controller.export_settings
        self.pump.submit(Lane.SAVING, lambda: export(path, settings), self._action_done, self._action_failed)

    def _bug_report(self) -> str:
        return bug_report(self._controller.settings, self._snapshot, tuple(self._log_book.entries))

    def _test_client(self) -> None:
        key = self.connect.key
        self._tell(key, Outcome(running=True))
        self._hear(key, lambda: Outcome(trial=self._controller.try_client(key)))

    def _write_config(self, folder: str) -> None:
        self._hear(self.connect.key, lambda: Outcome(copy=self._controller.write_mantella_config(folder)))

    def _hear(self, key: str, work: Callable[[], Outcome]) -> None:
        self.pump.submit(
            Lane.TRIALS,
            work,
            lambda outcome: self._tell(key, outcome),
            lambda problem: self._tell(key, Outcome(problem=problem)),
        )

    def _tell(self, key: str, outcome: Outcome) -> None:
        self._outcomes[key] = outcome
        self._refresh()

    def _cancel(self, request_id: int) -> None:
        self._cancelled.add(request_id)
        self._refresh()
        self._in_background(Lane.CANCELS, lambda: self._controller.cancel(request_id))

    def _action_done(self, _: None) -> None:
        self._action_failed("")

    def _action_failed(self, sentence: str) -> None:
        self._notice = sentence
        if not self._closing:
            self._pending = Pending.NONE
        self._take(self._controller.snapshot())
        self._refresh()

    def _context_was_chosen(self) -> None:
        self._context_chosen = True
        self._form_changed()

    def _form_changed(self) -> None:
        form = self.launch.form
        self.desk.choose(model_path(form.model))
        if form != self._meant_by:
            self._meant_by, self._meant = form, self._meaning_of(form)
        if self._meant:
            self.desk.foresee(self._meant)
            if self.desk.inspection.file is not None and form != self._kept:
                self._kept = form
                self._remember(self._meant)
        self._refresh()

    def _meaning_of(self, form: Form) -> Settings | None:
        """The settings that the form means, or None while something is half typed; Start says what is wrong."""
        try:
            return settings_of(form, self._settings)
        except SettingsError:
            return None

    def _remember(self, settings: Settings) -> None:
        self._in_background(Lane.SAVING, lambda: self._memory.keep(settings))

    def _look_changed(self, look: Look) -> None:
        self.log.tint()
        self._in_background(Lane.SAVING, lambda: self._memory.keep_look(look))

    def _in_background(self, lane: Lane, work: Callable[[], None]) -> None:
        """Do what nobody waits for."""
        self.pump.submit(lane, work, lambda _: None, logger.error)

    def _model_read(self, file: ModelFile) -> None:
        if file.path != self._filled_for:
            self._fill_for(file.path)
        if not self._context_chosen:
            self._fit_context(file)

    def _fill_for(self, path: str) -> None:
        """Another model was chosen: its own settings come back.

        A new one begins without the last one's further options: a LoRA or a draft model is made for one alone.
        """
        self._filled_for = path
        own = form_of(self._memory.recall(Settings(), path), "")
        shared = self.launch.form
        if self._memory.knows(path):
            self.launch.fill(replace(own, **{name: getattr(shared, name) for name in SHARED}))
            self._context_chosen = True
        else:
            self.launch.fill(replace(shared, options=own.options))

    def _fit_context(self, file: ModelFile) -> None:
        self.launch.context_entry.show(fitting_context(self.launch.form.contextsize, file))

    # --- what happens ---------------------------------------------------------------------------------------

    def _tick(self, snapshot: Snapshot, lines: list[LogLine]) -> None:
        self._log_book.add(lines)
        self._take(snapshot)
        self._history.take(time.monotonic(), snapshot.stats.decode_speed)
        self._cancelled &= {request.request_id for request in snapshot.requests}
        if self.navigation.page is Page.LAUNCH:
            self._form_changed()  # not every way to edit a field sends an event: X11's middle click does not
        else:
            self._refresh()

    def _take(self, snapshot: Snapshot) -> None:
        if self._snapshot.state is not snapshot.state and snapshot.state is EngineState.IDLE:
            self.desk.scan()  # what the model took is free again
        self._snapshot = snapshot

    def _refresh(self) -> None:
        """Draw what is in sight."""
        status = status_view(self._snapshot, self._pending, self._notice)
        self.presence.show_in_tray(tray_view(status, self._snapshot.state, self._pending))
        if self.presence.out_of_sight:
            return
        page = self.navigation.page
        self.state.show("" if page is Page.LAUNCH else f"● {status.headline}", theme.TONES[status.tone])
        if page is Page.LAUNCH:
            changed = self._meant != self._controller.settings
            known = (self.desk.inspection, self._snapshot, self._pending)
            self.launch.show(form_view(self.launch.form, *known, changed=changed, networks=self._networks))
            self.status.show(status)
        elif page is Page.LIBRARY:
            self._show_library()
        elif page is Page.HUB:
            desk = self.hub_desk
            self.hub.show(
                desk.offer,
                desk.lines(),
                desk.downloads(),
                problem=desk.problem,
                busy=desk.busy,
                folder=desk.folder,
            )
        elif page is Page.LIVE:
            self.live.show(live_view(self._snapshot, self._history, self._cancelled), self._history.samples)
        elif page is Page.LOG:
            self.log.show()
        elif page is Page.CONNECT:
            key = self.connect.key
            self.connect.show(connect_view(self.guides[key], self._snapshot, self._outcomes.get(key, Outcome())))

    def _show_library(self) -> None:
        entries = self.shelf.entries
        lines = library_lines(entries, self.shelf.recent, self.library.wanted)
        quiet = nothing_found(entries, lines, searching=self.shelf.searching)
        self.library.show(lines, quiet, details(entries.get(self.library.path)), self.shelf.folders)

    def _report(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            self.close()
            return
        logger.error("The window made a mistake: %s", error, exc_info=(kind, error, trace))

    def _destroy(self) -> None:
        if self.closed:
            return
        self.closed = True
        self.pump.stop()
        self.presence.leave_tray()
        self._controller.downloads.close()
        # customtkinter leaves timers behind that complain on stderr once the window is gone. Cancel them by
        # their Tcl names: after_cancel() would also delete the commands, which destroy() then misses.
        for timer in self.root.tk.splitlist(self.root.tk.eval("after info")):
            self.root.tk.call("after", "cancel", timer)
        self.root.destroy()


def _place(page: Any) -> None:
    page.grid(row=1, column=0, sticky="nsew", padx=CARD_GAP, pady=(0, CARD_GAP))
