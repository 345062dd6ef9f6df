"""Who asked for what: the reply each genkey may read or stop, and the totals behind ``/api/extra/perf``."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from server import privacy
from server.engine.client import Generation
from server.events import Finished, SlotState
from server.request.tally import Counted, Tally
from server.snapshot import Phase, RequestRow

log = logging.getLogger("tavernkeep.replies")

REMEMBERED_KEYS = 64


@dataclass(frozen=True)
class Totals:
    """Counters since the launcher started. ``last`` is the reply that ended last; times in seconds.

    Of ``trimmed`` of the ``replies`` a part of the prompt was left out; all of them have ``written`` tokens. Their
    prompts have ``asked`` tokens, of which ``cached`` did not have to be read. ``counted`` tells more of them.
    """

    replies: int
    trimmed: int
    written: int
    asked: int
    cached: int
    last: Finished | None
    uptime: float
    idle: float
    counted: Counted


class Ledger:
    """Remembers the current reply of every genkey until that key's next one starts. Safe from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._current: OrderedDict[str, Generation] = OrderedDict()
        self._replies = 0
        self._trimmed = 0
        self._written = 0
        self._asked = 0
        self._cached = 0
        self._last: Finished | None = None
        self._tally = Tally()
        self._started = self._last_active = time.monotonic()

    def begin(self, generation: Generation) -> None:
        """A reply has been asked for; from now on it is the one its genkey reads and stops."""
        with self._lock:
            self._current[generation.genkey] = generation
            self._current.move_to_end(generation.genkey)
            while len(self._current) > REMEMBERED_KEYS:
                self._current.popitem(last=False)
            self._last_active = time.monotonic()

    def finish(self, generation: Generation) -> None:
        """A reply has ended, one way or another. One line in the log tells of it, without its text."""
        with self._lock:
            self._last_active = time.monotonic()
            self._tally.add(generation.route, generation.finished)
            if generation.finished:
                self._replies += 1
                self._trimmed += generation.trimmed is not None
                self._written += generation.finished.completion_tokens
                self._asked += generation.finished.prompt_tokens
                self._cached += generation.finished.cached_tokens
                self._last = generation.finished
        log.info("%s %s: %s", generation.client, generation.route, _outcome(generation), extra=_fields(generation))
        privacy.log_text(f"{generation.client} was told after thinking", generation.thought)
        privacy.log_text(f"{generation.client} was told", generation.text)
        if generation.finished and generation.thought and not generation.text:
            log.warning("The reply is empty: all its tokens were spent on thinking. Allow more, or switch it off.")

    def current(self, genkey: str) -> Generation | None:
        """The current or last reply of ``genkey``; None for a key that was never used."""
        with self._lock:
            return self._current.get(genkey)

    def totals(self) -> Totals:
        now = time.monotonic()
        with self._lock:
            return Totals(
                self._replies,
                self._trimmed,
                self._written,
                self._asked,
                self._cached,
                self._last,
                uptime=now - self._started,
                idle=now - self._last_active,
                counted=self._tally.counted(),
            )


def _outcome(generation: Generation) -> str:
    finished = generation.finished
    if finished is None:
        return privacy.sentence(generation.error) if generation.error else "ended"
    speed = finished.completion_tokens / finished.decode_seconds if finished.decode_seconds else 0.0
    return (
        f"{finished.prompt_tokens} tokens ({finished.cached_tokens} cached) read in {finished.prompt_seconds:.1f} s,"
        f" {finished.completion_tokens} generated at {speed:.1f} tokens/s ({finished.reason.value})"
    )


def _fields(generation: Generation) -> dict[str, Any]:
    """The same for programs that read the log."""
    fields: dict[str, Any] = {"client": generation.client, "route": generation.route}
    finished, trimmed = generation.finished, generation.trimmed
    if finished is None:
        return {**fields, "finish": "error", "error": generation.error.code if generation.error else ""}
    return {
        **fields,
        "finish": finished.reason.value,
        "prompt_tokens": finished.prompt_tokens,
        "cached_tokens": finished.cached_tokens,
        "completion_tokens": finished.completion_tokens,
        "trimmed_tokens": trimmed.tokens if trimmed else 0,
        "queue_seconds": round(finished.queue_seconds, 3),
        "prompt_seconds": round(finished.prompt_seconds, 3),
        "decode_seconds": round(finished.decode_seconds, 3),
    }


def to_abort(running: list[Generation], genkey: str, client: str) -> list[Generation]:
    """The running replies that an abort call stops.

    With a ``genkey``, that key's and no other's. Without one, the replies that have none either: the only one, or,
    when several clients are talking, those of the ``client`` that calls.
    """
    keyed = [generation for generation in running if generation.genkey == genkey]
    if genkey or len(keyed) <= 1:
        return keyed
    return [generation for generation in keyed if generation.client == client]


def row_of(generation: Generation, slot: SlotState | None) -> RequestRow:
    """A running or waiting reply for people; ``slot`` is what it works in, if it does."""
    begun = Phase.READING if slot else Phase.WAITING
    return RequestRow(
        request_id=generation.request.request_id,
        client=generation.client,
        route=generation.route,
        prompt_tokens=len(generation.request.prompt),
        completion_tokens=generation.tokens,
        trimmed=generation.trimmed,
        phase=Phase.WRITING if generation.tokens else begun,
        cached_tokens=slot.cached if slot else 0,
        speed=generation.speed,
    )
