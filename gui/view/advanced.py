"""The options that are folded away: which there are, what they are called, and what is typed into them."""

from __future__ import annotations

import dataclasses
import enum
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from gui.language import N_, tr
from server.errors import SettingsError
from server.settings import Settings, from_mapping, rule_of

GROUPS: Final[tuple[tuple[str, tuple[tuple[str, str], ...]], ...]] = (
    (
        N_("Memory"),
        (
            ("quantkv", N_("KV cache precision")),
            ("flashattention", N_("Flash attention")),
            ("lowvram", N_("KV cache in RAM")),
            ("useswa", N_("Only the sliding window")),
            ("cacheram", N_("Prompts kept in RAM (MiB)")),
            ("usemmap", N_("Map the file into memory")),
            ("usemlock", N_("Lock the model in RAM")),
        ),
    ),
    (
        N_("Processor and GPUs"),
        (
            ("threads", N_("Threads")),
            ("blasthreads", N_("Threads for prompts")),
            ("lowpriority", N_("Low priority")),
            ("blasbatchsize", N_("Batch size")),
            ("ubatchsize", N_("Micro-batch size")),
            ("maingpu", N_("The one GPU to use")),
            ("tensor_split", N_("Shares of several GPUs")),
            ("moecpu", N_("Layers with experts in RAM")),
        ),
    ),
    (
        N_("Context and replies"),
        (
            ("noshift", N_("Never shift the context")),
            ("nofastforward", N_("Read every prompt in full")),
            ("strictcontext", N_("Refuse prompts that are too long")),
            ("ropeconfig", N_("RoPE scale, base")),
            ("overridenativecontext", N_("Trained context")),
            ("defaultgenamt", N_("Reply length")),
            ("gendefaults", N_("Sampler defaults (JSON)")),
            ("thinkingbudget", N_("Thinking budget")),
        ),
    ),
    (
        N_("Further models"),
        (
            ("lora", N_("LoRA files")),
            ("loramult", N_("Strength of the LoRA files")),
            ("draftmodel", N_("Draft model")),
            ("draftamount", N_("Tokens to guess ahead")),
            ("draftgpulayers", N_("GPU layers of the draft model")),
            ("promptlookup", N_("Guess from the text so far")),
            ("embeddingsmodel", N_("Embeddings model")),
            ("embeddingsmaxctx", N_("Its longest text")),
            ("embeddingsgpu", N_("Embeddings on the GPU")),
        ),
    ),
    (
        N_("Clients"),
        (
            ("loadonrequest", N_("Load the model a request names")),
            ("admin", N_("Clients may change the model")),
            ("adminpassword", N_("Key for that")),
            ("admindir", N_("Folder of the models")),
            ("statedir", N_("Folder of saved conversations")),
            ("savedatafile", N_("File of saved stories")),
            ("preloadstory", N_("Story to begin with")),
        ),
    ),
    (
        N_("Access from elsewhere"),
        (
            ("alloworigins", N_("Web pages")),
            ("allowhosts", N_("Further names of this PC")),
        ),
    ),
    (
        N_("When something goes wrong"),
        (
            ("autorestart", N_("Start a crashed engine again")),
            ("hangtimeout", N_("Seconds until it counts as hung")),
            ("logprompts", N_("Log prompts and replies")),
            ("quiet", N_("Log problems only")),
        ),
    ),
)
CHOICES: Final[Mapping[str, tuple[tuple[str, str], ...]]] = {
    "quantkv": (("0", "f16"), ("1", N_("q8_0: about half")), ("2", N_("q4_0: about a quarter"))),
    "flashattention": (("auto", N_("auto")), ("on", N_("on")), ("off", N_("off"))),
}
PAGES: Final = "alloworigins"
BETWEEN_PATHS: Final = "; "
ON: Final = "on"

Typed = tuple[tuple[str, str], ...]


class OptionKind(enum.Enum):
    """How an option is set."""

    SWITCH = "switch"
    CHOICE = "choice"
    TEXT = "text"
    PAGES = "pages"


@dataclass(frozen=True)
class Option:
    """One option; ``help`` is its sentence, ``choices`` are pairs of value and label."""

    name: str
    label: str
    help: str
    kind: OptionKind
    choices: tuple[tuple[str, str], ...] = ()
    secret: bool = False


def groups() -> tuple[tuple[str, tuple[Option, ...]], ...]:
    """The options under their headings."""
    fields = {field.name: field for field in dataclasses.fields(Settings)}
    return tuple((tr(title), tuple(_option(fields[name], label) for name, label in names)) for title, names in GROUPS)


def typed_of(settings: Settings) -> Typed:
    """What the fields show for ``settings``."""
    return tuple((name, _shown(getattr(settings, name))) for _, names in GROUPS for name, _ in names)


def values_of(typed: Typed) -> Mapping[str, Any]:
    """The settings' values. Raises :class:`SettingsError` with the label of the field that cannot be read."""
    labels = {name: label for _, names in GROUPS for name, label in names}
    defaults = Settings()
    values = {name: _meant(getattr(defaults, name), text) for name, text in typed}
    for name, value in values.items():
        try:
            from_mapping({name: value})
        except SettingsError as error:
            raise SettingsError(f"{tr(labels[name])}: {error.message.removeprefix(f'{name}: ')}", error.hint) from error
    return values


def changed(typed: Typed) -> int:
    """How many options are not at their defaults."""
    return len(set(typed) - _untouched())


@functools.cache
def _untouched() -> frozenset[tuple[str, str]]:
    return frozenset(typed_of(Settings()))


def _option(field: dataclasses.Field[Any], label: str) -> Option:
    rule = rule_of(field)
    label, sentence = tr(label), tr(rule.help)
    if isinstance(field.default, bool):
        return Option(field.name, label, sentence, OptionKind.SWITCH)
    if field.name == PAGES:
        return Option(field.name, label, sentence, OptionKind.PAGES)
    if field.name in CHOICES:
        choices = tuple((value, tr(choice)) for value, choice in CHOICES[field.name])
        return Option(field.name, label, sentence, OptionKind.CHOICE, choices)
    return Option(field.name, label, sentence, OptionKind.TEXT, secret=rule.secret)


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return ON if value else ""
    if isinstance(value, tuple):
        return BETWEEN_PATHS.join(str(entry) for entry in value)
    return str(value)


def _meant(default: Any, text: str) -> Any:
    text = text.strip()
    if isinstance(default, bool):
        return text == ON
    if isinstance(default, tuple):
        return [part.strip() for part in text.split(BETWEEN_PATHS.strip()) if part.strip()]
    if isinstance(default, (int, float)) and not text:
        return default
    return text
