"""Measurements -> Markdown: the tables, and what they were measured on."""

from __future__ import annotations

import datetime
import os
import platform
import re
import statistics
import sys
from collections.abc import Sequence as ReadOnly
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.scenarios import Row

OURS = "tavernkeep"
BEGIN, END = "<!-- written by python -m bench --write: begin -->", "<!-- end -->"


@dataclass(frozen=True)
class Measurement:
    """One figure: ``row`` of ``server``, beside ``busy`` busy processes."""

    row: Row
    server: str
    busy: int
    value: float


def tables(measurements: ReadOnly[Measurement]) -> str:
    """One table for each number of busy processes, in the order of measuring."""
    levels = sorted({measurement.busy for measurement in measurements})
    return "\n\n".join(_table(level, [m for m in measurements if m.busy == level]) for level in levels)


def _table(busy: int, measurements: ReadOnly[Measurement]) -> str:
    title = f"Beside {busy} busy process{'es' if busy > 1 else ''}" if busy else "Quiet machine"
    servers = list(dict.fromkeys(measurement.server for measurement in measurements))
    lines = [
        f"### {title}",
        "",
        f"| | {' | '.join(servers)} |",
        f"|---|{'---|' * len(servers)}",
    ]
    for row in dict.fromkeys(measurement.row for measurement in measurements):
        values = {server: [m.value for m in measurements if m.row == row and m.server == server] for server in servers}
        cells = (_cell(row, values[server], values.get(OURS, []), server) for server in servers)
        lines.append(f"| {row.title}, {row.unit} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(row: Row, values: ReadOnly[float], ours: ReadOnly[float], server: str) -> str:
    if not values:
        return ""
    digits = 1 if row.more_is_better else 0
    median = statistics.median(values)
    cell = f"{median:.{digits}f}"
    if len(values) > 1:
        cell += f" ({min(values):.{digits}f} to {max(values):.{digits}f})"
    return cell if server == OURS or not ours else f"{cell}, **{times_better(row, ours, values):.2f}x**"


def times_better(row: Row, ours: ReadOnly[float], theirs: ReadOnly[float]) -> float:
    """How many times better our median is: faster, sooner or smaller. Below 1 it is worse."""
    ratio = statistics.median(ours) / statistics.median(theirs)
    return ratio if row.more_is_better else 1 / ratio


def circumstances(model: Path, versions: ReadOnly[str], notes: ReadOnly[str]) -> str:
    """What the figures were measured on, and how to read them."""
    memory = psutil.virtual_memory().total / 2**30
    system = f"{platform.system()} {platform.release()}, Python {platform.python_version()}"
    command = " ".join(["python -m bench", *(argument for argument in sys.argv[1:] if argument != "--write")])
    lines = [
        f"`{command}`, {datetime.date.today():%d %B %Y}.",
        "Medians (lowest to highest); **1.20x** means that Tavernkeep is 1.2 times as fast, as soon or as small as the",
        "server of that column. [README.md](README.md) explains the rows.",
        "",
        f"- Machine: {_processor()}, {os.cpu_count()} cores, {memory:.0f} GiB, {system}.",
        f"- Model: {model.name}.",
        *(f"- {note}" for note in (*versions, *notes)),
    ]
    return "\n".join(lines)


def write(file: Path, text: str) -> None:
    """Put the text between the file's marks, which are added at its end where there are none."""
    old = file.read_text("utf-8")
    if BEGIN not in old:
        old = f"{old.rstrip()}\n\n{BEGIN}\n{END}\n"
    before, _, rest = old.partition(BEGIN)
    file.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.partition(END)[2]}", "utf-8")


def _processor() -> str:
    """The processor's name, which Python knows on few systems."""
    cpuinfo = Path("/proc/cpuinfo")
    named = re.search(r"model name\s*: (.*)", cpuinfo.read_text()) if cpuinfo.exists() else None
    return named[1] if named else platform.processor() or platform.machine()
