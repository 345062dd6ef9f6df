"""The sampler presets, for clients that offer a choice, and what counts without one. Routes and shapes, no logic."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from flask import Blueprint

from server.request.fields import Fields
from server.request.samplers import read_sampling
from server.sampler_presets import SamplerPreset, sampler_presets

if TYPE_CHECKING:
    from server.controller import Controller


def blueprint(controller: Controller) -> Blueprint:
    """The route, answering from ``controller``."""
    routes = Blueprint("samplers", __name__)

    @routes.get("/api/extra/sampler_presets")
    def presets() -> dict[str, Any]:
        usual = asdict(read_sampling(Fields(controller.sampler_defaults(), strict=False)))
        numbers = {name: value for name, value in usual.items() if isinstance(value, (int, float))}
        return {"presets": [_shape(preset) for preset in sampler_presets()], "defaults": numbers}

    return routes


def _shape(preset: SamplerPreset) -> dict[str, Any]:
    settings = dict(preset.settings)
    return {"name": preset.name, "about": preset.about, "source": preset.source, "settings": settings}
