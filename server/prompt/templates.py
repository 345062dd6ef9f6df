"""Which template a chat is rendered with, and why. Chosen once for each loaded model by :mod:`server.controller`.

The order: the request's own ``adapter``, the user's choice, the model's own Jinja, a guess, Alpaca.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from server import json_text
from server.errors import SettingsError
from server.events import ModelInfo
from server.prompt import chat, preset
from server.prompt.chat import Template
from server.prompt.jinja import Renderer, TemplateFailed
from server.prompt.message import Chat, Message, Tool
from server.prompt.preset import Preset
from server.snapshot import TemplateInfo

AUTOMATIC = "AutoGuess"
LAST_RESORT = "Alpaca"
CHOSEN = TemplateInfo("", "your choice", "It was chosen in the settings.")
SAID = "Well met."
GREETING = Chat((Message("user", "Hello"),))
SAMPLE = Chat(
    (
        Message("user", "Hello"),
        Message("assistant", SAID),
        Message("user", "Who goes there?"),
    )
)
PROBE = Tool("tavern_probe", "", {"type": "object", "properties": {}})
JINJA_MARKS = ("{%", "{{")


@dataclass(frozen=True)
class Choice:
    """What the user chose: a preset, or the text of a Jinja template. ``name`` is how people call it."""

    name: str
    preset: Preset = preset.NO_TAGS
    jinja: str = ""


def names() -> tuple[str, ...]:
    """What can be chosen by name: ``AutoGuess`` first, then the presets."""
    return (AUTOMATIC, *preset.bundled())


def read_choice(setting: str) -> Choice | None:
    """The ``chatcompletionsadapter`` setting: a preset's name, a JSON or Jinja file, or either's text. None: automatic.

    Raises :class:`SettingsError` when it is none of these.
    """
    if setting.lower() in ("", AUTOMATIC.lower()):
        return None
    known = {name.lower(): name for name in preset.bundled()}
    name = known.get(setting.lower().removesuffix(".json"))
    if name:
        return Choice(name, preset.bundled()[name])
    if setting.lstrip().startswith("{") or any(mark in setting for mark in JINJA_MARKS):
        name, text = "your own", setting
    else:
        name, text = Path(setting).name, _text_of(setting)
    try:
        loaded = json_text.loads(text)
    except ValueError as error:
        if any(mark in text for mark in JINJA_MARKS):
            return Choice(name, jinja=text)
        raise _unusable(setting, error) from None
    if not isinstance(loaded, dict):
        raise _unusable(setting, "it must be an object with texts such as user_start")
    try:
        return Choice(name, preset.from_dict(loaded))
    except ValueError as error:
        raise _unusable(setting, error) from None


def _unusable(setting: str, why: object) -> SettingsError:
    return SettingsError(f"chatcompletionsadapter: {setting[:80]} cannot be used: {why}.")


def _text_of(path: str) -> str:
    try:
        return Path(path).read_text("utf-8-sig")
    except (OSError, ValueError):
        raise SettingsError(
            f"chatcompletionsadapter: {path[:80]!r} is neither a preset nor a file that can be read.",
            f"Use {AUTOMATIC}, a JSON or Jinja file, or one of: {', '.join(preset.bundled())}.",
        ) from None


def check(choice: Choice, renderer: Renderer) -> None:
    """Raise :class:`SettingsError` when a chosen Jinja template cannot even render a greeting."""
    if choice.jinja:
        try:
            chat.render(GREETING, _of_jinja(CHOSEN, choice.jinja), renderer)
        except TemplateFailed as error:
            raise SettingsError(
                f"chatcompletionsadapter: the template {choice.name} cannot be used: {error}.",
                f"Correct it, or use {AUTOMATIC}.",
            ) from None


def choose(choice: Choice | None, model: ModelInfo, renderer: Renderer) -> Template:
    """The template for a loaded model."""
    if choice:
        template = _chosen(choice, model)
        warning = _disagreement(template, model, renderer)
        return _probed(replace(template, info=replace(template.info, warning=warning)), renderer)
    problem = "The model file has no template of its own"
    if model.chat_template:
        own = _own(model)
        try:
            chat.render(GREETING, own, renderer)
        except TemplateFailed as error:
            problem = f"The model's own template cannot be used ({error})"
        else:
            return _probed(own, renderer)
    by_text = preset.recognise(model.chat_template)
    name = by_text or preset.by_name(model.name, model.architecture)
    if name:
        because = "that is what its text looks like" if by_text else "the model's name says so"
        info = TemplateInfo(name, "a guess", f"{problem}; {because}.", "It is a guess: check the replies.")
    else:
        info = TemplateInfo(LAST_RESORT, "the last resort", f"{problem}, and nothing tells its family.", "Choose one.")
    return Template(info, preset.bundled()[info.name])


def of_adapter(adapter: Preset) -> Template:
    """The template that a request brings along."""
    return Template(TemplateInfo("adapter", "the request", "The request brought its own adapter."), adapter)


def tags_of(template: Template) -> Preset:
    """The tags that a model's turns have, as far as they are known; the last resort's where they are not."""
    known = template.family.user_start or template.family.assistant_start
    return template.family if known else preset.bundled()[LAST_RESORT]


def with_tags_only(template: Template) -> Template:
    """What is used where ``template``'s Jinja fails for one chat: its family's tags, or the last resort's."""
    name = preset.recognise(template.jinja) or LAST_RESORT
    return Template(TemplateInfo(name, "the last resort", "The chat template failed."), preset.bundled()[name])


def _chosen(choice: Choice, model: ModelInfo) -> Template:
    info = replace(CHOSEN, name=choice.name)
    return _of_jinja(info, choice.jinja, model) if choice.jinja else Template(info, choice.preset)


def _own(model: ModelInfo) -> Template:
    family = preset.recognise(model.chat_template)
    info = TemplateInfo(
        family or "Jinja",
        "the model's own",
        f"The model file carries it{f', and it is of the family {family}' if family else ''}.",
    )
    return replace(_of_jinja(info, model.chat_template, model), tool_jinja=model.tool_template)


def _of_jinja(info: TemplateInfo, text: str, model: ModelInfo | None = None) -> Template:
    family = preset.recognise(text)
    tags = preset.bundled()[family] if family else preset.NO_TAGS
    bos, eos = (model.bos_text, model.eos_text) if model else ("", "")
    return Template(info, tags, jinja=text, bos=bos, eos=eos)


def _probed(template: Template, renderer: Renderer) -> Template:
    """With what is found out by trying: whether the template knows tools."""
    if not template.jinja:
        return template
    asked = replace(template, knows_tools=True)
    try:
        prompt = chat.render(replace(GREETING, tools=(PROBE,)), asked, renderer).prompt
    except TemplateFailed:
        return template
    return replace(template, knows_tools=PROBE.name in prompt)


def _disagreement(template: Template, model: ModelInfo, renderer: Renderer) -> str:
    """A sentence when the model's own template ends and begins turns otherwise, or ""."""
    if not model.chat_template:
        return ""
    own = _own(model)
    try:
        turns = [chat.render(SAMPLE, each, renderer).prompt.rpartition(SAID)[2] for each in (template, own)]
        turns = ["".join(turn.split()) for turn in turns]  # blanks differ without harm
    except TemplateFailed:
        return ""
    if turns[0].startswith(turns[1]) or turns[1].startswith(turns[0]):
        return ""
    looks = f", which looks like {own.info.name}," if own.info.name in preset.bundled() else ""
    return f"The model's own template{looks} writes turns differently."
