"""Chat templates in Jinja, as model files carry them, rendered in a sandbox.

The environment follows Hugging Face's ``apply_chat_template``, which the templates are written for: trimmed blocks,
loop controls, ``raise_exception``, ``strftime_now`` and a ``tojson`` that does not escape HTML.
"""

from __future__ import annotations

import datetime
import json
from typing import Any

import jinja2
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment


class TemplateFailed(Exception):
    """The template refused the messages, or is no valid Jinja. The text is the template's own."""


def render(template: str, messages: list[dict[str, Any]], *, bos: str, eos: str) -> str:
    """The prompt for ``messages`` (dicts with ``role`` and ``content``), ending where the assistant begins to speak."""
    try:
        prompt: str = (
            _environment()
            .from_string(template)
            .render(messages=messages, add_generation_prompt=True, bos_token=bos, eos_token=eos)
        )
    except (
        jinja2.TemplateError,
        TypeError,
        ValueError,
        KeyError,
        IndexError,
        AttributeError,
        ArithmeticError,
    ) as error:
        raise TemplateFailed(str(error)) from error
    return prompt


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = lambda layout: datetime.datetime.now().strftime(layout)
    environment.filters["tojson"] = lambda value, indent=None: json.dumps(value, ensure_ascii=False, indent=indent)
    return environment


def _raise_exception(message: str) -> None:
    raise jinja2.TemplateError(message)
