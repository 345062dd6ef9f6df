"""What is happening, in words, beside the form."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from gui.language import tr, trn
from gui.view.looks import NOTHING, Pending, Tone
from gui.view.words import count_words, size_words
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
        speed_unit=_speed_unit(stats.threads, snapshot.threads) if ready else tr("tokens/s"),
        prompt_speed=_prompt_speed(stats.prompt_speed) if ready else tr("prompts —"),
        replies=_replies(stats, snapshot.replies) if ready else _sent(snapshot.replies),
        trimmed_name=tr("Cut from prompts") if trimming else tr("Prompts cut"),
        trimmed=trimming or _trimmed(snapshot),
        trimming=bool(trimming),
        cached=_share(stats.cached_tokens, stats.prompt_tokens) if ready else NOTHING,
        context=_context(stats) if ready and stats.cells_total else NOTHING,
        context_fill=min(1.0, stats.cells_used / stats.cells_total) if ready and stats.cells_total else 0.0,
        kept=_kept(stats) if ready else NOTHING,
        drafts=_share(stats.accepted, stats.drafted) if ready and stats.drafted else "",
        model=snapshot.model.name if snapshot.model else tr("none loaded"),
        model_detail=_model_detail(snapshot.model) if snapshot.model else "",
        template=_template(snapshot.template) if snapshot.template else "",
        template_tip=_template_tip(snapshot.template) if snapshot.template else "",
        template_warning=snapshot.template.warning if snapshot.template else "",
        kobold_address=address,
        openai_address=f"{address}/v1" if address else "",
    )


def _headline(snapshot: Snapshot, pending: Pending, notice: str) -> tuple[str, Tone]:
    if pending is Pending.STOPPING:
        return tr("Stopping…"), Tone.BUSY
    if snapshot.state is EngineState.LOADING:
        return tr("Loading… {percent} %").format(percent=math.floor(snapshot.progress * 100)), Tone.BUSY
    if pending is Pending.STARTING:
        return tr("Starting…"), Tone.BUSY
    if snapshot.state is EngineState.READY:
        ready = tr("Ready on {address}").format(address=snapshot.address) if snapshot.address else tr("Ready")
        return ready, Tone.GOOD
    if snapshot.state is EngineState.FAILED:
        return tr("Failed"), Tone.BAD
    if notice:
        return tr("Not started"), Tone.BAD
    return tr("No model loaded") if snapshot.address else tr("Stopped"), Tone.QUIET


def _problem(snapshot: Snapshot, notice: str) -> str:
    sentence = notice
    if not sentence:
        unknown = tr("The engine ended without saying why.") if snapshot.state is EngineState.FAILED else ""
        sentence = snapshot.sentence or unknown
    return _shortened(sentence)


def _shortened(sentence: str) -> str:
    if len(sentence) > LONGEST_PROBLEM:
        return tr("{beginning}… (the rest is in the log)").format(beginning=sentence[:LONGEST_PROBLEM].rstrip())
    return sentence


def _speed(speed: float) -> str:
    return f"{speed:.1f}" if speed < 1000 else f"{speed:,.0f}"


def _speed_unit(threads: int, most: int) -> str:
    text = tr("tokens/s · {threads} of {most} threads") if 0 < threads < most else tr("tokens/s")
    return text.format(threads=threads, most=most)


def _prompt_speed(speed: float) -> str:
    return tr("prompts {speed:,.0f} tokens/s").format(speed=speed)


def _replies(stats: EngineStats, replies: int) -> str:
    text = tr("{running} running · {waiting} waiting · {sent:,} sent")
    return text.format(running=stats.running, waiting=stats.waiting, sent=replies)


def _sent(replies: int) -> str:
    return tr("{sent:,} sent").format(sent=replies)


def _trimming(requests: tuple[RequestRow, ...]) -> str:
    """What the prompts of the running replies lost, together."""
    cuts = [request.trimmed for request in requests if request.trimmed]
    if not cuts:
        return ""
    messages = sum(cut.messages for cut in cuts)
    tokens = sum(cut.tokens for cut in cuts)
    lost = trn("{count:,} token", "{count:,} tokens", tokens).format(count=tokens)
    whole = trn("{count:,} message", "{count:,} messages", messages).format(count=messages)
    return f"{lost} ({whole})" if messages else lost


def _trimmed(snapshot: Snapshot) -> str:
    if not snapshot.trimmed:
        return ""
    return tr("{trimmed:,} of {replies:,} replies").format(trimmed=snapshot.trimmed, replies=snapshot.replies)


def _context(stats: EngineStats) -> str:
    return tr("{used:,} of {total:,}").format(used=stats.cells_used, total=stats.cells_total)


def _share(part: int, tokens: int) -> str:
    if not tokens:
        return NOTHING
    share = f"{math.floor(100 * part / tokens)} %"  # "% o" in a message would pass for a printf format
    return tr("{share} of {count:,} tokens").format(share=share, count=tokens)


def _kept(stats: EngineStats) -> str:
    tokens = trn("{count:,} token", "{count:,} tokens", stats.cells_cached).format(count=stats.cells_cached)
    in_ram = tr("{size} in RAM").format(size=size_words(stats.ram_used))
    return f"{tokens} · {in_ram}" if stats.ram_used else tokens


def _model_detail(model: ModelInfo) -> str:
    parts = [
        model.architecture,
        tr("{count} parameters").format(count=count_words(model.parameters)) if model.parameters else "",
        model.quantisation,
        tr("on {devices}").format(devices=", ".join(model.devices)) if model.devices else "",
    ]
    if model.cpu_variant:
        parts[-1] = f"{parts[-1]} ({model.cpu_variant})".strip()
    if model.gpu_layers:
        text = tr("{count} of {layers} layers on the GPU")
        parts.append(text.format(count=min(model.gpu_layers, model.layers), layers=model.layers))
    return " · ".join(filter(None, parts))


def _template(template: TemplateInfo) -> str:
    name = template.name
    if len(name) > LONGEST_TEMPLATE:
        name = f"{name[: LONGEST_TEMPLATE - 1].rstrip()}…"
    return f"{name} · {template.source}"


def _template_tip(template: TemplateInfo) -> str:
    return _shortened(f"{template.name}: {template.reason}")
