"""The engine process: commands in on standard input, events out on standard output, native log on standard error.

Started by :mod:`server.engine.client`; ends itself when the launcher is gone.
"""

from __future__ import annotations

import logging
import os
import pickle
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable
from collections.abc import Sequence as ReadOnly
from concurrent.futures import Future
from dataclasses import replace
from typing import BinaryIO, NoReturn, TypeVar

from server import privacy
from server.embedding import Embed, LoadEmbedder
from server.engine.draft_model import DraftModel
from server.engine.drafts import Drafts
from server.engine.engine import Engine
from server.engine.kv_states import KVStates
from server.engine.llama.embeddings import EmbeddingModel
from server.engine.llama.library import NativeLog, load_backends
from server.engine.llama.model import LlamaModel
from server.engine.llama.schema_grammar import grammar_of
from server.engine.neighbours import CoreMeter, ThreadGovernor, lower_priority
from server.engine.outbox import Outbox
from server.engine.speculation import Drafter, PromptLookupDrafter
from server.errors import TavernkeepError
from server.events import (
    Cancel,
    CheckConstraint,
    Command,
    ConstraintChecked,
    Detokenize,
    Detokenized,
    EngineEvent,
    Generate,
    GrammarMade,
    KeptState,
    LoadModel,
    LoadProgress,
    LogLine,
    ModelFailed,
    ModelLoaded,
    Question,
    StateAction,
    StateUsed,
    Tokenize,
    Tokens,
    UseState,
)
from server.model.fit import gpu_memory

log = logging.getLogger("tavernkeep.engine")

Result = TypeVar("Result")

STATS_SECONDS = 0.1
VRAM_SECONDS = 1.0
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
    """Owns the model. The main thread runs the engine's steps, one thread takes commands, one answers calls, and one
    moves conversations to disk and back."""

    def __init__(self, commands: BinaryIO, events: BinaryIO) -> None:
        self._commands = commands
        self._events = events
        self._writing = threading.Lock()
        self._progress = 0.0
        self._inbox: queue.SimpleQueue[Generate | Cancel | Callable[[Engine], None]] = queue.SimpleQueue()
        self._calls: queue.SimpleQueue[Question] = queue.SimpleQueue()
        self._state_calls: queue.SimpleQueue[UseState] = queue.SimpleQueue()
        self._texts: queue.SimpleQueue[Embed] = queue.SimpleQueue()
        self._engine: Engine | None = None

    def run(self) -> NoReturn:
        """Load the model, then serve it until the launcher hangs up."""
        to_launcher = logging.getLogger("tavernkeep")
        to_launcher.addHandler(_ToLauncher(self._send))
        to_launcher.setLevel(logging.INFO)
        spec = pickle.load(self._commands)
        assert isinstance(spec, (LoadModel, LoadEmbedder))
        privacy.allow_texts(spec.log_texts)
        # Started before the load, which may take minutes: the launcher may give up or end meanwhile.
        self._start(self._read_commands)
        if spec.low_priority:
            lower_priority()  # before llama.cpp starts threads, which inherit it
        if isinstance(spec, LoadEmbedder):
            _or_leave(lambda: self._serve_embeddings(spec))
            _leave(0)
        try:
            native_log = NativeLog()
            model = LlamaModel(spec, native_log, self._report_progress)
            drafts = _drafts(spec, model, native_log)
        except TavernkeepError as error:
            self._send([ModelFailed(str(error))])
            _leave(0)
        others = CoreMeter()
        governor = ThreadGovernor(spec.threads, others.cores, others)
        engine = Engine(model, cache_ram=spec.cache_ram, reuse=spec.reuse, drafts=drafts, governor=governor)
        self._engine = engine
        self._send([ModelLoaded(model.info)])
        self._start(lambda: self._answer_calls(model))
        self._start(lambda: self._answer_state_calls(KVStates(spec.state_folder, spec)))
        _or_leave(lambda: self._serve(engine))
        _leave(0)

    def _serve_embeddings(self, spec: LoadEmbedder) -> None:
        try:
            model = EmbeddingModel(spec, NativeLog(), self._report_progress)
        except TavernkeepError as error:
            self._send([ModelFailed(str(error))])
            return
        self._send([ModelLoaded(model.info)])
        while True:
            self._send([model.embed(self._texts.get())])

    def _start(self, work: Callable[[], None]) -> None:
        threading.Thread(target=_or_leave, args=(work,), daemon=True).start()

    def _serve(self, engine: Engine) -> None:
        outbox = Outbox(self._send)
        next_stats = next_look = 0.0
        vram = (0, 0)
        events: list[EngineEvent] = []
        while True:
            now = time.monotonic()
            if now >= next_stats or engine.idle:
                if now >= next_look:
                    vram, next_look = gpu_memory(load_backends()), now + VRAM_SECONDS
                events.append(replace(engine.stats(), vram_used=vram[0], vram_total=vram[1]))
                next_stats = now + STATS_SECONDS
            outbox.put(events, now)
            events = self._take_commands(engine)
            if not engine.idle:
                events += engine.step()

    def _take_commands(self, engine: Engine) -> list[EngineEvent]:
        """Hand waiting commands to the engine; with nothing to do, sleep until one comes."""
        events: list[EngineEvent] = []
        while engine.idle or not self._inbox.empty():
            command = self._inbox.get()
            if isinstance(command, Generate):
                events += engine.submit(command)
            elif isinstance(command, Cancel):
                events += engine.cancel(command.request_id)
            else:
                command(engine)
                break  # what is kept may have changed, which the statistics tell
            if events:
                break
        return events

    def _read_commands(self) -> None:
        while True:
            try:
                command: Command = pickle.load(self._commands)
            except EOFError:
                _leave(0)  # the launcher is gone: nobody waits for what the other threads are doing
            if isinstance(command, (Generate, Cancel)):
                self._inbox.put(command)
                if isinstance(command, Cancel) and self._engine:
                    self._engine.interrupt(command.request_id)
            elif isinstance(command, Question):
                self._calls.put(command)
            elif isinstance(command, UseState):
                self._state_calls.put(command)
            elif isinstance(command, Embed):
                self._texts.put(command)

    def _answer_calls(self, model: LlamaModel) -> None:
        """Only reads the vocabulary, so it need not wait for the main thread's step, nor a cancel for it."""
        while True:
            command = self._calls.get()
            if isinstance(command, Tokenize):
                ids = model.vocabulary.tokenize(command.text, special=command.special)
                self._send([Tokens(command.call_id, tuple(ids))])
            elif isinstance(command, Detokenize):
                written = b"".join(map(model.vocabulary.spelling, command.ids))
                self._send([Detokenized(command.call_id, written.decode("utf-8", "replace"))])
            elif isinstance(command, CheckConstraint):
                problem = model.samplers.constraints.problem(command.constraint)
                self._send([ConstraintChecked(command.call_id, problem)])
            else:
                self._send([GrammarMade(command.call_id, *grammar_of(command.schema))])

    def _answer_state_calls(self, states: KVStates) -> None:
        """One after the other, so that no two touch a file; the disk is waited for here, and not by running replies."""
        while True:
            call = self._state_calls.get()
            try:
                answer = self._use_state(call, states)
            except TavernkeepError as error:
                answer = StateUsed(call.call_id, str(error))
            self._send([answer])

    def _use_state(self, call: UseState, states: KVStates) -> StateUsed:
        if call.action is StateAction.CLEAR:
            states.clear(call.slot)
            return StateUsed(call.call_id)
        if call.action is StateAction.LOAD:
            blocks = states.read(call.slot)
            tokens = self._between_steps(lambda engine: engine.load_state(blocks))
            if not tokens:
                raise TavernkeepError("The KV cache has no room for it beside the running replies, or keeps nothing.")
            return StateUsed(call.call_id, newest=KeptState(tokens, sum(len(block.data) for block in blocks)))
        blocks = self._between_steps(Engine.save_state)
        newest = KeptState(sum(len(block.tokens) for block in blocks), sum(len(block.data) for block in blocks))
        if call.action is StateAction.LOOK:
            return StateUsed(call.call_id, newest=newest, kept=states.kept())
        if not blocks:
            raise TavernkeepError("There is no conversation in the KV cache that could be saved.")
        states.write(call.slot, blocks)
        return StateUsed(call.call_id, newest=newest)

    def _between_steps(self, work: Callable[[Engine], Result]) -> Result:
        """Have work done by the engine's thread, and wait for it."""
        future: Future[Result] = Future()

        def do(engine: Engine) -> None:
            try:
                future.set_result(work(engine))
            except TavernkeepError as error:
                future.set_exception(error)

        self._inbox.put(do)
        return future.result()

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


def _drafts(spec: LoadModel, model: LlamaModel, native_log: NativeLog) -> Drafts | None:
    """The drafts that were asked for. Raises :class:`ModelLoadError` when the draft model cannot be used."""
    if not spec.draft_tokens:
        return None
    if not model.draft_room:
        log.warning("This model cannot take back a wrong guess: nothing is guessed ahead.")
        return None
    drafter: Drafter = DraftModel(spec, model, native_log) if spec.draft_model else PromptLookupDrafter()
    return Drafts(drafter, most=spec.draft_tokens, room=model.draft_room, context=model.context)


class _ToLauncher(logging.Handler):
    """Sends the engine's own sentences to the launcher's log; llama.cpp's lines go there by standard error."""

    def __init__(self, send: Callable[[list[EngineEvent]], None]) -> None:
        super().__init__()
        self.setFormatter(privacy.LineFormatter())
        self._send = send

    def emit(self, record: logging.LogRecord) -> None:
        self._send([LogLine(record.levelno, self.format(record))])


def _or_leave(work: Callable[[], None]) -> None:
    """Run a thread's work; an error in it ends the process, because half an engine would keep clients waiting."""
    try:
        work()
    except BaseException as error:
        said = privacy.stack(error)
        log.error("The engine went wrong.\n%s", said)
        print(said, file=sys.stderr)  # whose end becomes the process's last words
        _leave(1)


def _leave(status: int) -> NoReturn:
    """End the process at once. An ordinary exit would abort, because the reader thread holds standard input's lock."""
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    main()
