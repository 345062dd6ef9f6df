"""JSON schemas of requests: whether replies can be held to one, and if not, which part of it is at fault."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

from server.errors import BadRequest
from server.events import Constraint, ConstraintKind
from server.json_text import is_shallow

LONGEST = 256 * 1024
DEEPEST = 100  # llguidance reads JSON to a depth of 128, and wraps a schema in a few levels of its own
SEARCH_SECONDS = 0.5

# Without a bound, a small model fills its reply with blanks.
WHITESPACE = r" ?|\n{1,2}[ \t]{0,20}"
OPTIONS = "x-guidance"  # the key of llguidance's own options in a schema

SCHEMAS = frozenset(
    (
        "additionalItems",
        "additionalProperties",
        "contains",
        "else",
        "if",
        "items",
        "not",
        "propertyNames",
        "then",
        "unevaluatedItems",
        "unevaluatedProperties",
    )
)
LISTS_OF_SCHEMAS = frozenset(("allOf", "anyOf", "items", "oneOf", "prefixItems"))
MAPS_OF_SCHEMAS = frozenset(("$defs", "definitions", "dependentSchemas", "patternProperties", "properties"))

Path = tuple[str | int, ...]


def check_size(schema: Any, param: str) -> None:
    """Raises :class:`BadRequest` for a schema that is too deep or too long for anything to be done with it."""
    if not is_shallow(schema, DEEPEST):
        raise BadRequest(f"{param}: the schema is nested deeper than {DEEPEST} levels.", param=param)
    if len(json.dumps(schema)) > LONGEST:
        raise BadRequest(f"{param}: the schema is longer than {LONGEST // 1024} KiB.", param=param)


def constraint_of(schema: Any, param: str) -> Constraint:
    """The constraint that a JSON schema, as parsed from a request's ``param``, stands for.

    Raises :class:`BadRequest` that says where it is wrong or asks for what is not supported.
    """
    if not isinstance(schema, (dict, bool)):
        raise BadRequest(f"{param}: a JSON schema is an object.", param=param)
    check_size(schema, param)
    text = json.dumps(compactly_spaced(schema))
    problem = _problem(schema)
    if problem:
        where = _written(param, _culprit(schema, problem))
        raise BadRequest(f"{where}: {' '.join(problem.split())}", param=param)
    return Constraint(ConstraintKind.JSON_SCHEMA, text)


def json_object() -> Constraint:
    """Any JSON object."""
    return Constraint(ConstraintKind.JSON_SCHEMA, json.dumps(compactly_spaced({"type": "object"})))


def compactly_spaced(schema: Any) -> Any:
    """The schema with a bound on the blanks between the parts of the JSON, unless it brings options of its own."""
    if schema is True:
        schema = {}
    if not isinstance(schema, dict) or OPTIONS in schema:
        return schema
    return {OPTIONS: {"whitespace_pattern": WHITESPACE}, **schema}


def _problem(schema: Any) -> str:
    """What llguidance says of a schema, or ""."""
    from llguidance import LLMatcher  # only for requests that need it

    try:
        return LLMatcher.validate_grammar(LLMatcher.grammar_from_json_schema(json.dumps(schema)))
    except ValueError as error:
        return str(error)


def _culprit(schema: Any, problem: str) -> Path:
    """Where the problem is: the path of the innermost schema, and then the key, without which it is another or none."""
    enough = time.monotonic() + SEARCH_SECONDS

    def at_fault(without: Any) -> bool:
        return time.monotonic() < enough and _problem(without) != problem

    path: Path = ()
    while inner := next((step for step in _inside(_at(schema, path)) if at_fault(_opened(schema, path + step))), None):
        path += inner
    found = _at(schema, path)
    if not isinstance(found, dict):
        return path
    return path + next(((key,) for key in found if at_fault(_without(schema, (*path, key)))), ())


def _inside(schema: Any) -> Iterator[Path]:
    """The paths to the schemas right inside of one."""
    for key, value in schema.items() if isinstance(schema, dict) else ():
        if key in MAPS_OF_SCHEMAS and isinstance(value, dict):
            yield from ((key, name) for name in value)
        elif key in LISTS_OF_SCHEMAS and isinstance(value, list):
            yield from ((key, index) for index in range(len(value)))
        elif key in SCHEMAS:
            yield (key,)


def _at(schema: Any, path: Path) -> Any:
    for step in path:
        schema = schema[step]
    return schema


def _opened(schema: Any, path: Path) -> Any:
    """A copy of the schema that allows anything at the path."""
    if not path:
        return True
    copy = schema.copy()
    copy[path[0]] = _opened(schema[path[0]], path[1:])
    return copy


def _without(schema: Any, path: Path) -> Any:
    """A copy of the schema that lacks the key at the end of the path."""
    copy = schema.copy()
    if len(path) == 1:
        del copy[path[0]]
    else:
        copy[path[0]] = _without(schema[path[0]], path[1:])
    return copy


def _written(param: str, path: Path) -> str:
    return param + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
