"""Whether anyone is there, who, and what the engine is doing: for clients that wait, watch or look around."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from flask import Blueprint, request

from server import VERSION
from server.engine.client import Generation
from server.errors import ServerBusy
from server.events import EngineState, EngineStats, SlotState

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

    @routes.get("/ping")
    def ping() -> dict[str, str]:
        return {"status": "healthy"}

    @routes.get("/version")
    def version() -> dict[str, str]:
        return {"version": VERSION}

    @routes.get("/.well-known/serviceinfo")
    def serviceinfo() -> dict[str, Any]:
        about = {"documentation": request.host_url + "docs", "version": VERSION}
        return {
            "version": "0.2",
            "software": {"name": "Tavernkeep", "version": VERSION, "repository": "", "homepage": "", "logo": ""},
            "api": {
                "koboldai": {"name": "KoboldAI API", "rel_url": "/api", **about},
                "openai": {"name": "OpenAI API", "rel_url": "/v1", **about},
            },
        }

    @routes.get("/slots")
    def slots() -> list[dict[str, Any]]:
        """In llama-server's shape, without any texts: those belong to whoever asked for them."""
        model, count = controller.loaded_model(), controller.slots()
        known = controller.snapshot().stats.slots
        replies = {generation.request.request_id: generation for generation in controller.generations()}
        busy = [slot for slot in known if slot.request_id in replies]
        if len(busy) >= count and request.args.get("fail_on_no_slot"):
            raise ServerBusy("All slots are busy.", "Try again in a moment.")
        idle = [_idle_slot(slot, model.context) for slot in _idle(known, busy, count)]
        return [_busy_slot(slot, model.context, replies[slot.request_id]) for slot in busy] + idle

    return routes


def _idle(known: Sequence[SlotState], busy: Sequence[SlotState], count: int) -> list[SlotState]:
    """Slots that are not busy, those that hold most first, so that there are ``count`` in all."""
    used = {slot.number for slot in known}
    empty = [SlotState(number, 0, 0) for number in range(count + len(used)) if number not in used]
    held = sorted((slot for slot in known if slot not in busy), key=lambda slot: -slot.tokens)
    return [*held, *empty][: count - len(busy)]


def _idle_slot(slot: SlotState, context: int) -> dict[str, Any]:
    return {"id": slot.number, "id_task": -1, "n_ctx": context, "n_past": slot.tokens, "is_processing": False}


def _busy_slot(slot: SlotState, context: int, reply: Generation) -> dict[str, Any]:
    asked = reply.request
    numbers = {name: value for name, value in asdict(asked.sampling).items() if isinstance(value, (int, float))}
    return {
        **_idle_slot(slot, context),
        "id_task": asked.request_id,
        "is_processing": True,
        "params": {**numbers, "n_predict": asked.max_tokens},
        "next_token": {
            "has_next_token": not reply.over,
            "n_remain": asked.max_tokens - reply.tokens,
            "n_decoded": reply.tokens,
        },
    }


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
