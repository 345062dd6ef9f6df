"""KoboldAI Lite's placeholders, such as ``{{[INPUT]}}``, to the tags of whichever model is loaded."""

from __future__ import annotations

import re
from collections.abc import Iterable

from server.prompt.preset import Preset

NAME = r"\{\{\[(?:INPUT|OUTPUT|SYSTEM)(?:_END)?\]\}\}"
PLACEHOLDER = re.compile(rf"\n{NAME}\n|{NAME}")  # Lite can put each on a line of its own
MARKED = re.compile(r"\{\{\[(?:INPUT|OUTPUT)_END\]\}\}")
ROLES = {"INPUT": "user", "OUTPUT": "assistant", "SYSTEM": "system"}
OTHER = {"user": "assistant", "assistant": "user", "system": "assistant"}


def in_prompt(memory: str, prompt: str, preset: Preset) -> tuple[str, str]:
    """Memory and prompt, which are one text, with tags.

    Where a prompt marks the ends of turns each placeholder stands for one tag. Otherwise ``{{[INPUT]}}`` and
    ``{{[OUTPUT]}}`` end the turn before them as well. One at the very end opens the reply.
    """
    writer = _Writer(preset, marked=bool(MARKED.search(memory + prompt)))
    return writer.write(memory, last=False), writer.write(prompt, last=True)


def in_stops(stops: Iterable[str], preset: Preset) -> tuple[str, ...]:
    """Texts that end a reply, with tags; those that then hold nothing are left out."""
    filled = (PLACEHOLDER.sub(lambda found: _tag(preset, *_meaning(found)).strip(), text) for text in stops)
    return tuple(filter(None, filled))


class _Writer:
    """Goes through a prompt and remembers whose turn is open: "" for nobody's, None before the first placeholder."""

    def __init__(self, preset: Preset, *, marked: bool) -> None:
        self._preset = preset
        self._marked = marked
        self._open: str | None = None

    def write(self, text: str, *, last: bool) -> str:
        """The text with tags; ``last`` if the reply comes right behind it."""

        def tag(found: re.Match[str]) -> str:
            role, edge = _meaning(found)
            if edge == "end":
                self._open = ""
                return _tag(self._preset, role, edge)
            before = "" if self._marked else self._end(OTHER[role] if text[: found.start()].strip() else "")
            self._open = role
            opens_reply = last and role == "assistant" and not text[found.end() :].strip()
            return before + _tag(self._preset, role, "gen" if opens_reply else "start")

        return PLACEHOLDER.sub(tag, text)

    def _end(self, unmarked: str) -> str:
        """The tag that ends the open turn, which is ``unmarked``'s where no placeholder has told."""
        role = unmarked if self._open is None else self._open
        return _tag(self._preset, role, "end") if role else ""


def _meaning(found: re.Match[str]) -> tuple[str, str]:
    """The role of a placeholder, and whether it stands for the start or the end of its turn."""
    name, _, end = found[0].strip("\n{}[]").partition("_")
    return ROLES[name], "end" if end else "start"


def _tag(preset: Preset, role: str, edge: str) -> str:
    if edge == "gen":
        return preset.assistant_start if preset.assistant_gen is None else preset.assistant_gen
    tag: str = getattr(preset, f"{role}_{edge}")
    return tag
