"""``/health``: what the engine is doing, for clients that wait for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask import Blueprint

from server.events import EngineState, EngineStats

if TYPE_CHECKING:
    from server.controller import Controller


def blueprint(controller: Controller) -> Blueprint:
    """The routes, answering from ``controller``."""
    routes = Blueprint("health", __name__)

    @routes.get("/health")
    def health() -> tuple[dict[str, Any], int]:
        now = controller.snapshot()
        body: dict[str, Any] = {"status": now.state.value}
        if now.sentence:
            body["message"] = now.sentence
        if now.state is EngineState.READY and now.model:
            return {**body, "model": now.model.name, **_figures(now.stats)}, 200
        if now.state is EngineState.LOADING:
            body["progress"] = round(now.progress, 3)
        return body, 503

    return routes


def _figures(stats: EngineStats) -> dict[str, float]:
    """What the engine does now; beyond the first two the names are those of llama-server's metrics."""
    cells = stats.cells_used + stats.cells_cached
    return {
        "running": stats.running,
        "waiting": stats.waiting,
        "prompt_tokens_seconds": round(stats.prompt_speed, 1),
        "predicted_tokens_seconds": round(stats.decode_speed, 1),
        "kv_cache_tokens": cells,
        "kv_cache_usage_ratio": round(cells / stats.cells_total, 3) if stats.cells_total else 0.0,
    }
