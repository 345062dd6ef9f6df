"""What a chat will look like to a model that is not loaded yet. Used by the controller, for the window."""

from __future__ import annotations

from pathlib import Path

from server.events import ModelInfo
from server.prompt import chat, templates
from server.prompt.jinja import Renderer, TemplateFailed
from server.prompt.message import Chat, Message
from server.snapshot import ModelFile, Preview

TAVERN = Chat(
    (
        Message("system", "You are Hulda, the innkeeper of the Bannered Mare. Answer in one sentence."),
        Message("user", "Have you a room for the night?"),
        Message("assistant", "Aye, upstairs to the left, ten gold."),
        Message("user", "And something to drink?"),
    )
)


def preview(file: ModelFile, setting: str, renderer: Renderer) -> Preview:
    """The template that the ``chatcompletionsadapter`` setting means for this model, and a chat rendered with it.

    The texts before the first token and after the last are left out: only the loaded model knows them. Raises
    :class:`SettingsError` when the setting cannot be used.
    """
    choice = templates.read_choice(setting)
    if choice:
        templates.check(choice, renderer)
    template = templates.choose(choice, _as_loaded(file), renderer)
    try:
        return Preview(template.info, chat.render(TAVERN, template, renderer).prompt)
    except TemplateFailed as error:
        return Preview(template.info, "", f"This template cannot render a chat: {error}.")


def _as_loaded(file: ModelFile) -> ModelInfo:
    return ModelInfo(
        name=Path(file.path).stem,
        path=file.path,
        architecture=file.architecture,
        parameters=0,
        size=file.size,
        quantisation=file.quantisation,
        layers=file.layers,
        trained_context=file.trained_context,
        context=0,
        chat_template=file.chat_template,
        bos_text="",
        eos_text="",
        devices=(),
        cpu_variant="",
    )
