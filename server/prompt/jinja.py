"""Chat templates rendered in a process of their own, because a template in a model file is a stranger's program.

Called by :mod:`server.prompt.chat`; the process itself is :mod:`server.prompt.jinja_worker`. Python cannot stop code
that runs too long or takes too much memory, but a process can be killed at any time, on every platform. So the
launcher watches the one that renders, kills it at a limit, and starts another for the next template.
"""

from __future__ import annotations

import contextlib
import queue
import subprocess
import threading
import time
from collections.abc import Mapping
from typing import Any

import psutil

from server import children
from server.prompt.jinja_worker import LONGEST_TEXT, Frame, Kind, read_frame, too_much_memory, write_frame

TIME_LIMIT = 1.0
MEMORY_LIMIT = 256 << 20
LONGEST_TEMPLATE = 256 << 10
START_LIMIT = 30.0
WATCH_SECONDS = 0.01
BROKEN = "it broke the process that renders templates"


class TemplateFailed(Exception):
    """The template refused the messages, or is no valid Jinja. The text is the template's own."""


class TemplateStopped(TemplateFailed):
    """The template was stopped at a limit. The text says which: "it ran for more than 1 s"."""


class Renderer:
    """Renders templates for any thread, one at a time. The process starts with the first one, or with :meth:`start`."""

    def __init__(self, *, time_limit: float = TIME_LIMIT, memory_limit: int = MEMORY_LIMIT) -> None:
        self._time_limit = time_limit
        self._memory_limit = memory_limit
        self._lock = threading.Lock()
        self._process: _TemplateProcess | None = None

    @property
    def pid(self) -> int | None:
        """The process's id; None while there is none."""
        process = self._process
        return process.pid if process else None

    def start(self) -> None:
        """Start the process in advance, without waiting for it. Should that fail, the next render says so."""
        with self._lock, contextlib.suppress(TemplateStopped):
            self._running()

    def render(self, template: str, variables: Mapping[str, Any]) -> str:
        """The text that ``template`` makes of ``variables``, which must be JSON and stay as they are.

        Raises :class:`TemplateFailed` with the template's own words, :class:`TemplateStopped` at a limit.
        """
        if len(template.encode("utf-8", "surrogatepass")) > LONGEST_TEMPLATE:
            raise TemplateStopped(f"it is larger than {LONGEST_TEMPLATE >> 10} KiB")
        try:
            request = Frame.request(template, variables)
        except RecursionError:
            raise TemplateStopped("its messages are nested too deeply") from None
        with self._lock:
            answer = self._ask(request)
        if answer.kind is Kind.FAILED:
            raise TemplateFailed(answer.text)
        return answer.text

    def close(self) -> None:
        """End the process; it is gone when this returns."""
        with self._lock:
            self._end()

    def _ask(self, request: Frame) -> Frame:
        process = self._running()
        try:
            answer = process.ask(request)
            if answer.kind is Kind.STOPPED:
                raise TemplateStopped(answer.text)
        except BaseException:  # an interrupt too: the answer that is still to come would be taken for the next one's
            self._end()
            raise
        return answer

    def _running(self) -> _TemplateProcess:
        if self._process and not self._process.alive:  # killed from outside, between two templates
            self._end()
        if not self._process:
            self._process = _TemplateProcess(self._time_limit, self._memory_limit)
        return self._process

    def _end(self) -> None:
        if self._process:
            self._process.kill()
            self._process = None


class _TemplateProcess:
    """One process, from its start to its end, used by one thread at a time. Raises :class:`TemplateStopped`."""

    def __init__(self, time_limit: float, memory_limit: int) -> None:
        self._time_limit = time_limit
        self._memory_limit = memory_limit
        self._memory_at_start: int | None = None
        self._answers: queue.SimpleQueue[Frame | None] = queue.SimpleQueue()
        try:
            self._process = subprocess.Popen(
                children.command("server.prompt.jinja_worker", str(time_limit), str(memory_limit)),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                **children.SURROUNDINGS,
            )
        except OSError as error:
            raise TemplateStopped(f"the process that renders templates did not start: {error}") from error
        # Waiting for a pipe with a limit needs a thread: Windows has no select for pipes.
        threading.Thread(target=self._read, name="template answers", daemon=True).start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def ask(self, request: Frame) -> Frame:
        """The answer to ``request``: text, a failure or a stop."""
        if self._memory_at_start is None:
            self._wait_until_ready()
        assert self._process.stdin is not None
        try:
            write_frame(self._process.stdin, request)
        except OSError:
            raise TemplateStopped(BROKEN) from None
        return self._watch()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):  # what could not be written is of no use any more
            self._process.stdin.close()

    def _wait_until_ready(self) -> None:
        try:
            ready = self._answers.get(timeout=START_LIMIT)
        except queue.Empty:
            ready = None
        if ready is None:
            raise TemplateStopped("the process that renders templates did not start")
        self._memory_at_start = self._memory()

    def _watch(self) -> Frame:
        assert self._memory_at_start is not None
        deadline = time.monotonic() + self._time_limit
        while True:
            try:
                answer = self._answers.get(timeout=WATCH_SECONDS)
            except queue.Empty:
                if time.monotonic() > deadline:
                    raise TemplateStopped(f"it ran for more than {self._time_limit:g} s") from None
                if self._memory() - self._memory_at_start > self._memory_limit:
                    raise TemplateStopped(too_much_memory(self._memory_limit)) from None
                continue
            if answer is None:
                raise TemplateStopped(BROKEN)
            return answer

    def _memory(self) -> int:
        try:
            return psutil.Process(self.pid).memory_info().rss
        except psutil.Error:  # it has just ended, and its pipe will say so
            return 0

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as pipe:
            while answer := read_frame(pipe, LONGEST_TEXT):
                self._answers.put(answer)
        self._answers.put(None)
