"""When events leave the engine process: pieces of text that follow each other closely leave together."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as ReadOnly
from dataclasses import replace

from server.events import EngineEvent, TextPiece

HOLD_SECONDS = 0.02


class Outbox:
    """Hands the events of each step to ``send``, text at most every HOLD_SECONDS.

    A message wakes several threads of the launcher and then the client, on cores that the model's threads want. With a
    token every six milliseconds that took 4 % of a stream's speed, and nobody reads faster than fifty times a second.
    All other events leave at once, and the text that waits leaves before them.
    """

    def __init__(self, send: Callable[[ReadOnly[EngineEvent]], None]) -> None:
        self._send = send
        self._waiting: dict[int, TextPiece] = {}
        self._sent = float("-inf")

    def put(self, events: ReadOnly[EngineEvent], now: float) -> None:
        """Take what came of a step that ended ``now`` (seconds)."""
        others = []
        for event in events:
            if not isinstance(event, TextPiece):
                others.append(event)
                continue
            before = self._waiting.pop(event.request_id, None)
            self._waiting[event.request_id] = _merged(before, event) if before else event
        if others or (self._waiting and now - self._sent >= HOLD_SECONDS):
            self._send([*self._waiting.values(), *others])
            self._waiting.clear()
            self._sent = now


def _merged(before: TextPiece, event: TextPiece) -> TextPiece:
    """Both in one; what the later one takes back was thought."""
    unsaid, text = (before.text, "") if event.unsaid else ("", before.text)
    return replace(
        event,
        text=text + event.text,
        thought=before.thought + unsaid + event.thought,
        unsaid=before.unsaid or event.unsaid,
        logprobs=event.logprobs if event.unsaid else before.logprobs + event.logprobs,
    )
