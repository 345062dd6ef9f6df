"""What a reply must look like, under the names that clients use: schemas, grammars, expressions."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from server import json_text
from server.errors import BadRequest
from server.events import Constraint, ConstraintKind
from server.request import schema
from server.request.fields import Fields

WRAPPING = {"name", "strict", "description"}  # OpenAI's, around a schema
SCHEMAS = ("json_schema", "guided_json")
EXPRESSIONS = ("regex", "guided_regex")
GRAMMARS = ("grammar", "grammar_string", "guided_grammar")


def read_constraint(fields: Fields, *, lenient: bool = False) -> Constraint | None:
    """The constraint a body asks for, None if it asks for none.

    ``response_format`` comes first, then schemas, choices, expressions and grammars; a grammar that is JSON is a
    schema, as in KoboldCpp. Raises :class:`BadRequest` that says where a schema is wrong; when it is ``lenient``, what
    stands in a grammar's place is not judged here.
    """
    found = _response_format(fields.raw("response_format")[1])
    if found:
        return found
    name, wanted = fields.raw(*SCHEMAS)
    if wanted not in (None, ""):
        return _schema(wanted, name)
    choices = fields.raw("guided_choice")[1]
    if choices:
        choices = [choices] if isinstance(choices, str) else choices
        texts = [str(choice) for choice in choices if choice] if isinstance(choices, list) else []
        if texts:
            return Constraint(ConstraintKind.REGEX, "|".join(map(re.escape, texts)))
        fields.wrong("guided_choice", choices, "a list of texts to choose from")
    expression = _first_text(fields, EXPRESSIONS)
    if expression:
        return Constraint(ConstraintKind.REGEX, expression)
    grammar = _first_text(fields, GRAMMARS)
    if not grammar.strip():
        return None
    if grammar.lstrip().startswith("{"):
        try:
            return _schema(grammar, "grammar")
        except BadRequest:
            if not lenient:
                raise
            return Constraint(ConstraintKind.JSON_SCHEMA, grammar)
    return Constraint(ConstraintKind.GBNF, grammar)


def _first_text(fields: Fields, names: Iterable[str]) -> str:
    """The first that is not empty: SillyTavern sends an empty grammar beside one under another name."""
    return next(filter(None, map(fields.text, names)), "")


def _response_format(wanted: Any) -> Constraint | None:
    if wanted in (None, ""):
        return None
    kind = wanted.get("type") if isinstance(wanted, dict) else wanted
    if kind == "text":
        return None
    nested = (wanted.get("json_schema"), wanted.get("schema")) if isinstance(wanted, dict) else ()
    given = next((value for value in nested if value is not None), None)
    if kind == "json_schema" and (given is None or (isinstance(given, dict) and given and given.keys() <= WRAPPING)):
        raise BadRequest(
            "response_format has no json_schema.",
            'Send {"type": "json_schema", "json_schema": {"name": ..., "schema": {...}}}.',
            param="response_format",
        )
    if kind in ("json_schema", "json_object") and given is not None:
        return _schema(given, "response_format.json_schema")
    if kind == "json_object":
        return schema.json_object()
    raise BadRequest(
        f"response_format must be text, json_object or json_schema, not {json.dumps(kind)[:40]}.",
        param="response_format",
    )


def _schema(wanted: Any, where: str) -> Constraint:
    """A schema, bare or in OpenAI's wrapping (``{"name", "schema", "strict"}``), or the JSON text of one."""
    if isinstance(wanted, str):
        try:
            wanted = json_text.loads(wanted)
        except ValueError as error:
            raise BadRequest(f"{where} is not valid JSON: {error}.", param=where) from None
    if isinstance(wanted, dict) and "schema" in wanted and not {"type", "properties", "$ref"} & wanted.keys():
        return schema.constraint_of(wanted["schema"], f"{where}.schema")
    return schema.constraint_of(wanted, where)
