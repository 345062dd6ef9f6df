"""Tools in prompts: told to models whose template knows none, and the grammar that makes a model call one.

Called by :mod:`server.prompt.chat` and :mod:`server.request.prepare`.
"""

from __future__ import annotations

import dataclasses
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


# --- the generic prompt --------------------------------------------------------------------------------------------


def with_generic_tools(
    messages: Sequence[Message], tools: Sequence[Tool], *, parallel: bool, keep_results: bool = False
) -> tuple[Message, ...]:
    """The messages for a model whose template knows no tools: they are told in the system message.

    Calls in the history become the text the model would have written, results become turns of the user; where there
    are tags for results, those are kept as they are.
    """
    names = {call.id: call.name for message in messages for call in message.tool_calls if call.id}
    told = [message if keep_results and message.role == "tool" else _told(message, names) for message in messages]
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
class CallLayout:
    """What stands around and between the calls of a reply, each of which is an object with these keys."""

    start: str
    between: str
    end: str
    arguments: str = "arguments"


# Hermes' way is what models without tools in their template are told. Most other ways are made of special tokens, which
# a grammar can only name if the model has them, or hold arguments without quotes, where a schema says nothing: those
# models are made to write Hermes' way too, which the reader of replies understands from all.
HERMES = CallLayout("<tool_call>\n", "\n</tool_call>\n<tool_call>\n", "\n</tool_call>")
LLAMA = CallLayout("", "; ", "", "parameters")
MOST_CALLS = 4  # small models never stop by themselves
LLAMA_ASKS = '{"name": function name, "parameters":'


def call_layout(template: str) -> CallLayout:
    """How a model with this template (Jinja) is made to write calls."""
    return LLAMA if LLAMA_ASKS in template else HERMES


def call_constraint(tools: Sequence[Tool], layout: CallLayout, *, parallel: bool) -> Constraint:
    """The grammar of a reply that is one call of one of the tools, or a few of them if ``parallel``.

    ``tools`` must not be empty. Whether the schemas can be used is for the engine to say.
    """
    most = max(len(tools), MOST_CALLS) - 1
    repeated = f" ({_quoted(layout.between)} call){{0,{most}}}" if parallel else ""
    rules = [
        f"start: {_optional(layout.start)}call{repeated}{_optional(layout.end, before=True)}",
        "call: " + " | ".join(f"call_{index}" for index in range(len(tools))),
        *(_rule(index, tool, layout) for index, tool in enumerate(tools)),
    ]
    return Constraint(ConstraintKind.LARK, "\n".join(rules) + "\n")


def _rule(index: int, tool: Tool, layout: CallLayout) -> str:
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
