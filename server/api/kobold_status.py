"""What the KoboldAI and KoboldCpp dialect tells of the server: model, versions, limits, speeds. Routes and shapes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from flask import Blueprint

from server.api import admin
from server.events import EngineState, EngineStats, Finished, FinishReason

if TYPE_CHECKING:
    from server.controller import Controller

View = TypeVar("View", bound=Callable[..., Any])

API_LEVEL = "1.2.5"
# Clients switch features on by this number; it claims what is implemented here: mirostat (1.37), SSE (1.40), grammars
# (1.44), memory and trim_stop (1.49), DRY (1.70), XTC (1.74), placeholders (1.88), adaptive-p (1.104). What others
# would unlock (images, speech, multiplayer, MCP) is told by flags of its own as well, and those are false.
KOBOLDCPP_VERSION = "1.104"
STOP_REASONS = {FinishReason.LENGTH: 0, FinishReason.STOP: 1, FinishReason.CANCELLED: 0}


def blueprint(controller: Controller) -> Blueprint:
    """The routes, answering from ``controller``."""
    routes = Blueprint("kobold_status", __name__)

    def both(rule: str, **options: Any) -> Callable[[View], View]:
        """Register ``rule`` under ``/api/v1`` and its alias ``/api/latest``."""

        def register(view: View) -> View:
            for version in ("v1", "latest"):
                routes.add_url_rule(f"/api/{version}{rule}", f"{view.__name__}_{version}", view, **options)
            return view

        return register

    def context() -> int:
        model = controller.snapshot().model
        return model.context if model else controller.settings.contextsize

    @both("/model")
    def model() -> dict[str, str]:
        loaded = controller.snapshot().model
        return {"result": f"koboldcpp/{loaded.name}" if loaded else "inactive"}

    @both("/info/version")
    def api_level() -> dict[str, str]:
        return {"result": API_LEVEL}

    @both("/config/max_context_length")
    def max_context_length() -> dict[str, int]:
        return {"value": context()}

    @both("/config/max_length")
    def max_length() -> dict[str, int]:
        return {"value": controller.settings.defaultgenamt}

    @both("/config/soft_prompt", methods=["GET", "PUT"])
    def soft_prompt() -> dict[str, str]:
        """There are none; those who set one are told by what they read back."""
        return {"value": ""}

    @both("/config/soft_prompts_list")
    def soft_prompts_list() -> dict[str, list[str]]:
        return {"values": []}

    @routes.get("/api/extra/true_max_context_length")
    def true_max_context_length() -> dict[str, int]:
        return {"value": context()}

    @routes.get("/api/extra/version")
    def version() -> dict[str, Any]:
        return {
            "result": "KoboldCpp",
            "version": KOBOLDCPP_VERSION,
            "protected": bool(controller.settings.password),
            "llm": controller.snapshot().state is EngineState.READY,
            "txt2img": False,
            "vision": False,
            "audio": False,
            "transcribe": False,
            "multiplayer": False,
            "websearch": False,
            "tts": False,
            "embeddings": controller.embedder.model is not None,
            "savedata": bool(controller.settings.savedatafile),
            "admin": admin.level(controller.settings),
            "guidance": True,
            "jinja": False,
        }

    @routes.get("/api/extra/perf")
    def perf() -> dict[str, Any]:
        totals, now = controller.totals(), controller.snapshot()
        return {
            **_last_reply(totals.last),
            **_cache(now.stats),
            "total_gens": totals.replies,
            "total_img_gens": 0,
            "total_tts_gens": 0,
            "total_transcribe_gens": 0,
            "queue": now.stats.waiting,
            "idle": 0 if now.requests else 1,
            "hordeexitcounter": -1,
            "uptime": totals.uptime,
            "idletime": 0.0 if now.requests else totals.idle,
            "quiet": controller.settings.quiet,
        }

    return routes


def _last_reply(last: Finished | None) -> dict[str, Any]:
    """The ``last_*`` fields of perf; ``last_process`` and ``last_eval`` are milliseconds a token.

    Speeds count the tokens that were really read. ``last_cached_count`` is ours: prompt tokens that were not.
    """
    end = last or Finished(0, FinishReason.STOP, prompt_tokens=0, completion_tokens=0, seed=-1)
    read, tokens = end.prompt_tokens - end.cached_tokens, end.completion_tokens
    return {
        "last_process": 1000 * end.prompt_seconds / read if read else 0.0,
        "last_eval": 1000 * end.decode_seconds / tokens if tokens else 0.0,
        "last_token_count": tokens,
        "last_input_count": end.prompt_tokens,
        "last_cached_count": end.cached_tokens,
        "last_process_time": end.prompt_seconds,
        "last_eval_time": end.decode_seconds,
        "last_process_speed": read / end.prompt_seconds if end.prompt_seconds else 0.0,
        "last_eval_speed": tokens / end.decode_seconds if end.decode_seconds else 0.0,
        "last_seed": end.seed,
        "last_draft_success": end.accepted,
        "last_draft_failed": end.drafted - end.accepted,
        "stop_reason": _stop_reason(last),
    }


def _cache(stats: EngineStats) -> dict[str, int]:
    """Perf fields that KoboldCpp does not have: what the loaded model need not read again. Cells hold a token each."""
    return {
        "total_input_count": stats.prompt_tokens,
        "total_cached_count": stats.cached_tokens,
        "total_draft_success": stats.accepted,
        "total_draft_failed": stats.drafted - stats.accepted,
        "kv_cells_used": stats.cells_used,
        "kv_cells_cached": stats.cells_cached,
        "kv_cells_total": stats.cells_total,
        "cache_ram_bytes": stats.ram_used,
        "threads": stats.threads,
    }


def _stop_reason(last: Finished | None) -> int:
    """KoboldCpp's code: -1 none yet, 0 out of tokens, 1 the model's own end, 2 a stop text."""
    if last is None:
        return -1
    return 2 if last.stop_text else STOP_REASONS[last.reason]
