"""Arguments that a model does not write as a plain JSON object, as one. Called by :mod:`server.reply.tool_calls`."""

from __future__ import annotations

import json
from typing import Any

from server.reply import json_stream
from server.reply.json_stream import Incoming, Malformed


def unpacked(text: str, *, cut_off: bool = False) -> str:
    """Arguments that are no object: JSON inside a JSON string, or nothing at all, as ``{}``."""
    try:
        decoded = json.loads(text)
    except ValueError:
        return "" if cut_off else text
    if decoded is None or (isinstance(decoded, str) and not decoded.strip()):
        return "{}"
    if isinstance(decoded, str) and encodable(decoded) and (cut_off or _is_json(decoded)):
        return decoded
    return text


def typed(written: str, schema: dict[str, Any], key: str) -> str:
    """An argument that was written without quotes, as JSON: text, unless the schema has it otherwise."""
    properties = schema.get("properties")
    described = properties.get(key) if isinstance(properties, dict) else None
    kind = described.get("type") if isinstance(described, dict) else None
    written_as = {"True": "true", "False": "false", "None": "null"}.get(written.strip(), written.strip())
    texts_only = kind == "string" or (isinstance(kind, list) and "string" in kind and written_as != "null")
    return dumped(written) if texts_only or not _is_json(written_as) else written_as


def _is_json(text: str) -> bool:
    """Whether a text is JSON, as strictly as every client reads it."""
    source = Incoming()
    source.add(text.strip())
    source.ended = True
    pieces: list[str] = []
    try:
        next(json_stream.value(source, pieces.append), None)
    except Malformed:
        return False
    return "".join(pieces) == text.strip() and _is_loadable(text)


def _is_loadable(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def encodable(text: str) -> bool:
    """Whether there is no half of a character in a text, as JSON's escapes can write it."""
    return not any("\ud800" <= char <= "\udfff" for char in text)


def dumped(text: str) -> str:
    """A text as JSON."""
    return json.dumps(text, ensure_ascii=False)
