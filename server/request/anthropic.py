"""Anthropic's JSON to a :class:`TextRequest`, by way of OpenAI's."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from server.errors import BadRequest
from server.request import openai
from server.request.fields import Fields
from server.request.text_request import TextRequest

TOOL_CHOICES = {"auto": "auto", "any": "required", "none": "none"}
OURS = ("system", "stop_sequences", "tools", "tool_choice", "output_config", "output_format", "thinking")


def read_messages(body: dict[str, Any], defaults: Mapping[str, Any]) -> TextRequest:
    """The body of ``/v1/messages``; ``defaults`` are sampler settings for what it leaves open.

    Raises :class:`BadRequest` naming the field at fault.
    """
    return openai.read_chat(_as_chat(body), defaults)


def _as_chat(body: dict[str, Any]) -> dict[str, Any]:
    fields = Fields(body, strict=True)
    turns = body.get("messages")
    if not isinstance(turns, list) or not turns:
        raise BadRequest("messages must be a list with at least one message.", param="messages")
    system = _text("system", body.get("system"))
    messages: list[dict[str, Any]] = [{"role": "system", "content": system}] if system else []
    for index, turn in enumerate(turns):
        messages += _turn(f"messages[{index}]", turn)
    choice = fields.mapping("tool_choice")
    chosen = choice.get("type", "auto")
    if not isinstance(chosen, str):
        raise BadRequest("tool_choice.type must be auto, any, tool or none.", param="tool_choice.type")
    output = fields.mapping("output_config")
    wanted = Fields(output, strict=True).mapping("format") or fields.mapping("output_format")
    return {
        **{name: value for name, value in body.items() if name not in OURS},
        "messages": messages,
        "stop": body.get("stop_sequences"),
        "tools": _tools(body.get("tools")),
        "tool_choice": TOOL_CHOICES.get(chosen, choice.get("name")),
        "parallel_tool_calls": choice.get("disable_parallel_tool_use") is not True,
        "response_format": {"type": "json_schema", "json_schema": {"schema": wanted.get("schema")}} if wanted else None,
        "thinking": body.get("thinking"),
        "reasoning_effort": output.get("effort"),
    }


def _tools(given: Any) -> list[Any] | None:
    if given is None:
        return None
    if not isinstance(given, list):
        raise BadRequest("tools must be a list.", param="tools")
    return [_tool(f"tools[{index}]", tool) for index, tool in enumerate(given)]


def _tool(where: str, tool: Any) -> dict[str, Any]:
    if not isinstance(tool, dict):
        raise BadRequest(f"{where} must be an object.", param=where)
    if tool.get("type") not in (None, "custom"):
        raise BadRequest(
            f"{where}: the tool {str(tool['type'])[:40]!r} runs at Anthropic and is not there.",
            "Send tools with an input_schema, and run them yourself.",
            param=where,
        )
    function = {
        "name": tool.get("name"),
        "description": tool.get("description"),
        "parameters": tool.get("input_schema"),
    }
    return {"type": "function", "function": function}


def _turn(where: str, turn: Any) -> Iterator[dict[str, Any]]:
    """A turn as OpenAI has it: results of tools are messages of their own there."""
    if not isinstance(turn, dict) or not isinstance(turn.get("role"), str):
        raise BadRequest(f"{where} must be an object with a role and content.", param=where)
    content = turn.get("content")
    blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
    if not isinstance(blocks, list) or not all(isinstance(block, dict) for block in blocks):
        raise BadRequest(f"{where}.content must be text or a list of blocks.", param=f"{where}.content")
    texts: list[str] = []
    calls: list[dict[str, Any]] = []
    thoughts: list[str] = []
    for index, block in enumerate(blocks):
        at = f"{where}.content[{index}]"
        kind = block.get("type", "text")
        if kind == "tool_result":
            said = _text(f"{at}.content", block.get("content"))
            yield {"role": "tool", "tool_call_id": block.get("tool_use_id"), "content": said}
        elif kind == "tool_use":
            arguments = json.dumps(block.get("input") or {}, ensure_ascii=False)
            function = {"name": block.get("name"), "arguments": arguments}
            calls.append({"id": block.get("id"), "type": "function", "function": function})
        elif kind == "thinking":
            thoughts.append(str(block.get("thinking") or ""))
        elif kind != "redacted_thinking":
            texts.append(_text(at, [block]))
    if texts or calls or not blocks:
        message = {"role": turn["role"], "content": "\n".join(texts)}
        yield {**message, "tool_calls": calls or None, "reasoning_content": "\n".join(thoughts) or None}


def _text(where: str, content: Any) -> str:
    """Text, or blocks of text."""
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, list):
        raise BadRequest(f"{where} must be text or a list of blocks.", param=where)
    texts = [block.get("text") if isinstance(block, dict) else block for block in content]
    known = [text for text in texts if isinstance(text, str)]
    if len(known) == len(texts):
        return "\n".join(known)
    raise BadRequest(
        f"{where} holds something else than text, but no vision model is loaded: this model reads text only.",
        "Send text alone.",
        param=where,
    )
