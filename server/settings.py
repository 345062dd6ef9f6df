"""The one table of settings. The command line, ``.kcpps`` files, the window and the docs are all made from it.

A setting is added here and nowhere else. Names are KoboldCpp's, so that people's scripts and files keep working.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from server import access, json_text
from server.errors import OpenToAll, SettingsError, in_a_line, shown

KINDS: dict[type, str] = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}


@dataclass(frozen=True)
class Rule:
    """What a setting's value must look like, and how it is explained.

    ``help`` is one sentence for tooltips and ``--help``; ``flags`` are further names on the command line, and
    ``off_flags`` those that switch a setting off which is on. ``bare`` is what the flag means when no value follows.
    ``choices`` are all the values there are. A list has at most ``entries``, each of the kind ``each``, which is float
    or str. With ``automatic`` KoboldCpp's -1 ("choose for me") means the default.
    """

    help: str
    flags: tuple[str, ...] = ()
    off_flags: tuple[str, ...] = ()
    bare: str = ""
    minimum: int | None = None
    maximum: int | None = None
    choices: tuple[str, ...] = ()
    each: type | None = None
    entries: int = 0
    automatic: bool = False
    secret: bool = False


def _setting(default: Any, help: str, **rule: Any) -> Any:
    return dataclasses.field(default=default, metadata={"rule": Rule(help, **rule)})


@dataclass(frozen=True)
class Settings:
    """Everything a user can choose. Immutable; use :func:`dataclasses.replace` for a changed copy, which is checked.

    Raises :class:`SettingsError` with one sentence when a value cannot be used.
    """

    model: str = _setting("", "GGUF model file to load.", flags=("-m",))
    port: int = _setting(5001, "TCP port of the server.", minimum=0, maximum=65535)
    host: str = _setting("127.0.0.1", "Address to listen on; 0.0.0.0 opens the server to your network.")
    contextsize: int = _setting(
        8192,
        "Context size in tokens, shared by all requests that run at the same time.",
        flags=("--ctx-size", "-c"),
        minimum=256,
        maximum=1048576,
    )
    gpulayers: int = _setting(
        -1,
        "Model layers to keep on the GPU; -1 puts as many there as fit its free memory.",
        flags=("--gpu-layers", "--n-gpu-layers", "-ngl"),
        bare="1",  # as in KoboldCpp
        minimum=-1,
        maximum=10000,
    )
    reservevram: float = _setting(
        1.0,
        "GB of the GPU's memory to leave for the game, where the number of layers is chosen automatically.",
        minimum=0,
        maximum=1000,
    )
    tensor_split: tuple[float, ...] = _setting(
        (),
        "Shares of the model for each of several GPUs, such as 3,1; llama.cpp chooses by their free memory otherwise.",
        flags=("--tensorsplit", "--tensor-split", "-ts"),
        minimum=0,
        maximum=1000000,
        each=float,
        entries=16,  # llama.cpp's limit
    )
    maingpu: int = _setting(
        -1,
        "The one GPU to use, counted from 0; -1 uses all of them.",
        flags=("--main-gpu", "-mg"),
        minimum=-1,
        maximum=15,
    )
    moecpu: int = _setting(
        0,
        "Layers of a mixture-of-experts model whose experts stay in RAM; the flag alone means all.",
        flags=("--n-cpu-moe", "-ncmoe"),
        bare="999",
        minimum=0,
        maximum=10000,
    )
    usemmap: bool = _setting(
        True,
        "Map the model file into memory instead of reading all of it at the start; on by default.",
        off_flags=("--nommap", "--no-mmap"),
    )
    usemlock: bool = _setting(False, "Keep the model in RAM, so that it is never swapped out.", flags=("--mlock",))
    threads: int = _setting(
        0,
        "CPU threads for generation; 0 chooses by the cores of this PC.",
        flags=("-t",),
        automatic=True,
        minimum=0,
        maximum=512,
    )
    blasthreads: int = _setting(
        0,
        "CPU threads for reading prompts; 0 is as many as for generation.",
        flags=("--batchthreads", "--threadsbatch", "--threads-batch"),
        automatic=True,
        minimum=0,
        maximum=512,
    )
    gamemode: bool = _setting(
        False,
        "Leave the processor to the game: fewer threads that sleep while they wait, with a lowered priority.",
    )
    lowpriority: bool = _setting(False, "Let other programs go first when the processor is busy.")
    blasbatchsize: int = _setting(
        512,
        "Prompt tokens read in one step; larger is faster but holds up running replies longer.",
        flags=("--batchsize", "--batch-size", "-b"),
        automatic=True,
        minimum=16,
        maximum=8192,
    )
    ubatchsize: int = _setting(
        0,
        "Tokens that are computed at once, of those in a step; 0 is automatic.",
        flags=("--ubatch-size", "-ub"),
        automatic=True,
        minimum=0,
        maximum=8192,
    )
    flashattention: str = _setting(
        "auto",
        "Flash attention: on, off, or auto where the hardware has it.",
        flags=("--flash-attn", "-fa"),
        bare="on",
        choices=("auto", "on", "off"),
    )
    quantkv: int = _setting(
        0,
        "Precision of the KV cache: 0 is f16, 1 q8_0 with about half the memory, 2 q4_0 with about a quarter.",
        minimum=0,
        maximum=2,
    )
    lowvram: bool = _setting(
        False,
        "Keep the KV cache in RAM instead of the GPU's memory.",
        flags=("--no-kv-offload", "-nkvo"),
    )
    useswa: bool = _setting(
        False,
        "Keep only the window that sliding-window models look at: less memory, but prompts are read again more often.",
    )
    noshift: bool = _setting(
        False,
        "Never shift the context: a chat that lost its oldest messages is read again.",
        flags=("--no-context-shift",),
    )
    nofastforward: bool = _setting(False, "Read every prompt in full, even where its beginning was read before.")
    cacheram: int = _setting(
        2048,
        "MiB of RAM for prompts that fell out of the KV cache, so that they need not be read again; 0 keeps none.",
        flags=("--cache-ram", "-cram"),
        minimum=0,
        maximum=1048576,
    )
    ropeconfig: tuple[float, ...] = _setting(
        (),
        "RoPE scale and base in place of the model's own, such as 0.5,10000; the scale 0 leaves both to the model.",
        minimum=0,
        maximum=1000000000,
        each=float,
        entries=2,
    )
    overridenativecontext: int = _setting(
        0,
        "Context size that the model counts as trained for; 0 is what its file says.",
        minimum=0,
        maximum=1048576,
    )
    lora: tuple[str, ...] = _setting((), "LoRA files (GGUF) to apply to the model.", each=str, entries=16)
    loramult: float = _setting(1.0, "Strength of the LoRA files.", minimum=-100, maximum=100)
    draftmodel: str = _setting(
        "",
        "Small GGUF model with the same vocabulary, which guesses the next tokens for the large one to check.",
        flags=("--model-draft", "-md"),
    )
    draftamount: int = _setting(
        8,
        "Tokens to guess ahead at most, with draftmodel or promptlookup.",
        flags=("--draft-max", "--draft-n"),
        minimum=1,
        maximum=64,
    )
    draftgpulayers: int = _setting(
        -1,
        "Layers of the draft model to keep on the GPU; -1 puts all of them there if a GPU is found.",
        flags=("--gpu-layers-draft", "--n-gpu-layers-draft", "-ngld"),
        minimum=-1,
        maximum=10000,
    )
    promptlookup: bool = _setting(
        False,
        "Guess the next tokens from the text so far, which speeds up replies that repeat parts of it.",
    )
    embeddingsmodel: str = _setting(
        "",
        "GGUF model that makes embeddings (vectors for searching texts by meaning), or judges how texts fit together.",
    )
    embeddingsmaxctx: int = _setting(
        0,
        "Tokens of a text that the embeddings model reads at most; 0 is as many as it was trained for, up to 2048.",
        minimum=0,
        maximum=1048576,
    )
    embeddingsgpu: bool = _setting(False, "Run the embeddings model on the GPU.")
    multiuser: int = _setting(
        1,
        "Requests served or waiting at the same time: 0 is one and no queue, 1 is automatic (16 run, 32 may wait), more"
        " is that many.",
        minimum=0,
        maximum=256,
    )
    chatcompletionsadapter: str = _setting(
        "AutoGuess",
        "Instruct template: AutoGuess uses the model's own; or a preset's name, a JSON or Jinja file, or JSON text.",
    )
    thinking: str = _setting(
        "show",
        "What the model thinks: show sends it apart from the reply on the OpenAI API, hide drops it, off forbids it.",
        choices=("show", "hide", "off"),
    )
    thinkingbudget: int = _setting(
        -1,
        "Tokens a model may think before it must answer; -1 is any number.",
        flags=("--reasoning-budget",),
        minimum=-1,
        maximum=1048576,
    )
    strictcontext: bool = _setting(
        False,
        "Refuse a prompt that does not fit the context instead of leaving out its oldest part.",
    )
    defaultgenamt: int = _setting(768, "Reply length in tokens when a request names none.", minimum=16, maximum=1048576)
    gendefaults: str = _setting(
        "",
        'Values for what a request leaves open, as JSON, such as {"temperature": 0.6, "min_p": 0.1}.',
    )
    loadonrequest: bool = _setting(
        False,
        "Load the model that a request names, if it is in the folder of the models; on the OpenAI API.",
    )
    password: str = _setting("", "Key that clients must send as 'Authorization: Bearer KEY'.", secret=True)
    allowclients: str = _setting(
        "",
        "Addresses or subnets that may connect when --host opens the network, e.g. 172.16.0.0/12,192.168.1.20.",
    )
    allowhosts: str = _setting(
        "",
        "Further names that clients may call this PC by, e.g. gaming-pc.example.org,tavern.home.",
    )
    alloworigins: str = _setting(
        "",
        "Web pages from elsewhere that may use the server, e.g. https://lite.koboldai.net; all others are refused.",
    )
    admin: bool = _setting(
        False,
        "Let clients on this PC change the model and keep conversations on disk, through /api/admin.",
    )
    adminpassword: str = _setting(
        "",
        "Key for /api/admin, sent as 'Authorization: Bearer KEY'; with it other PCs may use that too.",
        secret=True,
    )
    admindir: str = _setting(
        "",
        "Folder of the models and .kcpps files that /api/admin offers; without one, the folder of the model.",
    )
    statedir: str = _setting(
        "",
        "Folder for the conversations that /api/admin keeps; without one, a folder of Tavernkeep's in your user data.",
    )
    savedatafile: str = _setting(
        "",
        "JSON file in which clients may keep stories, as KoboldAI Lite does; it is made when the first one is saved.",
    )
    preloadstory: str = _setting("", "JSON file of a story that KoboldAI Lite begins with.")
    autorestart: bool = _setting(
        True,
        "Start the engine again when it crashes or hangs, and answer the requests that wait; on by default.",
        off_flags=("--noautorestart",),
    )
    hangtimeout: int = _setting(
        300,
        "Seconds without a sign of life, while replies are wanted, after which the engine counts as hung; 0 never."
        " Short questions, such as counting tokens, have a minute.",
        minimum=0,
        maximum=86400,
    )
    logprompts: bool = _setting(
        False,
        "Write prompts and replies into the log, to find out what a client sends; without it none are.",
    )
    quiet: bool = _setting(False, "Log warnings and errors only.")

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            _check(field.name, getattr(self, field.name), field.default, rule_of(field))
        access.host_names(self.allowhosts)
        access.web_origins(self.alloworigins)
        _check_exposure(self)
        self.generation_defaults()

    def generation_defaults(self) -> dict[str, Any]:
        """The values in ``gendefaults``. Raises :class:`SettingsError` when it holds anything else."""
        try:
            values = json_text.loads(self.gendefaults or "{}")
        except ValueError as error:
            raise SettingsError(f"gendefaults: it is not valid JSON: {error}.") from None
        if not isinstance(values, dict):
            raise SettingsError('gendefaults: it must be a JSON object, such as {"temperature": 0.6}.')
        return values


def rule_of(field: dataclasses.Field[Any]) -> Rule:
    """The :class:`Rule` of a field of :class:`Settings`."""
    rule: Rule = field.metadata["rule"]
    return rule


def from_mapping(values: dict[str, Any], base: Settings | None = None) -> Settings:
    """``base`` (or the defaults) with ``values`` laid over it; text and lists are converted to the setting's type.

    Raises :class:`SettingsError` for a value that does not fit; unknown names are the caller's mistake (``KeyError``).
    """
    fields = {field.name: field for field in dataclasses.fields(Settings)}
    changes = {name: _convert(fields[name], value) for name, value in values.items()}
    return dataclasses.replace(base or Settings(), **changes)


def _convert(field: dataclasses.Field[Any], value: Any) -> Any:
    rule = rule_of(field)
    if rule.each:
        parts = [part for entry in _listed(value) for part in _split(entry, rule.each)]
        return tuple(_read(field.name, part, rule.each) for part in parts)
    value = _read(field.name, value, type(field.default))
    return field.default if rule.automatic and value == -1 else value


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _split(entry: Any, kind: type) -> list[Any]:
    """Numbers may stand in one text, as llama.cpp writes them: ``3,1``. A path may have a comma in it."""
    if not isinstance(entry, str):
        return [entry]
    return [part for part in (entry.split(",") if kind is float else [entry]) if part]


def _read(name: str, value: Any, kind: type) -> Any:
    if not (isinstance(value, str) and kind in (int, float)) and not (type(value) is int and kind is float):
        return value
    try:
        return kind(value)
    except (ValueError, OverflowError):
        raise SettingsError(f"{name}: {shown(value)} is not {KINDS[kind]}.") from None


def _check(name: str, value: Any, default: Any, rule: Rule) -> None:
    if not rule.each:
        _check_entry(name, value, type(default), rule)
        return
    if type(value) is not tuple:
        raise SettingsError(f"{name}: {shown(value)} is not a list.")
    if len(value) > rule.entries:
        raise SettingsError(f"{name}: {len(value)} values are too many; the most is {rule.entries}.")
    for entry in value:
        _check_entry(name, entry, rule.each, rule)


def _check_entry(name: str, value: Any, kind: type, rule: Rule) -> None:
    fits = type(value) is kind
    if not fits or (kind is float and not math.isfinite(value)):
        said = "the value" if rule.secret else shown(value)
        raise SettingsError(f"{name}: {said} is not {KINDS[kind]}.")
    if rule.choices and value not in rule.choices:
        raise SettingsError(f"{name}: {shown(value)} is none of {', '.join(rule.choices)}.")
    if rule.minimum is not None and value < rule.minimum:
        raise SettingsError(f"{name}: {shown(value)} is too small; the least is {rule.minimum}.")
    if rule.maximum is not None and value > rule.maximum:
        raise SettingsError(f"{name}: {shown(value)} is too large; the most is {rule.maximum}.")


def _check_exposure(settings: Settings) -> None:
    """Opening the server to a network is a decision: a key, or a list of who may connect."""
    networks = access.client_networks(settings.allowclients)
    if not access.is_loopback(settings.host) and not settings.password and not networks:
        raise OpenToAll(
            f"--host {in_a_line(settings.host)} opens the server to your network.",
            "Set --password KEY as well, or, for clients that cannot send a key, --allowclients with their addresses.",
        )
