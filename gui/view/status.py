"""What is happening, in words, beside the form."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from gui.view.looks import NOTHING, Pending, Tone
from gui.view.words import count_words, counted, size_words
from server.events import EngineState, EngineStats, ModelInfo
from server.snapshot import RequestRow, Snapshot, TemplateInfo

LONGEST_PROBLEM: Final = 320
LONGEST_TEMPLATE: Final = 20


@dataclass(frozen=True)
class StatusView:
    """What is happening, in words. ``progress`` is None unless a model loads.

    ``numbers`` says whether there is room for them beside the problem, ``busy`` whether tokens flow. ``drafts`` is ""
    unless tokens are guessed ahead, ``trimmed`` unless a prompt was cut; ``trimming`` is while such a reply runs.
    """

    headline: str
    tone: Tone
    progress: float | None
    problem: str
    numbers: bool
    busy: bool
    speed: str
    speed_unit: str
    prompt_speed: str
    replies: str
    trimmed_name: str
    trimmed: str
    trimming: bool
    cached: str
    context: str
    context_fill: float
    kept: str
    drafts: str
    model: str
    model_detail: str
    template: str
    template_tip: str
    template_warning: str
    kobold_address: str
    openai_address: str


def status_view(snapshot: Snapshot, pending: Pending, notice: str) -> StatusView:
    """What is happening now. ``notice`` is why the last press of a button came to nothing, if it did."""
    headline, tone = _headline(snapshot, pending, notice)
    ready = snapshot.state is EngineState.READY
    stats = snapshot.stats
    address = snapshot.address.rstrip("/")
    problem = _problem(snapshot, notice)
    trimming = _trimming(snapshot.requests)
    return StatusView(
        headline=headline,
        tone=tone,
        progress=snapshot.progress if snapshot.state is EngineState.LOADING else None,
        problem=problem,
        numbers=not problem or ready,
        busy=ready and stats.decode_speed > 0,
        speed=_speed(stats.decode_speed) if ready else "0.0",
        speed_unit=_speed_unit(stats.threads, snapshot.threads) if ready else "tokens/s",
        prompt_speed=f"prompts {f'{stats.prompt_speed:,.0f} tokens/s' if ready else NOTHING}",
        replies=_replies(stats, snapshot.replies) if ready else _sent(snapshot.replies),
        trimmed_name="Cut from prompts" if trimming else "Prompts cut",
        trimmed=trimming or _trimmed(snapshot),
        trimming=bool(trimming),
        cached=_share(stats.cached_tokens, stats.prompt_tokens) if ready else NOTHING,
        context=f"{stats.cells_used:,} of {stats.cells_total:,}" if ready and stats.cells_total else NOTHING,
        context_fill=min(1.0, stats.cells_used / stats.cells_total) if ready and stats.cells_total else 0.0,
        kept=_kept(stats) if ready else NOTHING,
        drafts=_share(stats.accepted, stats.drafted) if ready and stats.drafted else "",
        model=snapshot.model.name if snapshot.model else "none loaded",
        model_detail=_model_detail(snapshot.model) if snapshot.model else "",
        template=_template(snapshot.template) if snapshot.template else "",
        template_tip=_template_tip(snapshot.template) if snapshot.template else "",
        template_warning=snapshot.template.warning if snapshot.template else "",
        kobold_address=address,
        openai_address=f"{address}/v1" if address else "",
    )


def _headline(snapshot: Snapshot, pending: Pending, notice: str) -> tuple[str, Tone]:
    if pending is Pending.STOPPING:
        return "Stopping…", Tone.BUSY
    if snapshot.state is EngineState.LOADING:
        return f"Loading… {math.floor(snapshot.progress * 100)} %", Tone.BUSY
    if pending is Pending.STARTING:
        return "Starting…", Tone.BUSY
    if snapshot.state is EngineState.READY:
        return f"Ready on {snapshot.address}" if snapshot.address else "Ready", Tone.GOOD
    if snapshot.state is EngineState.FAILED:
        return "Failed", Tone.BAD
    if notice:
        return "Not started", Tone.BAD
    return "No model loaded" if snapshot.address else "Stopped", Tone.QUIET


def _problem(snapshot: Snapshot, notice: str) -> str:
    sentence = notice
    if not sentence and snapshot.state is EngineState.FAILED:
        sentence = snapshot.sentence or "The engine ended without saying why."
    return _shortened(sentence)


def _shortened(sentence: str) -> str:
    if len(sentence) > LONGEST_PROBLEM:
        return f"{sentence[:LONGEST_PROBLEM].rstrip()}… (the rest is in the log)"
    return sentence


def _speed(speed: float) -> str:
    return f"{speed:.1f}" if speed < 1000 else f"{speed:,.0f}"


def _speed_unit(threads: int, most: int) -> str:
    return f"tokens/s · {threads} of {most} threads" if 0 < threads < most else "tokens/s"


def _replies(stats: EngineStats, replies: int) -> str:
    return f"{stats.running} running · {stats.waiting} waiting · {_sent(replies)}"


def _sent(replies: int) -> str:
    return f"{replies:,} sent"


def _trimming(requests: tuple[RequestRow, ...]) -> str:
    """What the prompts of the running replies lost, together."""
    cuts = [request.trimmed for request in requests if request.trimmed]
    if not cuts:
        return ""
    messages = sum(cut.messages for cut in cuts)
    words = counted(sum(cut.tokens for cut in cuts), "token")
    return f"{words} ({counted(messages, 'message')})" if messages else words


def _trimmed(snapshot: Snapshot) -> str:
    return f"{snapshot.trimmed:,} of {snapshot.replies:,} replies" if snapshot.trimmed else ""


def _share(part: int, tokens: int) -> str:
    return f"{math.floor(100 * part / tokens)} % of {tokens:,} tokens" if tokens else NOTHING


def _kept(stats: EngineStats) -> str:
    tokens = f"{stats.cells_cached:,} tokens"
    return f"{tokens} · {size_words(stats.ram_used)} in RAM" if stats.ram_used else tokens


def _model_detail(model: ModelInfo) -> str:
    parts = [
        model.architecture,
        f"{count_words(model.parameters)} parameters" if model.parameters else "",
        model.quantisation,
        f"on {', '.join(model.devices)}" if model.devices else "",
    ]
    if model.cpu_variant:
        parts[-1] = f"{parts[-1]} ({model.cpu_variant})".strip()
    if model.gpu_layers:
        parts.append(f"{min(model.gpu_layers, model.layers)} of {model.layers} layers on the GPU")
    return " · ".join(filter(None, parts))


def _template(template: TemplateInfo) -> str:
    name = template.name
    if len(name) > LONGEST_TEMPLATE:
        name = f"{name[: LONGEST_TEMPLATE - 1].rstrip()}…"
    return f"{name} · {template.source}"


def _template_tip(template: TemplateInfo) -> str:
    return _shortened(f"{template.name}: {template.reason}")
