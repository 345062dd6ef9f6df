"""OpenAI's JSON to a :class:`TextRequest`. KoboldCpp's and llama.cpp's sampler names are understood as well."""

from __future__ import annotations

from typing import Any

from server.errors import BadRequest
from server.prompt.chat import Message
from server.request.fields import BAN_EOS, MAX_TOKENS, Fields
from server.request.samplers import read_sampling
from server.request.text_request import TextRequest

ROLES = {"system": "system", "developer": "system", "assistant": "assistant"}


def read_chat(body: dict[str, Any]) -> TextRequest:
    """The body of ``/v1/chat/completions``."""
    return _read(body, messages=_messages(body.get("messages")))


def read_completion(body: dict[str, Any]) -> TextRequest:
    """The body of ``/v1/completions``."""
    return _read(body, prompt=_prompt(body.get("prompt")), memory=Fields(body, strict=True).text("memory"))


def _read(body: dict[str, Any], **what: Any) -> TextRequest:
    fields = Fields(body, strict=True)
    options = Fields(fields.mapping("stream_options"), strict=True)
    return TextRequest(
        max_tokens=fields.optional_whole(*MAX_TOKENS, "max_length"),
        stop=fields.texts("stop", "stop_sequence"),
        ban_eos=fields.flag(*BAN_EOS, default=False),
        sampling=read_sampling(fields),
        genkey=fields.text("genkey"),
        stream=fields.flag("stream", default=False),
        include_usage=options.flag("include_usage", default=False),
        **what,
    )


def _prompt(value: Any) -> str:
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if value is None:
        return ""
    if not isinstance(value, str):
        raise BadRequest("prompt must be text, or a list with one text.", param="prompt")
    return value


def _messages(value: Any) -> tuple[Message, ...]:
    if not isinstance(value, list) or not value:
        raise BadRequest("messages must be a list with at least one message.", param="messages")
    return tuple(_message(index, entry) for index, entry in enumerate(value))


def _message(index: int, entry: Any) -> Message:
    if not isinstance(entry, dict) or not isinstance(entry.get("role"), str):
        raise BadRequest(f"messages[{index}] must be an object with a role and content.", param=f"messages[{index}]")
    return Message(ROLES.get(entry["role"], "user"), _content(index, entry.get("content")))


def _content(index: int, content: Any) -> str:
    """Text, or the text parts of a list of parts; pictures are left out, a text-only model cannot see them."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, list) and all(isinstance(part, (str, dict)) for part in content):
        texts = (part if isinstance(part, str) else part.get("text") for part in content)
        return "\n".join(text for text in texts if isinstance(text, str))
    raise BadRequest(f"messages[{index}].content must be text or a list of parts.", param=f"messages[{index}].content")
