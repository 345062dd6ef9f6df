"""The routes that tell about the loaded model and what it is doing, and those that change it."""

from __future__ import annotations

from server.api.manual.fields import SLOT
from server.api.manual.route import ANY_METHOD, POST, Route

MODEL, ADMIN = "The model", "Administration (with --admin)"
ENTRY = {
    "name": "my-model:latest",
    "model": "my-model:latest",
    "size": 98362432,
    "digest": "0123",
    "details": {"format": "gguf", "family": "llama", "parameter_size": "135M", "quantization_level": "Q4_1"},
}
LISTED = {"id": "my-model", "object": "model", "created": 1, "owned_by": "tavernkeep", "loaded": True}


def _alike(path: str) -> tuple[str, ...]:
    """The other name of a path of KoboldAI's."""
    return (path.replace("/api/v1", "/api/latest"),)


MODELS = (
    Route(
        MODEL,
        "/api/v1/model",
        "The name of the loaded model, inactive without one.",
        {"result": "koboldcpp/my-model"},
        aliases=_alike("/api/v1/model"),
    ),
    Route(
        MODEL,
        "/v1/models",
        "The loaded model, and behind it the others in its folder, in OpenAI's words.",
        {"object": "list", "data": [LISTED]},
        aliases=("/models",),
    ),
    Route(MODEL, "/v1/models/{name}", "One model of that list.", LISTED, aliases=("/models/{name}",)),
    Route(
        MODEL, "/api/tags", "Ollama: the loaded models.", {"models": [{**ENTRY, "modified_at": "2026-01-01T12:00:00Z"}]}
    ),
    Route(
        MODEL,
        "/api/ps",
        "Ollama: the loaded models, and whether they are on the GPU.",
        {"models": [{**ENTRY, "size_vram": 0}]},
    ),
    Route(
        MODEL,
        "/api/show",
        "Ollama: all about a model.",
        {
            "details": ENTRY["details"],
            "template": "",
            "model_info": {"general.architecture": "llama"},
            "capabilities": [],
        },
        methods=POST,
        takes={"model": ("text", "any name")},
        example={"model": "any"},
    ),
    Route(
        MODEL,
        "/v1/internal/model/info",
        "text-generation-webui: the name of the loaded model.",
        {"model_name": "my-model", "lora_names": []},
    ),
    Route(
        MODEL,
        "/props",
        "The chat template, which one is used and why, and the size of the context.",
        {
            "chat_template": "{% for message in messages %}",
            "total_slots": 16,
            "n_ctx": 8192,
            "default_generation_settings": {"n_ctx": 8192},
            "template": {"name": "ChatML", "source": "the model", "reason": "It is the model's own.", "warning": ""},
        },
    ),
    Route(
        MODEL,
        "/api/v1/config/max_context_length",
        "The size of the context in tokens.",
        {"value": 8192},
        aliases=(*_alike("/api/v1/config/max_context_length"), "/api/extra/true_max_context_length"),
    ),
    Route(
        MODEL,
        "/api/v1/config/max_length",
        "The length of a reply in tokens where a request names none.",
        {"value": 768},
        aliases=_alike("/api/v1/config/max_length"),
    ),
    Route(
        MODEL,
        "/api/v1/config/soft_prompt",
        "The soft prompt in use, which is always none.",
        {"value": ""},
        methods=("GET", "PUT"),
        aliases=_alike("/api/v1/config/soft_prompt"),
    ),
    Route(
        MODEL,
        "/api/v1/config/soft_prompts_list",
        "Soft prompts to choose from: none.",
        {"values": []},
        aliases=_alike("/api/v1/config/soft_prompts_list"),
    ),
    Route(
        MODEL,
        "/api/pull",
        "Ollama: fetching and keeping models, which is not done here.",
        {
            "error": "This server fetches and keeps no models as Ollama does. Put the GGUF file on this PC, and choose"
            " it when Tavernkeep is started."
        },
        methods=ANY_METHOD,
        aliases=("/api/push", "/api/create", "/api/copy", "/api/delete", "/api/blobs/{digest}"),
        takes={"model": ("text", "a name")},
        example={"model": "any"},
        status=501,
    ),
)

ADMINISTRATION = (
    Route(
        ADMIN,
        "/api/admin/list_options",
        "The models and configurations that reload_config takes.",
        ["other-model.gguf", "initial_model", "unload_model"],
    ),
    Route(
        ADMIN,
        "/api/admin/check_state",
        "The conversation that would be saved, and what is saved in each slot.",
        {"success": True, "old_states": [{"tokens": 0, "size": 0}], "new_state_size": 0, "new_tokens": 0},
        methods=POST,
    ),
    Route(
        ADMIN,
        "/api/admin/save_state",
        "Save the conversation that was used last to disk.",
        {"success": True, "new_state_size": 40000000, "new_tokens": 2000},
        methods=POST,
        takes=SLOT,
        example={"slot": 0},
    ),
    Route(
        ADMIN,
        "/api/admin/load_state",
        "Load a saved conversation, so that its next turn need not be read from the start.",
        {"success": True, "new_tokens": 2000},
        methods=POST,
        takes=SLOT,
        example={"slot": 0},
    ),
    Route(
        ADMIN,
        "/api/admin/clear_state",
        "Empty a slot of the saved conversations.",
        {"success": True},
        methods=POST,
        takes=SLOT,
        example={"slot": 0},
    ),
    Route(
        ADMIN,
        "/api/admin/reload_config",
        "Change the model or the configuration while the port stays open. If it cannot be loaded, the last returns.",
        {"success": True},
        methods=POST,
        takes={
            "filename": ("text", "a name from list_options"),
            "baseconfig": ("text", "a configuration to lay it over"),
            "overrideconfig": ("text", "a configuration to lay over it"),
        },
        example={"filename": "initial_model"},
    ),
)
