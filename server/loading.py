"""What the engines are told to load, by the settings. Used by the controller."""

from __future__ import annotations

import os

import platformdirs
import psutil

from server.embedding import LoadEmbedder
from server.events import LoadModel
from server.settings import Settings

SEQUENCES = 16
QUEUE = 48
MIB = 1024 * 1024
GB = 1_000_000_000
KV_TYPES = ("f16", "q8_0", "q4_0")  # by their quantkv


def load_command(settings: Settings) -> LoadModel:
    """What the engine is told to load."""
    guessing = settings.draftmodel or settings.promptlookup
    scale, base = (*settings.ropeconfig, 0.0, 0.0)[:2]
    return LoadModel(
        path=os.path.abspath(settings.model),
        context=settings.contextsize,
        gpu_layers=settings.gpulayers,
        threads=settings.threads or _default_threads(game_mode=settings.gamemode),
        batch=settings.blasbatchsize,
        sequences=SEQUENCES,
        batch_threads=settings.blasthreads,
        ubatch=settings.ubatchsize,
        flash_attention=settings.flashattention,
        kv_type=KV_TYPES[settings.quantkv],
        kv_on_gpu=not settings.lowvram,
        mmap=settings.usemmap,
        mlock=settings.usemlock,
        tensor_split=settings.tensor_split,
        main_gpu=settings.maingpu,
        moe_on_cpu=settings.moecpu,
        rope_scale=scale,
        rope_base=base if scale else 0.0,  # as in KoboldCpp, whose files hold a base that means nothing without a scale
        native_context=settings.overridenativecontext,
        loras=tuple((os.path.abspath(path), settings.loramult) for path in settings.lora),
        sliding_window=settings.useswa,
        reuse=not settings.nofastforward,
        shift=not settings.noshift,
        cache_ram=settings.cacheram * MIB,
        draft_model=os.path.abspath(settings.draftmodel) if settings.draftmodel else "",
        draft_tokens=settings.draftamount if guessing else 0,
        draft_gpu_layers=settings.draftgpulayers,
        prompt_lookup=settings.promptlookup,
        game_mode=settings.gamemode,
        low_priority=settings.lowpriority or settings.gamemode,
        log_texts=settings.logprompts,
        state_folder=os.path.abspath(settings.statedir or _default_state_folder()),
        reserve=int(settings.reservevram * GB),
    )


def capacity(settings: Settings) -> int:
    """Replies that may run or wait at the same time; the next one is told that the server is busy."""
    return {0: 1, 1: QUEUE}.get(settings.multiuser, settings.multiuser)


def embedder_command(settings: Settings, *, model_embeds: bool) -> LoadEmbedder | None:
    """What the embeddings model's engine is told to load: without one of its own the model, if it is made for that."""
    path = settings.embeddingsmodel or (settings.model if model_embeds else "")
    if not path:
        return None
    return LoadEmbedder(
        path=os.path.abspath(path),
        context=settings.embeddingsmaxctx,
        gpu_layers=-1 if settings.embeddingsgpu else 0,
        threads=settings.threads or _default_threads(game_mode=settings.gamemode),
        game_mode=settings.gamemode,
        low_priority=settings.lowpriority or settings.gamemode,
        log_texts=settings.logprompts,
    )


def _default_state_folder() -> str:
    return os.path.join(platformdirs.user_data_dir("tavernkeep", appauthor=False), "kv_states")


def _default_threads(*, game_mode: bool) -> int:
    """Physical cores this process may use: half of them beside a game, else all but one where there are over three."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    cores = min(psutil.cpu_count(logical=False) or allowed, allowed)
    if game_mode:
        return max(cores // 2, 1)
    return cores if cores <= 3 else cores - 1
