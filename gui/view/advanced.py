"""The options that are folded away: which there are, what they are called, and what is typed into them."""

from __future__ import annotations

import dataclasses
import enum
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from server.errors import SettingsError
from server.settings import Settings, from_mapping, rule_of

GROUPS: Final[tuple[tuple[str, tuple[tuple[str, str], ...]], ...]] = (
    (
        "Memory",
        (
            ("quantkv", "KV cache precision"),
            ("flashattention", "Flash attention"),
            ("lowvram", "KV cache in RAM"),
            ("useswa", "Only the sliding window"),
            ("cacheram", "Prompts kept in RAM (MiB)"),
            ("usemmap", "Map the file into memory"),
            ("usemlock", "Lock the model in RAM"),
        ),
    ),
    (
        "Processor and GPUs",
        (
            ("threads", "Threads"),
            ("blasthreads", "Threads for prompts"),
            ("lowpriority", "Low priority"),
            ("blasbatchsize", "Batch size"),
            ("ubatchsize", "Micro-batch size"),
            ("maingpu", "The one GPU to use"),
            ("tensor_split", "Shares of several GPUs"),
            ("moecpu", "Layers with experts in RAM"),
        ),
    ),
    (
        "Context and replies",
        (
            ("noshift", "Never shift the context"),
            ("nofastforward", "Read every prompt in full"),
            ("strictcontext", "Refuse prompts that are too long"),
            ("ropeconfig", "RoPE scale, base"),
            ("overridenativecontext", "Trained context"),
            ("defaultgenamt", "Reply length"),
            ("gendefaults", "Sampler defaults (JSON)"),
            ("thinkingbudget", "Thinking budget"),
        ),
    ),
    (
        "Further models",
        (
            ("lora", "LoRA files"),
            ("loramult", "Strength of the LoRA files"),
            ("draftmodel", "Draft model"),
            ("draftamount", "Tokens to guess ahead"),
            ("draftgpulayers", "GPU layers of the draft model"),
            ("promptlookup", "Guess from the text so far"),
            ("embeddingsmodel", "Embeddings model"),
            ("embeddingsmaxctx", "Its longest text"),
            ("embeddingsgpu", "Embeddings on the GPU"),
        ),
    ),
    (
        "Clients",
        (
            ("allowclients", "Addresses that may connect"),
            ("loadonrequest", "Load the model a request names"),
            ("admin", "Clients may change the model"),
            ("adminpassword", "Key for that"),
            ("admindir", "Folder of the models"),
            ("statedir", "Folder of saved conversations"),
            ("savedatafile", "File of saved stories"),
            ("preloadstory", "Story to begin with"),
            ("quiet", "Log problems only"),
        ),
    ),
)
KV_PRECISIONS: Final = (("0", "f16"), ("1", "q8_0: about half"), ("2", "q4_0: about a quarter"))
BETWEEN_PATHS: Final = "; "
ON: Final = "on"

Typed = tuple[tuple[str, str], ...]


class OptionKind(enum.Enum):
    """How an option is set."""

    SWITCH = "switch"
    CHOICE = "choice"
    TEXT = "text"


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
    return tuple((title, tuple(_option(fields[name], label) for name, label in names)) for title, names in GROUPS)


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
            raise SettingsError(f"{labels[name]}: {error.message.removeprefix(f'{name}: ')}", error.hint) from error
    return values


def changed(typed: Typed) -> int:
    """How many options are not at their defaults."""
    return len(set(typed) - _untouched())


@functools.cache
def _untouched() -> frozenset[tuple[str, str]]:
    return frozenset(typed_of(Settings()))


def _option(field: dataclasses.Field[Any], label: str) -> Option:
    rule = rule_of(field)
    if field.name == "quantkv":
        return Option(field.name, label, rule.help, OptionKind.CHOICE, KV_PRECISIONS)
    if isinstance(field.default, bool):
        return Option(field.name, label, rule.help, OptionKind.SWITCH)
    if rule.choices:
        return Option(field.name, label, rule.help, OptionKind.CHOICE, tuple((each, each) for each in rule.choices))
    return Option(field.name, label, rule.help, OptionKind.TEXT, secret=rule.secret)


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
