"""KoboldAI's JSON to a :class:`TextRequest`. As tolerant as KoboldCpp: what cannot be read counts as absent."""

from __future__ import annotations

from typing import Any

from server.errors import BadRequest
from server.request.constraint import read_constraint
from server.request.fields import BAN_EOS, BYPASS_EOS, GUIDANCE, MAX_TOKENS, MIN_TOKENS, PLACEHOLDERS, Fields
from server.request.samplers import read_sampling
from server.request.text_request import TextRequest
from server.request.thinking import read_thinking
from server.request.unsupported import unsupported

KOBOLDCPPS_LOGPROBS = 5  # its number of likeliest tokens, whatever is asked for


def read_generate(body: dict[str, Any], *, shift: bool) -> TextRequest:
    """The body of ``/api/v1/generate`` and ``/api/extra/generate/stream``; ``shift`` is the server's setting."""
    fields = Fields(body, strict=False)
    prompt = fields.raw("prompt")[1]
    if not isinstance(prompt, str):
        raise BadRequest("prompt must be text.", param="prompt")
    return TextRequest(
        prompt=prompt,
        memory=fields.text("memory"),
        max_tokens=fields.optional_whole("max_length", *MAX_TOKENS),
        context=fields.optional_whole("max_context_length"),
        shift=shift,
        truncate=fields.optional_flag("truncate"),
        stop=fields.stops("stop_sequence", "stop"),
        keep_stop=not fields.flag("trim_stop", default=True),
        ban_eos=fields.flag(*BAN_EOS, default=False),
        bypass_eos=fields.flag(*BYPASS_EOS, default=False),
        min_tokens=fields.whole(*MIN_TOKENS, default=0),
        banned=fields.banned(),
        guidance=fields.number(*GUIDANCE, default=1.0),
        negative=fields.text("negative_prompt"),
        logprobs=KOBOLDCPPS_LOGPROBS if fields.flag("logprobs", default=False) else -1,
        render_special=fields.flag("render_special", default=False),
        placeholders=fields.flag(PLACEHOLDERS, default=True),
        unsupported=(*unsupported(body), *(("tools",) if body.get("tools") else ())),
        sampling=read_sampling(fields),
        constraint=read_constraint(fields, lenient=True),
        lenient=True,
        thinking=read_thinking(fields),
        genkey=fields.text("genkey"),
    )
