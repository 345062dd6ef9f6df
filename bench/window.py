"""``python -m bench.window``: what the window costs while replies stream, and how long its loop is ever held up."""

from __future__ import annotations

import http.client
import json
import multiprocessing
import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from bench.processes import display
from gui.app import App
from gui.view.looks import Page
from server.controller import Controller
from server.events import EngineState
from server.model.library import STARTER
from server.settings import Settings

STREAMS = 8
SECONDS = 20.0
TIMER_MS = 10
TOKENS = 4000


class Stopwatch:
    """How long each tick of the window takes, and how late a timer of its loop comes; in milliseconds."""

    def __init__(self, app: App) -> None:
        self.ticks: list[float] = []
        self.late: list[float] = []
        self._app = app
        self._draw, app.pump._on_tick = app.pump._on_tick, self._tick
        self._due = time.perf_counter() + TIMER_MS / 1000
        self._next = app.root.after(TIMER_MS, self._timer)

    def stop(self) -> None:
        """Leave the window as it was."""
        self._app.pump._on_tick = self._draw
        self._app.root.after_cancel(self._next)

    def _tick(self, *happened: object) -> None:
        begun = time.perf_counter()
        self._draw(*happened)  # type: ignore[arg-type]
        self.ticks.append(1000 * (time.perf_counter() - begun))

    def _timer(self) -> None:
        now = time.perf_counter()
        self.late.append(1000 * (now - self._due))
        self._due = now + TIMER_MS / 1000
        self._next = self._app.root.after(TIMER_MS, self._timer)


def main() -> None:
    """Print a table: for each page, with replies streaming, the share of a core and the longest waits."""
    with display():
        controller = Controller()
        app = App(controller, Settings(model=str(STARTER), port=0), appearance="dark", scale=1.0)
        app.start()
        run_until(app, lambda: controller.snapshot().state is EngineState.READY)
        print("| page | window's share of a core | tick, median | tick, longest | loop held up, 99 % | longest |")
        print("|---|---|---|---|---|---|")
        for page in Page:
            app.navigation.go(page)
            _measure(app, controller, page)
        app.close()
        run_until(app, lambda: app.closed)


def _measure(app: App, controller: Controller, page: Page) -> None:
    clients = multiprocessing.get_context("spawn").Process(target=ask, args=(controller.snapshot().address,))
    clients.start()
    run_until(app, lambda: controller.snapshot().stats.running == STREAMS)
    until = time.monotonic() + 2
    run_until(app, lambda: time.monotonic() > until)  # the table's lines are there
    share = _share_of_a_core(app)
    watch, begun = Stopwatch(app), time.monotonic()
    run_until(app, lambda: time.monotonic() > begun + SECONDS)
    running = controller.snapshot().stats.running
    watch.stop()
    for generation in controller.generations():
        generation.abort()
    run_until(app, lambda: not clients.is_alive())
    late = sorted(watch.late)
    print(
        f"| {page.value}, {running} streams | {100 * share:.1f} % | {statistics.median(watch.ticks):.1f} ms "
        f"| {max(watch.ticks):.1f} ms | {late[int(0.99 * len(late))]:.1f} ms | {late[-1]:.1f} ms |",
        flush=True,
    )


def _share_of_a_core(app: App) -> float:
    """Without the stopwatch, whose timer alone would cost more than the window."""
    begun, used = time.monotonic(), time.thread_time()
    run_until(app, lambda: time.monotonic() > begun + SECONDS)
    return (time.thread_time() - used) / (time.monotonic() - begun)


def ask(address: str) -> None:
    """Read streams until they end; in a process of its own, so that only the window is measured."""
    threads = [threading.Thread(target=_read, args=(address,)) for _ in range(STREAMS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _read(address: str) -> None:
    connection = http.client.HTTPConnection(urlsplit(address).netloc)
    body = json.dumps({"prompt": "Once upon a time", "max_length": TOKENS, "ban_eos_token": True})
    connection.request("POST", "/api/extra/generate/stream", body)
    connection.getresponse().read()


def run_until(app: App, condition: Callable[[], object]) -> None:
    """Run the window's loop until a condition holds; it sleeps between events, as the real one does."""
    while not condition():
        app.root.tk.dooneevent(0)


if __name__ == "__main__":
    assert Path(STARTER).is_file(), "Run bootstrap.py first: it fetches the starter model."
    main()
