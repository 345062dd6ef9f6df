"""From a :class:`TextRequest` to the engine's :class:`~server.events.Generate`: prompt, tokens, budget."""

from __future__ import annotations

import logging
from collections.abc import Callable
from collections.abc import Sequence as ReadOnly
from typing import Protocol

from server.errors import BadRequest
from server.events import Generate, ModelInfo
from server.prompt import chat
from server.prompt.chat import Message, Preset
from server.request import budget
from server.request.text_request import TextRequest

log = logging.getLogger("tavernkeep.request")

SMALLEST_CONTEXT = 2  # a token of prompt and one of reply


class Tokenizer(Protocol):
    def tokenize(self, text: str, *, special: bool) -> tuple[int, ...]: ...


def prepare(
    request: TextRequest, tokenizer: Tokenizer, model: ModelInfo, preset: Preset | None, default_reply: int
) -> Callable[[int], Generate]:
    """The command that answers ``request``, once the engine client has given it an id.

    ``default_reply`` is the reply length in tokens for requests that name none. A prompt that is too long for the
    context is shortened, with a line in the log. Raises :class:`BadRequest` for an empty prompt.
    """
    asked = request.context or 0
    context = min(model.context, asked) if asked >= SMALLEST_CONTEXT else model.context
    wanted = request.max_tokens if request.max_tokens and request.max_tokens > 0 else default_reply
    room = budget.prompt_room(context, wanted)
    stop = request.stop
    keep = 0
    if request.messages:
        prompt, template_stop = _chat_prompt(request.messages, tokenizer, model, preset, room)
        stop += template_stop
    else:
        prompt, keep = _text_prompt(request, tokenizer, room)
    if not prompt:
        raise BadRequest("The prompt is empty: the model needs some text to continue.", param="prompt")
    reply = wanted if request.shift else min(wanted, context - len(prompt))
    return lambda request_id: Generate(
        request_id,
        tuple(prompt),
        max_tokens=reply,
        stop=tuple(dict.fromkeys(stop)),
        keep_stop=request.keep_stop,
        ban_eos=request.ban_eos,
        shift=request.shift,
        keep=keep,
        sampling=request.sampling,
    )


def _chat_prompt(
    messages: ReadOnly[Message], tokenizer: Tokenizer, model: ModelInfo, preset: Preset | None, room: int
) -> tuple[list[int], tuple[str, ...]]:
    """The tokens of a chat, and the stop texts of its template."""
    stop: tuple[str, ...] = ()

    def tokens_of(kept: ReadOnly[Message]) -> list[int]:
        nonlocal stop
        rendered = chat.render(kept, model, preset)
        stop = rendered.stop
        # A template that writes the beginning-of-text token itself must not get a second one.
        special = not (model.bos_text and rendered.prompt.startswith(model.bos_text))
        return list(tokenizer.tokenize(rendered.prompt, special=special))

    prompt, dropped = budget.drop_oldest(messages, tokens_of, room)
    if dropped:
        log.warning("The chat was too long for %d tokens: its %d oldest messages were left out.", room, dropped)
    return _within(prompt, (), tokenizer, room), stop


def _text_prompt(request: TextRequest, tokenizer: Tokenizer, room: int) -> tuple[list[int], int]:
    """The tokens of memory and prompt, and how many of them must stay: the memory with the beginning of the text."""
    memory = tokenizer.tokenize(request.memory, special=True)
    prompt = _within(tokenizer.tokenize(request.prompt, special=False), memory, tokenizer, room)
    return prompt, min(len(memory), len(prompt))


def _within(prompt: ReadOnly[int], memory: ReadOnly[int], tokenizer: Tokenizer, room: int) -> list[int]:
    """Both within ``room``. The beginning-of-text token stays in front: without it many models write nonsense."""
    whole = [*memory, *prompt]
    if len(whole) <= room:
        return whole
    log.warning("The prompt of %d tokens was cut to %d.", len(whole), room)
    start = tokenizer.tokenize("", special=True)
    if room <= len(start) or tuple(whole[: len(start)]) != tuple(start):
        return budget.keep_memory(memory, prompt, room)
    kept = (memory[len(start) :], prompt) if memory else ((), prompt[len(start) :])
    return [*start, *budget.keep_memory(*kept, room - len(start))]
