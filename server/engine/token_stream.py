"""Token bytes in, safe text out: only whole characters, and nothing of a stop string."""

from __future__ import annotations

import codecs


class TokenStream:
    """The text side of one reply.

    Text is held back while it may still turn out to be the beginning of a stop string, and while a character's
    bytes are incomplete. Bytes that are no UTF-8 at all are dropped, never replaced by U+FFFD.
    """

    def __init__(self, stop: tuple[str, ...] = (), keep_stop: bool = False) -> None:
        self._stop = tuple(filter(None, stop))
        self._longest = max(map(len, self._stop), default=0)
        self._keep_stop = keep_stop
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="ignore")
        self._held = ""
        self.stopped = False

    def push(self, piece: bytes) -> str:
        """Take a token's bytes; return the text that may leave now. Sets ``stopped`` when a stop string is complete."""
        self._held += self._decoder.decode(piece)
        hits = [hit for hit in map(self._find, self._stop) if hit]
        # The one that was complete first counts, so that a reply does not depend on where its tokens end.
        found = min(hits, key=lambda hit: (hit[1], hit[0]), default=None)
        if found:
            start, end = found
            self.stopped = True
            return self._release(end if self._keep_stop else start)
        return self._release(len(self._held) - self._undecided())

    def finish(self) -> str:
        """The reply is over: what was held back was no stop string after all."""
        return "" if self.stopped else self._release(len(self._held))

    def _find(self, stop: str) -> tuple[int, int] | None:
        start = self._held.find(stop)
        return (start, start + len(stop)) if start >= 0 else None

    def _undecided(self) -> int:
        """How many characters at the end could still begin a stop string."""
        for length in range(min(self._longest - 1, len(self._held)), 0, -1):
            tail = self._held[-length:]
            if any(stop.startswith(tail) for stop in self._stop):
                return length
        return 0

    def _release(self, length: int) -> str:
        text, self._held = self._held[:length], self._held[length:]
        return text
