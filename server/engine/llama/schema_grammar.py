"""JSON schemas as GBNF, by the converter that comes with llama-cpp-python. Called by :mod:`server.engine.worker`."""

from __future__ import annotations

import json
import re
from typing import Any

from llama_cpp.llama_grammar import json_schema_to_gbnf

COUNTS = frozenset(("maxItems", "maxLength", "minItems", "minLength"))
BRACES = re.compile(r"[0-9]+(?=[,}])")
MOST_REPEATS = 20_000  # the converter writes each of them out


def grammar_of(schema: str) -> tuple[str, str]:
    """The grammar for a schema's JSON text and "", or "" and a sentence why there is none."""
    parsed = json.loads(schema)
    if not isinstance(parsed, dict):
        return "", "A JSON schema is an object."
    if _repeats(parsed) > MOST_REPEATS:
        return "", f"The schema asks for more than {MOST_REPEATS:,} repetitions, which a grammar must all write out."
    if "$ref" in parsed:  # beside which the converter overlooks the definitions
        parsed = {**parsed, "anyOf": [{"$ref": parsed["$ref"]}]}
        del parsed["$ref"]
    try:
        return json_schema_to_gbnf(json.dumps(parsed)), ""
    except Exception as error:  # it raises whatever its code runs into
        said = " ".join(f"{type(error).__name__} {error}".split())[:200]
        return "", f"The schema cannot be written as a grammar ({said})."


def _repeats(schema: Any) -> float:
    """The sum of all numbers in a schema that stand for repetitions, as far as it matters how many they are."""
    if isinstance(schema, list):
        return sum(map(_repeats, schema))
    if not isinstance(schema, dict):
        return 0
    counts = (value for name, value in schema.items() if name in COUNTS and isinstance(value, (int, float)))
    own = sum(min(count, MOST_REPEATS + 1) for count in counts if count > 0)
    pattern = schema.get("pattern")
    braces = sum(int(digits[:9]) for digits in BRACES.findall(pattern)) if isinstance(pattern, str) else 0
    return own + braces + sum(map(_repeats, schema.values()))
