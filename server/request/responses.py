"""OpenAI's Responses JSON to a :class:`TextRequest`, by way of a chat's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from server.errors import BadRequest
from server.request import openai
from server.request.fields import Fields
from server.request.text_request import TextRequest

OURS = (
    "input",
    "instructions",
    "max_output_tokens",
    "text",
    "reasoning",
    "tools",
    "tool_choice",
    "include",
    "truncation",
)
STATEFUL = ("previous_response_id", "conversation", "prompt", "background")
LOGPROBS = "message.output_text.logprobs"
MESSAGE_PARTS = ("input_text", "output_text", "text", "refusal", "summary_text", "reasoning_text")


def read_response(body: dict[str, Any], defaults: Mapping[str, Any]) -> TextRequest:
    """The body of ``/v1/responses``; ``defaults`` are sampler settings for what it leaves open.

    Raises :class:`BadRequest` naming the field at fault.
    """
    return openai.read_chat(_as_chat(body), defaults)


def _as_chat(body: dict[str, Any]) -> dict[str, Any]:
    fields = Fields(body, strict=True)
    for name in STATEFUL:
        if body.get(name):
            raise BadRequest(
                f"{name} cannot be used: this server keeps no responses.", "Send the whole input each time.", param=name
            )
    instructions = fields.text("instructions")
    messages = [{"role": "system", "content": instructions}] if instructions else []
    messages += _messages(body.get("input"))
    wanted = Fields(fields.mapping("text"), strict=True).mapping("format")
    told = LOGPROBS in fields.texts("include")
    return {
        **{name: value for name, value in body.items() if name not in (*OURS, *STATEFUL)},
        "messages": messages,
        "max_tokens": body.get("max_output_tokens"),
        "response_format": _format(wanted),
        "reasoning_effort": fields.mapping("reasoning").get("effort"),
        "tools": _tools(body.get("tools")),
        "tool_choice": body.get("tool_choice"),
        "truncate": {"auto": True, "disabled": False}.get(fields.text("truncation")),
        "logprobs": told,
        "top_logprobs": fields.optional_whole("top_logprobs") if told else None,
    }


def _format(wanted: dict[str, Any]) -> dict[str, Any] | None:
    """What chats call response_format: there the schema is one level deeper."""
    if wanted.get("type") != "json_schema":
        return wanted or None
    return {"type": "json_schema", "json_schema": {key: value for key, value in wanted.items() if key != "type"}}


def _tools(given: Any) -> Any:
    for index, tool in enumerate(given if isinstance(given, list) else ()):
        if isinstance(tool, dict) and tool.get("type", "function") != "function":
            raise BadRequest(
                f"tools[{index}]: {str(tool['type'])[:40]!r} runs at OpenAI and is not there.",
                "Send tools of the type function, and run them yourself.",
                param=f"tools[{index}]",
            )
    return given


def _messages(given: Any) -> list[dict[str, Any]]:
    """The input's items as messages; neighbouring calls and what was said before them are one turn."""
    if isinstance(given, str) and given:
        return [{"role": "user", "content": given}]
    if not isinstance(given, list) or not given:
        raise BadRequest("input must be text, or a list with at least one item.", param="input")
    messages: list[dict[str, Any]] = []
    thought = ""
    for index, item in enumerate(given):
        where = f"input[{index}]"
        if not isinstance(item, dict):
            raise BadRequest(f"{where} must be an object.", param=where)
        kind = item.get("type", "message")
        if kind == "reasoning":
            thought = _text(where, item.get("content") or item.get("summary") or "")
        elif kind == "function_call":
            if not messages or messages[-1]["role"] != "assistant":
                messages.append({"role": "assistant", "content": None, "reasoning_content": thought or None})
            function = {"name": item.get("name"), "arguments": item.get("arguments")}
            call = {"id": item.get("call_id"), "type": "function", "function": function}
            messages[-1].setdefault("tool_calls", []).append(call)
            thought = ""
        elif kind == "function_call_output":
            said = _text(f"{where}.output", item.get("output"))
            messages.append({"role": "tool", "tool_call_id": item.get("call_id"), "content": said})
        elif kind == "message":
            message = {"role": item.get("role"), "content": _text(f"{where}.content", item.get("content"))}
            messages.append({**message, "reasoning_content": thought or None})
            thought = ""
        else:
            raise BadRequest(
                f"{where} is of the type {str(kind)[:40]!r}, which is not known here.",
                "Send messages, calls of functions and their outputs.",
                param=where,
            )
    return messages


def _text(where: str, content: Any) -> str:
    """Text, or the texts of parts."""
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, list):
        raise BadRequest(f"{where} must be text or a list of parts.", param=where)
    return "\n".join(_texts(where, content))


def _texts(where: str, parts: list[Any]) -> Iterable[str]:
    for index, part in enumerate(parts):
        at = f"{where}[{index}]"
        if not isinstance(part, dict):
            raise BadRequest(f"{at} must be an object.", param=at)
        if part.get("type", "input_text") not in MESSAGE_PARTS:
            raise BadRequest(
                f"{at} is of the type {str(part['type'])[:40]!r}, but no vision model is loaded: this model reads text"
                " only.",
                "Send text alone.",
                param=at,
            )
        text = part.get("text", part.get("refusal"))
        if not isinstance(text, str):
            raise BadRequest(f"{at} must have a text.", param=at)
        yield text
