"""What crosses to the engine process of the embeddings model and back, as frozen dataclasses; the rest of what crosses
is in :mod:`server.events`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Pair:
    """A ``document`` to be judged by how well it answers a ``query``; for models that judge."""

    query: str
    document: str


Input = str | tuple[int, ...] | Pair


@dataclass(frozen=True)
class LoadEmbedder:
    """Load the embeddings model ``path``. A text may have up to ``context`` tokens; 0 leaves that to the model. Texts
    may stand in the log with ``log_texts``."""

    path: str
    context: int
    gpu_layers: int
    threads: int
    game_mode: bool = False
    low_priority: bool = False
    log_texts: bool = False


@dataclass(frozen=True)
class Embed:
    """Make a vector of each of ``inputs``, texts or token ids; the first of them is number ``first`` of its request.
    A model that judges makes one number of each pair.

    One that is too long for the model is cut off with ``truncate``, and refused without it. Vectors are cut to
    ``dimensions`` numbers; 0 leaves them whole.
    """

    call_id: int
    inputs: tuple[Input, ...]
    first: int
    truncate: bool
    dimensions: int


@dataclass(frozen=True)
class Embedded:
    """The result of an :class:`Embed` call: vectors of length 1, or judgements, as little-endian 32-bit floats, and the
    tokens read for them; or a sentence on why there are none."""

    call_id: int
    vectors: tuple[bytes, ...] = ()
    tokens: int = 0
    problem: str = ""
