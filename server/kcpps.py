"""KoboldCpp's configuration files (``.kcpps``): JSON objects whose keys are its flag names. Read by the launcher."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from server.errors import SettingsError
from server.settings import Settings, rule_of

# Keys of our settings that KoboldCpp writes under another name as well.
POSITIONAL = {"model": "model_param", "port": "port_param"}
RENAMED = {"blasbatchsize": "batchsize"}
UNTOUCHED_PORT = 5001
EMPTY: tuple[Any, ...] = (None, "", [])


def load(path: str) -> dict[str, Any]:
    """The settings in a file, by name. Keys of features that Tavernkeep does not have are left out.

    Raises :class:`SettingsError` when the file is missing or no JSON object.
    """
    try:
        loaded = json.loads(Path(path).read_text("utf-8-sig"))
    except OSError as error:
        raise SettingsError(f"The configuration {path} cannot be read: {error.strerror}.") from None
    except ValueError as error:
        raise SettingsError(f"The configuration {path} is not valid JSON: {error}.") from None
    if not isinstance(loaded, dict):
        raise SettingsError(f"The configuration {path} must hold a JSON object.")
    if loaded.get("port_param") == UNTOUCHED_PORT:
        del loaded["port_param"]  # it is always written; only another number means something
    found = {field.name: _find(loaded, field) for field in dataclasses.fields(Settings)}
    return {name: value for name, value in found.items() if value is not None}


def _find(loaded: dict[str, Any], field: dataclasses.Field[Any]) -> Any:
    rule = rule_of(field)
    names = (POSITIONAL.get(field.name), field.name, RENAMED.get(field.name))
    value = next((loaded[key] for key in names if key and loaded.get(key) not in EMPTY), None)
    if value is None and any(loaded.get(flag.lstrip("-")) is True for flag in rule.off_flags):
        return False
    # What is a choice or a number here may be a switch in KoboldCpp: on is the bare flag, off is no flag at all.
    if isinstance(value, bool) and rule.bare:
        return rule.bare if value else field.default
    # KoboldCpp writes the model as a list, because it takes several addresses to download from, and may hold a
    # whole adapter as an object.
    if isinstance(value, list) and not rule.each:
        return value[0]
    return json.dumps(value) if isinstance(value, dict) else value
