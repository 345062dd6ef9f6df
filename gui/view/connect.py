"""The connect page in words: what to enter into a program, and what it heard when its request was tried."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gui.view.looks import ButtonRole, ButtonView, Tone
from server.events import EngineState
from server.snapshot import ClientGuide, Snapshot, Trial

EXAMPLE_ADDRESS: Final = "http://127.0.0.1:5001"
LONGEST_REPLY: Final = 600
MANTELLA: Final = "mantella"


@dataclass(frozen=True)
class Outcome:
    """What became of a try: it runs, the client heard a reply, or ``problem`` says why not; or Mantella's file was
    written, and a ``copy`` made of what it was."""

    running: bool = False
    trial: Trial | None = None
    problem: str = ""
    copy: str = ""


@dataclass(frozen=True)
class ConnectView:
    """The page for one program. ``fields`` are names and values; ``figures`` stand over the ``reply``."""

    where: str
    fields: tuple[tuple[str, str], ...]
    advice: tuple[str, ...]
    test: ButtonView
    hint: str
    figures: str
    reply: str
    tone: Tone
    writes_config: bool


def connect_view(guide: ClientGuide, snapshot: Snapshot, outcome: Outcome) -> ConnectView:
    """What the page shows for a program now."""
    address = (snapshot.address or EXAMPLE_ADDRESS).rstrip("/")
    ready = snapshot.state is EngineState.READY
    figures, reply, tone = _result(outcome)
    return ConnectView(
        where=guide.where,
        fields=tuple((name, value.replace("{address}", address)) for name, value in guide.fields),
        advice=guide.advice,
        test=ButtonView("Asking…" if outcome.running else "Test it", ButtonRole.START, ready and not outcome.running),
        hint="" if ready else "Start a model on the launch page, then this can be tried.",
        figures=figures,
        reply=reply,
        tone=tone,
        writes_config=guide.key == MANTELLA,
    )


def _result(outcome: Outcome) -> tuple[str, str, Tone]:
    if outcome.problem:
        return "It did not work", outcome.problem, Tone.BAD
    if outcome.trial:
        trial = outcome.trial
        speed = f" · {trial.speed:.1f} tokens/s" if trial.speed else ""
        reply = " ".join(trial.text.split())  # a small model may fill the page with line breaks
        shown = reply if len(reply) <= LONGEST_REPLY else f"{reply[:LONGEST_REPLY].rstrip()}…"
        return f"It works · first words after {trial.first:.2f} s{speed}", shown, Tone.GOOD
    if outcome.copy:
        return "Done", f"Mantella asks this server now. Its old settings are in {outcome.copy}.", Tone.GOOD
    return "", "", Tone.QUIET
