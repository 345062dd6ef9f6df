"""Messages to one prompt: with the model's own template, or with the preset that the user chose.

Called by :mod:`server.request.prepare`.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence as ReadOnly
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from server.errors import SettingsError
from server.events import ModelInfo
from server.prompt import jinja

log = logging.getLogger("tavernkeep.prompt")

PRESETS = Path(__file__).resolve().parent.parent.parent / "presets" / "templates"
AUTOMATIC = "AutoGuess"


@dataclass(frozen=True)
class Message:
    """One turn of a chat. Roles are OpenAI's: system, user, assistant."""

    role: str
    content: str


@dataclass(frozen=True)
class Rendered:
    """A prompt, and the stop texts that belong to the template it was made with."""

    prompt: str
    stop: tuple[str, ...] = ()


@dataclass(frozen=True)
class Preset:
    """An instruct template as KoboldCpp's adapters write it: the text before and after each role's turn.

    What an adapter leaves out is Alpaca's, as in KoboldCpp. ``assistant_gen`` opens the reply; it is
    ``assistant_start`` where an adapter names none.
    """

    chat_start: str = ""
    system_start: str = "\n### Instruction:\n"
    system_end: str = ""
    user_start: str = "\n### Instruction:\n"
    user_end: str = ""
    assistant_start: str = "\n### Response:\n"
    assistant_end: str = ""
    assistant_gen: str = ""

    def render(self, messages: ReadOnly[Message]) -> Rendered:
        """The prompt, with the texts that only appear when the model begins to write the next turn itself."""
        turns = "".join(
            getattr(self, f"{message.role}_start") + message.content + getattr(self, f"{message.role}_end")
            for message in messages
        )
        stop = (self.user_start.strip(), self.assistant_start.strip(), self.assistant_end.strip())
        prompt = self.chat_start + turns + (self.assistant_gen or self.assistant_start)
        return Rendered(prompt, tuple(dict.fromkeys(filter(None, stop))))


LAST_RESORT = Preset()


def preset_names() -> tuple[str, ...]:
    """The presets that come with the program, in alphabetical order."""
    return tuple(sorted(file.stem for file in PRESETS.glob("*.json")))


def load_preset(choice: str) -> Preset | None:
    """The preset named by ``choice``, or read from the JSON file of that path or from the JSON text itself.

    None for ``AutoGuess``. Raises :class:`SettingsError` when it is none of these.
    """
    if choice.lower() in ("", AUTOMATIC.lower()):
        return None
    text = choice if choice.lstrip().startswith("{") else _preset_file(choice)
    try:
        loaded = json.loads(text)
    except ValueError as error:
        raise SettingsError(f"chatcompletionsadapter: {choice[:80]} is not valid JSON: {error}.") from None
    known = {field.name for field in fields(Preset)}
    if not isinstance(loaded, dict) or not all(isinstance(loaded.get(key, ""), str) for key in known):
        raise SettingsError(f"chatcompletionsadapter: {choice[:80]} must be an object of texts such as user_start.")
    return Preset(**{key: value for key, value in loaded.items() if key in known})


def _preset_file(choice: str) -> str:
    named = {name.lower(): PRESETS / f"{name}.json" for name in preset_names()}
    file = named.get(choice.lower().removesuffix(".json"), Path(choice))
    try:
        return file.read_text("utf-8-sig")
    except (OSError, ValueError):
        raise SettingsError(
            f"chatcompletionsadapter: {choice!r} is neither a preset nor a file that can be read.",
            f"Use {AUTOMATIC}, a JSON file, or one of: {', '.join(preset_names())}.",
        ) from None


def render(messages: ReadOnly[Message], model: ModelInfo, preset: Preset | None) -> Rendered:
    """The prompt for ``messages``. Without a ``preset`` it is the model's own template that renders them.

    Many templates refuse a system message, two turns of one role in a row, or a chat that the assistant opens; then
    the messages are changed until they suit, because a refused request is a silent NPC. A model without a usable
    template gets Alpaca. The model's own template needs no stop texts: it ends by its own tokens.
    """
    if preset or not model.chat_template:
        return (preset or LAST_RESORT).render(messages)
    plain = merged(without_system(messages))
    for suited in (messages, merged(messages), plain, user_first(plain)):
        turns = [asdict(message) for message in suited]
        try:
            return Rendered(jinja.render(model.chat_template, turns, bos=model.bos_text, eos=model.eos_text))
        except jinja.TemplateFailed as error:
            problem = error
    log.warning("The model's own chat template failed (%s); Alpaca is used instead.", problem)
    return LAST_RESORT.render(messages)


def without_system(messages: ReadOnly[Message]) -> list[Message]:
    """System messages turned into user messages; :func:`merged` then joins them with their neighbours."""
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


def user_first(messages: ReadOnly[Message]) -> list[Message]:
    """A chat that the assistant opens (a greeting), behind an empty turn of the user."""
    greeting = messages[0].role == "assistant"
    return [Message("user", ""), *messages] if greeting else list(messages)
