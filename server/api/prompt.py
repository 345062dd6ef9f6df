"""What is made of a chat: which template is used and why, and the exact prompt. Routes and shapes, no logic."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from flask import Blueprint

from server.api import caller
from server.request import openai as openai_json
from server.snapshot import TemplateInfo

if TYPE_CHECKING:
    from server.controller import Controller


def blueprint(controller: Controller) -> Blueprint:
    """The routes, answering from ``controller``."""
    routes = Blueprint("prompt", __name__)

    @routes.get("/props")
    def props() -> dict[str, Any]:
        model = controller.loaded_model()
        return {
            "chat_template": model.chat_template,  # SillyTavern recognises models by it, and fails without
            "id": 0,
            "id_task": -1,
            "total_slots": controller.slots(),
            "modalities": {"vision": False, "audio": False},
            "model_path": model.path,
            "n_ctx": model.context,
            "default_generation_settings": {"n_ctx": model.context},
            "bos_token": model.bos_text,
            "eos_token": model.eos_text,
            "template": _template(controller.snapshot().template),
        }

    @routes.post("/api/extra/preview_prompt")
    def preview_prompt() -> dict[str, Any]:
        prepared = controller.prepare(openai_json.read_chat(caller.body(), controller.sampler_defaults()))
        return {
            "prompt": prepared.text,
            "tokens": list(prepared.tokens),
            "token_count": len(prepared.tokens),
            "trimmed": dataclasses.asdict(prepared.trimmed) if prepared.trimmed else None,
            "stop": list(prepared.stop),
            "template": _template(prepared.template),
        }

    return routes


def _template(info: TemplateInfo | None) -> dict[str, str] | None:
    return dataclasses.asdict(info) if info else None
