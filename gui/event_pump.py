"""Carries work from the Tk thread to worker threads and results back; the app owns one.

Worker threads never touch a widget (a Tk call from a foreign thread blocks or raises): they put results into
one queue, and one poller on the Tk thread runs a bounded number of them a tick.
"""

from __future__ import annotations

import enum
import functools
import logging
import queue
import threading
import tkinter
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeVar

from gui.language import tr
from server.errors import TavernkeepError
from server.events import LogLine
from server.snapshot import Snapshot

if TYPE_CHECKING:
    from server.controller import Controller

TICK_MS: Final = 100
RESULTS_A_TICK: Final = 50
LINES_A_TICK: Final = 200

T = TypeVar("T")
Job = Callable[[], None]
logger = logging.getLogger("tavernkeep.window")


class Lane(enum.Enum):
    """Jobs of one lane run one after the other, so a stop never overtakes the start before it."""

    ACTIONS = "actions"
    READING = "reading"
    DEVICES = "devices"
    LIBRARY = "library"
    HUB = "hub"
    CANCELS = "cancels"
    SAVING = "saving"
    TRIALS = "trials"
    TRAY = "tray"


class EventPump:
    """One poller, one worker thread a lane. All methods but :meth:`call` belong to the Tk thread."""

    def __init__(
        self,
        root: tkinter.Misc,
        controller: Controller,
        on_tick: Callable[[Snapshot, list[LogLine]], None],
    ) -> None:
        self._root = root
        self._controller = controller
        self._on_tick = on_tick
        self._running = True
        self._results: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self._jobs: dict[Lane, queue.SimpleQueue[Job | None]] = {lane: queue.SimpleQueue() for lane in Lane}
        for lane, jobs in self._jobs.items():
            threading.Thread(target=_work, args=(jobs,), name=f"window-{lane.value}", daemon=True).start()
        root.after(TICK_MS, self._tick)

    def submit(
        self, lane: Lane, work: Callable[[], T], done: Callable[[T], None], failed: Callable[[str], None]
    ) -> None:
        """Run ``work`` on the lane's thread, then ``done(result)`` or ``failed(sentence)`` on this one."""
        self._jobs[lane].put(functools.partial(self._run, work, done, failed))

    def call(self, job: Job) -> None:
        """Run ``job`` on the Tk thread; the one method for all threads."""
        self._results.put(job)

    def stop(self) -> None:
        """End the poller and let the worker threads finish what they do."""
        self._running = False
        for jobs in self._jobs.values():
            jobs.put(None)

    def _run(self, work: Callable[[], T], done: Callable[[T], None], failed: Callable[[str], None]) -> None:
        try:
            result = work()
        except TavernkeepError as error:
            self._results.put(functools.partial(failed, str(error)))
        except Exception as error:
            logger.exception("A request of the window went wrong: %s: %s", type(error).__name__, error)
            sentence = tr("Something unexpected went wrong ({kind}). The log has the details.")
            self._results.put(functools.partial(failed, sentence.format(kind=type(error).__name__)))
        else:
            self._results.put(functools.partial(done, result))

    def _tick(self) -> None:
        if not self._running:
            return
        try:
            self._drain()
            if self._running:
                self._on_tick(self._controller.snapshot(), self._controller.poll_log(LINES_A_TICK))
        finally:
            if self._running:
                self._root.after(TICK_MS, self._tick)

    def _drain(self) -> None:
        for _ in range(RESULTS_A_TICK):
            try:
                result = self._results.get_nowait()
            except queue.Empty:
                return
            result()
            if not self._running:
                return


def _work(jobs: queue.SimpleQueue[Job | None]) -> None:
    while (job := jobs.get()) is not None:
        job()
