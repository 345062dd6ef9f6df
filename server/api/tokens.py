"""Text to tokens and back, and schemas to grammars, in the words of KoboldCpp, llama-server and text-generation-webui.

Routes and shapes, no logic.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from flask import Blueprint

from server.api import caller, refusal
from server.errors import BadRequest
from server.request.schema import check_size
from server.request.tokens import read_text, read_tokens

if TYPE_CHECKING:
    from server.controller import Controller

Answer = dict[str, Any] | tuple[dict[str, Any], int]


def blueprint(controller: Controller) -> Blueprint:
    """The routes, answering from ``controller``."""
    routes = Blueprint("tokens", __name__)

    # --- KoboldCpp ---

    @routes.post("/api/extra/tokencount")
    @routes.post("/api/extra/tokenize")
    def tokencount() -> Answer:
        try:
            asked = caller.body()
            ids = controller.tokenize(read_text(asked, "prompt"), special=asked.get("special") is not False)
        except BadRequest as error:
            return refusal.body(error, value=-1), error.status
        return {"value": len(ids), "ids": list(ids)}

    @routes.post("/api/extra/detokenize")
    def detokenize() -> Answer:
        try:
            text = controller.detokenize(read_tokens(caller.body(), "ids"))
        except BadRequest as error:
            return refusal.body(error, result="", success=False), error.status
        return {"result": text, "success": True}

    @routes.post("/api/extra/json_to_grammar")
    def json_to_grammar() -> Answer:
        try:
            asked = caller.body()
            schema = asked.get("schema", asked)  # KoboldCpp takes the schema itself as well
            check_size(schema, "schema")
            grammar = controller.grammar_of(json.dumps(schema))
        except BadRequest as error:
            return refusal.body(error, result="", success=False), error.status
        return {"result": grammar, "success": True}

    # --- llama-server ---

    @routes.post("/tokenize")
    def llama_tokenize() -> Answer:
        asked = caller.body()
        ids = controller.tokenize(read_text(asked, "content"), special=asked.get("add_special") is True)
        if asked.get("with_pieces") is not True:
            return {"tokens": list(ids)}
        return {"tokens": [{"id": token, "piece": controller.detokenize((token,))} for token in ids]}

    @routes.post("/detokenize")
    def llama_detokenize() -> Answer:
        return {"content": controller.detokenize(read_tokens(caller.body(), "tokens"))}

    # --- text-generation-webui ---

    @routes.post("/v1/internal/encode")
    def encode() -> Answer:
        ids = controller.tokenize(read_text(caller.body(), "text"), special=True)
        return {"tokens": list(ids), "length": len(ids)}

    @routes.post("/v1/internal/token-count")
    def token_count() -> Answer:
        return {"length": len(controller.tokenize(read_text(caller.body(), "text"), special=True))}

    @routes.post("/v1/internal/decode")
    def decode() -> Answer:
        return {"text": controller.detokenize(read_tokens(caller.body(), "tokens"))}

    @routes.get("/v1/internal/model/info")
    def model_info() -> Answer:
        return {"model_name": controller.loaded_model().name, "lora_names": list(controller.settings.lora)}

    return routes
