"""The sampler presets, for clients that offer a choice. Routes and shapes, no logic."""

from __future__ import annotations

from typing import Any

from flask import Blueprint

from server.sampler_presets import SamplerPreset, sampler_presets


def blueprint(_: object) -> Blueprint:
    """The route; it answers without the controller."""
    routes = Blueprint("samplers", __name__)

    @routes.get("/api/extra/sampler_presets")
    def presets() -> dict[str, Any]:
        return {"presets": [_shape(preset) for preset in sampler_presets()]}

    return routes


def _shape(preset: SamplerPreset) -> dict[str, Any]:
    settings = dict(preset.settings)
    return {"name": preset.name, "about": preset.about, "source": preset.source, "settings": settings}
