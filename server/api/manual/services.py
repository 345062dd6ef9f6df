"""The other routes: who is there, tokens, saved stories, and what there is not."""

from __future__ import annotations

from server.api import refusal
from server.api.absent import EMPTY_LISTS, MAKERS, not_available
from server.api.manual.fields import SLOT
from server.api.manual.route import POST, Route

THERE, TOKENS, STORIES, ABSENT = "Is it working?", "Tokens and grammars", "Stories", "Not here"
IDS = {"tokens": ("list", "token ids")}

PRESENCE = (
    Route(
        THERE,
        "/health",
        "Whether a model answers: 200 and ready; or 503 and idle, loading with a progress, or failed with the reason.",
        {"status": "ready", "model": "my-model", "running": 0, "waiting": 0, "kv_cache_tokens": 0},
    ),
    Route(
        THERE,
        "/api/extra/version",
        "KoboldCpp's version whose features are there, and which of them are switched on.",
        {"result": "KoboldCpp", "version": "1.104", "protected": False, "llm": True, "savedata": False, "admin": 0},
    ),
    Route(
        THERE,
        "/api/v1/info/version",
        "The version of KoboldAI's API.",
        {"result": "1.2.5"},
        aliases=("/api/latest/info/version",),
    ),
    Route(
        THERE,
        "/api/extra/perf",
        "Speeds and counts of the last reply and of all.",
        {"last_process_speed": 300.0, "last_eval_speed": 30.0, "total_gens": 1, "queue": 0, "idle": 1, "uptime": 60.0},
    ),
    Route(
        THERE,
        "/slots",
        "What runs, in llama-server's words, without any texts. fail_on_no_slot=1 answers 503 when all are busy.",
        [{"id": 0, "id_task": -1, "n_ctx": 8192, "n_past": 0, "is_processing": False}],
    ),
    Route(THERE, "/ping", "Whether the server is there.", {"status": "healthy"}),
    Route(THERE, "/version", "Tavernkeep's version.", {"version": "0.1.0"}),
    Route(THERE, "/api/version", "The version of Ollama whose API is there.", {"version": "0.12.11"}),
    Route(
        THERE,
        "/.well-known/serviceinfo",
        "Which program this is and which APIs it has.",
        {"version": "0.2", "software": {"name": "Tavernkeep"}, "api": {"koboldai": {"rel_url": "/api"}}},
    ),
    Route(
        THERE,
        "/metrics",
        "The server in numbers, for Prometheus: requests by route and status, replies by how they ended, tokens, times,"
        " speeds, the queue, KV cells and memory; llama-server's names too. OpenMetrics where Accept asks for it.",
        "# HELP tavernkeep_http_requests_total Requests that were answered, of every route.\n",
        content="text/plain",
    ),
    Route(
        THERE,
        "/docs",
        "This manual.",
        "<!DOCTYPE html>",
        aliases=("/api", "/api/v1", "/v1"),
        content="text/html",
    ),
    Route(THERE, "/", "The chat page, to try the model in a browser.", "<!DOCTYPE html>", content="text/html"),
    Route(THERE, "/page/{file}", "A file of the chat page.", "// The chat page", content="text/javascript"),
    Route(THERE, "/api/openapi.json", "The manual for programs.", {"openapi": "3.1.0", "paths": {}}),
)

VOCABULARY = (
    Route(
        TOKENS,
        "/api/extra/tokencount",
        "How many tokens a text has, and which.",
        {"value": 2, "ids": [1, 2]},
        methods=POST,
        aliases=("/api/extra/tokenize",),
        takes={"prompt": ("text", "the text"), "special": ("flag", "false leaves the beginning-of-text token out")},
        example={"prompt": "Well met, traveller!"},
    ),
    Route(
        TOKENS,
        "/api/extra/detokenize",
        "The text of tokens.",
        {"result": "Well met", "success": True},
        methods=POST,
        takes={"ids": ("list", "token ids")},
        example={"ids": [1, 2]},
    ),
    Route(
        TOKENS,
        "/tokenize",
        "llama-server: the tokens of a text.",
        {"tokens": [1, 2]},
        methods=POST,
        takes={
            "content": ("text", "the text"),
            "add_special": ("flag", "with the beginning-of-text token"),
            "with_pieces": ("flag", "with the text of each"),
        },
        example={"content": "Well met"},
    ),
    Route(
        TOKENS,
        "/detokenize",
        "llama-server: the text of tokens.",
        {"content": "Well met"},
        methods=POST,
        takes=IDS,
        example={"tokens": [1, 2]},
    ),
    Route(
        TOKENS,
        "/v1/internal/encode",
        "text-generation-webui: the tokens of a text.",
        {"tokens": [1, 2], "length": 2},
        methods=POST,
        takes={"text": ("text", "the text")},
        example={"text": "Well met"},
    ),
    Route(
        TOKENS,
        "/v1/internal/decode",
        "text-generation-webui: the text of tokens.",
        {"text": "Well met"},
        methods=POST,
        takes=IDS,
        example={"tokens": [1, 2]},
    ),
    Route(
        TOKENS,
        "/v1/internal/token-count",
        "text-generation-webui: how many tokens a text has.",
        {"length": 2},
        methods=POST,
        takes={"text": ("text", "the text")},
        example={"text": "Well met"},
    ),
    Route(
        TOKENS,
        "/api/extra/json_to_grammar",
        "A JSON schema as a GBNF grammar.",
        {"result": 'root ::= "yes"', "success": True},
        methods=POST,
        takes={"schema": ("any", "the schema")},
        example={"schema": {"enum": ["yes", "no"]}},
    ),
)

KEPT = (
    Route(STORIES, "/api/extra/preloadstory", "The story of --preloadstory, or an empty object.", {}),
    Route(
        STORIES,
        "/api/extra/data/save",
        "Keep a story in one of 12 slots; without data the slot is emptied. Needs --savedatafile.",
        {"success": True, "error": ""},
        methods=POST,
        takes={
            **SLOT,
            "title": ("text", "the name of the story"),
            "format": ("text", "whatever the client likes"),
            "data": ("text", "the story, at most 10 MB"),
        },
        example={"slot": 0, "title": "The old mill", "format": "kobold", "data": "..."},
    ),
    Route(
        STORIES,
        "/api/extra/data/load",
        "The story in a slot.",
        {"success": True, "data": {"title": "The old mill", "format": "kobold", "data": "..."}},
        methods=POST,
        takes=SLOT,
        example={"slot": 0},
    ),
    Route(
        STORIES,
        "/api/extra/data/list",
        "The names of the stories; empty slots have none.",
        ["The old mill"],
        methods=POST,
    ),
)

MISSING = (
    *(Route(ABSENT, path, "An empty list.", []) for path in EMPTY_LISTS),
    Route(ABSENT, "/sdapi/v1/options", "No picture model is loaded.", {"sd_model_checkpoint": "inactive"}),
    Route(
        ABSENT,
        "/api/extra/websearch",
        "Finds nothing: web search is not there.",
        [],
        methods=POST,
        takes={"q": ("text", "what to search for")},
        example={"q": "dragons"},
    ),
    *(
        Route(
            ABSENT,
            path,
            f"Refused: this server does not {what}.",
            refusal.body(not_available(what)),
            methods=POST,
            status=501,
        )
        for path, what in MAKERS.items()
    ),
)
