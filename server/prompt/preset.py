"""Instruct presets: the text before and after each role's turn, in the layout of KoboldCpp's adapters.

Called by :mod:`server.prompt.templates`. The files are in ``presets/templates``.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Mapping
from collections.abc import Sequence as ReadOnly
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from server.prompt.message import Message

FOLDER = Path(__file__).resolve().parent.parent.parent / "presets" / "templates"


@dataclass(frozen=True)
class Preset:
    """What stands before and after each turn. What a file or an adapter leaves out is Alpaca's, as in KoboldCpp.

    ``assistant_gen`` opens the reply; it is ``assistant_start`` where none is named, and may be empty. With
    ``system_joins_user`` a system message has no turn of its own: with its tags it stands at the beginning of the next
    user turn, as Llama 2's and Gemma's templates have it. ``stop`` texts end a reply besides the tags themselves.
    ``reasoning`` are pairs of tags between which the model thinks; ``shown`` names special tokens that are part of what
    the model says, and ``dropped`` are texts to leave out of it. ``closing`` ends a thought early where the closing tag
    alone would not.

    ``fragments`` must all stand in a model's own template for the preset to be recognised there; one of ``names`` (in
    lower case) in the model's name or architecture, where a model has no template. ``defaults`` are sampler settings
    for requests that name none.
    """

    chat_start: str = ""
    system_start: str = "\n### Instruction:\n"
    system_end: str = ""
    user_start: str = "\n### Instruction:\n"
    user_end: str = ""
    assistant_start: str = "\n### Response:\n"
    assistant_end: str = ""
    assistant_gen: str | None = None
    tools_start: str = ""
    tools_end: str = ""
    system_joins_user: bool = False
    stop: tuple[str, ...] = ()
    reasoning: tuple[tuple[str, str], ...] = ()
    shown: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    closing: str = ""
    fragments: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    defaults: tuple[tuple[str, float], ...] = ()

    def render(self, messages: ReadOnly[Message], *, reply: bool = True) -> str:
        """The prompt. With ``reply`` it ends where the assistant begins to speak; without, behind the last turn.

        The beginning-of-text token is not part of it.
        """
        text = self.chat_start
        waiting = ""
        for index, message in enumerate(messages):
            turn = "tools" if message.role == "tool" else message.role
            content = message.content
            if message.role == "system" and self.system_joins_user:
                waiting += self.system_start + content + self.system_end
                if index + 1 < len(messages) and messages[index + 1].role in ("system", "user"):
                    continue
                turn, content, waiting = "user", waiting, ""
            elif message.role == "user":
                content, waiting = waiting + content, ""
            text += getattr(self, f"{turn}_start") + content + getattr(self, f"{turn}_end")
        return text + (self.assistant_start if self.assistant_gen is None else self.assistant_gen) if reply else text

    def opening(self, message: Message) -> str:
        """The turn of the assistant that ``message`` is the beginning of, left open to be continued."""
        return self.assistant_start + message.content

    @property
    def stop_texts(self) -> tuple[str, ...]:
        """Texts that only appear when the model begins to write the next turn itself.

        Harmony's tags also stand between the parts of one reply: what is ``dropped`` or ends a thought ends no reply.
        """
        tags = {tag.strip(): None for tag in (self.user_start, self.assistant_start, self.assistant_end)}
        inside = {tag for pair in self.reasoning for tag in pair} | set(self.dropped)
        return tuple(dict.fromkeys((*(tag for tag in tags if tag and tag not in inside), *self.stop)))


# For a model whose own template writes the turns, when nothing is known of its family.
NO_TAGS = Preset(
    system_start="", system_end="", user_start="", user_end="", assistant_start="", assistant_end="", assistant_gen=""
)


@functools.cache
def bundled() -> Mapping[str, Preset]:
    """The presets that come with the program, by name, in alphabetical order."""
    files = sorted(FOLDER.glob("*.json"), key=lambda file: file.stem.lower())
    return {file.stem: from_dict(json.loads(file.read_text("utf-8"))) for file in files}


def from_dict(loaded: Mapping[str, Any]) -> Preset:
    """A preset out of a JSON object: KoboldCpp's flat keys, or ``{"templates": {"user": {"start", "end"}}}``.

    Keys that are not a preset's are left out. Raises :class:`ValueError` with a sentence for a value of the wrong kind.
    """
    known = dict(loaded)
    nested = loaded.get("templates")
    if isinstance(nested, Mapping):
        for role, tags in nested.items():
            for edge in ("start", "end", "gen"):
                if isinstance(tags, Mapping) and edge in tags:
                    known.setdefault(f"{'tools' if role == 'tool' else role}_{edge}", tags[edge])
    values = {field.name: _checked(field, known[field.name]) for field in FIELDS if known.get(field.name) is not None}
    numbers = ((name, known.get(name)) for name in DEFAULTS)
    return Preset(**values, defaults=tuple((name, value) for name, value in numbers if isinstance(value, (int, float))))


FIELDS = tuple(field for field in dataclasses.fields(Preset) if field.name != "defaults")
LONGEST_VALUE = 16 * 1024  # characters, written as JSON
DEFAULTS = ("max_length", "temperature", "top_k", "top_p", "min_p", "rep_pen")


def _checked(field: dataclasses.Field[Any], value: Any) -> Any:
    if len(json.dumps(value)) > LONGEST_VALUE:
        raise ValueError(f"{field.name} must be shorter")
    if field.name == "reasoning":
        if isinstance(value, list) and all(isinstance(pair, list) and len(pair) == 2 for pair in value):
            return tuple((str(start), str(end)) for start, end in value)
        raise ValueError(f"{field.name} must be a list of pairs of texts")
    if isinstance(field.default, tuple):
        if isinstance(value, list) and all(isinstance(entry, str) for entry in value):
            return tuple(value)
        raise ValueError(f"{field.name} must be a list of texts")
    if not isinstance(value, bool if field.default is False else str):
        raise ValueError(f"{field.name} must be {'true or false' if field.default is False else 'text'}")
    return value


def recognise(template: str) -> str:
    """The name of the bundled preset that ``template`` (a model's Jinja) is of, or "".

    Of those whose fragments all occur, the one that asks for most text wins: a special case beats the general one.
    """
    known = {
        name: sum(map(len, preset.fragments))
        for name, preset in bundled().items()
        if preset.fragments and all(fragment in template for fragment in preset.fragments)
    }
    return max(known, key=lambda name: known[name], default="")


def by_name(*names: str) -> str:
    """The name of the bundled preset for a model of one of these ``names`` (its name, its architecture), or ""."""
    for name in filter(None, (name.lower() for name in names)):
        known = {
            preset_name: max((len(part) for part in preset.names if part in name), default=0)
            for preset_name, preset in bundled().items()
        }
        best = max(known, key=lambda preset_name: known[preset_name], default="")
        if best and known[best]:
            return best
    return ""
