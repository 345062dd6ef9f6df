"""The connect page in words: what to enter into a program, and what it heard when its request was tried."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gui.language import tr
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
    """The page for one program. ``fields`` are names, as that program has them, and values; ``figures`` stand over
    the ``reply``."""

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
        where=tr(guide.where),
        fields=tuple((name, tr(value).replace("{address}", address)) for name, value in guide.fields),
        advice=tuple(tr(each) for each in guide.advice),
        test=ButtonView(
            tr("Asking…") if outcome.running else tr("Test it"), ButtonRole.START, ready and not outcome.running
        ),
        hint="" if ready else tr("Start a model on the launch page, then this can be tried."),
        figures=figures,
        reply=reply,
        tone=tone,
        writes_config=guide.key == MANTELLA,
    )


def _result(outcome: Outcome) -> tuple[str, str, Tone]:
    if outcome.problem:
        return tr("It did not work"), outcome.problem, Tone.BAD
    if outcome.trial:
        trial = outcome.trial
        heard = tr("It works · first words after {seconds:.2f} s").format(seconds=trial.first)
        if trial.speed:
            heard += " · " + tr("{speed:.1f} tokens/s").format(speed=trial.speed)
        reply = " ".join(trial.text.split())  # a small model may fill the page with line breaks
        shown = reply if len(reply) <= LONGEST_REPLY else f"{reply[:LONGEST_REPLY].rstrip()}…"
        return heard, shown, Tone.GOOD
    if outcome.copy:
        where = tr("Mantella asks this server now. Its old settings are in {file}.").format(file=outcome.copy)
        return tr("Done"), where, Tone.GOOD
    return "", "", Tone.QUIET
