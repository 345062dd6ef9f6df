"""KoboldCpp's configuration files (``.kcpps``): JSON objects whose keys are its flag names. Read by the launcher and by
the window, which also writes them.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from server import json_text
from server.errors import SettingsError, in_a_line
from server.settings import Settings, rule_of
from server.whole_file import whole_file

# Keys of our settings that KoboldCpp writes under another name as well.
POSITIONAL = {"model": "model_param", "port": "port_param"}
RENAMED = {"blasbatchsize": "batchsize"}
UNTOUCHED_PORT = 5001
EMPTY: tuple[Any, ...] = (None, "", [])
OWN = "tavernkeep"  # holds the settings that KoboldCpp's way of writing would change


def load(path: str) -> dict[str, Any]:
    """The settings in a file, by name. Keys of features that Tavernkeep does not have are left out.

    Raises :class:`SettingsError` when the file is missing or no JSON object.
    """
    named = in_a_line(path)
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise SettingsError(f"The configuration {named} cannot be read: {error.strerror}.") from None
    except ValueError:  # a path that no system has
        raise SettingsError(f"The configuration {named} cannot be read: no file has such a name.") from None
    try:
        loaded = json_text.loads(content.decode("utf-8-sig"))
    except ValueError as error:
        raise SettingsError(f"The configuration {named} is not valid JSON: {error}.") from None
    if not isinstance(loaded, dict):
        raise SettingsError(f"The configuration {named} must hold a JSON object.")
    return _settings_in(loaded)


def save(path: str, settings: Settings) -> None:
    """Write the settings, whole or not at all. Passwords stay out. Raises :class:`SettingsError`."""
    fields = [field for field in dataclasses.fields(settings) if not rule_of(field).secret]
    values = {field.name: getattr(settings, field.name) for field in fields}
    written = {_koboldcpps_name(field.name): _as_koboldcpp(field, values[field.name]) for field in fields}
    read = {**dataclasses.asdict(Settings()), **_settings_in(dict(written))}
    changed = {name: value for name, value in values.items() if _plain(read[name]) != _plain(value)}
    text = json.dumps({**written, OWN: changed} if changed else written)
    try:
        with whole_file(path) as file:
            file.write(text.encode())
    except OSError as error:
        raise SettingsError(f"The configuration {path} cannot be written: {error.strerror}.") from None


def _koboldcpps_name(name: str) -> str:
    return POSITIONAL.get(name) or RENAMED.get(name) or name


def _as_koboldcpp(field: dataclasses.Field[Any], value: Any) -> Any:
    rule = rule_of(field)
    if rule.automatic and value == 0:
        return -1
    if rule.choices and rule.bare:
        return value != "off"
    return (list(value) or None) if isinstance(value, tuple) else value


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _settings_in(loaded: dict[str, Any]) -> dict[str, Any]:
    if loaded.get("port_param") == UNTOUCHED_PORT:
        del loaded["port_param"]  # it is always written; only another number means something
    found = {field.name: _find(loaded, field) for field in dataclasses.fields(Settings)}
    own = loaded.get(OWN)
    exact = {name: own[name] for name in found if name in own} if isinstance(own, dict) else {}
    return {name: value for name, value in {**found, **exact}.items() if value is not None}


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
