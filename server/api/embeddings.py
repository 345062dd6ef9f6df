"""Embeddings for the KoboldCpp and OpenAI dialects, and texts in order of relevance: routes and shapes, no logic."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from flask import Blueprint, Response

from server.api import caller
from server.engine.embedder import numbers
from server.request.embeddings import read_embeddings, read_rerank

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

    @routes.post("/v1/rerank")
    @routes.post("/rerank")
    @routes.post("/v1/reranking")
    @routes.post("/reranking")
    def rerank() -> dict[str, Any] | Response:
        asked = read_rerank(caller.body())
        ranking = controller.embedder.rank(asked.query, asked.documents, caller.gone())
        if ranking is None:
            return Response(status=caller.CLIENT_GONE)
        best = sorted(range(len(ranking.scores)), key=lambda index: -ranking.scores[index])[: asked.most]
        return {
            "object": "list",
            "model": ranking.model,
            "results": [
                {
                    "index": index,
                    "relevance_score": ranking.scores[index],
                    **({"document": {"text": asked.documents[index]}} if asked.return_documents else {}),
                }
                for index in best
            ],
            "usage": {"prompt_tokens": ranking.tokens, "total_tokens": ranking.tokens},
        }

    return routes


def encoded(vector: bytes) -> str:
    """A vector in base64, as OpenAI's library asks for it."""
    return base64.b64encode(vector).decode()
