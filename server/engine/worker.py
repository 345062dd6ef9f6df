"""The engine process: commands in on standard input, events out on standard output, native log on standard error.

Started by :mod:`server.engine.client`; ends itself when the launcher is gone.
"""

from __future__ import annotations

import os
import pickle
import queue
import signal
import sys
import threading
import time
from collections.abc import Sequence as ReadOnly
from typing import BinaryIO

from server.engine.engine import Engine
from server.engine.llama_model import LlamaModel, NativeLog
from server.errors import TavernkeepError
from server.events import (
    Answer,
    Cancel,
    Command,
    Detokenize,
    EngineEvent,
    Generate,
    LoadModel,
    LoadProgress,
    ModelFailed,
    ModelLoaded,
    Tokenize,
)

STATS_SECONDS = 0.1
PROGRESS_STEP = 0.01


def main() -> None:
    """Serve one model until the launcher closes the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the launcher's to handle
    commands, events = _claim_pipes()
    Worker(commands, events).run()


def _claim_pipes() -> tuple[BinaryIO, BinaryIO]:
    """Standard input and output belong to the protocol; whatever native code prints goes to the log instead."""
    events = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return sys.stdin.buffer, events


class Worker:
    """Owns the model. The main thread runs the engine's steps, a reader thread takes commands."""

    def __init__(self, commands: BinaryIO, events: BinaryIO) -> None:
        self._commands = commands
        self._events = events
        self._writing = threading.Lock()
        self._model: LlamaModel | None = None
        self._progress = 0.0
        self._inbox: queue.SimpleQueue[Generate | Cancel] = queue.SimpleQueue()

    def run(self) -> None:
        spec = pickle.load(self._commands)
        assert isinstance(spec, LoadModel)
        # Started before the load, which may take minutes: the launcher may give up or end meanwhile.
        threading.Thread(target=self._read_commands, daemon=True).start()
        try:
            self._model = LlamaModel(spec, NativeLog(), self._report_progress)
        except TavernkeepError as error:
            self._send([ModelFailed(str(error))])
            return
        self._send([ModelLoaded(self._model.info)])
        self._serve(Engine(self._model))

    def _serve(self, engine: Engine) -> None:
        next_stats = 0.0
        while True:
            events = self._take_commands(engine)
            if not engine.idle:
                events += engine.step()
            now = time.monotonic()
            if now >= next_stats or engine.idle:
                events.append(engine.stats())
                next_stats = now + STATS_SECONDS
            self._send(events)

    def _take_commands(self, engine: Engine) -> list[EngineEvent]:
        """Hand waiting commands to the engine; with nothing to do, sleep until one comes."""
        events: list[EngineEvent] = []
        while engine.idle or not self._inbox.empty():
            command = self._inbox.get()
            if isinstance(command, Generate):
                events += engine.submit(command)
            else:
                events += engine.cancel(command.request_id)
            if events:
                break
        return events

    def _read_commands(self) -> None:
        while True:
            try:
                command: Command = pickle.load(self._commands)
            except EOFError:
                os._exit(0)  # the launcher is gone: nobody waits for what the main thread is doing
            if isinstance(command, (Generate, Cancel)):
                self._inbox.put(command)
            elif isinstance(command, (Tokenize, Detokenize)):
                self._send([Answer(command.call_id, self._answer(command))])

    def _answer(self, command: Tokenize | Detokenize) -> tuple[int, ...] | str:
        """Only reads the vocabulary, so it need not wait for the step that is running on the main thread."""
        assert self._model is not None
        if isinstance(command, Tokenize):
            return tuple(self._model.tokenize(command.text, special=command.special))
        return self._model.detokenize(command.tokens)

    def _send(self, events: ReadOnly[EngineEvent]) -> None:
        if not events:
            return
        with self._writing:
            pickle.dump(list(events), self._events)
            self._events.flush()

    def _report_progress(self, fraction: float) -> None:
        # llama.cpp calls back for every tensor; one event per cent is enough.
        if fraction - self._progress >= PROGRESS_STEP or fraction >= 1:
            self._progress = fraction
            self._send([LoadProgress(fraction)])


if __name__ == "__main__":
    main()
