"""Tools in prompts: told to models whose template knows none, and the grammar that makes a model call one.

Called by :mod:`server.prompt.chat` and :mod:`server.request.prepare`.
"""

from __future__ import annotations

import dataclasses
import enum
import json
from collections.abc import Sequence
from typing import Any

from server.events import Constraint, ConstraintKind
from server.prompt.message import Message, Tool, ToolCall

INTRODUCTION = """You can call functions. Each is described by a JSON object, with the JSON schema of its arguments:
<tools>
{tools}
</tools>

To call a function, write a block of this form, and nothing behind it:
<tool_call>
{{"name": "the function's name", "arguments": {{"an argument's name": "its value"}}}}
</tool_call>
{number} When no function is needed, reply as usual, without such a block. \
What a function returns is told to you between <tool_response> and </tool_response>."""
SEVERAL = "Each block holds one call; write several blocks, one after the other, to make several calls."
ONE = "Make only one call in a reply."


class ToolFormat(enum.Enum):
    """How a model's own template writes a call. Hermes' way is also what models without one are told."""

    GENERIC = "generic"
    QWEN_CODER = "qwen_coder"
    GLM = "glm"
    LLAMA = "llama"
    MISTRAL_LIST = "mistral_list"
    MISTRAL = "mistral"
    DEEPSEEK = "deepseek"
    DEEPSEEK_FENCED = "deepseek_fenced"
    HARMONY = "harmony"
    KIMI = "kimi"
    COMMAND = "command"
    GRANITE = "granite"


# Fragments of templates, the special cases before what they are special cases of.
_FRAGMENTS: tuple[tuple[ToolFormat, tuple[str, ...]], ...] = (
    (ToolFormat.GLM, ("<arg_key>",)),
    (ToolFormat.QWEN_CODER, ("<function=", "<parameter=")),
    (ToolFormat.MISTRAL, ("[TOOL_CALLS]", "[ARGS]")),
    (ToolFormat.MISTRAL_LIST, ("[TOOL_CALLS]",)),
    (ToolFormat.DEEPSEEK_FENCED, ("tool▁call▁begin", "```")),
    (ToolFormat.DEEPSEEK, ("tool▁call▁begin",)),
    (ToolFormat.HARMONY, ("<|channel|>", "functions")),
    (ToolFormat.KIMI, ("<|tool_calls_section_begin|>",)),
    (ToolFormat.COMMAND, ("<|START_ACTION|>",)),
    (ToolFormat.GENERIC, ("<tool_call>",)),
    (ToolFormat.GRANITE, ("<|tool_call|>",)),
    (ToolFormat.LLAMA, ('{"name": function name, "parameters":',)),
)


def native_format(template: str) -> ToolFormat:
    """How the template of a model (Jinja) asks for calls; the generic way where it does not say."""
    for format_, fragments in _FRAGMENTS:
        if all(fragment in template for fragment in fragments):
            return format_
    return ToolFormat.GENERIC


# --- the generic prompt --------------------------------------------------------------------------------------------


def with_generic_tools(messages: Sequence[Message], tools: Sequence[Tool], *, parallel: bool) -> tuple[Message, ...]:
    """The messages for a model whose template knows no tools: they are told in the system message.

    Calls in the history become the text the model would have written, results become turns of the user.
    """
    names = {call.id: call.name for message in messages for call in message.tool_calls if call.id}
    told = [_told(message, names) for message in messages]
    if not tools:
        return tuple(told)
    introduction = INTRODUCTION.format(
        tools="\n".join(_dumped(tool.as_dict()["function"]) for tool in tools), number=SEVERAL if parallel else ONE
    )
    if told and told[0].role == "system":
        content = f"{told[0].content}\n\n{introduction}".lstrip()
        return dataclasses.replace(told[0], content=content), *told[1:]
    return Message("system", introduction), *told


def _told(message: Message, names: dict[str, str]) -> Message:
    if message.role == "tool":
        name = message.name or names.get(message.tool_call_id, "")
        content = f"<tool_response>\n{f'{name}: ' if name else ''}{message.content}\n</tool_response>"
        return Message("user", content)
    if not message.tool_calls:
        return message
    blocks = "\n".join(map(_block, message.tool_calls))
    content = f"{message.content}\n{blocks}" if message.content else blocks
    return dataclasses.replace(message, content=content, tool_calls=())


def _block(call: ToolCall) -> str:
    called = {"name": call.name, "arguments": call.parsed_arguments()}
    return f"<tool_call>\n{_dumped(called)}\n</tool_call>"


def _dumped(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


# --- the grammar ---------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class _Layout:
    """What stands around and between the calls of a reply, each of which is an object with these keys."""

    start: str
    between: str
    end: str
    arguments: str = "arguments"


# Where a format is made of special tokens, which a grammar can only name if the model has them, or holds its arguments
# without quotes, where a schema says nothing, the generic one is asked for: the reply's reader understands it anyway.
_GENERIC = _Layout("<tool_call>\n", "\n</tool_call>\n<tool_call>\n", "\n</tool_call>")
_LAYOUTS = {ToolFormat.LLAMA: _Layout("", "; ", "", "parameters")}


def call_constraint(tools: Sequence[Tool], *, format: ToolFormat, parallel: bool) -> Constraint:
    """The grammar of a reply that is one call of one of the tools, or several of them if ``parallel``.

    ``tools`` must not be empty. Whether the schemas can be used is for the engine to say.
    """
    layout = _LAYOUTS.get(format, _GENERIC)
    repeated = f" ({_quoted(layout.between)} call)*" if parallel else ""
    rules = [
        f"start: {_optional(layout.start)}call{repeated}{_optional(layout.end, before=True)}",
        "call: " + " | ".join(f"call_{index}" for index in range(len(tools))),
        *(_rule(index, tool, layout) for index, tool in enumerate(tools)),
    ]
    return Constraint(ConstraintKind.LARK, "\n".join(rules) + "\n")


def _rule(index: int, tool: Tool, layout: _Layout) -> str:
    opening = f'{{"name": {_dumped(tool.name)}, "{layout.arguments}": '
    schema = {"type": "object", "properties": {}, **tool.parameters}
    return f'call_{index}: {_quoted(opening)} %json {json.dumps(schema)} "}}"'


def _optional(text: str, *, before: bool = False) -> str:
    """A text in a rule with the blank that parts it from its neighbour; nothing for none."""
    if not text:
        return ""
    return f" {_quoted(text)}" if before else f"{_quoted(text)} "


def _quoted(text: str) -> str:
    """A text as a string of the grammar, which has JSON's escapes."""
    return json.dumps(text, ensure_ascii=False)
