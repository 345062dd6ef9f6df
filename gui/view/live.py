"""The live page in words: how fast, how full, and who is asking."""

from __future__ import annotations

import math
from collections.abc import Set
from dataclasses import dataclass
from typing import Final

from gui.language import N_, tr, trn
from gui.view.history import History
from gui.view.looks import NOTHING, ButtonRole, ButtonView
from gui.view.words import size_words
from server.events import EngineState, EngineStats
from server.snapshot import MachineUse, Phase, RequestRow, Snapshot

MOST_ROWS: Final = 32
_THIS_PC: Final = "127.0.0.1 "
COLUMNS: Final = (
    N_("Client"),
    N_("Route"),
    N_("State"),
    N_("Prompt"),
    N_("Cached"),
    N_("Written"),
    N_("Tokens/s"),
)
_PHASES: Final = {
    Phase.WAITING: N_("waiting"),
    Phase.READING: N_("reading the prompt"),
    Phase.WRITING: N_("writing"),
}


@dataclass(frozen=True)
class Figure:
    """A number with a line on what it means. ``fill`` is how full its bar is, 0 to 1; None has no bar."""

    value: str
    note: str
    fill: float | None = None


@dataclass(frozen=True)
class RequestLine:
    """A line of the table: a cell for each column, and its Cancel button."""

    request_id: int
    cells: tuple[str, ...]
    cancel: ButtonView


@dataclass(frozen=True)
class LiveView:
    """The page. ``quiet`` stands where the lines would, ``more`` under them where there are too many to show."""

    speed: Figure
    prompts: Figure
    first_token: Figure
    replies: Figure
    context: Figure
    cached: Figure
    processor: Figure
    memory: Figure
    lines: tuple[RequestLine, ...]
    quiet: str
    more: str


def live_view(snapshot: Snapshot, history: History, cancelled: Set[int]) -> LiveView:
    """What the page shows now. ``cancelled`` are the requests whose Cancel button was pressed."""
    stats = snapshot.stats
    ready = snapshot.state is EngineState.READY
    requests = snapshot.requests
    best = tr("at best {speed:,.1f}").format(speed=history.peak) if history.peak else tr("none yet")
    return LiveView(
        speed=Figure(f"{stats.decode_speed:,.1f}", best),
        prompts=Figure(f"{stats.prompt_speed:,.0f}", _asked_for(snapshot.asked)),
        first_token=_first_token(snapshot),
        replies=Figure(f"{stats.running} + {stats.waiting}", _sent(snapshot.replies, snapshot.written)),
        context=_context(stats, ready=ready),
        cached=_cached(snapshot.asked, snapshot.cached),
        processor=Figure(f"{100 * snapshot.machine.processor:.0f} %", _threads(snapshot), snapshot.machine.processor),
        memory=_memory(snapshot.machine, stats),
        lines=tuple(_line(request, request.request_id in cancelled) for request in requests[:MOST_ROWS]),
        quiet="" if requests else _quiet(snapshot),
        more=_more(len(requests) - MOST_ROWS),
    )


def _asked_for(tokens: int) -> str:
    return trn("{count:,} token asked for", "{count:,} tokens asked for", tokens).format(count=tokens)


def _sent(replies: int, written: int) -> str:
    sent = trn("{count:,} reply", "{count:,} replies", replies).format(count=replies)
    tokens = trn("{count:,} token", "{count:,} tokens", written).format(count=written)
    return f"{sent}, {tokens}"


def _more(hidden: int) -> str:
    if hidden <= 0:
        return ""
    return trn("… and {count:,} request more", "… and {count:,} requests more", hidden).format(count=hidden)


def _first_token(snapshot: Snapshot) -> Figure:
    if not snapshot.replies:
        return Figure(NOTHING, tr("after a prompt was sent"))
    seconds = snapshot.first_token
    time = tr("{time:.0f} ms").format(time=seconds * 1000) if seconds < 1 else tr("{time:.1f} s").format(time=seconds)
    return Figure(time, tr("of the last reply"))


def _context(stats: EngineStats, *, ready: bool) -> Figure:
    if not ready or not stats.cells_total:
        return Figure(NOTHING, tr("no model is loaded"), 0.0)
    fill = stats.cells_used / stats.cells_total
    note = tr("{used:,} of {total:,} tokens").format(used=stats.cells_used, total=stats.cells_total)
    return Figure(f"{100 * fill:.0f} %", note, min(fill, 1.0))


def _cached(asked: int, cached: int) -> Figure:
    if not asked:
        return Figure(NOTHING, tr("of all prompt tokens"), 0.0)
    fill = cached / asked
    note = trn("{count:,} token not read again", "{count:,} tokens not read again", cached).format(count=cached)
    return Figure(f"{math.floor(100 * fill)} %", note, fill)


def _threads(snapshot: Snapshot) -> str:
    running, most = snapshot.stats.threads, snapshot.threads
    if not running or not most:
        return tr("of the whole PC")
    threads = trn("{running} of {count:,} thread for replies", "{running} of {count:,} threads for replies", most)
    return threads.format(running=running, count=most)


def _memory(machine: MachineUse, stats: EngineStats) -> Figure:
    """The GPU's, where there is one: that is what is short."""
    if stats.vram_total:
        note = tr("of {total} VRAM; RAM: {own}") if machine.own else tr("of {total} VRAM")
        note = note.format(total=size_words(stats.vram_total), own=size_words(machine.own))
        return Figure(size_words(stats.vram_used), note, stats.vram_used / stats.vram_total)
    fill = machine.memory / machine.memory_total if machine.memory_total else 0.0
    note = tr("ours; the PC: {used} of {total}") if machine.memory_total else tr("ours; the PC: —")
    note = note.format(used=size_words(machine.memory), total=size_words(machine.memory_total))
    return Figure(size_words(machine.own) if machine.own else NOTHING, note, fill)


def _line(request: RequestRow, cancelled: bool) -> RequestLine:
    waiting = request.phase is Phase.WAITING
    text = tr("Cancelling") if cancelled else tr("Cancel")
    return RequestLine(
        request.request_id,
        (
            request.client.removeprefix(_THIS_PC) or _THIS_PC.strip(),
            request.route,
            tr(_PHASES[request.phase]),
            f"{request.prompt_tokens:,}",
            NOTHING if waiting else f"{request.cached_tokens:,}",
            f"{request.completion_tokens:,}",
            f"{request.speed:.1f}" if request.speed else NOTHING,
        ),
        ButtonView(text, ButtonRole.PLAIN, enabled=not cancelled),
    )


def _quiet(snapshot: Snapshot) -> str:
    if snapshot.state is EngineState.READY:
        return tr("Nobody is asking at the moment. Requests appear here while they run.")
    return tr("No model is loaded. Start one on the launch page; requests appear here while they run.")
