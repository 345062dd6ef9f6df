"""Embeddings for the KoboldCpp and OpenAI dialects: routes and shapes, no logic."""

from __future__ import annotations

import base64
import struct
from typing import TYPE_CHECKING, Any

from flask import Blueprint, Response

from server.api import caller
from server.request.embeddings import read_embeddings

if TYPE_CHECKING:
    from server.controller import Controller


def blueprint(controller: Controller) -> Blueprint:
    """The routes, answering from ``controller``."""
    routes = Blueprint("embeddings", __name__)

    @routes.post("/v1/embeddings")
    @routes.post("/embeddings")
    @routes.post("/api/extra/embeddings")
    def embeddings() -> dict[str, Any] | Response:
        asked = read_embeddings(caller.body())
        made = controller.embedder.embed(
            asked.inputs, caller.gone(), truncate=asked.truncate, dimensions=asked.dimensions
        )
        if made is None:
            return Response(status=caller.CLIENT_GONE)
        word = encoded if asked.base64 else numbers
        return {
            "object": "list",
            "data": [
                {"object": "embedding", "index": index, "embedding": word(vector)}
                for index, vector in enumerate(made.vectors)
            ],
            "model": made.model,
            "usage": {"prompt_tokens": made.tokens, "total_tokens": made.tokens},
        }

    return routes


def numbers(vector: bytes) -> list[float]:
    """A vector as JSON has it."""
    return list(struct.unpack(f"<{len(vector) // 4}f", vector))


def encoded(vector: bytes) -> str:
    """A vector in base64, as OpenAI's library asks for it."""
    return base64.b64encode(vector).decode()
