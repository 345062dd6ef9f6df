"""The live page in words: how fast, how full, and who is asking."""

from __future__ import annotations

import math
from collections.abc import Set
from dataclasses import dataclass
from typing import Final

from gui.view.history import History
from gui.view.looks import NOTHING, ButtonRole, ButtonView
from gui.view.words import counted, size_words
from server.events import EngineState, EngineStats
from server.snapshot import MachineUse, Phase, RequestRow, Snapshot

MOST_ROWS: Final = 32
_THIS_PC: Final = "127.0.0.1 "
COLUMNS: Final = ("Client", "Route", "State", "Prompt", "Cached", "Written", "Tokens/s")
_PHASES: Final = {
    Phase.WAITING: "waiting",
    Phase.READING: "reading the prompt",
    Phase.WRITING: "writing",
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
    return LiveView(
        speed=Figure(f"{stats.decode_speed:,.1f}", f"at best {history.peak:,.1f}" if history.peak else "none yet"),
        prompts=Figure(f"{stats.prompt_speed:,.0f}", f"{counted(stats.prompt_tokens, 'token')} asked for"),
        first_token=_first_token(snapshot),
        replies=Figure(
            f"{stats.running} + {stats.waiting}",
            f"{counted(snapshot.replies, 'reply', 'replies')}, {counted(snapshot.written, 'token')}",
        ),
        context=_context(stats, ready=ready),
        cached=_cached(stats),
        processor=Figure(f"{100 * snapshot.machine.processor:.0f} %", _threads(snapshot), snapshot.machine.processor),
        memory=_memory(snapshot.machine, stats),
        lines=tuple(_line(request, request.request_id in cancelled) for request in requests[:MOST_ROWS]),
        quiet="" if requests else _quiet(snapshot),
        more=f"… and {counted(len(requests) - MOST_ROWS, 'request')} more" if len(requests) > MOST_ROWS else "",
    )


def _first_token(snapshot: Snapshot) -> Figure:
    if not snapshot.replies:
        return Figure(NOTHING, "after a prompt was sent")
    seconds = snapshot.first_token
    return Figure(f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s", "of the last reply")


def _context(stats: EngineStats, *, ready: bool) -> Figure:
    if not ready or not stats.cells_total:
        return Figure(NOTHING, "no model is loaded", 0.0)
    fill = stats.cells_used / stats.cells_total
    return Figure(f"{100 * fill:.0f} %", f"{stats.cells_used:,} of {stats.cells_total:,} tokens", min(fill, 1.0))


def _cached(stats: EngineStats) -> Figure:
    if not stats.prompt_tokens:
        return Figure(NOTHING, "of all prompt tokens", 0.0)
    fill = stats.cached_tokens / stats.prompt_tokens
    return Figure(f"{math.floor(100 * fill)} %", f"{counted(stats.cached_tokens, 'token')} not read again", fill)


def _threads(snapshot: Snapshot) -> str:
    running, most = snapshot.stats.threads, snapshot.threads
    return f"{running} of {counted(most, 'thread')} for replies" if running and most else "of the whole PC"


def _memory(machine: MachineUse, stats: EngineStats) -> Figure:
    """The GPU's, where there is one: that is what is short."""
    if stats.vram_total:
        own = f"; RAM: {size_words(machine.own)}" if machine.own else ""
        fill = stats.vram_used / stats.vram_total
        return Figure(size_words(stats.vram_used), f"of {size_words(stats.vram_total)} VRAM{own}", fill)
    fill = machine.memory / machine.memory_total if machine.memory_total else 0.0
    used = f"{size_words(machine.memory)} of {size_words(machine.memory_total)}" if machine.memory_total else NOTHING
    return Figure(f"{size_words(machine.own)}" if machine.own else NOTHING, f"ours; the PC: {used}", fill)


def _line(request: RequestRow, cancelled: bool) -> RequestLine:
    waiting = request.phase is Phase.WAITING
    text = "Cancelling" if cancelled else "Cancel"
    return RequestLine(
        request.request_id,
        (
            request.client.removeprefix(_THIS_PC) or _THIS_PC.strip(),
            request.route,
            _PHASES[request.phase],
            f"{request.prompt_tokens:,}",
            NOTHING if waiting else f"{request.cached_tokens:,}",
            f"{request.completion_tokens:,}",
            f"{request.speed:.1f}" if request.speed else NOTHING,
        ),
        ButtonView(text, ButtonRole.PLAIN, enabled=not cancelled),
    )


def _quiet(snapshot: Snapshot) -> str:
    if snapshot.state is EngineState.READY:
        return "Nobody is asking at the moment. Requests appear here while they run."
    return "No model is loaded. Start one on the launch page; requests appear here while they run."
