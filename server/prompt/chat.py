"""Messages to one prompt: with the model's own template, or with the preset that the user chose.

Called by :mod:`server.request.prepare`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence as ReadOnly
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from server.errors import SettingsError
from server.events import ModelInfo
from server.prompt import jinja

PRESETS = Path(__file__).resolve().parent.parent.parent / "presets" / "templates"
AUTOMATIC = "AutoGuess"
LAST_RESORT = "Alpaca"


@dataclass(frozen=True)
class Message:
    """One turn of a chat. Roles are OpenAI's: system, user, assistant."""

    role: str
    content: str


@dataclass(frozen=True)
class Preset:
    """An instruct template as KoboldCpp's adapters write it: the text before and after each role's turn.

    ``assistant_gen`` opens the reply; it is ``assistant_start`` where a preset names none.
    """

    chat_start: str = ""
    system_start: str = ""
    system_end: str = ""
    user_start: str = ""
    user_end: str = ""
    assistant_start: str = ""
    assistant_end: str = ""
    assistant_gen: str = ""

    def render(self, messages: ReadOnly[Message]) -> str:
        turns = "".join(
            getattr(self, f"{message.role}_start") + message.content + getattr(self, f"{message.role}_end")
            for message in messages
        )
        return self.chat_start + turns + (self.assistant_gen or self.assistant_start)

    @property
    def stop(self) -> tuple[str, ...]:
        """Texts that only appear when the model begins to write the next turn itself."""
        return tuple(dict.fromkeys(filter(None, (self.user_start.strip(), self.assistant_start.strip()))))


def preset_names() -> tuple[str, ...]:
    """The presets that come with the program, in alphabetical order."""
    return tuple(sorted(file.stem for file in PRESETS.glob("*.json")))


def load_preset(choice: str) -> Preset | None:
    """The preset named by ``choice``, or read from the JSON file of that path; None for ``AutoGuess``.

    Raises :class:`SettingsError` when it is neither.
    """
    if choice.lower() in ("", AUTOMATIC.lower()):
        return None
    named = {name.lower(): PRESETS / f"{name}.json" for name in preset_names()}
    file = named.get(choice.lower().removesuffix(".json"), Path(choice))
    try:
        loaded = json.loads(file.read_text("utf-8"))
    except OSError:
        raise SettingsError(
            f"chatcompletionsadapter: {choice!r} is neither a preset nor a file.",
            f"Use {AUTOMATIC}, a JSON file, or one of: {', '.join(preset_names())}.",
        ) from None
    except ValueError as error:
        raise SettingsError(f"chatcompletionsadapter: {file} is not valid JSON: {error}.") from None
    known = {field.name for field in fields(Preset)}
    if not isinstance(loaded, dict) or not all(isinstance(loaded.get(key, ""), str) for key in known):
        raise SettingsError(f"chatcompletionsadapter: {file} must hold an object of texts such as user_start.")
    return Preset(**{key: value for key, value in loaded.items() if key in known})


def render(messages: ReadOnly[Message], model: ModelInfo, preset: Preset | None) -> str:
    """The prompt for ``messages``. Without a ``preset`` it is the model's own template that renders them.

    Many templates refuse a system message or two turns of one role in a row; then the messages are merged until they
    suit, because a refused request is a silent NPC. A model without a usable template gets Alpaca.
    """
    if preset is None and model.chat_template:
        for suited in (messages, merged(messages), merged(without_system(messages))):
            try:
                return jinja.render(
                    model.chat_template,
                    [asdict(message) for message in suited],
                    bos=model.bos_text,
                    eos=model.eos_text,
                )
            except jinja.TemplateFailed:
                continue
    return (preset or _last_resort()).render(messages)


def stop_texts(model: ModelInfo, preset: Preset | None) -> tuple[str, ...]:
    """Stop texts that belong to the template in use; a model's own template ends by its own tokens."""
    if preset is None and model.chat_template:
        return ()
    return (preset or _last_resort()).stop


def without_system(messages: ReadOnly[Message]) -> list[Message]:
    """System text moved to the front of the next user turn, or into a user turn of its own."""
    return [Message("user", message.content) if message.role == "system" else message for message in messages]


def merged(messages: ReadOnly[Message]) -> list[Message]:
    """Neighbouring turns of one role joined by a blank line."""
    result: list[Message] = []
    for message in messages:
        if result and result[-1].role == message.role:
            result[-1] = Message(message.role, f"{result[-1].content}\n\n{message.content}")
        else:
            result.append(message)
    return result


def _last_resort() -> Preset:
    preset = load_preset(LAST_RESORT)
    assert preset is not None
    return preset
