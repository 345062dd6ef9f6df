"""What a soak found -> Markdown, and what of it must not be. Used by :mod:`bench.soak`."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence as ReadOnly
from typing import TYPE_CHECKING

import psutil

from bench.holdings import Holdings
from bench.scenarios import percentile
from bench.traffic import Visit

if TYPE_CHECKING:
    from bench.soak import Findings


def faults(findings: Findings, growth: float, slowest: float) -> list[str]:
    """A sentence for everything that must not be: ``growth`` in percent, ``slowest`` in milliseconds."""
    wrong = Counter((visit.kind, visit.outcome) for visit in findings.visits if not visit.right)
    found = [*findings.faults, *(f"{kind}: {outcome}, {count} times." for (kind, outcome), count in wrong.items())]
    for name, looks in (("launcher", findings.launcher), ("engine", findings.engine)):
        if looks:
            found += _leaks(name, looks[0], looks[-1], growth)
    late = [taken for taken in findings.status if taken > slowest]
    if late:
        found.append(f"{len(late)} of {len(findings.status)} status requests took over {slowest:.0f} ms.")
    return found


def _leaks(name: str, before: Holdings, after: Holdings, growth: float) -> list[str]:
    found = []
    grown = 100 * (after.uss / before.uss - 1)
    if grown > growth:
        found.append(f"The {name} has grown by {grown:.1f} %.")
    for what in ("files", "threads", "children"):
        more = getattr(after, what) - getattr(before, what)
        if more > 0:
            found.append(f"The {name} holds {more} {what} more than after the warm-up.")
    return found


def report(findings: Findings, faults: ReadOnly[str]) -> str:
    """The tables, and the verdict."""
    memory = psutil.virtual_memory().total / 2**30
    lines = [
        f"{os.cpu_count()} cores, {memory:.0f} GiB; {len(findings.visits)} visits.",
        "",
        "| visit | outcomes | p50, ms | p99, ms | first token, p50, ms | p99, ms |",
        "|---|---|---|---|---|---|",
        *(_row(kind, findings.visits) for kind in dict.fromkeys(sorted(visit.kind for visit in findings.visits))),
        "",
        *_holdings(findings),
        "",
    ]
    if findings.status:
        figures = ", ".join(f"p{percent} {percentile(findings.status, percent):.0f} ms" for percent in (50, 99))
        longest = f"{max(findings.status):.0f} ms"
        lines += [f"Status requests beside the crowd: {len(findings.status)}, {figures}, longest {longest}."]
    return "\n".join([*lines, "", *(f"- {fault}" for fault in faults)] if faults else [*lines, "", "It held."])


def _row(kind: str, visits: ReadOnly[Visit]) -> str:
    these = [visit for visit in visits if visit.kind == kind]
    outcomes = Counter(visit.outcome for visit in these).most_common()
    told = ", ".join(f"{count} {outcome}" for outcome, count in outcomes)
    waits = [visit.seconds for visit in these if visit.outcome == "200"] or [visit.seconds for visit in these]
    return f"| {kind} | {told} | {_figures(waits)} | {_figures([visit.first for visit in these if visit.first])} |"


def _figures(seconds: ReadOnly[float]) -> str:
    return " | ".join(f"{1000 * percentile(seconds, percent):.0f}" if seconds else "" for percent in (50, 99))


def _holdings(findings: Findings) -> list[str]:
    looks = [*findings.launcher, *findings.engine]
    head = [_when("launcher", findings.launcher, look) for look in findings.launcher]
    head += [_when("engine", findings.engine, look) for look in findings.engine]
    rows = {
        "memory of its own (USS), MiB": [f"{look.uss:.1f}" for look in looks],
        "resident memory (RSS), MiB": [f"{look.rss:.1f}" for look in looks],
        "files and sockets": [str(look.files) for look in looks],
        "threads": [str(look.threads) for look in looks],
        "processes below it": [str(look.children) for look in looks],
        "connections": [", ".join(f"{count} {state}" for state, count in look.connections) for look in looks],
    }
    return [
        f"| | {' | '.join(head)} |",
        f"|---|{'---|' * len(looks)}",
        *(f"| {title} | {' | '.join(cells)} |" for title, cells in rows.items()),
    ]


def _when(name: str, looks: ReadOnly[Holdings], look: Holdings) -> str:
    if look is looks[0]:
        return f"{name}, warmed up"
    return f"{name}, at the end" if look is looks[-1] else f"{name}, between"
