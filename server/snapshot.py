"""What the window and ``/health`` see of the launcher: frozen dataclasses, made by the controller."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from server.events import EngineState, EngineStats, ModelInfo


@dataclass(frozen=True)
class LayerShape:
    """What one layer takes: bytes of its ``weights``, of which ``experts``; numbers in the KV cache for each token, in
    ``keys`` and in ``values``; and numbers of a ``state`` that is there once for each sequence, in recurrent layers."""

    weights: int = 0
    experts: int = 0
    keys: int = 0
    values: int = 0
    state: int = 0


@dataclass(frozen=True)
class ModelShape:
    """What of a model takes memory. ``inputs`` are the bytes of what stays in RAM, ``outputs`` of what follows the last
    layer; if it is ``tied``, the embeddings stand for both. ``width`` is the embedding's, ``feed_forward`` the widest
    inner layer's, ``queries`` that of all heads together."""

    layers: tuple[LayerShape, ...] = ()
    inputs: int = 0
    outputs: int = 0
    tied: bool = False
    width: int = 0
    feed_forward: int = 0
    queries: int = 0
    heads: int = 0
    vocabulary: int = 0


@dataclass(frozen=True)
class ModelFile:
    """What a GGUF file says of itself without being loaded. ``size`` is in bytes, of all its parts if it is split; 0
    and "": it does not say. It ``embeds`` if it says how vectors of texts are made with it."""

    path: str
    size: int
    architecture: str
    name: str
    quantisation: str
    layers: int
    trained_context: int
    chat_template: str
    embeds: bool = False
    shape: ModelShape = ModelShape()


class DeviceKind(enum.Enum):
    """What llama.cpp computes on. Integrated GPUs share the RAM."""

    CPU = "cpu"
    GPU = "gpu"
    INTEGRATED = "integrated"
    OTHER = "other"


@dataclass(frozen=True)
class Device:
    """One of llama.cpp's devices; its memory in bytes, 0 where the driver does not say."""

    name: str
    description: str
    kind: DeviceKind
    total: int
    free: int


@dataclass(frozen=True)
class MemoryShare:
    """What a model takes of one memory, in bytes."""

    weights: int = 0
    kv: int = 0
    buffers: int = 0

    @property
    def all(self) -> int:
        return self.weights + self.kv + self.buffers


@dataclass(frozen=True)
class MemoryPool:
    """A memory, in bytes: what others left ``free`` of it, what the model takes, and what is kept in ``reserve``.

    The ``name`` is the GPU's, or that of all together; "" is the RAM.
    """

    name: str
    total: int
    free: int
    share: MemoryShare
    reserve: int = 0

    @property
    def left(self) -> int:
        """What is left over; below 0 is what lacks."""
        return self.free - self.share.all - self.reserve


class Fit(enum.Enum):
    """Where a model finds room."""

    GPU = "all of it on the GPU"
    SPLIT = "a part of it on the GPU"
    RAM = "in RAM"
    TOO_LARGE = "nowhere"


@dataclass(frozen=True)
class Forecast:
    """What a model will take where, before it is loaded. ``gpu_layers`` counts as llama.cpp does: all and one more are
    the whole model. The GPU's memory, if there is one, is the first of the ``pools``, the RAM is the last."""

    fit: Fit
    gpu_layers: int
    pools: tuple[MemoryPool, ...]


@dataclass(frozen=True)
class TemplateInfo:
    """Which instruct template chats are rendered with. ``source`` says in a few words where it comes from, ``reason``
    in a sentence why it is used; ``warning`` is a sentence on what speaks against it, or ""."""

    name: str
    source: str
    reason: str
    warning: str = ""


@dataclass(frozen=True)
class Preview:
    """A chat as a model would read it; ``problem`` is a sentence when it cannot be rendered."""

    template: TemplateInfo
    text: str
    problem: str = ""


@dataclass(frozen=True)
class Trimmed:
    """What of a prompt was left out so that it fits the context: whole ``messages``, and ``tokens`` in all."""

    messages: int = 0
    tokens: int = 0


class Phase(enum.Enum):
    """What becomes of a request: it waits, its prompt is read, its reply is written."""

    WAITING = "waiting"
    READING = "reading"
    WRITING = "writing"


@dataclass(frozen=True)
class ClientGuide:
    """What to enter into a program so that it talks to this server; ``{address}`` in a value is the server's.

    ``key`` is its name for us, ``name`` for people; ``where`` says in the program's words where the fields are.
    """

    key: str
    name: str
    where: str
    fields: tuple[tuple[str, str], ...]
    advice: tuple[str, ...]


@dataclass(frozen=True)
class WebPage:
    """A page from elsewhere that the user may allow: its name, its ``origins``, and what it is ``about``."""

    name: str
    origins: tuple[str, ...]
    about: str


@dataclass(frozen=True)
class Network:
    """A network that this PC is in: the ``name`` that people know, its ``subnet``, and this PC's ``address`` there."""

    name: str
    subnet: str
    address: str


@dataclass(frozen=True)
class Trial:
    """What a program heard when its request was tried: the text, when it began, in seconds, and tokens per second."""

    text: str
    first: float
    speed: float


@dataclass(frozen=True)
class RequestRow:
    """One running or waiting request, as a person sees it. ``speed`` is in tokens per second since the first one."""

    request_id: int
    client: str
    route: str
    prompt_tokens: int
    completion_tokens: int
    trimmed: Trimmed | None = None
    phase: Phase = Phase.WAITING
    cached_tokens: int = 0
    speed: float = 0.0


@dataclass(frozen=True)
class MachineUse:
    """What the PC is doing: the share of its processor that is busy, 0 to 1; memory in bytes, ``own`` is ours, of which
    the ``engine`` holds its part."""

    processor: float = 0.0
    memory: int = 0
    memory_total: int = 0
    own: int = 0
    engine: int = 0


@dataclass(frozen=True)
class Snapshot:
    """The launcher at one moment. ``address`` is "" while the server does not listen; ``sentence`` explains FAILED, or
    tells of what went wrong before. An engine that crashed was started again ``restarts`` times.

    ``threads`` is how many may generate; ``stats`` says how many do. ``template`` is there with the model. Of the
    ``replies`` since the start, which have ``written`` tokens, ``trimmed`` had a prompt that was shortened; the last
    one began ``first_token`` seconds after it was asked for. All prompts since the start, those of running replies too,
    have ``asked`` tokens, of which ``cached`` did not have to be read.
    """

    state: EngineState = EngineState.IDLE
    progress: float = 0.0
    sentence: str = ""
    address: str = ""
    model: ModelInfo | None = None
    template: TemplateInfo | None = None
    threads: int = 0
    stats: EngineStats = field(default_factory=EngineStats)
    requests: tuple[RequestRow, ...] = ()
    replies: int = 0
    trimmed: int = 0
    written: int = 0
    asked: int = 0
    cached: int = 0
    first_token: float = 0.0
    machine: MachineUse = MachineUse()
    restarts: int = 0

    @property
    def restarting(self) -> bool:
        """Whether a model is loading in place of one that failed."""
        return self.state is EngineState.LOADING and bool(self.sentence)


@dataclass(frozen=True)
class CatalogueEntry:
    """A model that can be recommended. ``size`` is in bytes, ``file`` its place in the ``repository`` on the hub."""

    name: str
    good_for: str
    licence: str
    size: int
    repository: str
    file: str


@dataclass(frozen=True)
class HubRepository:
    """A repository on the hub that was found. A ``gated`` one wants its licence to be accepted there."""

    name: str
    downloads: int
    licence: str
    gated: bool


@dataclass(frozen=True)
class HubPart:
    """One file on the hub; ``size`` in bytes, ``sha256`` in hexadecimal digits or ""."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class HubFile:
    """A model in a repository, in one file or in several ``parts``, at one state of the repository (``revision``)."""

    repository: str
    revision: str
    parts: tuple[HubPart, ...]

    @property
    def path(self) -> str:
        """The first part's, which stands for all."""
        return self.parts[0].path

    @property
    def size(self) -> int:
        """Bytes of all parts."""
        return sum(part.size for part in self.parts)


class DownloadPhase(enum.Enum):
    """What becomes of a download."""

    RUNNING = "running"
    CHECKING = "checking"
    PAUSED = "paused"
    FAILED = "failed"
    DONE = "done"


@dataclass(frozen=True)
class DownloadRow:
    """A download: ``done`` of ``total`` bytes, ``speed`` in bytes per second. ``path`` is where the model will lie;
    ``sentence`` says why it FAILED."""

    key: int
    file: HubFile
    path: str
    phase: DownloadPhase
    done: int
    total: int
    speed: float = 0.0
    sentence: str = ""
