"""When events leave the engine process."""

from __future__ import annotations

from typing import Any

from server.engine.outbox import HOLD_SECONDS, Outbox
from server.events import EngineEvent, EngineStats, Finished, FinishReason, TextPiece

SOON = HOLD_SECONDS / 4


class Post:
    """An outbox, and the messages it sent."""

    def __init__(self) -> None:
        self.messages: list[list[EngineEvent]] = []
        self._outbox = Outbox(lambda events: self.messages.append(list(events)))
        self._now = 100.0

    def put(self, *events: EngineEvent, after: float = SOON) -> None:
        self._now += after
        self._outbox.put(events, self._now)


def piece(text: str, tokens: int, request: int = 1, **more: Any) -> TextPiece:
    return TextPiece(request, text, tokens, **more)


def end(request: int = 1) -> Finished:
    return Finished(request, FinishReason.STOP, 5, 3, False, 0.0, 0.0, 0.0, 0)


def test_the_first_words_after_a_silence_leave_at_once():
    post = Post()
    post.put(piece("Hail", 1))
    post.put(piece(" you", 2), after=2 * HOLD_SECONDS)
    assert post.messages == [[piece("Hail", 1)], [piece(" you", 2)]]


def test_pieces_that_follow_closely_leave_as_one_for_each_reply():
    post = Post()
    post.put(piece("Hail", 1))
    post.put(piece(", ", 2), piece("Who", 1, request=2))
    post.put(piece("traveller", 3), piece(" is", 2, request=2))
    assert len(post.messages) == 1
    post.put(piece("!", 4), after=2 * HOLD_SECONDS)
    assert post.messages[1:] == [[piece("Who is", 2, request=2), piece(", traveller!", 4)]]


def test_thoughts_leave_as_one_beside_the_text():
    post = Post()
    post.put(EngineStats())
    post.put(piece("", 1, thought="Who"))
    post.put(piece("", 2, thought=" is this?"))
    post.put(piece("Hail", 4), end())
    assert post.messages[1:] == [[piece("Hail", 4, thought="Who is this?"), end()]]


def test_text_that_was_thought_after_all_has_not_left_as_text():
    post = Post()
    post.put(EngineStats())
    post.put(piece("A guest", 1, thought="Hm. "))
    post.put(piece(" comes.", 2))
    post.put(piece("Hail", 4, thought=" Well.", unsaid=True))
    post.put(piece("!", 5), end())
    assert post.messages[1:] == [[piece("Hail!", 5, thought="Hm. A guest comes. Well.", unsaid=True), end()]]


def test_an_end_takes_the_text_before_it_along_at_once():
    post = Post()
    post.put(piece("Hail", 1))
    post.put(piece(" and", 2))
    post.put(piece(" well met", 3), end())
    assert post.messages[1:] == [[piece(" and well met", 3), end()]]


def test_other_events_never_wait():
    post = Post()
    post.put(piece("Hail", 1))
    post.put(EngineStats())
    assert post.messages[1:] == [[EngineStats()]]


def test_nothing_is_sent_when_nothing_happened():
    post = Post()
    post.put()
    post.put(after=1.0)
    assert post.messages == []
