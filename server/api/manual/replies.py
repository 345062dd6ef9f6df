"""The routes that write replies, and those that make vectors."""

from __future__ import annotations

from typing import Any

from server.api.manual.fields import ANTHROPIC, CHAT, GENKEY, KOBOLD, OLLAMA, OPENAI, PROMPT, RESPONSES
from server.api.manual.route import EITHER, POST, Route

RESULT: dict[str, Any] = {
    "text": " a time when dragons",
    "tool_calls": [],
    "finish_reason": "length",
    "logprobs": None,
    "prompt_tokens": 4,
    "completion_tokens": 4,
}
USAGE = {
    "prompt_tokens": 12,
    "completion_tokens": 8,
    "total_tokens": 20,
    "prompt_tokens_details": {"cached_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 0},
}
TIMES = {
    "total_duration": 520000000,
    "load_duration": 1000000,
    "prompt_eval_count": 12,
    "prompt_eval_duration": 90000000,
    "eval_count": 8,
    "eval_duration": 430000000,
}
OLLAMA_HEAD = {"model": "any:latest", "created_at": "2026-01-01T12:00:00Z"}
RANKED = {
    "object": "list",
    "model": "my-embeddings",
    "results": [{"index": 1, "relevance_score": 0.9}],
    "usage": {"prompt_tokens": 12, "total_tokens": 12},
}
VECTORS = {
    "object": "list",
    "data": [{"object": "embedding", "index": 0, "embedding": [0.6, -0.8]}],
    "model": "my-embeddings",
    "usage": {"prompt_tokens": 3, "total_tokens": 3},
}


def _kobold(path: str) -> dict[str, Any]:
    return {"path": f"/api/v1{path}", "aliases": (f"/api/latest{path}",)}


REPLIES = (
    Route(
        "Replies",
        **_kobold("/generate"),
        methods=POST,
        summary="Continue a prompt; the whole reply at once.",
        takes=KOBOLD,
        example={"prompt": "Once upon", "max_length": 4, "temperature": 0.7, "stop_sequence": ["\n"]},
        answer={"results": [RESULT]},
    ),
    Route(
        "Replies",
        "/api/extra/generate/stream",
        methods=POST,
        summary="Continue a prompt; the reply as server-sent events while it is written. The connection then closes.",
        takes=KOBOLD,
        example={"prompt": "Once upon", "max_length": 4},
        answer='event: message\ndata: {"token": " a", "finish_reason": null}\n\n',
        content="text/event-stream",
    ),
    Route(
        "Replies",
        "/request",
        methods=POST,
        summary="Continue a prompt, as the oldest clients ask for it.",
        takes={**KOBOLD, "text": ("text", "the text to continue"), "max": ("integer", "tokens of the reply at most")},
        example={"text": "Once upon", "max": 4},
        answer={"data": {"seqs": [" a time when dragons"]}},
    ),
    Route(
        "Replies",
        "/api/extra/generate/check",
        methods=EITHER,
        summary="What a reply says so far, or said last until the next one starts. Others' are never shown.",
        takes=GENKEY,
        example={"genkey": "KCPP1234"},
        answer={"results": [{"text": ""}]},
    ),
    Route(
        "Replies",
        "/api/extra/last_logprobs",
        methods=EITHER,
        summary="The probabilities of a reply's tokens, if the reply was asked for with logprobs.",
        takes=GENKEY,
        example={"genkey": "KCPP1234"},
        answer={"logprobs": None},
    ),
    Route(
        "Replies",
        "/api/extra/abort",
        methods=POST,
        summary="Stop a reply, whichever route asked for it; it ends with what it has said. The body may be empty.",
        takes=GENKEY,
        example={"genkey": "KCPP1234"},
        answer={"success": "false", "done": "false"},
    ),
    Route(
        "Replies",
        "/v1/chat/completions",
        aliases=("/chat/completions",),
        methods=POST,
        summary="The next turn of a chat, rendered with the model's own template.",
        takes=CHAT,
        example={"messages": [{"role": "user", "content": "Who are you?"}], "max_tokens": 8},
        answer={
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1767268800,
            "model": "my-model",
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": "I keep this tavern."},
                    "finish_reason": "stop",
                    "logprobs": None,
                }
            ],
            "usage": USAGE,
        },
    ),
    Route(
        "Replies",
        "/v1/completions",
        aliases=("/completions", "/v1/completion"),
        methods=POST,
        summary="Continue a prompt, in OpenAI's words; all of KoboldCpp's settings count here as well.",
        takes={
            **PROMPT,
            **OPENAI,
            "prompt": ("any", "the text to continue, token ids, or a list of texts or of lists of token ids"),
            "suffix": ("text", "what comes behind the reply, for models that fill in the middle"),
            "echo": ("flag", "put the prompt before the reply, with its probabilities if they are asked for"),
            "best_of": ("integer", "write that many replies and send the n likeliest"),
            "logprobs": ("integer", "tell that many likeliest tokens beside each one"),
        },
        example={"prompt": "Once upon", "max_tokens": 4, "stop": ["\n"]},
        answer={
            "id": "cmpl-1",
            "object": "text_completion",
            "created": 1767268800,
            "model": "my-model",
            "choices": [{"index": 0, "text": " a time", "finish_reason": "length", "logprobs": None}],
            "usage": USAGE,
        },
    ),
    Route(
        "Replies",
        "/v1/responses",
        aliases=("/responses",),
        methods=POST,
        summary="OpenAI's newer way to ask for a turn, streamed as its events. Nothing is kept: send the whole input.",
        takes=RESPONSES,
        example={"input": "Who are you?", "max_output_tokens": 8},
        answer={
            "id": "resp_1",
            "object": "response",
            "status": "completed",
            "model": "my-model",
            "output": [{"id": "msg_1_0", "type": "message", "role": "assistant", "content": []}],
            "usage": {"input_tokens": 12, "output_tokens": 8, "total_tokens": 20},
        },
    ),
    Route(
        "Replies",
        "/v1/messages",
        methods=POST,
        summary="Anthropic: the next turn of a chat, streamed as Anthropic's events. All other settings count as well.",
        takes=ANTHROPIC,
        example={"messages": [{"role": "user", "content": "Who are you?"}], "max_tokens": 8},
        answer={
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": "my-model",
            "content": [{"type": "text", "text": "I keep this tavern."}],
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "usage": {"input_tokens": 12, "output_tokens": 8},
        },
    ),
    Route(
        "Replies",
        "/v1/messages/count_tokens",
        methods=POST,
        summary="Anthropic: how many tokens such a chat has.",
        takes=ANTHROPIC,
        example={"messages": [{"role": "user", "content": "Who are you?"}]},
        answer={"input_tokens": 12},
    ),
    Route(
        "Replies",
        "/api/generate",
        methods=POST,
        summary="Ollama: a reply to a prompt, in the model's template.",
        takes={
            **OLLAMA,
            "prompt": ("text", "what the user says; without one only whether the model is there"),
            "system": ("text", "how the model should behave"),
            "raw": ("flag", "continue the prompt as it is"),
            "context": ("list", "token ids of the conversation so far, from the last answer"),
        },
        example={"model": "any", "prompt": "Who are you?", "stream": False, "options": {"num_predict": 8}},
        answer={**OLLAMA_HEAD, "response": "I keep", "done": True, "done_reason": "length", "context": [1], **TIMES},
    ),
    Route(
        "Replies",
        "/api/chat",
        methods=POST,
        summary="Ollama: the next turn of a chat.",
        takes={**OLLAMA, "messages": ("list", "the chat"), "tools": ("list", "functions that the model may call")},
        example={
            "model": "any",
            "messages": [{"role": "user", "content": "Who are you?"}],
            "stream": False,
            "options": {"num_predict": 8},
        },
        answer={
            **OLLAMA_HEAD,
            "message": {"role": "assistant", "content": "I keep"},
            "done": True,
            "done_reason": "length",
            **TIMES,
        },
    ),
    Route(
        "Replies",
        "/api/extra/preview_prompt",
        methods=POST,
        summary="The exact prompt that a chat makes, its tokens, and what is left out. Nothing is generated.",
        takes=CHAT,
        example={"messages": [{"role": "user", "content": "Hello"}]},
        answer={
            "prompt": "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n",
            "tokens": [1],
            "token_count": 1,
            "trimmed": None,
            "stop": ["<|im_end|>"],
            "template": {"name": "ChatML", "source": "the model", "reason": "It is the model's own.", "warning": ""},
        },
    ),
    Route(
        "Replies",
        "/api/extra/sampler_presets",
        "Sampler settings for a purpose or a model, to be sent as fields of a request, and what counts without them.",
        {
            "presets": [
                {"name": "Server defaults", "about": "For everybody.", "source": "KoboldCpp's own.", "settings": {}},
            ],
            "defaults": {"temperature": 0.75, "top_p": 0.92, "top_k": 100, "min_p": 0.0, "rep_pen": 1.0},
        },
    ),
)

EMBEDDINGS = (
    Route(
        "Embeddings",
        "/v1/embeddings",
        aliases=("/embeddings", "/api/extra/embeddings"),
        methods=POST,
        summary="Vectors of length 1 for texts; needs --embeddingsmodel, or a model made for them.",
        takes={
            "input": ("any", "a text, a list of texts, or token ids"),
            "model": ("text", "any name"),
            "encoding_format": ("text", "float or base64"),
            "dimensions": ("integer", "keep only the first so many"),
            "truncate": ("flag", "false refuses a text that is too long instead of cutting it off"),
        },
        example={"input": ["A tavern in the snow"]},
        answer=VECTORS,
    ),
    Route(
        "Embeddings",
        "/v1/rerank",
        aliases=("/rerank", "/v1/reranking", "/reranking"),
        methods=POST,
        summary="Texts by how well they answer a query; needs --embeddingsmodel, or a model made for it.",
        takes={
            "query": ("text", "what is asked"),
            "documents": ("list", "texts, or objects with a text"),
            "top_n": ("integer", "only the best so many"),
            "return_documents": ("flag", "send the texts back as well"),
        },
        example={"query": "Who sings?", "documents": ["The mine is deep.", "The bard sings."]},
        answer=RANKED,
    ),
    Route(
        "Embeddings",
        "/api/embed",
        methods=POST,
        summary="Ollama: vectors for texts; needs --embeddingsmodel, or a model made for them.",
        takes={"model": ("text", "any name"), "input": ("any", "a text or a list of texts")},
        example={"model": "any", "input": "A tavern in the snow"},
        answer={
            "model": "any",
            "embeddings": [[0.6, -0.8]],
            "total_duration": 9000000,
            "load_duration": 0,
            "prompt_eval_count": 3,
        },
    ),
    Route(
        "Embeddings",
        "/api/embeddings",
        methods=POST,
        summary="Ollama's older route: the vector of one text; needs --embeddingsmodel, or a model made for them.",
        takes={"model": ("text", "any name"), "prompt": ("text", "the text")},
        example={"model": "any", "prompt": "A tavern in the snow"},
        answer={"embedding": [0.6, -0.8]},
    ),
)
