"""The KoboldAI and KoboldCpp dialect: routes and shapes, no logic."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TypeVar

from flask import Blueprint, Response

from server.api import admin, caller, logprobs, sse
from server.engine.client import Generation
from server.errors import BadRequest, TavernkeepError
from server.events import EngineState, EngineStats, Finished, FinishReason, TextPiece
from server.request import kobold as kobold_json
from server.request.prepare import Prepared

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
    routes = Blueprint("kobold", __name__)

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

    @both("/generate", methods=["POST"])
    def generate() -> tuple[dict[str, Any], int, dict[str, str]] | Response:
        generation, prepared = start("/api/v1/generate")
        finished = sse.collect(generation, caller.gone())
        if finished is None:
            return Response(status=caller.CLIENT_GONE)
        thought = {"reasoning_content": generation.thought} if prepared.shows_thought else {}
        trimmed = {"trimmed": asdict(prepared.trimmed)} if prepared.trimmed else {}
        result: dict[str, Any] = {
            "text": generation.text,
            "tool_calls": [],
            "finish_reason": sse.finish_word(finished),
            "logprobs": logprobs.both_shapes(generation.logprobs),
            "prompt_tokens": finished.prompt_tokens,
            "completion_tokens": finished.completion_tokens,
            **thought,
            **trimmed,
        }
        return {"results": [result]}, 200, caller.notices(prepared)

    @routes.post("/request")
    def oldest_generate() -> tuple[dict[str, Any], int, dict[str, str]] | Response:
        """The way in before KoboldAI's."""
        generation, prepared = start("/request", {"text": "prompt", "max": "max_length"})
        if sse.collect(generation, caller.gone()) is None:
            return Response(status=caller.CLIENT_GONE)
        return {"data": {"seqs": [generation.text]}}, 200, caller.notices(prepared)

    @routes.post("/api/extra/generate/stream")
    def generate_stream() -> Response:
        generation, prepared = start("/api/extra/generate/stream")
        frames = sse.stream(
            generation,
            caller.gone(),
            on_piece=lambda piece: _frame(piece, prepared.shows_thought),
            on_end=lambda end: sse.message_frame({"token": "", "finish_reason": sse.finish_word(end)}),
            on_error=_error_frame,
        )
        return sse.response(generation, frames, caller.notices(prepared))

    @routes.route("/api/extra/generate/check", methods=["GET", "POST"])
    def check() -> dict[str, Any]:
        reply = controller.reply_of(genkey())
        return {"results": [{"text": reply.text if reply else ""}]}

    @routes.route("/api/extra/last_logprobs", methods=["GET", "POST"])
    def last_logprobs() -> dict[str, Any]:
        reply = controller.reply_of(genkey())
        return {"logprobs": logprobs.both_shapes(reply.logprobs) if reply else None}

    @routes.post("/api/extra/abort")
    def abort() -> dict[str, str]:
        key = genkey()
        stopped = controller.abort(key, caller.client())
        # Strings, not booleans: that is what KoboldCpp sends. Without a key there is always success, even when idle.
        done = "true" if stopped or not key else "false"
        return {"success": done, "done": done}

    def start(route: str, renamed: Mapping[str, str] | None = None) -> tuple[Generation, Prepared]:
        body = {(renamed or {}).get(name, name): value for name, value in caller.body().items()}
        request = kobold_json.read_generate(body, shift=not controller.settings.noshift)
        prepared = controller.prepare(request)
        return controller.generate(prepared, request.genkey, caller.client(), route), prepared

    def genkey() -> str:
        """The genkey of an abort or check, which clients also send without any body that can be read."""
        try:
            key = caller.body().get("genkey")
        except BadRequest:
            key = None
        return key if isinstance(key, str) else ""

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
    return 2 if last.stopped_by_text else STOP_REASONS[last.reason]


def _frame(piece: TextPiece, shows_thought: bool) -> bytes:
    """A piece of a reply; nothing for a thought, unless the client asked for it."""
    thought = {"reasoning_content": piece.thought} if piece.thought and shows_thought else {}
    if not piece.text and not thought:
        return b""
    return sse.message_frame({"token": piece.text, "finish_reason": None, **thought})


def _error_frame(error: TavernkeepError) -> bytes:
    details = {"message": str(error), "type": error.code, "code": error.code}
    return sse.message_frame({"token": "", "finish_reason": "error", "error": details})
