"""Everything that crosses a thread or a process, as frozen dataclasses: no other state is shared.

*Commands* go from the launcher to the engine process, *events* come back.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from server.embedding import Embed, Embedded, LoadEmbedder


class EngineState(enum.Enum):
    """What the engine process is doing, as ``/health`` and the window say it."""

    IDLE = "idle"
    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"


class FinishReason(enum.Enum):
    """Why a generation ended. The value is what clients read."""

    STOP = "stop"
    LENGTH = "length"
    CANCELLED = "cancelled"


DEFAULT_ORDER = (6, 0, 1, 3, 4, 2, 5)


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen, by KoboldCpp's names: see docs/samplers.md. Defaults switch all samplers off but
    temperature and the random draw.

    ``order`` holds KoboldCpp's sampler indices: 0 top_k, 1 top_a, 2 top_p and min_p, 3 tail-free, 4 typical,
    5 temperature, 6 penalties. ``mirostat`` 1 or 2 replaces all of them but penalties and temperature. ``token_bans``
    are tokens that are never drawn.
    """

    temperature: float = 0.75
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    typical: float = 1.0
    top_a: float = 0.0
    tfs: float = 1.0
    nsigma: float = 0.0
    rep_pen: float = 1.0
    rep_pen_range: int = 320
    rep_pen_slope: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    seed: int = -1
    order: tuple[int, ...] = DEFAULT_ORDER
    mirostat: int = 0
    mirostat_tau: float = 5.0
    mirostat_eta: float = 0.1
    dynatemp_range: float = 0.0
    dynatemp_exponent: float = 1.0
    smoothing_factor: float = 0.0
    smoothing_curve: float = 1.0
    dry_multiplier: float = 0.0
    dry_base: float = 1.75
    dry_allowed_length: int = 2
    dry_penalty_last_n: int = 320
    dry_sequence_breakers: tuple[str, ...] = ()
    xtc_threshold: float = 0.2
    xtc_probability: float = 0.0
    adaptive_target: float = -1.0
    adaptive_decay: float = 0.9
    token_bans: tuple[int, ...] = ()
    logit_bias: tuple[tuple[int, float], ...] = ()


class ConstraintKind(enum.Enum):
    """The language a constraint is written in. Lark is llguidance's dialect of it, which can hold JSON schemas."""

    GBNF = "gbnf"
    JSON_SCHEMA = "json_schema"
    REGEX = "regex"
    LARK = "lark"


@dataclass(frozen=True)
class Constraint:
    """What a reply must look like, from its first token that is not thinking to its last."""

    kind: ConstraintKind
    text: str


@dataclass(frozen=True)
class Thinking:
    """How a model thinks: between ``tags``, pairs of texts.

    ``closes`` is the text that ends the thinking which the prompt has already begun, or "". After ``budget`` tokens the
    engine ends it itself; 0 allows none, -1 any number. It does so with the text ``closing``, or with the closing tag
    where that is "". What is thought is told apart from what is said; stop texts and constraints do not apply to it.
    ``dropped`` are texts cut out of what is said.
    """

    tags: tuple[tuple[str, str], ...] = ()
    closes: str = ""
    budget: int = -1
    dropped: tuple[str, ...] = ()
    closing: str = ""


@dataclass(frozen=True)
class ModelInfo:
    """What a loaded model is. ``size`` is in bytes, ``parameters`` a count, ``quantisation`` llama.cpp's name of it.

    ``chat_template`` is the Jinja text in its file, ``tool_template`` the one some models have for chats with tools.
    Token ids go up to ``vocabulary`` - 1. ``infill`` are the tokens before the text in front of a gap, before the text
    behind it, and before what fills it, if the model has them. ``sampling`` is what its file recommends for samplers.
    One that ``judges`` tells how well texts fit together, and makes no vectors of them. ``gpu_layers`` are on a GPU, of
    one more than it has ``layers``.
    """

    name: str
    path: str
    architecture: str
    parameters: int
    size: int
    quantisation: str
    layers: int
    trained_context: int
    context: int
    chat_template: str
    bos_text: str
    eos_text: str
    devices: tuple[str, ...]
    cpu_variant: str
    tool_template: str = ""
    vocabulary: int = 0
    judges: bool = False
    infill: tuple[int, ...] = ()
    sampling: tuple[tuple[str, float], ...] = ()
    gpu_layers: int = 0


@dataclass(frozen=True)
class Guidance:
    """Classifier-free guidance (arXiv:2306.17806): each token is drawn from ``scale * (l - n) + n``, where l are the
    logits after the prompt and n those after the ``negative`` prompt (token ids), both followed by the reply so far."""

    negative: tuple[int, ...]
    scale: float


# --- commands -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LoadModel:
    """Load ``path``. ``sequences`` is how many may run at once; ``context`` tokens are shared by them.

    What follows ``sequences`` has llama.cpp's meaning; 0 (or "") stands for its own default. ``threads`` is the most
    that generation uses, ``batch_threads`` the most for reading prompts. ``kv_type`` is f16, q8_0 or q4_0;
    ``flash_attention`` auto, on or off; ``loras`` pairs of file and scale; ``moe_on_cpu`` the number of layers whose
    experts stay in RAM. ``sliding_window`` keeps only the window of such models, which saves memory and gives up
    reading less. ``cache_ram`` is in bytes, for prompts that fall out of the KV cache. ``draft_tokens`` are guessed
    ahead in each step, by ``draft_model`` or, without one, with ``prompt_lookup`` from the text so far.
    ``state_folder`` is where conversations are saved. With ``gpu_layers`` -1 as many go to the GPUs as leave
    ``reserve`` bytes of their memory free. Texts may stand in the log with ``log_texts``.
    """

    path: str
    context: int
    gpu_layers: int
    threads: int
    batch: int
    sequences: int
    batch_threads: int = 0
    ubatch: int = 0
    flash_attention: str = "auto"
    kv_type: str = "f16"
    kv_on_gpu: bool = True
    mmap: bool = True
    mlock: bool = False
    tensor_split: tuple[float, ...] = ()
    main_gpu: int = -1
    moe_on_cpu: int = 0
    rope_scale: float = 0.0
    rope_base: float = 0.0
    native_context: int = 0
    loras: tuple[tuple[str, float], ...] = ()
    sliding_window: bool = False
    reuse: bool = True
    shift: bool = True
    cache_ram: int = 0
    draft_model: str = ""
    draft_tokens: int = 0
    draft_gpu_layers: int = -1
    prompt_lookup: bool = False
    game_mode: bool = False
    low_priority: bool = False
    state_folder: str = ""
    reserve: int = 0
    log_texts: bool = False


@dataclass(frozen=True)
class Generate:
    """Continue ``prompt`` (token ids) by at most ``max_tokens``; with 0 it is only read.

    ``stop`` texts end the reply; they are cut off unless ``keep_stop``. ``ban_eos`` forbids the model's own end. With
    ``shift`` a reply that reaches the end of the context goes on: the first ``keep`` tokens stay, the oldest of the
    others go. Without it the reply ends there. ``shown`` are special tokens whose text is part of the reply. Without
    ``thinking`` nothing is told apart. With ``bypass_eos`` the model's own end may be drawn, and the reply goes on;
    before ``min_tokens`` it may not be drawn. The reply never says one of ``banned`` texts, in upper or lower case.
    ``logprobs`` likeliest tokens are told beside each token of the reply; -1 tells none, and not the token's own
    probability. They are told of the prompt as well, from its token ``told_from`` on, unless that is None. With
    ``render_special`` special tokens are written out.
    """

    request_id: int
    prompt: tuple[int, ...]
    max_tokens: int
    stop: tuple[str, ...] = ()
    keep_stop: bool = False
    ban_eos: bool = False
    bypass_eos: bool = False
    min_tokens: int = 0
    banned: tuple[str, ...] = ()
    guidance: Guidance | None = None
    logprobs: int = -1
    told_from: int | None = None
    render_special: bool = False
    shift: bool = False
    keep: int = 0
    sampling: Sampling = field(default_factory=Sampling)
    constraint: Constraint | None = None
    thinking: Thinking | None = None
    shown: tuple[str, ...] = ()


@dataclass(frozen=True)
class Cancel:
    """End a generation at the next step; what was generated so far stands."""

    request_id: int


@dataclass(frozen=True)
class CheckConstraint:
    """Whether a constraint can be used with the loaded model's vocabulary."""

    call_id: int
    constraint: Constraint


@dataclass(frozen=True)
class Detokenize:
    """The text of token ``ids``, with that of special tokens."""

    call_id: int
    ids: tuple[int, ...]


@dataclass(frozen=True)
class MakeGrammar:
    """The GBNF for a JSON ``schema``, given as text."""

    call_id: int
    schema: str


@dataclass(frozen=True)
class Tokenize:
    """Text to token ids. ``special`` adds the model's beginning-of-text token where it wants one."""

    call_id: int
    text: str
    special: bool


class StateAction(enum.Enum):
    """What to do with a saved conversation: look at all, save, load or clear the one in a slot."""

    LOOK = "look"
    SAVE = "save"
    LOAD = "load"
    CLEAR = "clear"


@dataclass(frozen=True)
class UseState:
    """Do ``action`` with the conversation in ``slot``. What is saved is the one that was used last."""

    call_id: int
    action: StateAction
    slot: int = 0


Question = Tokenize | Detokenize | CheckConstraint | MakeGrammar
Command = LoadModel | LoadEmbedder | Generate | Cancel | Question | UseState | Embed


# --- events ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LoadProgress:
    """``fraction`` of the model that is loaded, 0 to 1."""

    fraction: float


@dataclass(frozen=True)
class ModelLoaded:
    """The model answers from now on."""

    info: ModelInfo


@dataclass(frozen=True)
class ModelFailed:
    """The model cannot be loaded; ``sentence`` says why."""

    sentence: str


@dataclass(frozen=True)
class TextPiece:
    """Whole characters of a reply; ``tokens`` is how many tokens the reply has so far.

    ``thought`` is what the model thought meanwhile. ``unsaid``: all text before this piece was thought as well, which
    a closing tag without an opening one has shown only now. ``logprobs`` are those of its tokens, if they were asked
    for.
    """

    request_id: int
    text: str
    tokens: int
    thought: str = ""
    unsaid: bool = False
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True)
class TokenLogprob:
    """A token, as bytes, with its natural logarithm of probability before all samplers; ``top`` has the likeliest
    tokens at its place, most likely first, each with its own. The first token of a text follows nothing: it has None.
    """

    token: bytes
    logprob: float | None
    top: tuple[tuple[bytes, float], ...]


@dataclass(frozen=True)
class Finished:
    """A reply has ended. Times are in seconds: reading the prompt, then generating.

    ``cached_tokens`` of the prompt were in the cache and did not have to be read. ``drafted`` tokens were guessed
    ahead, ``accepted`` of them were right. ``stop_text`` is the one that ended it, or "".
    ``thought_tokens`` of the completion were thought, with the tags that end thoughts.
    """

    request_id: int
    reason: FinishReason
    prompt_tokens: int
    completion_tokens: int
    stop_text: str = ""
    queue_seconds: float = 0.0
    prompt_seconds: float = 0.0
    decode_seconds: float = 0.0
    seed: int = 0
    cached_tokens: int = 0
    drafted: int = 0
    accepted: int = 0
    thought_tokens: int = 0


@dataclass(frozen=True)
class Refused:
    """A generation could not run; ``sentence`` says why."""

    request_id: int
    sentence: str


@dataclass(frozen=True)
class Tokens:
    """The result of a :class:`Tokenize` call."""

    call_id: int
    ids: tuple[int, ...]


@dataclass(frozen=True)
class Detokenized:
    """The result of a :class:`Detokenize` call."""

    call_id: int
    text: str


@dataclass(frozen=True)
class ConstraintChecked:
    """The result of a :class:`CheckConstraint` call: a sentence on what is wrong with it, or ""."""

    call_id: int
    problem: str


@dataclass(frozen=True)
class GrammarMade:
    """The result of a :class:`MakeGrammar` call: a grammar, or a sentence on why there is none."""

    call_id: int
    grammar: str
    problem: str


@dataclass(frozen=True)
class KeptState:
    """A saved conversation; without tokens there is none. ``size`` is in bytes."""

    tokens: int = 0
    size: int = 0


@dataclass(frozen=True)
class StateUsed:
    """The result of a :class:`UseState` call: the conversation that would be saved, was saved or loaded; after a look,
    what each slot holds; and a sentence on why it could not be done, or ""."""

    call_id: int
    problem: str = ""
    newest: KeptState = KeptState()
    kept: tuple[KeptState, ...] = ()


@dataclass(frozen=True)
class SlotState:
    """A slot of the KV cache that holds ``tokens``: its number, and the request that it works for, or 0.

    ``cached`` tokens of that request's prompt did not have to be read.
    """

    number: int
    request_id: int
    tokens: int
    cached: int = 0


@dataclass(frozen=True)
class EngineStats:
    """The engine's pulse, sent a few times a second while it works and once when it falls idle.

    Speeds are tokens per second over the last second; ``cells`` are KV cache cells, one per token of context.
    ``cells_used`` are held by running replies, ``cells_cached`` by prompts kept for later; ``ram_used`` bytes hold
    prompts that fell out of them, and ``slots`` are those that hold any. ``threads`` is how many generate now. Since
    the model was loaded ``accepted`` of the ``drafted`` tokens were right, and ``cached_tokens`` of all
    ``prompt_tokens`` did not have to be read. ``vram_used`` of ``vram_total`` bytes of the GPUs' memory are taken, by
    whomever; 0 without a GPU.
    """

    running: int = 0
    waiting: int = 0
    decode_speed: float = 0.0
    prompt_speed: float = 0.0
    cells_used: int = 0
    cells_cached: int = 0
    cells_total: int = 0
    ram_used: int = 0
    threads: int = 0
    drafted: int = 0
    accepted: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    slots: tuple[SlotState, ...] = ()
    vram_used: int = 0
    vram_total: int = 0


@dataclass(frozen=True)
class LogLine:
    """A line of the log: from the engine process to the launcher, and from there to the window."""

    level: int
    text: str


Answer = Tokens | Detokenized | ConstraintChecked | GrammarMade | StateUsed | Embedded
EngineEvent = LoadProgress | ModelLoaded | ModelFailed | TextPiece | Finished | Refused | Answer | EngineStats | LogLine
