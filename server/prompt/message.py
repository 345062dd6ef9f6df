"""A chat and its parts, as every part of :mod:`server.prompt` reads them."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from server import json_text


@dataclass(frozen=True)
class Tool:
    """A function the model may call. ``parameters`` is the JSON schema of its arguments."""

    name: str
    description: str
    parameters: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """OpenAI's object, which chat templates expect."""
        function = {"name": self.name, "description": self.description, "parameters": self.parameters}
        return {"type": "function", "function": function}


@dataclass(frozen=True)
class ToolCall:
    """A call the model made. ``arguments`` is JSON text, as OpenAI sends it."""

    name: str
    arguments: str
    id: str = ""

    def parsed_arguments(self) -> Any:
        """The arguments as an object; as the text itself where it is no JSON."""
        try:
            return json_text.loads(self.arguments)
        except ValueError:
            return self.arguments


@dataclass(frozen=True)
class Message:
    """One turn of a chat. Roles are system, user, assistant and tool.

    ``tool_calls`` belong to an assistant's turn, ``tool_call_id`` to the tool's that answers one. ``reasoning`` is what
    the assistant thought before it spoke; templates decide what becomes of it.
    """

    role: str
    content: str
    name: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""
    reasoning: str = ""


class Ending(enum.Enum):
    """How a prompt ends."""

    REPLY = "reply"  # where the assistant begins to speak
    CONTINUE = "continue"  # inside the assistant's last turn, which the reply goes on with
    NOTHING = "nothing"  # behind the last turn


@dataclass(frozen=True)
class Chat:
    """All that a chat template is given. ``variables`` are further ones of its own, as the client names them.

    ``think`` switches thinking on or off where the model has such a switch; None leaves it to the template.
    With ``parallel`` the model may call several ``tools`` at once.
    """

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    documents: tuple[dict[str, Any], ...] = ()
    variables: Mapping[str, Any] = field(default_factory=dict)
    ending: Ending = Ending.REPLY
    think: bool | None = None
    parallel: bool = True
