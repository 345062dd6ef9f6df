"""``/health``: what the engine is doing, for clients that wait for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask import Blueprint

from server.events import EngineState

if TYPE_CHECKING:
    from server.controller import Controller


def blueprint(controller: Controller) -> Blueprint:
    """The routes, answering from ``controller``."""
    routes = Blueprint("health", __name__)

    @routes.get("/health")
    def health() -> tuple[dict[str, Any], int]:
        now = controller.snapshot()
        body: dict[str, Any] = {"status": now.state.value}
        if now.state is EngineState.READY and now.model:
            return {
                **body,
                "model": now.model.name,
                "running": now.stats.running,
                "waiting": now.stats.waiting,
            }, 200
        if now.state is EngineState.LOADING:
            body["progress"] = round(now.progress, 3)
        if now.sentence:
            body["message"] = now.sentence
        return body, 503

    return routes
