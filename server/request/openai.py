"""OpenAI's JSON to a :class:`TextRequest`. KoboldCpp's and llama.cpp's sampler names are understood as well."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from server.errors import BadRequest
from server.prompt import preset
from server.prompt.message import Chat, Ending, Message
from server.prompt.preset import Preset
from server.request.constraint import read_constraint
from server.request.fields import BAN_EOS, BYPASS_EOS, GUIDANCE, MAX_TOKENS, MIN_TOKENS, PLACEHOLDERS, Fields
from server.request.messages import ANY_TOOL, read_messages, read_tool_choice, read_tools
from server.request.samplers import MIROSTAT, PENALTY, PENALTY_RANGE, TEMPERATURE, read_sampling
from server.request.schema import constraint_of
from server.request.text_request import TextRequest
from server.request.thinking import read_thinking
from server.request.tokens import are_tokens
from server.request.unsupported import unsupported

# Other names of the sampler settings that an adapter may hold.
ALIASES = {
    "max_length": MAX_TOKENS,
    "temperature": TEMPERATURE,
    "rep_pen": PENALTY,
    "rep_pen_range": PENALTY_RANGE,
    "mirostat": MIROSTAT,
}

MOST_LOGPROBS = 20
MOST_CHOICES = 128  # OpenAI's limit
REPLACED = {"functions": "tools", "function_call": "tool_choice"}  # OpenAI's first way to call
SKIP_SPECIAL = ("skip_special_tokens",)


def read_chat(body: dict[str, Any], defaults: Mapping[str, Any]) -> TextRequest:
    """The body of ``/v1/chat/completions``; ``defaults`` are sampler settings of the server's template."""
    fields = Fields(body, strict=True)
    for name, instead in REPLACED.items():
        if body.get(name):
            raise BadRequest(f"{name} is not read any more.", f"Send {instead} instead.", param=name)
    if set(fields.texts("modalities")) - {"text"}:
        raise BadRequest("modalities: this server writes text only.", "Leave it out.", param="modalities")
    adapter = _adapter(fields.mapping("adapter"))
    messages = read_messages(body.get("messages"))
    choice = body.get("tool_choice")
    tools, forced = read_tool_choice(choice, read_tools(body.get("tools")))
    for index, tool in enumerate(tools):
        if tool in forced:
            constraint_of(tool.parameters, f"tools[{index}].function.parameters")  # says where it is wrong
    documents = fields.raw("documents")[1]
    chat = Chat(
        messages,
        tools=tools,
        documents=tuple(documents) if isinstance(documents, list) else (),
        variables={**_effort(fields), **fields.mapping("chat_template_kwargs")},
        ending=_ending(fields, messages),
        # Who names a function wants one call of it.
        parallel=fields.flag("parallel_tool_calls", default=True) and not (forced and choice not in ANY_TOOL),
    )
    known = dict(adapter.defaults) if adapter and adapter.defaults else defaults
    # An adapter that only holds sampler settings and stop texts leaves the template as it is.
    template = adapter if adapter and adapter != Preset(defaults=adapter.defaults, stop=adapter.stop) else None
    request = _read(_with_defaults(body, known), chat=chat, adapter=template, forced=forced)
    return replace(request, stop=(*request.stop, *adapter.stop)) if adapter and not template else request


def read_completions(body: dict[str, Any], defaults: Mapping[str, Any]) -> tuple[TextRequest, ...]:
    """The body of ``/v1/completions``, a request for each of its prompts. ``defaults`` as for chats."""
    fields = Fields(body, strict=True)
    best_of = fields.whole("best_of", default=1)
    request = _read(
        _with_defaults(body, defaults),
        "best_of",
        "echo",
        "suffix",
        memory=fields.text("memory"),
        suffix=fields.text("suffix"),
        echo=fields.flag("echo", default=False),
    )
    if best_of > 1 and request.stream:
        raise BadRequest("best_of compares whole replies, so they cannot be streamed.", param="best_of")
    request = replace(request, best_of=max(best_of, request.n))
    prompts = _prompts(body.get("prompt"))
    if len(prompts) * request.best_of > MOST_CHOICES:
        raise BadRequest(
            f"{len(prompts)} prompts with {request.best_of} replies each are too many;"
            f" a request may have {MOST_CHOICES} replies.",
            param="prompt" if len(prompts) > MOST_CHOICES else "n",
        )
    return tuple(replace(request, prompt=prompt) for prompt in prompts)


def _with_defaults(body: dict[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The body with ``defaults`` for what it does not say, under whatever name."""
    fields = Fields(body, strict=True)
    missing = {name: value for name, value in defaults.items() if not fields.has(name, *ALIASES.get(name, ()))}
    return {**body, **missing}


def _read(body: dict[str, Any], *known: str, **what: Any) -> TextRequest:
    fields = Fields(body, strict=True)
    n = fields.whole("n", default=1)
    if not 1 <= n <= MOST_CHOICES:
        raise BadRequest(f"n must be from 1 to {MOST_CHOICES}, not {n}.", param="n")
    options = Fields(fields.mapping("stream_options"), strict=True)
    return TextRequest(
        max_tokens=fields.optional_whole(*MAX_TOKENS, "max_length"),
        context=fields.optional_whole("max_context_length", "truncation_length", "num_ctx"),
        truncate=fields.optional_flag("truncate"),
        stop=fields.stops("stop", "stop_sequence"),
        ban_eos=fields.flag(*BAN_EOS, default=False),
        bypass_eos=fields.flag(*BYPASS_EOS, default=False),
        min_tokens=fields.whole(*MIN_TOKENS, default=0),
        banned=fields.banned(),
        guidance=fields.number(*GUIDANCE, default=1.0),
        negative=fields.text("negative_prompt"),
        logprobs=_logprobs(fields),
        render_special=fields.flag("render_special", default=False) or not fields.flag(*SKIP_SPECIAL, default=True),
        placeholders=fields.flag(PLACEHOLDERS, default=True),
        n=n,
        best_of=n,
        unsupported=unsupported(body, "n", *known),
        sampling=read_sampling(fields),
        constraint=read_constraint(fields),
        thinking=read_thinking(fields),
        genkey=fields.text("genkey"),
        stream=fields.flag("stream", default=False),
        include_usage=options.flag("include_usage", default=False),
        **what,
    )


def _logprobs(fields: Fields) -> int:
    """How many likeliest tokens are asked for: OpenAI's number (text) or switch and ``top_logprobs`` (chats), or
    llama.cpp's ``n_probs``; -1 for no probabilities."""
    name, asked = fields.raw("logprobs")
    if asked is True:
        name, count = "top_logprobs", fields.whole("top_logprobs", default=0)
    elif asked is False:
        count = -1
    else:
        count = int(fields.number("logprobs", default=fields.number("n_probs", default=0) or -1))
    if count > MOST_LOGPROBS:
        raise BadRequest(f"{name or 'n_probs'} must be at most {MOST_LOGPROBS}, not {count}.", param=name or "n_probs")
    return max(count, -1)


def _prompts(value: Any) -> list[str | tuple[int, ...]]:
    """One prompt for each of the choices: a text, a list of texts, a list of token ids, or a list of such lists."""
    given = value if isinstance(value, list) and value and not are_tokens(value) else [value]
    return [_prompt(f"prompt[{index}]" if len(given) > 1 else "prompt", entry) for index, entry in enumerate(given)]


def _prompt(where: str, value: Any) -> str | tuple[int, ...]:
    if isinstance(value, list) and are_tokens(value):
        return tuple(value)
    if value is None or value == []:
        return ""
    if not isinstance(value, str):
        raise BadRequest(f"{where} must be text or a list of token ids.", param=where)
    return value


def _adapter(given: dict[str, Any]) -> Preset | None:
    """The request's own template."""
    if not given:
        return None
    try:
        return preset.from_dict(given)
    except ValueError as error:
        raise BadRequest(
            f"adapter: {error}.", "Its keys are user_start, user_end and so on.", param="adapter"
        ) from None


def _effort(fields: Fields) -> dict[str, Any]:
    """How hard to think, which gpt-oss' template asks for."""
    effort = fields.text("reasoning_effort")
    return {"reasoning_effort": effort} if effort and effort != "none" else {}


def _ending(fields: Fields, messages: tuple[Message, ...]) -> Ending:
    """How the prompt ends. An assistant's turn that comes last is continued, as SillyTavern's prefill wants it and
    llama-server does; a request that asks for a new turn gets one."""
    last = messages[-1]
    continuable = last.role == "assistant" and not last.tool_calls
    new_turn = fields.optional_flag("add_generation_prompt")
    wanted = fields.optional_flag("continue_assistant_turn", "continue_final_message")
    if continuable and (wanted if wanted is not None else new_turn is not True):
        return Ending.CONTINUE
    return Ending.NOTHING if new_turn is False else Ending.REPLY
