"""OpenAI's ``messages`` and ``tools``, read with care. Called by :mod:`server.request.openai`."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from server.errors import BadRequest
from server.prompt.message import Message, Tool, ToolCall

ROLES = {"system": "system", "developer": "system", "assistant": "assistant", "tool": "tool", "function": "tool"}
ANY_TOOL = ("required", "any")
LONGEST_NAME = 128
NO_PARAMETERS: dict[str, Any] = {"type": "object", "properties": {}}


def read_messages(value: Any) -> tuple[Message, ...]:
    """``messages``. A role nobody knows counts as the user's. Raises :class:`BadRequest` naming the one at fault."""
    if not isinstance(value, list) or not value:
        raise BadRequest("messages must be a list with at least one message.", param="messages")
    return tuple(_message(f"messages[{index}]", entry) for index, entry in enumerate(value))


def read_tools(value: Any) -> tuple[Tool, ...]:
    """``tools``. Raises :class:`BadRequest` naming the one at fault."""
    if value is None:
        return ()
    if not isinstance(value, list):
        raise BadRequest("tools must be a list of functions.", param="tools")
    tools = tuple(_tool(f"tools[{index}]", entry) for index, entry in enumerate(value))
    counts = Counter(tool.name for tool in tools)
    twice = next((name for name, count in counts.items() if count > 1), None)
    if twice:
        raise BadRequest(f"tools has two functions of the name {twice!r}.", param="tools")
    return tools


def read_tool_choice(value: Any, tools: tuple[Tool, ...]) -> tuple[tuple[Tool, ...], tuple[Tool, ...]]:
    """The tools the model may know of, and those of which it must call one, by ``tool_choice``."""
    if isinstance(value, dict) and value.get("type") in ("auto", "none", *ANY_TOOL):
        value = value["type"]
    if value is None or value in ("", "auto"):
        return tools, ()
    if value == "none":
        return (), ()
    if not tools:
        raise BadRequest("tool_choice asks for a call, but the request has no tools.", param="tool_choice")
    if value in ANY_TOOL:
        return tools, tools
    function = value.get("function", value) if isinstance(value, dict) else None
    name = function.get("name") if isinstance(function, dict) else value
    named = tuple(tool for tool in tools if tool.name == name)
    if not named:
        known = ", ".join(tool.name for tool in tools)
        raise BadRequest(
            f"tool_choice must be auto, none, required or a function of this request, not {json.dumps(value)[:60]}.",
            f"Its functions are: {known}.",
            param="tool_choice",
        )
    return tools, named


def _message(where: str, entry: Any) -> Message:
    if not isinstance(entry, dict) or not isinstance(entry.get("role"), str):
        raise BadRequest(f"{where} must be an object with a role and content.", param=where)
    calls = entry.get("tool_calls")
    if calls is not None and not isinstance(calls, list):
        raise BadRequest(f"{where}.tool_calls must be a list.", param=f"{where}.tool_calls")
    thought = entry.get("reasoning_content") or entry.get("reasoning")
    return Message(
        ROLES.get(entry["role"], "user"),
        _content(f"{where}.content", entry.get("content")),
        name=_text(entry.get("name")),
        tool_calls=tuple(_call(f"{where}.tool_calls[{index}]", call) for index, call in enumerate(calls or ())),
        tool_call_id=_text(entry.get("tool_call_id")),
        reasoning=_text(thought),
    )


def _content(where: str, content: Any) -> str:
    """Text, or the text parts of a list of parts. Mantella looks for the kind of this error when it sends a picture."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, list) and all(isinstance(part, (str, dict)) for part in content):
        return "\n".join(_part(f"{where}[{index}]", part) for index, part in enumerate(content))
    raise BadRequest(f"{where} must be text or a list of parts.", param=where)


def _part(where: str, part: str | dict[str, Any]) -> str:
    text = part if isinstance(part, str) else part.get("text", part.get("refusal"))
    if isinstance(text, str):
        return text
    kind = _text(part.get("type")) if isinstance(part, dict) else ""
    if kind in ("", "text"):
        raise BadRequest(f"{where} must have a text.", param=where)
    raise BadRequest(
        f"{where} is of the type {kind[:40]!r}, but no vision model is loaded: this model reads text only.",
        "Send text alone.",
        param=where,
    )


def _call(where: str, entry: Any) -> ToolCall:
    function = entry.get("function") if isinstance(entry, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise BadRequest(f"{where} must be an object with a function that has a name.", param=where)
    arguments = function.get("arguments")
    text = arguments if isinstance(arguments, str) else json.dumps(arguments or {}, ensure_ascii=False)
    return ToolCall(function["name"], text or "{}", _text(entry.get("id")))


def _tool(where: str, entry: Any) -> Tool:
    function = entry.get("function", entry) if isinstance(entry, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str) or not function["name"]:
        raise BadRequest(f"{where} must be an object with a function that has a name.", param=where)
    if len(function["name"]) > LONGEST_NAME:
        raise BadRequest(f"{where}.function.name is longer than {LONGEST_NAME} characters.", param=where)
    parameters = function.get("parameters")
    if parameters is not None and not isinstance(parameters, dict):
        raise BadRequest(f"{where}.function.parameters must be a JSON schema.", param=f"{where}.function.parameters")
    return Tool(function["name"], _text(function.get("description")), parameters or NO_PARAMETERS)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
