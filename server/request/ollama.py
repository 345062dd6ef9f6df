"""Ollama's JSON to a :class:`TextRequest`, by way of OpenAI's: what is not Ollama's own is read there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from server.errors import BadRequest
from server.request import openai
from server.request.fields import Fields
from server.request.text_request import TextRequest
from server.request.thinking import Mode

EFFORTS = ("low", "medium", "high")
ENDLESS = 1048576  # tokens; more than any context holds
LONGEST_RANGE = 32768  # tokens, where repeat_last_n means the whole context


@dataclass(frozen=True)
class OllamaRequest:
    """What is asked for, of a ``model`` by any name. ``text`` None only asks whether the model is there.

    ``context`` are the token ids of the conversation so far. ``remembers``: the answer holds those of the next one.
    """

    model: str
    stream: bool
    text: TextRequest | None
    context: tuple[int, ...] = ()
    remembers: bool = False


def read_chat(body: dict[str, Any], defaults: Mapping[str, Any]) -> OllamaRequest:
    """The body of ``/api/chat``; ``defaults`` are sampler settings of the server's template."""
    fields = Fields(body, strict=True)
    messages = body.get("messages")
    if not messages:
        return _request(fields, None)
    if isinstance(messages, list):
        messages = [_message(entry) for entry in messages]
        pictures = any(isinstance(entry, dict) and entry.get("images") for entry in messages)
    else:
        pictures = False  # openai.read_chat refuses it
    text = openai.read_chat({**_wishes(body), "messages": messages, "tools": body.get("tools")}, defaults)
    return _request(fields, _without(text, images=pictures))


def read_generate(body: dict[str, Any], defaults: Mapping[str, Any]) -> OllamaRequest:
    """The body of ``/api/generate``."""
    fields = Fields(body, strict=True)
    prompt = fields.text("prompt")
    suffix = fields.text("suffix")
    if not prompt:
        return _request(fields, None)
    raw = fields.flag("raw", default=False)
    plain = raw or bool(suffix)
    ignored = {name: bool(body.get(name)) for name in ("images", "template", *(("system", "context") if plain else ()))}
    if plain:
        (text,) = openai.read_completions({**_wishes(body), "prompt": prompt, "suffix": suffix}, {})
        return _request(fields, _without(text, **ignored))
    system = fields.text("system")
    messages = [{"role": "system", "content": system}] if system else []
    messages.append({"role": "user", "content": prompt})
    text = openai.read_chat({**_wishes(body), "messages": messages}, defaults)
    request = _request(fields, _without(text, **ignored))
    return replace(request, context=_context(body.get("context")), remembers=True)


def continued(
    text: TextRequest, before: str, prompt: str, bos: str, *, stop: tuple[str, ...], shows_thought: bool
) -> TextRequest:
    """The request for a reply to a rendered ``prompt`` that follows the conversation ``before``.

    ``bos`` begins a text, so the prompt's own is dropped, unless it is what every turn begins with. Texts do not tell
    thoughts unless that is asked for.
    """
    own = bos if prompt.count(bos) == 1 else ""
    mode = text.thinking.mode or (Mode.SHOW if shows_thought else None)
    return replace(
        text,
        chat=None,
        prompt=before + prompt.removeprefix(own),
        stop=stop,
        thinking=replace(text.thinking, mode=mode),
    )


def _request(fields: Fields, text: TextRequest | None) -> OllamaRequest:
    return OllamaRequest(fields.text("model", "name"), fields.flag("stream", default=True), text)


def _wishes(body: dict[str, Any]) -> dict[str, Any]:
    """The body's options, format and wishes for thinking and probabilities, in OpenAI's words.

    Options go in as they are: Ollama's samplers have llama.cpp's names, which are known here, and so are all others.
    """
    fields = Fields(body, strict=True)
    options = fields.mapping("options")
    read = Fields(options, strict=True)
    wishes = {**options, **_format(fields), **_think(fields)}
    length = read.optional_whole("num_predict")
    if length is not None:
        wishes["max_tokens"] = length if length > 0 else ENDLESS
    if read.whole("repeat_last_n", default=0) < 0:
        wishes["repeat_last_n"] = LONGEST_RANGE
    return wishes | {name: body[name] for name in ("logprobs", "top_logprobs", "tool_choice") if name in body}


def _format(fields: Fields) -> dict[str, Any]:
    name, wanted = fields.raw("format")
    if isinstance(wanted, dict):
        return {"json_schema": wanted}
    if wanted not in (None, "", "json"):
        fields.wrong(name, wanted, '"json" or a JSON schema')
    return {"response_format": {"type": "json_object"}} if wanted == "json" else {}


def _think(fields: Fields) -> dict[str, Any]:
    name, wanted = fields.raw("think")
    if wanted in EFFORTS:
        return {"think": True, "reasoning_effort": wanted}
    if wanted is not None and not isinstance(wanted, bool):
        fields.wrong(name, wanted, "true, false, low, medium or high")
    return {"think": wanted}


def _message(entry: Any) -> Any:
    """A message with the fields that Ollama names otherwise."""
    if not isinstance(entry, dict):
        return entry
    return {**entry, "reasoning_content": entry.get("thinking"), "name": entry.get("tool_name") or entry.get("name")}


def _context(value: Any) -> tuple[int, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or not all(type(token) is int and 0 <= token < 2**31 for token in value):
        raise BadRequest("context must be a list of token ids, as an earlier answer held them.", param="context")
    return tuple(value)


def _without(text: TextRequest, **ignored: bool) -> TextRequest:
    """The request, with what of it is ignored and must be told."""
    return replace(text, unsupported=(*text.unsupported, *(name for name, is_there in ignored.items() if is_there)))
