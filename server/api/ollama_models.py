"""The loaded models in Ollama's words. Used by :mod:`server.api.ollama`."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from server.events import ModelInfo
from server.prompt.thinking import TAGS

Json = dict[str, Any]

TAG = ":latest"  # Ollama's names have one, and clients look for the colon
NEVER = "2999-12-31T23:59:59Z"  # a model stays loaded until it is swapped or the server stops
WRITES = ("completion", "tools")
THINKS = "thinking"
EMBEDS = ("embedding",)


def listed(model: ModelInfo) -> Json:
    """An entry of ``/api/tags``."""
    size, modified = _file(model)
    return {
        "name": model.name + TAG,
        "model": model.name + TAG,
        "modified_at": timestamp(modified),
        "size": size,
        "digest": _digest(model, size, modified),
        "details": _details(model),
    }


def running(model: ModelInfo, *, on_gpu: bool) -> Json:
    """An entry of ``/api/ps``; with ``on_gpu`` all of the model is there."""
    entry = listed(model)
    del entry["modified_at"]
    return {
        **entry,
        "expires_at": NEVER,
        "size_vram": model.size if on_gpu else 0,
        "context_length": model.context,
    }


def described(model: ModelInfo, defaults: Mapping[str, Any], *, embeds: bool) -> Json:
    """The answer of ``/api/show``. ``defaults`` are sampler settings that requests need not name."""
    parameters = {"num_ctx": model.context, **({} if embeds else defaults)}
    return {
        "modelfile": f"# {model.name}, as Tavernkeep has loaded it.\nFROM {model.path}\n",
        "parameters": "\n".join(f"{name:<30} {value}" for name, value in parameters.items()),
        "template": model.chat_template,
        "details": _details(model),
        "model_info": {
            "general.architecture": model.architecture,
            "general.parameter_count": model.parameters,
            f"{model.architecture}.context_length": model.trained_context,
            f"{model.architecture}.block_count": model.layers,
        },
        "capabilities": list(EMBEDS if embeds else (*WRITES, *([THINKS] if _thinks(model) else []))),
        "modified_at": timestamp(_file(model)[1]),
    }


def is_named(model: ModelInfo | None, name: object) -> bool:
    """Whether a client means this model by ``name``, with a tag or without."""
    return model is not None and name in (model.name, model.name + TAG)


def timestamp(seconds: float) -> str:
    """A time since 1970 as Ollama writes it."""
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat().replace("+00:00", "Z")


def _details(model: ModelInfo) -> Json:
    return {
        "parent_model": "",
        "format": "gguf",
        "family": model.architecture,
        "families": [model.architecture],
        "parameter_size": _in_short(model.parameters),
        "quantization_level": _level(model.quantisation),
    }


def _in_short(count: int) -> str:
    """134515008 as 134.5M, 8030261248 as 8.0B."""
    for unit, letter in ((10**9, "B"), (10**6, "M"), (10**3, "K")):
        if count >= unit:
            return f"{count / unit:.1f}{letter}"
    return str(count)


def _level(quantisation: str) -> str:
    """llama.cpp's "Q4_K - Medium" is Q4_K_M in file names and in Ollama's."""
    kind, _, variant = quantisation.removeprefix("(guessed) ").partition(" - ")
    return f"{kind}_{variant[0]}" if variant else kind


def _thinks(model: ModelInfo) -> bool:
    """Whether the model's template knows thoughts."""
    return any(tag in model.chat_template for tag, _ in TAGS)


def _file(model: ModelInfo) -> tuple[int, float]:
    """Size of the model's file in bytes and its time; of one that was deleted since, what is known without it."""
    try:
        found = os.stat(model.path)
    except OSError:
        return model.size, 0.0
    return found.st_size, found.st_mtime


def _digest(model: ModelInfo, size: int, modified: float) -> str:
    """Tells files apart and stays the same. It is not the hash of the content: reading gigabytes would take minutes."""
    return hashlib.sha256(f"{model.path}\n{size}\n{modified}".encode("utf-8", "surrogateescape")).hexdigest()
