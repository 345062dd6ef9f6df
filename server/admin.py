"""The models and configurations that clients may change to, and the settings they mean. Used by the admin routes."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from server import kcpps
from server.errors import BadRequest
from server.settings import Settings, from_mapping

CONFIGURATIONS = (".kcpps", ".kcppt")
MODELS = (".gguf",)
FURTHER_PART = re.compile(r"-(?!00001)\d{5}-of-\d{5}\.gguf$", re.IGNORECASE)  # the first one stands for all
INITIAL = "initial_model"
UNLOAD = "unload_model"
# Whoever may change the model may not open the server to others, lock its owner out, or write somewhere else.
KEPT = (
    "host", "port", "password", "allowclients", "allowhosts", "alloworigins", "admin", "adminpassword", "admindir",
    "statedir", "savedatafile",
)  # fmt: skip


def folder(initial: Settings) -> Path | None:
    """The folder that is offered. Without one chosen it is the model's: what people change to mostly lies beside it."""
    if initial.admindir:
        return Path(initial.admindir)
    return Path(os.path.abspath(initial.model)).parent if initial.model else None


def options(initial: Settings) -> list[str]:
    """The names that clients may change to. An unreadable folder offers none."""
    return [*_files(initial), INITIAL, UNLOAD]


def models(initial: Settings) -> dict[str, str]:
    """The models of the folder by the names that they have once they are loaded, with their paths."""
    where = folder(initial)
    names = [name for name in _files(initial) if name.lower().endswith(MODELS) and not FURTHER_PART.search(name)]
    return {Path(name).stem: os.path.abspath(where / name) for name in names} if where else {}


def settings_for(name: str, base: str, over: str, *, current: Settings, initial: Settings) -> Settings | None:
    """The settings that one of the :func:`options` means; None frees the model.

    A model keeps the ``current`` settings, or has those of the configuration ``over`` or ``base``. A configuration is
    laid over ``base`` and under ``over``. Raises :class:`SettingsError` for a bad file, else :class:`BadRequest`.
    """
    if name == UNLOAD:
        return None
    if name == INITIAL:
        return initial
    offered = _files(initial)
    for asked in (name, *filter(None, (base, over))):
        if asked not in offered:
            raise BadRequest(f"{asked[:100]!r} is not one of the files that can be chosen.", "list_options names them.")
    where = folder(initial)
    assert where
    is_model = name.lower().endswith(MODELS)
    configurations = [each for each in (base, "" if is_model else name, over) if each]
    if any(each.lower().endswith(MODELS) for each in configurations):
        raise BadRequest("Only a configuration can be laid over or under another one.")
    values: dict[str, Any] = {}
    for each in configurations:
        values |= kcpps.load(str(where / each))
    kept = {each: getattr(initial, each) for each in KEPT}
    settings = from_mapping({**values, **kept}) if configurations else current
    return replace(settings, model=str(where / name)) if is_model else settings


def _files(initial: Settings) -> list[str]:
    """Names in the folder itself. What is asked for must be one of them, so no path leads out of it."""
    where = folder(initial)
    try:
        entries = list(os.scandir(where)) if where else []
    except OSError:  # a folder that is gone offers nothing; what was started goes on
        return []
    return sorted(entry.name for entry in entries if _offered(entry))


def _offered(entry: os.DirEntry[str]) -> bool:
    return entry.name.lower().endswith(CONFIGURATIONS + MODELS) and entry.is_file()
