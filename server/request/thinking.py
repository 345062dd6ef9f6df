"""What a request wants of the model's thinking, under the names that clients use for it."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any

from server.request.fields import Fields


class Mode(enum.Enum):
    """What becomes of thoughts: handed out apart from the reply, dropped, or not thought at all."""

    SHOW = "show"
    HIDE = "hide"
    OFF = "off"


MODES = {mode.value: mode for mode in Mode} | {"none": Mode.OFF, "disabled": Mode.OFF, "enabled": Mode.SHOW}
BUDGETS = ("thinking_budget", "reasoning_budget", "thinking_budget_tokens", "thinking_token_budget")


@dataclass(frozen=True)
class ThinkingWish:
    """``mode`` and ``budget`` (tokens, -1 is any number) are None where the request does not say."""

    mode: Mode | None = None
    budget: int | None = None
    switched_on: bool = False


def read_thinking(fields: Fields) -> ThinkingWish:
    """The fields ``thinking`` (show, hide or off; also a switch, or Anthropic's object), ``enable_thinking`` and
    ``chat_template_kwargs``, Ollama's ``think``, ``reasoning_effort``, OpenRouter's ``reasoning`` and
    ``include_reasoning``, and a budget in tokens.
    """
    options = Fields(fields.mapping("chat_template_kwargs"), strict=False)
    asked = [_object(value) for _, value in (fields.raw("thinking"), fields.raw("reasoning"))]
    words = [value for entry in asked for value in (entry.get("mode"), entry.get("type"), entry.get("effort"))]
    words.append(fields.raw("reasoning_effort")[1])
    for word in words:
        if isinstance(word, str) and word.lower() in MODES:
            return ThinkingWish(MODES[word.lower()], _budget(fields, asked), word.lower() == "enabled")
    name, wanted = fields.raw("thinking")
    if isinstance(wanted, str) and wanted:
        fields.wrong(name, wanted, "show, hide or off")
    switches = (
        *(entry.get("enabled") for entry in asked),
        fields.raw("enable_thinking", "think")[1],
        options.raw("enable_thinking", "thinking")[1],
    )
    switched = next((value for value in switches if isinstance(value, bool)), None)
    included = fields.raw("include_reasoning")[1]
    hidden = included is False or any(entry.get("exclude") is True for entry in asked)
    shown = included is True or switched
    mode = Mode.OFF if switched is False else Mode.HIDE if hidden else Mode.SHOW if shown else None
    return ThinkingWish(mode, _budget(fields, asked), bool(switched))


def _object(value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    return {"enabled": value} if isinstance(value, bool) else {"mode": value}


def _budget(fields: Fields, asked: list[dict[str, Any]]) -> int | None:
    found = fields.optional_whole(*BUDGETS)
    if found is None:
        nested = (Fields(entry, strict=False).optional_whole("budget_tokens", "max_tokens") for entry in asked)
        found = next((value for value in nested if value is not None), None)
    return None if found is None else max(found, -1)
