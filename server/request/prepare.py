"""From a :class:`TextRequest` to the engine's :class:`~server.events.Generate`: prompt, tokens, budget."""

from __future__ import annotations

import logging
from collections.abc import Callable
from collections.abc import Sequence as ReadOnly
from dataclasses import dataclass, replace
from typing import Protocol

from server import privacy
from server.errors import BadRequest, ContextLengthExceeded
from server.events import Constraint, ConstraintKind, Generate, Guidance, ModelInfo
from server.prompt import chat as chat_prompt
from server.prompt import templates
from server.prompt import thinking as model_thinking
from server.prompt import tools as model_tools
from server.prompt.chat import Rendered, Template
from server.prompt.jinja import Renderer, TemplateFailed, TemplateStopped
from server.prompt.message import Chat, Message
from server.prompt.preset import Preset
from server.reply import markers
from server.request import budget, placeholders
from server.request.schema import compactly_spaced
from server.request.text_request import TextRequest
from server.request.thinking import Mode
from server.settings import Settings
from server.snapshot import TemplateInfo, Trimmed

log = logging.getLogger("tavernkeep.request")

STRONGEST_GUIDANCE = 100.0
SMALLEST_CONTEXT = 2  # a token of prompt and one of reply
FIELDS = {  # where clients send each kind of constraint
    ConstraintKind.GBNF: "grammar",
    ConstraintKind.JSON_SCHEMA: "json_schema",
    ConstraintKind.REGEX: "regex",
    ConstraintKind.LARK: "grammar",
}


class Vocabulary(Protocol):
    """What is asked of the loaded model; :class:`~server.engine.client.EngineClient` is the real one."""

    def tokenize(self, text: str, *, special: bool) -> tuple[int, ...]: ...
    def check_constraint(self, constraint: Constraint) -> str: ...


@dataclass(frozen=True)
class Prepared:
    """A request ready for the engine: ``build`` makes the command once its id is known.

    ``text`` is the prompt, ``tokens`` what of it the model reads, in the ``template`` named. ``trimmed`` says what had
    to be left out, None if nothing; ``ignored``, what else was asked for and is not done, or ""; ``shows_thought``,
    whether the client wants to see what the model thinks.
    """

    build: Callable[[int], Generate]
    text: str
    tokens: tuple[int, ...]
    trimmed: Trimmed | None
    stop: tuple[str, ...]
    template: TemplateInfo
    ignored: str
    shows_thought: bool


@dataclass(frozen=True)
class _Prompt:
    """``keep`` tokens must stay when the context is full; ``added`` ones in front were not in the request."""

    text: str
    tokens: list[int]
    trimmed: Trimmed | None
    template: Template
    keep: int = 0
    added: int = 0


class Preparer:
    """Prepares requests for one loaded model."""

    def __init__(
        self, vocabulary: Vocabulary, model: ModelInfo, template: Template, renderer: Renderer, settings: Settings
    ) -> None:
        self._vocabulary = vocabulary
        self._model = model
        self._template = template
        self._renderer = renderer
        self._settings = settings

    def prepare(self, request: TextRequest) -> Prepared:
        """Render, tokenize and fit the prompt of ``request``.

        A prompt that is too long for the context is shortened, with a line in the log; where that is not wanted it
        raises :class:`ContextLengthExceeded`. Raises :class:`BadRequest` for a prompt that is empty and a constraint
        that cannot be used.
        """
        mode = request.thinking.mode or Mode(self._settings.thinking)
        template = templates.of_adapter(request.adapter) if request.adapter else self._template
        request = _with_tags(request, templates.tags_of(template)) if request.placeholders else request
        context = self._context(request)
        guided = request.guidance != 1
        shift = request.shift and not guided
        asked = request.max_tokens if request.max_tokens and request.max_tokens > 0 else None
        only_read = request.echo and request.max_tokens == 0
        wanted = 0 if only_read else asked or self._settings.defaultgenamt
        least = 0 if only_read else 1 if shift else asked or 1
        prompt = self._fitted(request, template, mode, context, wanted, least=least)
        template, family = prompt.template, prompt.template.family
        reply = wanted if shift else min(wanted, context - len(prompt.tokens))
        guidance = self._guidance(request, context - reply) if guided else None
        # A call that must be made is ended by its grammar: a client's "#" or line break would only break it.
        ends = () if request.forced else (*request.stop, *(family.stop_texts if request.chat else ()))
        stop, tokens = tuple(dict.fromkeys(ends)), tuple(prompt.tokens)
        calls = bool(request.chat and request.chat.tools)
        limit = self._thinking_budget(request, mode)
        thinking = model_thinking.thinking(family, prompt.text, budget=limit, calls=calls)
        shown = (*model_thinking.shown(family), *(markers.ALL if calls else ()))
        constraint, ignored = self._constraint(request, template)
        privacy.log_text("The model reads", prompt.text)
        return Prepared(
            lambda request_id: Generate(
                request_id,
                tokens,
                max_tokens=reply,
                stop=stop,
                keep_stop=request.keep_stop,
                ban_eos=request.ban_eos,
                bypass_eos=request.bypass_eos,
                min_tokens=request.min_tokens,
                banned=request.banned,
                guidance=guidance,
                logprobs=request.logprobs,
                told_from=prompt.added if request.echo and request.logprobs >= 0 else None,
                render_special=request.render_special,
                shift=shift,
                keep=prompt.keep,
                sampling=request.sampling,
                constraint=constraint,
                thinking=thinking,
                shown=shown,
            ),
            prompt.text,
            tokens,
            prompt.trimmed,
            stop,
            template.info,
            self._ignored(request, ignored),
            # Where thoughts have no place of their own, only a request that asks for them gets them.
            shows_thought=(mode if request.chat else request.thinking.mode) is Mode.SHOW,
        )

    def _context(self, request: TextRequest) -> int:
        """The tokens that prompt and reply may have. A guided reply is read twice, after two prompts."""
        asked = request.context or 0
        whole = self._model.context // 2 if request.guidance != 1 else self._model.context
        return min(whole, asked) if asked >= SMALLEST_CONTEXT else whole

    def _guidance(self, request: TextRequest, room: int) -> Guidance | None:
        """The negative prompt, the end of it if it is too long; a model that needs no first token cannot do without."""
        tokens = self._within(self._tokens(request.negative), (), room)
        return Guidance(tuple(tokens), max(0.0, min(request.guidance, STRONGEST_GUIDANCE))) if tokens else None

    def _ignored(self, request: TextRequest, constraint: str) -> str:
        """What of a request is not done, in words, with a line in the log."""
        if not request.unsupported:
            return constraint
        names = ", ".join(request.unsupported)
        log.warning("The request asks for %s, which Tavernkeep does not have; it was ignored.", names)
        return f"{names}; {constraint}" if constraint else names

    def _thinking_budget(self, request: TextRequest, mode: Mode) -> int:
        if mode is Mode.OFF:
            return 0
        return self._settings.thinkingbudget if request.thinking.budget is None else request.thinking.budget

    def _fitted(
        self, request: TextRequest, template: Template, mode: Mode, context: int, wanted: int, *, least: int
    ) -> _Prompt:
        """The prompt, within ``context`` together with a reply of ``wanted`` tokens, or ``least`` if nothing may go."""
        may_trim = not self._settings.strictcontext if request.truncate is None else request.truncate
        room = budget.prompt_room(context, wanted) if may_trim else context
        if request.chat:
            prompt = self._chat(_thinking_as_wished(request.chat, request, mode), template, room, may_trim=may_trim)
        else:
            prompt = self._text(request, template, room)
        if not prompt.tokens:
            raise BadRequest("The prompt is empty: the model needs some text to continue.", param="prompt")
        whole = len(prompt.tokens) + (prompt.trimmed.tokens if prompt.trimmed else 0)
        if not may_trim and whole + least > context:
            raise _too_long(request, whole, least, context)
        if prompt.trimmed:
            log.warning("%s", _told(prompt.trimmed, room))
        return prompt

    def _constraint(self, request: TextRequest, template: Template) -> tuple[Constraint | None, str]:
        """The constraint to generate with, and why the one that was asked for is ignored."""
        constraint = request.constraint
        if request.forced:
            assert request.chat
            layout = model_tools.call_layout(template.jinja) if template.knows_tools else model_tools.HERMES
            tools = [replace(tool, parameters=compactly_spaced(tool.parameters)) for tool in request.forced]
            constraint = model_tools.call_constraint(tools, layout, parallel=request.chat.parallel)
        problem = self._vocabulary.check_constraint(constraint) if constraint else ""
        if not constraint or not problem:
            return constraint, ""
        field = "tools" if request.forced else FIELDS[constraint.kind]
        if not request.lenient:
            raise BadRequest(f"{field} cannot be used: {problem}", param=field)
        log.warning("%s was ignored, the reply is not constrained; X-Tavernkeep-Ignored says why.", field)
        return None, f"{field}: {problem}"

    def _chat(self, chat: Chat, template: Template, room: int, *, may_trim: bool) -> _Prompt:
        last: tuple[tuple[Message, ...], Rendered, list[int]] | None = None

        def rendered(messages: ReadOnly[Message]) -> tuple[Rendered, list[int]]:
            nonlocal template, last
            kept = tuple(messages)
            if last is None or last[0] != kept:
                try:
                    made = chat_prompt.render(replace(chat, messages=kept), template, self._renderer)
                except TemplateFailed as error:
                    said = _own_words(error, template)
                    template = templates.with_tags_only(template)
                    log.warning("The chat template failed (%s); the tags of %s are used.", said, template.info.name)
                    made = chat_prompt.render(replace(chat, messages=kept), template, self._renderer)
                last = kept, made, self._tokens(made.prompt)
            return last[1:]

        whole = len(rendered(chat.messages)[1])
        if not may_trim:
            room = max(room, whole)  # it is refused as it is
        messages = budget.fit_chat(chat.messages, lambda some: len(rendered(some)[1]), room)
        made, tokens = rendered(messages)
        if made.changed:
            log.info("The chat template does not take this order of messages: %s.", made.changed)
        tokens = self._within(tokens, (), room)
        trimmed = Trimmed(len(chat.messages) - len(messages), whole - len(tokens)) if len(tokens) < whole else None
        return _Prompt(made.prompt, tokens, trimmed, template)

    def _tokens(self, text: str) -> list[int]:
        """A template that writes the beginning-of-text token itself must not get a second one."""
        special = not (self._model.bos_text and text.startswith(self._model.bos_text))
        return list(self._vocabulary.tokenize(text, special=special))

    def _text(self, request: TextRequest, template: Template, room: int) -> _Prompt:
        """Memory and prompt; the memory with the beginning of the text must stay."""
        memory, prompt, added = self._tokens_of(request)
        # A model cannot continue nothing at all; one without a token to begin with gets the one that ends its texts.
        if not memory and not prompt:
            memory = list(self._vocabulary.tokenize(self._model.bos_text or self._model.eos_text, special=False))
        if request.suffix:
            before, behind, gap = self._infill()
            suffix = self._vocabulary.tokenize(request.suffix, special=False)
            memory, prompt = [*memory, before], [*prompt, behind, *suffix, gap]
        tokens = self._within(prompt, memory, room)
        cut = len(memory) + len(prompt) - len(tokens)
        kept = min(len(memory), len(tokens))
        text = request.memory + request.prompt if isinstance(request.prompt, str) else ""
        return _Prompt(text, tokens, Trimmed(0, cut) if cut else None, template, kept, added)

    def _tokens_of(self, request: TextRequest) -> tuple[list[int], list[int], int]:
        """Memory and prompt, and how many tokens were put in front of them."""
        if not isinstance(request.prompt, str):
            if max(request.prompt) >= self._model.vocabulary:
                raise BadRequest(
                    f"prompt has token ids that this model does not know; they go to {self._model.vocabulary - 1}.",
                    "Send text, or ids of this model's own vocabulary.",
                    param="prompt",
                )
            return [], list(request.prompt), 0
        if request.memory:
            return self._tokens(request.memory), list(self._vocabulary.tokenize(request.prompt, special=False)), 0
        whole = self._tokens(request.prompt)
        start = self._vocabulary.tokenize("", special=True)
        added = len(start) if tuple(whole[: len(start)]) == start else 0
        return whole[:added], whole[added:], added

    def _infill(self) -> tuple[int, ...]:
        if not self._model.infill:
            raise BadRequest(
                "suffix: the loaded model has no tokens for filling in the middle of a text.",
                "Send the prompt alone, or load a model that was trained for that.",
                param="suffix",
            )
        return self._model.infill

    def _within(self, prompt: ReadOnly[int], memory: ReadOnly[int], room: int) -> list[int]:
        """Both within ``room``. The beginning-of-text token stays in front: without it many models write nonsense."""
        whole = [*memory, *prompt]
        if len(whole) <= room:
            return whole
        start = self._vocabulary.tokenize("", special=True)
        if room <= len(start) or tuple(whole[: len(start)]) != tuple(start):
            return budget.keep_memory(memory, prompt, room)
        kept = (memory[len(start) :], prompt) if memory else ((), prompt[len(start) :])
        return [*start, *budget.keep_memory(*kept, room - len(start))]


def _with_tags(request: TextRequest, preset: Preset) -> TextRequest:
    """The request with a model's tags in place of placeholders."""
    if not isinstance(request.prompt, str):
        return request
    memory, prompt = placeholders.in_prompt(request.memory, request.prompt, preset)
    return replace(request, memory=memory, prompt=prompt, stop=placeholders.in_stops(request.stop, preset))


def _thinking_as_wished(chat: Chat, request: TextRequest, mode: Mode) -> Chat:
    """The chat with the switch that many templates have for thinking."""
    think = False if mode is Mode.OFF else True if request.thinking.switched_on else None
    return replace(chat, think=think)


def _own_words(error: TemplateFailed, template: Template) -> str:
    """What the log tells of a failure: what stands in the template, or is ours. Anything else may quote the chat."""
    known = isinstance(error, TemplateStopped) or str(error) in f"{template.jinja} {template.tool_jinja}"
    return str(error) if known or privacy.texts_allowed() else privacy.HIDDEN


def _too_long(request: TextRequest, prompt: int, reply: int, context: int) -> ContextLengthExceeded:
    return ContextLengthExceeded(
        f"The context holds {context} tokens, but the prompt has {prompt} and the reply may have {reply}.",
        "Shorten it, load the model with a larger context, or allow it to be shortened with truncate.",
        param="messages" if request.chat else "prompt",
    )


def _told(trimmed: Trimmed, room: int) -> str:
    messages = f", among them its {trimmed.messages} oldest messages" if trimmed.messages else ""
    return f"The prompt was too long for {room} tokens: {trimmed.tokens} of them were left out{messages}."
