"""Several replies to one request. Whoever waits for them sees one, whose events name the reply they belong to."""

from __future__ import annotations

import queue
from collections import deque
from collections.abc import Callable, Iterator
from collections.abc import Sequence as ReadOnly

from server.engine.client import Generation, Mailbox, events_of
from server.errors import ServerBusy, TavernkeepError
from server.events import Finished, TextPiece

AT_ONCE = 8  # so that one request leaves room for others


class Together:
    """Replies that ``begin`` starts in this order, at most AT_ONCE at a time. ``begun`` are those that have started,
    ``left`` of all of them have not ended yet.

    Raises what the first ones raise (:class:`ModelNotReady`, :class:`ServerBusy`).
    """

    def __init__(self, begin: ReadOnly[Callable[[Mailbox], Generation]]) -> None:
        self._waiting = deque(begin)
        self.left = len(begin)
        self._mailbox: Mailbox = queue.SimpleQueue()
        self.begun: list[Generation] = []
        try:
            self._begin_more()
        except TavernkeepError:
            self.cancel()
            raise

    def place(self, request_id: int) -> int:
        """Which of them a request is, counted from 0."""
        return next(at for at, each in enumerate(self.begun) if each.request.request_id == request_id)

    def cancel(self) -> None:
        """End all of them."""
        self._waiting.clear()
        for generation in self.begun:
            generation.cancel()

    def events(self, silence: float) -> Iterator[TextPiece | Finished | None]:
        """As those of :meth:`Generation.events`, to the end of the last one. An error of one ends all, and after an
        abort no other one begins."""
        try:
            for event in events_of(self._mailbox, silence):
                if isinstance(event, Finished):
                    self.left -= 1
                    if any(generation.aborted for generation in self.begun):
                        self.left -= len(self._waiting)
                        self._waiting.clear()
                    self._begin_more()
                yield event
                if not self.left:
                    return
        except TavernkeepError:
            self.cancel()
            raise

    def _begin_more(self) -> None:
        """Start as many as there are places; where others have taken them, some now and more when one has ended."""
        while self._waiting and self.left - len(self._waiting) < AT_ONCE:
            try:
                self.begun.append(self._waiting[0](self._mailbox))
            except ServerBusy:
                if self.left == len(self._waiting):
                    raise
                return
            self._waiting.popleft()
