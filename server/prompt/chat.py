"""A chat to one prompt, with whichever template was chosen. Called by :mod:`server.request.prepare`."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from collections.abc import Sequence as ReadOnly
from dataclasses import dataclass, replace
from typing import Any

from server.prompt.jinja import Renderer, TemplateFailed, TemplateStopped
from server.prompt.message import Chat, Ending, Message
from server.prompt.preset import Preset
from server.prompt.tools import with_generic_tools
from server.snapshot import TemplateInfo

# Marks where a turn to be continued ends, so that what a template writes after it can be cut off. No control
# character: templates may strip those.
CUT = "\u2060tavernkeep\u2060cut\u2060"
SHORT_ID = 9


@dataclass(frozen=True)
class Template:
    """What turns a chat into a prompt: the ``jinja`` text, or without one the ``family``'s own tags.

    ``family`` also says how such models think and which texts end a turn. ``tool_jinja`` is used instead of ``jinja``
    for chats with tools, where a model has one; ``knows_tools`` tells whether the template writes them down.
    """

    info: TemplateInfo
    family: Preset
    jinja: str = ""
    tool_jinja: str = ""
    knows_tools: bool = False
    bos: str = ""
    eos: str = ""


@dataclass(frozen=True)
class Rendered:
    """A prompt. ``changed`` says how the messages were changed to suit the template, or is ""."""

    prompt: str
    changed: str = ""


def render(chat: Chat, template: Template, renderer: Renderer) -> Rendered:
    """The prompt for ``chat``.

    Many templates refuse a system message, two turns of one role in a row, or a chat that the assistant opens, or leave
    out silently what they do not expect; then the messages are changed until all of them are in the prompt, because a
    refused request is a silent NPC. Raises :class:`TemplateFailed` when no order suits.
    """
    uses_tools = chat.tools or any(message.tool_calls or message.role == "tool" for message in chat.messages)
    if uses_tools and not template.knows_tools:
        has_tags = not template.jinja and bool(template.family.tools_start)
        told = with_generic_tools(chat.messages, chat.tools, parallel=chat.parallel, keep_results=has_tags)
        chat = replace(chat, messages=told, tools=())
    if not template.jinja:
        return Rendered(_with_tags(chat, template.family))
    text = template.tool_jinja or template.jinja if uses_tools and template.knows_tools else template.jinja
    problem = TemplateFailed("it renders nothing")
    incomplete: Rendered | None = None
    for messages, changed in _orders(chat.messages):
        try:
            prompt = _with_jinja(replace(chat, messages=messages), text, template, renderer)
        except TemplateStopped:
            raise
        except TemplateFailed as error:
            problem = error
            continue
        if _complete(prompt, messages):
            return Rendered(prompt, changed)
        incomplete = incomplete or Rendered(prompt, changed)
    if incomplete:
        return incomplete
    raise problem


def _orders(messages: tuple[Message, ...]) -> Iterator[tuple[tuple[Message, ...], str]]:
    """The messages in ever more forgiving orders, and what was changed. None comes twice."""
    plain = without_system(messages)
    told = without_empty(with_generic_tools(messages, (), parallel=True))
    orders: list[tuple[ReadOnly[Message], str]] = [
        (messages, ""),
        (merged(messages), "neighbouring turns of one role were joined"),
        (merged(without_empty(messages)), "empty turns were left out"),
        (merged(system_in_front(messages)), "later system messages became part of the user's turns"),
        (merged(plain), "system messages became part of the user's turns"),
        (user_first(merged(plain)), "an empty turn of the user was put in front"),
        (merged(system_in_front(told)), "calls of tools and their results were written as text"),
        (user_first(merged(without_system(told))), "calls, results and system messages were written as text"),
    ]
    seen: set[tuple[Message, ...]] = set()
    for order, changed in orders:
        if order and tuple(order) not in seen:
            seen.add(tuple(order))
            yield tuple(order), changed


def _complete(prompt: str, messages: ReadOnly[Message]) -> bool:
    """Whether the template left nothing out. Calls and results it may write its own way, and thoughts it may drop."""
    return all(_there(prompt, message) for message in messages)


def _there(prompt: str, message: Message) -> bool:
    if message.role == "tool":
        return _longest_word(message.content) in prompt
    if message.tool_calls:
        return all(_longest_word(call.parsed_arguments()) in prompt for call in message.tool_calls)
    return message.content.strip() in prompt or (message.role == "assistant" and "<" in message.content)


def _longest_word(value: Any) -> str:
    """Of all texts in a JSON value."""
    if isinstance(value, str):
        return max(re.findall(r"\w+", value), key=len, default="")
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return max(map(_longest_word, inner), key=len, default="")


def _with_tags(chat: Chat, family: Preset) -> str:
    *before, last = chat.messages
    if chat.ending is Ending.CONTINUE:
        return family.render(before, reply=False) + family.opening(last)
    return family.render(chat.messages, reply=chat.ending is Ending.REPLY)


def _with_jinja(chat: Chat, text: str, template: Template, renderer: Renderer) -> str:
    messages = list(chat.messages)
    continues = chat.ending is Ending.CONTINUE
    if continues:
        messages[-1] = replace(messages[-1], content=messages[-1].content + CUT)
    think = {} if chat.think is None else {"enable_thinking": chat.think, "thinking": chat.think}
    variables: dict[str, Any] = {
        "tools": [tool.as_dict() for tool in chat.tools] or None,
        "documents": list(chat.documents) or None,
        "add_generation_prompt": chat.ending is Ending.REPLY,
        "bos_token": template.bos,
        "eos_token": template.eos,
        **think,
        **chat.variables,
    }
    try:
        prompt = _first_that_renders(messages, lambda turns: renderer.render(text, {**variables, "messages": turns}))
        if not continues:
            return prompt
        if CUT in prompt:
            return prompt.rpartition(CUT)[0]
    except TemplateFailed as error:
        if not continues or isinstance(error, TemplateStopped) or len(chat.messages) == 1:
            raise
    # The template refuses or rewrites what the assistant says last; so the turn is opened as any other, and its
    # beginning put behind.
    opened = replace(chat, messages=chat.messages[:-1], ending=Ending.REPLY)
    return _with_jinja(opened, text, template, renderer) + chat.messages[-1].content


def _first_that_renders(messages: ReadOnly[Message], render_turns: Callable[[list[dict[str, Any]]], str]) -> str:
    """Templates differ in what they expect of a tool call: arguments as an object or as text, content null or empty,
    Mistral's an id of nine letters and digits."""
    problem = TemplateFailed("it renders nothing")
    styles = list(itertools.product((False, True), (None, ""), (True, False)))
    if not any(message.tool_calls for message in messages):
        styles = [(False, "", True)]
    for short_ids, nothing, parsed in styles:
        suited = map(_with_short_ids, messages) if short_ids else messages
        try:
            prompt = render_turns([_turn(message, parsed=parsed, nothing=nothing) for message in suited])
        except TemplateStopped:
            raise
        except TemplateFailed as error:
            problem = error
            continue
        if nothing is None and "None" in prompt and not any("None" in message.content for message in messages):
            problem = TemplateFailed("it writes a content that is null as None")
            continue
        return prompt
    raise problem


def _turn(message: Message, *, parsed: bool, nothing: str | None) -> dict[str, Any]:
    """A message as templates read it; keys that say nothing are left out, because templates test for them."""
    calls = [
        {
            "type": "function",
            "id": call.id,
            "function": {"name": call.name, "arguments": call.parsed_arguments() if parsed else call.arguments},
        }
        for call in message.tool_calls
    ]
    turn: dict[str, Any] = {"role": message.role, "content": message.content or (nothing if calls else "")}
    optional = {
        "name": message.name,
        "tool_calls": calls,
        "tool_call_id": message.tool_call_id,
        "reasoning_content": message.reasoning,
    }
    return {**turn, **{key: value for key, value in optional.items() if value}}


def _with_short_ids(message: Message) -> Message:
    def short(text: str) -> str:
        return "".join(filter(str.isalnum, text))[-SHORT_ID:].rjust(SHORT_ID, "0") if text else ""

    calls = tuple(replace(call, id=short(call.id)) for call in message.tool_calls)
    return replace(message, tool_calls=calls, tool_call_id=short(message.tool_call_id))


def without_system(messages: ReadOnly[Message]) -> list[Message]:
    """System messages turned into user messages; :func:`merged` then joins them with their neighbours."""
    return [replace(message, role="user") if message.role == "system" else message for message in messages]


def without_empty(messages: ReadOnly[Message]) -> list[Message]:
    """Without turns of the assistant that say nothing, such as of a reply that was broken off. The last one stays."""
    return [
        message
        for index, message in enumerate(messages, 1)
        if message.role != "assistant" or message.content or message.tool_calls or index == len(messages)
    ]


def system_in_front(messages: ReadOnly[Message]) -> list[Message]:
    """System messages only where the chat begins; later ones turned into user messages, where they stand."""
    front = list(itertools.takewhile(lambda message: message.role == "system", messages))
    return front + without_system(messages[len(front) :])


def merged(messages: ReadOnly[Message]) -> list[Message]:
    """Neighbouring turns of one role joined by a blank line; what tools said and calls of them stay apart."""
    result: list[Message] = []
    for message in messages:
        before = result[-1] if result else None
        if before and before.role == message.role != "tool" and not before.tool_calls and not message.tool_calls:
            joined = "\n\n".join(filter(None, (before.content, message.content)))
            result[-1] = replace(message, content=joined, reasoning=before.reasoning + message.reasoning)
        else:
            result.append(message)
    return result


def user_first(messages: ReadOnly[Message]) -> list[Message]:
    """A chat that the assistant opens (a greeting), behind an empty turn of the user."""
    greeting = messages and messages[0].role == "assistant"
    return [Message("user", ""), *messages] if greeting else list(messages)
