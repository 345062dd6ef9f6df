"""The launcher's side of the embeddings model, owned by the controller and asked by the routes.

It has an engine process of its own: whatever becomes of it, the model that writes is not touched.
"""

from __future__ import annotations

import contextlib
import logging
import operator
import struct
import threading
from collections.abc import Callable, Iterator
from collections.abc import Sequence as ReadOnly
from dataclasses import dataclass
from pathlib import Path

from server.embedding import Input, LoadEmbedder, Pair
from server.engine.client import EngineClient
from server.errors import ModelLoadError, ModelNotReady, NotAvailable, ServerBusy
from server.events import EngineEvent, LogLine, ModelFailed, ModelInfo, ModelLoaded
from server.model import gguf
from server.restarts import Restarts

log = logging.getLogger("tavernkeep")

AT_ONCE = 16  # inputs handed to the model together; between them other requests have their turn
MOST_REQUESTS = 8  # each of them holds a thread of the HTTP server


@dataclass(frozen=True)
class Embeddings:
    """The ``vectors`` of a request's inputs, as little-endian 32-bit floats; the ``tokens`` they were made of, and the
    name of the ``model`` that made them."""

    vectors: tuple[bytes, ...]
    tokens: int
    model: str


@dataclass(frozen=True)
class Ranking:
    """How well each document of a request answers its query: the larger, the better."""

    scores: tuple[float, ...]
    tokens: int
    model: str


def numbers(vector: bytes) -> tuple[float, ...]:
    """A vector's numbers."""
    return struct.unpack(f"<{len(vector) // 4}f", vector)


class Embedder:
    """Every method may be called from any thread. ``ids`` numbers requests, over all engines of the launcher."""

    def __init__(self, ids: Iterator[int]) -> None:
        self._ids = ids
        self._lock = threading.Lock()
        self._spec: LoadEmbedder | None = None
        self._engine: EngineClient | None = None
        self._model: ModelInfo | None = None
        self._problem = ""
        self._requests = 0
        self._restart = True
        self._restarts = Restarts()

    def load(self, spec: LoadEmbedder | None, *, restart: bool) -> None:
        """Load a model in the background, in place of the one before; None for none. The same one stays loaded.

        What goes wrong is told in the log, and to those who ask for vectors. With ``restart`` it is loaded again when
        its process crashes.
        """
        with self._lock:
            self._restart = restart
            if spec == self._spec and not self._problem:
                return
        self.close()
        if spec:
            self._start(spec)

    def _start(self, spec: LoadEmbedder, after: EngineClient | None = None) -> None:
        """Start a process ``after`` another one, unless that was replaced meanwhile."""
        engine = EngineClient(
            self._ids,
            on_event=lambda event: self._take(engine, event),
            on_over=lambda _generation: None,  # it writes no replies
            on_exit=lambda sentence, _waiting: self._revive(engine, spec, sentence),
        )
        with self._lock:
            if self._engine is not after:
                return
            self._spec, self._engine, self._problem = spec, engine, ""
        log.info("Loading the embeddings model %s.", Path(spec.path).name)
        try:
            gguf.inspect(spec.path)  # before llama.cpp sees the file
            engine.start(spec)
        except ModelLoadError as error:
            self._fail(engine, str(error))
        except OSError as error:
            self._fail(engine, f"The engine process could not be started: {error.strerror}.")

    def close(self) -> None:
        """End the process; its memory is free when this returns."""
        with self._lock:
            engine, self._engine = self._engine, None
            self._spec, self._model, self._problem = None, None, ""
        if engine:
            engine.close()

    @property
    def model(self) -> ModelInfo | None:
        """The model that makes vectors now, None while there is none."""
        return self._model

    def embed(
        self, inputs: ReadOnly[Input], gone: Callable[[], bool], *, truncate: bool, dimensions: int = 0
    ) -> Embeddings | None:
        """The vectors of texts or token ids; None when ``gone`` tells that the client has left.

        Raises :class:`NotAvailable` without an embeddings model, :class:`ModelNotReady`, :class:`ServerBusy`, and
        :class:`BadRequest` for an input that cannot be used.
        """
        _, model = self._ready()
        if model.judges:
            raise NotAvailable(
                f"{model.name} judges how well texts fit together; it makes no vectors of them.",
                "Start the server with another --embeddingsmodel.",
            )
        return self._made(inputs, gone, truncate=truncate, dimensions=dimensions)

    def rank(self, query: str, documents: ReadOnly[str], gone: Callable[[], bool]) -> Ranking | None:
        """How well each document answers a query; None when ``gone`` tells that the client has left.

        A model that judges says it itself; of others' vectors it is the cosine. Raises as :meth:`embed` does.
        """
        _, model = self._ready()
        if model.judges:
            made = self._made([Pair(query, document) for document in documents], gone)
            if made is None:
                return None
            return Ranking(tuple(numbers(vector)[0] for vector in made.vectors), made.tokens, made.model)
        made = self._made([query, *documents], gone)
        if made is None:
            return None
        asked, *others = map(numbers, made.vectors)
        scores = tuple(sum(map(operator.mul, asked, other)) for other in others)
        return Ranking(scores, made.tokens, made.model)

    def _made(
        self, inputs: ReadOnly[Input], gone: Callable[[], bool], *, truncate: bool = True, dimensions: int = 0
    ) -> Embeddings | None:
        engine, model = self._ready()
        vectors: list[bytes] = []
        tokens = 0
        with self._place():
            for first in range(0, len(inputs), AT_ONCE):
                if gone():
                    return None
                some = tuple(inputs[first : first + AT_ONCE])
                answer = engine.embed(some, first=first, truncate=truncate, dimensions=dimensions)
                vectors += answer.vectors
                tokens += answer.tokens
        return Embeddings(tuple(vectors), tokens, model.name)

    def _ready(self) -> tuple[EngineClient, ModelInfo]:
        with self._lock:
            if self._engine and self._model:
                return self._engine, self._model
            if self._problem:
                raise ModelNotReady(f"The embeddings model cannot be used: {self._problem}")
            if self._spec:
                raise ModelNotReady("The embeddings model is loading.", "Try again in a moment.")
        raise NotAvailable(
            "This server has no embeddings model.", "Start it with --embeddingsmodel and the GGUF file of one."
        )

    @contextlib.contextmanager
    def _place(self) -> Iterator[None]:
        with self._lock:
            if self._requests >= MOST_REQUESTS:
                raise ServerBusy("Too many requests wait for the embeddings model.", "Try again in a moment.")
            self._requests += 1
        try:
            yield
        finally:
            with self._lock:
                self._requests -= 1

    def _take(self, engine: EngineClient, event: EngineEvent) -> None:
        """An event of the engine process, on its client's thread."""
        if isinstance(event, ModelLoaded):
            with self._lock:
                if engine is self._engine:
                    self._model = event.info
            log.info("The embeddings model %s is ready; it reads %d tokens.", event.info.name, event.info.context)
        elif isinstance(event, ModelFailed):
            self._fail(engine, event.sentence)
        elif isinstance(event, LogLine):
            log.log(event.level, "%s", event.text)

    def _revive(self, engine: EngineClient, spec: LoadEmbedder, sentence: str) -> bool:
        """The process ended by itself: start it again, unless it crashed while it loaded, or again and again. False,
        because nothing of what it did is taken over."""
        with self._lock:
            answered = engine is self._engine and self._model is not None
        self._fail(engine, sentence)
        if answered and self._restart and self._restarts.allow():
            self._start(spec, after=engine)
        return False

    def _fail(self, engine: EngineClient, sentence: str) -> None:
        with self._lock:
            if engine is not self._engine or self._problem:  # replaced meanwhile, or its end is known already
                return
            self._model, self._problem = None, sentence
        log.error("The embeddings model cannot be used: %s", sentence)
