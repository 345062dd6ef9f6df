"""Sampler settings that are known to work, for a purpose or for a model. Used by :mod:`server.api.samplers`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "presets" / "samplers"

Value = float | tuple[str, ...]


@dataclass(frozen=True)
class SamplerPreset:
    """What a request may be sent with: its ``name``, whom it is ``about``, the ``source`` of its figures, and its
    ``settings`` by KoboldCpp's names. What it leaves out stays at the server's default."""

    name: str
    about: str
    source: str
    settings: tuple[tuple[str, Value], ...]


def sampler_presets() -> tuple[SamplerPreset, ...]:
    """All of them, in the order of the numbers that their files begin with."""
    return tuple(_read(file) for file in sorted(FOLDER.glob("*.json")))


def _read(file: Path) -> SamplerPreset:
    told = json.loads(file.read_text("utf-8"))
    settings = ((name, tuple(value) if isinstance(value, list) else value) for name, value in told["settings"].items())
    return SamplerPreset(told["name"], told["about"], told["source"], tuple(settings))
