"""Chat templates in Jinja, as model files carry them, rendered in a sandbox.

The environment follows Hugging Face's ``apply_chat_template``, which the templates are written for: trimmed blocks,
loop controls, ``raise_exception``, ``strftime_now`` and a ``tojson`` that does not escape HTML.
"""

from __future__ import annotations

import datetime
import functools
import json
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment


class TemplateFailed(Exception):
    """The template refused the messages, or is no valid Jinja. The text is the template's own."""


def render(template: str, messages: list[dict[str, Any]], *, bos: str, eos: str) -> str:
    """The prompt for ``messages`` (dicts with ``role`` and ``content``), ending where the assistant begins to speak."""
    try:
        prompt: str = _compile(template).render(
            messages=messages, add_generation_prompt=True, bos_token=bos, eos_token=eos
        )
    except Exception as error:  # a template is a stranger's program: it may recurse, or ask for all memory
        raise TemplateFailed(str(error)) from error
    return prompt


@functools.lru_cache(maxsize=4)
def _compile(template: str) -> jinja2.Template:
    """Compiling takes longer than rendering, and a model's template does not change."""
    return _environment().from_string(template)


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, _Generation]
    )
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = lambda layout: datetime.datetime.now().strftime(layout)
    environment.filters["tojson"] = _to_json
    return environment


class _Generation(Extension):
    """``{% generation %}`` marks what a model is trained on; for a prompt it means nothing."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise_exception(message: str) -> None:
    raise jinja2.TemplateError(message)
