"""The launcher's side of the engine process: starts it, sends commands, hands each reply's events to its waiter.

A bad model file, a native abort or a GPU out of memory ends that process only; here it becomes a sentence.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import queue
import re
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from collections.abc import Sequence as ReadOnly

from server import children
from server.embedding import Embed, Embedded, Input, LoadEmbedder
from server.engine.neighbours import waiting_environment
from server.errors import BadRequest, EngineDied, ServerBusy, TavernkeepError
from server.events import (
    Answer,
    Cancel,
    CheckConstraint,
    Command,
    Constraint,
    ConstraintChecked,
    Detokenize,
    Detokenized,
    EngineEvent,
    EngineStats,
    Finished,
    Generate,
    GrammarMade,
    LoadModel,
    MakeGrammar,
    ModelLoaded,
    Question,
    Refused,
    StateAction,
    StateUsed,
    TextPiece,
    Tokenize,
    TokenLogprob,
    Tokens,
    UseState,
)
from server.snapshot import Trimmed

log = logging.getLogger("tavernkeep.engine")

Call = Question | UseState | Embed
Mailbox = queue.SimpleQueue[TextPiece | Finished | TavernkeepError]

CALL_TIMEOUT = 60.0
STATE_TIMEOUT = 600.0  # gigabytes may have to go to a slow disk
EMBED_TIMEOUT = 600.0  # long texts on a busy CPU, behind those of others
EXIT_TIMEOUT = 5.0
LAST_WORDS_TIMEOUT = 1.0
KEPT_LINES = 200
TICK = 1.0
SIGNS_OF_LIFE = (EngineStats, TextPiece, Finished, Refused)  # of the step loop; calls are answered beside it
FOLDERS = re.compile(r"\S*[/\\](?=[\w.-]+:\d+: )")  # of the source file that a native abort names
# Not a line about a grammar, which may quote a chat; nor ggml_abort in a stack trace.
TELLING = re.compile(r"(?!.*grammar).*(GGML_ASSERT|GGML_ABORT|what\(\)|(?i:error|failed|out of memory))")


class Generation:
    """One reply as the launcher sees it: a mailbox of its events, and all it has said so far.

    ``thought`` is what it has thought so far, ``logprobs`` belong to the tokens of the text. ``genkey`` is the name a
    Kobold client gave it; ``client`` and ``route`` say who asked, for people; ``trimmed``, what of its prompt was left
    out. It is ``unwanted`` once somebody cancelled it. Several replies may share a ``mailbox``; then their waiter
    empties it, and not :meth:`events`.
    """

    def __init__(
        self,
        request: Generate,
        cancel: Callable[[int], None],
        *,
        genkey: str,
        client: str,
        route: str,
        trimmed: Trimmed | None = None,
        mailbox: Mailbox | None = None,
    ) -> None:
        self.request = request
        self.trimmed = trimmed
        self.genkey = genkey
        self.client = client
        self.route = route
        self.text = ""
        self.thought = ""
        self.logprobs: list[TokenLogprob] = []
        self.tokens = 0
        self.aborted = False
        self.finished: Finished | None = None
        self.error: TavernkeepError | None = None
        self._first = (0.0, 0)  # when the first tokens came, and how many
        self._cancel = cancel
        self.unwanted = False
        self._repeated = False
        self._mailbox: Mailbox = mailbox or queue.SimpleQueue()

    @property
    def over(self) -> bool:
        return self.finished is not None or self.error is not None

    @property
    def speed(self) -> float:
        """Tokens per second since the first ones came; 0 until there is more than that."""
        since, tokens = self._first
        more = self.tokens - tokens
        return more / (time.monotonic() - since) if more else 0.0

    def abort(self) -> None:
        """As :meth:`cancel`, because somebody does not want the reply any more."""
        self.aborted = True
        self.cancel()

    def cancel(self) -> None:
        """Ask the engine to end it; the :class:`Finished` event still comes. Harmless when it is over."""
        self.unwanted = True
        if not self.over:
            self._cancel(self.request.request_id)

    @property
    def repeatable(self) -> bool:
        """Whether another engine may begin it anew: nothing of it was heard, and it has not crashed two already."""
        return not self._first[0] and not self._repeated

    def repeat(self, cancel: Callable[[int], None]) -> None:
        """Another engine takes it over, which is told by ``cancel`` to end it."""
        self._repeated, self._cancel = True, cancel

    def events(self, silence: float) -> Iterator[TextPiece | Finished | None]:
        """Pieces of text as they come, then :class:`Finished`. Yields None after each ``silence`` seconds without any.

        Raises the error that ended it (:class:`EngineDied`, :class:`BadRequest`).
        """
        for event in events_of(self._mailbox, silence):
            yield event
            if isinstance(event, Finished):
                return

    def deliver(self, event: TextPiece | Finished | TavernkeepError) -> None:
        """Called by the engine client's thread only."""
        if isinstance(event, TextPiece):
            if event.unsaid:
                self.thought += self.text
                self.text = ""
                self.logprobs = []
            self.thought += event.thought
            self.text += event.text
            self.logprobs += event.logprobs
            self.tokens = event.tokens
            if not self._first[0]:
                self._first = (time.monotonic(), self.tokens)
        elif isinstance(event, Finished):
            self.finished = event
        else:
            self.error = event
        self._mailbox.put(event)


def events_of(mailbox: Mailbox, silence: float) -> Iterator[TextPiece | Finished | None]:
    """What comes into a ``mailbox``, without end; errors are raised. None after each ``silence`` seconds of nothing."""
    while True:
        try:
            event = mailbox.get(timeout=silence)
        except queue.Empty:
            yield None
            continue
        if isinstance(event, TavernkeepError):
            raise event
        yield event


class EngineClient:
    """One engine process with one model, from :meth:`start` to :meth:`close`.

    ``ids`` numbers requests, over all engines of a launcher. ``on_event`` gets every event that belongs to no single
    reply, ``on_over`` each reply that has ended. When the process ends by itself, ``on_exit`` gets a sentence and the
    replies that another engine may begin anew; it tells whether one does. All are called on this object's thread. With
    a ``patience`` a process that gives no sign of life for so many seconds, while replies are wanted, is ended.
    """

    def __init__(
        self,
        ids: Iterator[int],
        on_event: Callable[[EngineEvent], None],
        on_over: Callable[[Generation], None],
        on_exit: Callable[[str, list[Generation]], bool],
        patience: int = 0,
    ) -> None:
        self._on_event = on_event
        self._on_over = on_over
        self._on_exit = on_exit
        self._ids = ids
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._generations: dict[int, Generation] = {}
        self._calls: dict[int, queue.SimpleQueue[Answer | TavernkeepError]] = {}
        self._last_lines: deque[str] = deque(maxlen=KEPT_LINES)
        self._log_reader = threading.Thread(target=self._read_log, name="engine log", daemon=True)
        self._patience = patience
        self._heard = 0  # signs of life
        self._loaded = False
        self._closing = False
        self._ended = threading.Event()
        self._hung = False
        self._dead = ""
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The engine process's id, 0 before it was started."""
        return self._process.pid if self._process else 0

    def start(self, spec: LoadModel | LoadEmbedder, repeated: ReadOnly[Generation] = ()) -> None:
        """Start the process and have it load a model; progress and outcome come as events.

        The ``repeated`` replies were another engine's; they are this one's first.
        """
        with self._lock:
            if self._closing:
                return
            self._process = subprocess.Popen(
                children.command("server.engine.worker"),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**os.environ, **waiting_environment(spec.game_mode)},
                **children.SURROUNDINGS,
            )
        self._send(spec)
        with self._lock:
            for generation in repeated:  # all of them, before anybody can find out that the process has ended
                generation.repeat(self._cancel)
                self._generations[generation.request.request_id] = generation
        self._log_reader.start()
        threading.Thread(target=self._read_events, name="engine events", daemon=True).start()
        if self._patience:
            threading.Thread(target=self._watch, name="engine watch", daemon=True).start()
        for generation in repeated:
            self._send(generation.request)  # read at once, and begun when the model is there
            if generation.unwanted:
                generation.cancel()

    def submit(
        self,
        build: Callable[[int], Generate],
        *,
        most: int,
        genkey: str,
        client: str,
        route: str,
        trimmed: Trimmed | None = None,
        mailbox: Mailbox | None = None,
    ) -> Generation:
        """Queue a generation; ``build`` makes the command once its id is known.

        Raises :class:`ServerBusy` when ``most`` generations run or wait already.
        """
        request = build(next(self._ids))
        generation = Generation(
            request, self._cancel, genkey=genkey, client=client, route=route, trimmed=trimmed, mailbox=mailbox
        )
        with self._lock:
            if self._dead:
                raise EngineDied(self._dead)
            if len(self._generations) >= most:
                raise ServerBusy("The server is busy: its queue is full.", "Try again in a moment.")
            self._generations[request.request_id] = generation
        self._send(request)
        return generation

    def generations(self) -> list[Generation]:
        """The replies that are running or waiting, oldest first."""
        with self._lock:
            return list(self._generations.values())

    def tokenize(self, text: str, *, special: bool) -> tuple[int, ...]:
        """Token ids of ``text``; ``special`` adds the beginning-of-text token where the model wants one."""
        answer = self._call(lambda call_id: Tokenize(call_id, text, special), CALL_TIMEOUT)
        assert isinstance(answer, Tokens)
        return answer.ids

    def detokenize(self, ids: tuple[int, ...]) -> str:
        """The text of token ``ids``; those that do not exist add nothing."""
        answer = self._call(lambda call_id: Detokenize(call_id, ids), CALL_TIMEOUT)
        assert isinstance(answer, Detokenized)
        return answer.text

    def check_constraint(self, constraint: Constraint) -> str:
        """A sentence on what is wrong with a constraint, for the loaded model's vocabulary, or ""."""
        answer = self._call(lambda call_id: CheckConstraint(call_id, constraint), CALL_TIMEOUT)
        assert isinstance(answer, ConstraintChecked)
        return answer.problem

    def grammar_of(self, schema: str) -> str:
        """The GBNF for a JSON schema's text. Raises :class:`BadRequest`."""
        answer = self._call(lambda call_id: MakeGrammar(call_id, schema), CALL_TIMEOUT)
        assert isinstance(answer, GrammarMade)
        if answer.problem:
            raise BadRequest(answer.problem)
        return answer.grammar

    def use_state(self, action: StateAction, slot: int = 0) -> StateUsed:
        """Look at, save, load or clear a saved conversation."""
        answer = self._call(lambda call_id: UseState(call_id, action, slot), STATE_TIMEOUT)
        assert isinstance(answer, StateUsed)
        return answer

    def embed(self, inputs: tuple[Input, ...], *, first: int, truncate: bool, dimensions: int) -> Embedded:
        """Vectors of texts or token ids. Raises :class:`BadRequest` for an input that cannot be used."""
        answer = self._call(lambda call_id: Embed(call_id, inputs, first, truncate, dimensions), EMBED_TIMEOUT)
        assert isinstance(answer, Embedded)
        if answer.problem:
            raise BadRequest(answer.problem)
        return answer

    def _call(self, build: Callable[[int], Call], timeout: float) -> Answer:
        """Send a command that is answered once, and wait for that; a process that does not answer is ended.

        Raises :class:`EngineDied`.
        """
        call_id = next(self._ids)
        mailbox: queue.SimpleQueue[Answer | TavernkeepError] = queue.SimpleQueue()
        with self._lock:
            if self._dead:
                raise EngineDied(self._dead)
            self._calls[call_id] = mailbox
        try:
            self._send(build(call_id))
            answer = mailbox.get(timeout=timeout)
        except queue.Empty:
            self._end_hung()
            raise EngineDied("The engine process does not answer.") from None
        finally:
            with self._lock:
                self._calls.pop(call_id, None)
        if isinstance(answer, TavernkeepError):
            raise answer
        return answer

    def close(self) -> None:
        """End the process, and with it every reply; its memory is free when this returns."""
        with self._lock:
            self._closing = True
            process = self._process
        if process is None:
            return
        # Not from here: a thread may hold the pipe, writing to a process that no longer reads.
        threading.Thread(target=self._hang_up, name="engine_hang_up", daemon=True).start()
        try:
            process.wait(EXIT_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _hang_up(self) -> None:
        """Close the command pipe; a process that still runs ends by that."""
        assert self._process is not None
        assert self._process.stdin is not None
        with self._writing, contextlib.suppress(OSError):
            self._process.stdin.close()

    def _cancel(self, request_id: int) -> None:
        self._send(Cancel(request_id))

    def _send(self, command: Command) -> None:
        data = pickle.dumps(command)
        assert self._process is not None
        assert self._process.stdin is not None
        # A dead process is reported by the thread that reads its events, to everyone who waits.
        with self._writing, contextlib.suppress(OSError, ValueError):
            self._process.stdin.write(data)
            self._process.stdin.flush()

    def _read_events(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        try:
            with self._process.stdout as pipe, contextlib.suppress(EOFError, pickle.UnpicklingError):
                while True:
                    for event in pickle.load(pipe):
                        self._deliver(event)
                        self._heard += isinstance(event, SIGNS_OF_LIFE)
        finally:  # whatever ends this thread: nobody may go on waiting for a process that is not listened to
            self._hang_up()
            status = self._process.wait()
            self._ended.set()
            self._log_reader.join(LAST_WORDS_TIMEOUT)
            self._bury(self._epitaph(status))

    def _deliver(self, event: EngineEvent) -> None:
        if isinstance(event, Answer):
            with self._lock:
                mailbox = self._calls.get(event.call_id)
            if mailbox:
                mailbox.put(event)
            return
        if not isinstance(event, (TextPiece, Finished, Refused)):
            self._loaded = self._loaded or isinstance(event, ModelLoaded)
            self._on_event(event)
            return
        with self._lock:
            generation = self._generations[event.request_id]
            if not isinstance(event, TextPiece):
                del self._generations[event.request_id]
        generation.deliver(BadRequest(event.sentence) if isinstance(event, Refused) else event)
        if generation.over:
            self._on_over(generation)

    def _bury(self, sentence: str) -> None:
        with self._lock:
            self._dead = sentence
            generations, self._generations = list(self._generations.values()), {}
            calls, self._calls = list(self._calls.values()), {}
        repeatable = [each for each in generations if each.repeatable]
        taken_over = repeatable if not self._closing and self._on_exit(sentence, repeatable) else []
        for generation in generations:
            if generation not in taken_over:
                generation.deliver(EngineDied(sentence))
                self._on_over(generation)
        for mailbox in calls:
            mailbox.put(EngineDied(sentence))

    def _watch(self) -> None:
        """Count the seconds without a sign of life, and not by a clock: a PC that slept or stood still is no hang."""
        heard, silent = self._heard, 0
        while not self._ended.wait(TICK):
            busy = self._loaded and bool(self._generations)
            silent = silent + 1 if busy and self._heard == heard else 0
            heard = self._heard
            if silent >= self._patience:
                self._end_hung()

    def _end_hung(self) -> None:
        assert self._process is not None
        self._hung = True
        self._process.kill()

    def _epitaph(self, status: int) -> str:
        """One sentence on why the process ended."""
        if self._closing:
            return "The model was unloaded."
        last = next((line for line in reversed(self._last_lines) if TELLING.match(line)), "")
        said = f" Its last words were: {FOLDERS.sub('', last)}" if last else ""
        if self._hung:
            return "The engine process hung: it gave no sign of life although there was work, and was ended."
        if _name_of(status) == "SIGKILL":
            return "The engine process was killed from outside, or by the system because memory ran out."
        return f"The engine process crashed ({_name_of(status)}).{said}"

    def _read_log(self) -> None:
        assert self._process is not None
        assert self._process.stderr is not None
        with self._process.stderr as pipe:
            for raw in pipe:
                line = raw.decode("utf-8", "replace").rstrip()
                self._last_lines.append(line)
                log.debug("%s", line)


def _name_of(status: int) -> str:
    """An exit status as people know it: SIGSEGV, 0xC0000005, status 1."""
    if status < 0:
        return {-number: number.name for number in signal.Signals}.get(status, f"signal {-status}")
    return f"0x{status:08X}" if status > 255 else f"status {status}"
