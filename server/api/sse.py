"""Server-sent events: the frames of each dialect, and the loop that turns a generation into them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

from flask import Response

from server.errors import TavernkeepError
from server.events import Finished, FinishReason, TextPiece

POLL_SECONDS = 0.1
PING_SECONDS = 5.0
EVENTS = "text/event-stream"
PING = b": ping\n\n"
DONE = b"data: [DONE]\n\n"


class Replies(Protocol):
    """A reply, or several at once."""

    def events(self, silence: float) -> Iterator[TextPiece | Finished | None]: ...
    def cancel(self) -> None: ...


def data_frame(data: dict[str, Any]) -> bytes:
    """OpenAI's frame."""
    return f"data: {json.dumps(data)}\n\n".encode()


def message_frame(data: dict[str, Any]) -> bytes:
    """Kobold's frame. CHIM compares its beginning byte by byte: ``", "`` and ``": "`` as separators, LF only."""
    return f"event: message\ndata: {json.dumps(data)}\n\n".encode()


def finish_word(finished: Finished) -> str:
    """The finish reason as clients know it; KoboldCpp's word for an aborted reply is "length"."""
    return "length" if finished.reason is FinishReason.CANCELLED else finished.reason.value


def response(
    replies: Replies, frames: Iterator[bytes], headers: Mapping[str, str], content_type: str = EVENTS
) -> Response:
    """A streamed reply. However it ends, also before its first frame, the generation ends with it."""
    streamed = Response(frames, content_type=content_type, headers=dict(headers))
    streamed.call_on_close(replies.cancel)
    return streamed


def stream(
    replies: Replies,
    gone: Callable[[], bool],
    on_piece: Callable[[TextPiece], bytes],
    on_end: Callable[[Finished], bytes],
    on_error: Callable[[TavernkeepError], bytes],
    *,
    ping: bytes = PING,
) -> Iterator[bytes]:
    """The body of a streamed reply; it ends early when ``gone`` tells that the client has left.

    A ``ping`` is sent in long silences, so that no client takes the reading of a long prompt for a dead server.
    Where ``on_piece`` has nothing to say (the model thinks, and nobody wants to know), nothing is sent.
    """
    last_sent = time.monotonic()
    try:
        for event in replies.events(silence=POLL_SECONDS):
            if gone():
                return
            frame = b""
            if isinstance(event, Finished):
                frame = on_end(event)
            elif event:
                frame = on_piece(event)
            if not frame:
                if time.monotonic() - last_sent < PING_SECONDS:
                    continue
                frame = ping
            last_sent = time.monotonic()
            yield frame
    except TavernkeepError as error:
        yield on_error(error)


def collect(
    replies: Replies, gone: Callable[[], bool], on_piece: Callable[[TextPiece], object] = bool
) -> Finished | None:
    """Wait for whole replies; each one's text is then in it. Returns the last one's end, None when the client left.

    ``on_piece`` is shown each piece as it comes.
    """
    last: Finished | None = None
    try:
        for event in replies.events(silence=POLL_SECONDS):
            if isinstance(event, Finished):
                last = event
            elif gone():
                return None
            elif event:
                on_piece(event)
    finally:
        replies.cancel()
    return last
