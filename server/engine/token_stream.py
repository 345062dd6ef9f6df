"""Token bytes in, safe text out: whole characters, nothing of a stop text, and thinking told apart from speech."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from server.engine.marks import Marks
from server.events import Thinking, TokenLogprob

BETWEEN_THOUGHTS = "\n\n"
STAND_INS = tuple(map(chr, range(0xFDD0, 0xFDF0)))  # noncharacters, which no text holds


@dataclass(frozen=True, slots=True)
class Said:
    """What may leave now: ``text`` that is said and ``thought``. ``unsaid``: all text before it was thought as well."""

    text: str = ""
    thought: str = ""
    unsaid: bool = False
    logprobs: tuple[TokenLogprob, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.text or self.thought or self.unsaid or self.logprobs)

    def then(self, later: Said) -> Said:
        """Both in one."""
        if later.unsaid:
            return Said(later.text, self.thought + self.text + later.thought, unsaid=True, logprobs=later.logprobs)
        thought, logprobs = self.thought + later.thought, self.logprobs + later.logprobs
        return Said(self.text + later.text, thought, self.unsaid, logprobs)


@dataclass(frozen=True, slots=True)
class StreamState:
    """All that changes in a stream; what it refers to is never changed in place but for the two told apart here."""

    stream: dict[str, Any]
    stops: dict[str, Any]
    decoder: tuple[bytes, int]


class TokenStream:
    """The text side of one reply.

    Text is held back while it may still turn out to be the beginning of a stop text or a tag, and while a character's
    bytes are incomplete. Bytes that are no UTF-8 at all are dropped, never replaced by U+FFFD.

    Tags belong to neither text nor thought, and stop texts count in what is said only. A closing tag that nothing has
    opened tells that the reply began as a thought, if it is the first tag and anything follows. Whitespace around a
    thought is dropped: a stop text such as a line break must not end the reply right behind it.

    Special tokens are not written, but may be a part of stop texts. Each of the ``unwritten`` has a stand-in, which is
    to be pushed for it, and which is in nothing that leaves.

    ``thinking`` is whether the next token belongs to a thought, which ``closing_tag`` ends; ``spoken`` whether more
    than whitespace was said.
    """

    def __init__(
        self,
        stop: tuple[str, ...] = (),
        keep_stop: bool = False,
        thinking: Thinking | None = None,
        unwritten: Iterable[str] = (),
    ) -> None:
        told = thinking or Thinking()
        self._stand_ins = dict(zip(unwritten, STAND_INS, strict=False))
        self._stops = _Stops(stop, keep_stop, self._stand_ins)
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="ignore")
        self._held = ""
        self._ends: dict[str, tuple[str, ...]] = {}
        for start, end in told.tags:
            self._ends[start] = (*self._ends.get(start, ()), end)
        self._dropped = frozenset(told.dropped)
        closings = {end for _, end in told.tags} - set(stop)
        self._speech_marks = self._marks = Marks((*self._ends, *closings, *told.dropped))
        self._blank = thinking is not None  # nothing but whitespace was said since the beginning or the last thought
        self._lead = ""  # whitespace that is lost if a thought follows
        self._tags_seen = False
        self._orphan = False  # a closing tag has come that nothing had opened, and nothing since
        self._thought_before = False
        self._thought_any = False
        self._thought_blank = False  # nothing but whitespace was thought since the tag
        self._thought_gap = ""  # whitespace that is lost if the thought ends here
        self._text = self._thought = ""
        self._unsaid = False
        self.closing_tag = ""
        self.thinking = False
        self.spoken = False
        if told.closes:
            self._open((told.closes,))

    @property
    def stopped(self) -> bool:
        """Whether a stop text has ended the reply."""
        return bool(self._stops.found)

    @property
    def stop_text(self) -> str:
        """The one that has, or "" if none has."""
        return self._stops.found

    def stand_in(self, unwritten: str) -> bytes:
        """What is pushed in place of a special token with this text; nothing if there are too many of them."""
        return self._stand_ins.get(unwritten, "").encode()

    def state(self) -> StreamState:
        """Where the stream stands, for :meth:`restore`. To be taken between two pushes."""
        return StreamState(dict(vars(self)), dict(vars(self._stops)), self._decoder.getstate())

    def restore(self, state: StreamState) -> None:
        """What was pushed since ``state`` was taken has never been."""
        vars(self).update(state.stream)
        vars(self._stops).update(state.stops)
        self._decoder.setstate(state.decoder)

    def push(self, piece: bytes) -> Said:
        """Take a token's bytes; return what may leave now. Sets ``stopped`` when a stop text is complete."""
        self._held += self._decoder.decode(piece)
        while not self.stopped and (found := self._marks.first(self._held)):
            start, end = found
            mark = self._held[start:end]
            self._pass_on(start)
            self._held = self._held[len(mark) :]
            self._turn(mark)
        if not self.stopped:
            self._pass_on(self._marks.undecided(self._held))
        return self._release()

    def finish(self, *, closing: bool = False) -> Said:
        """The reply is over: what was held back was neither stop text nor tag after all.

        While a thought is ``closing``, it is the beginning of the tag that was to end it.
        """
        if self.stopped:
            return Said()
        if closing and self.thinking:
            self._held = ""
        self._pass_on(len(self._held))
        self._text += self._stops.push(self._lead) + self._stops.finish()
        return self._release()

    def _release(self) -> Said:
        said = Said(self._written(self._text), self._written(self._thought), self._unsaid)
        self._text = self._thought = ""
        self._unsaid = False
        return said

    def _written(self, text: str) -> str:
        return text.translate({ord(letter): None for letter in self._stand_ins.values()}) if self._stand_ins else text

    def _pass_on(self, length: int) -> None:
        text, self._held = self._held[:length], self._held[length:]
        if not text:
            return
        if self.thinking:
            self._think(text)
        else:
            self._say(text)

    def _say(self, text: str) -> None:
        if self._blank:
            text = self._lead + text
            words = text.lstrip()
            if not words:
                if not self._thought_before:
                    self._lead = text
                return
            self._lead = ""
            if self._orphan:
                self._unsay()
            self._blank = False
            self.spoken = True
            text = words if self._thought_before else text
        self._text += self._stops.push(text)

    def _think(self, text: str) -> None:
        if self._thought_blank:
            text = text.lstrip()
            if not text:
                return
            self._thought_blank = False
            self._thought_any = True
        text = self._thought_gap + text
        words = text.rstrip()
        self._thought += words
        self._thought_gap = text[len(words) :]

    def _turn(self, mark: str) -> None:
        """A tag, or a text that is to be dropped, is complete."""
        if self.stopped:
            return
        if self.thinking:
            self._close()
        elif mark in self._ends:
            self._open(self._ends[mark])
        elif mark not in self._dropped and not self._tags_seen:
            self._orphan = self._blank = self._thought_before = True
        self._tags_seen = True

    def _open(self, ends: tuple[str, ...]) -> None:
        if self._orphan:
            self._unsay()
        self.thinking = True
        self.closing_tag = ends[0]
        self._marks = Marks(ends)
        self._lead = ""
        self._thought_blank = True
        self._thought_gap = BETWEEN_THOUGHTS if self._thought_any else ""
        self._thought_before = True

    def _close(self) -> None:
        self.thinking = False
        self._marks = self._speech_marks
        self._blank = True

    def _unsay(self) -> None:
        self._thought += self._text + self._stops.take_back()
        self._text = self._lead = ""
        self._unsaid = True
        self._orphan = False
        self._thought_any = self.spoken
        self.spoken = False


class _Stops:
    """Ends what is said at the first stop text."""

    def __init__(self, stop: tuple[str, ...], keep: bool, stand_ins: Mapping[str, str]) -> None:
        self._marks = Marks((*stop, *(_replaced(text, stand_ins) for text in stop)))
        self._keep = keep
        self._spelled = {letter: text for text, letter in stand_ins.items()}
        self._held = ""
        self.found = ""

    def push(self, text: str) -> str:
        if self.found:
            return ""
        self._held += text
        found = self._marks.first(self._held)
        if found:
            start, end = found
            self.found = _replaced(self._held[start:end], self._spelled)
            return self._held[:start] + (self.found if self._keep else "")
        length = self._marks.undecided(self._held)
        text, self._held = self._held[:length], self._held[length:]
        return text

    def finish(self) -> str:
        return "" if self.found else self.take_back()

    def take_back(self) -> str:
        """What is held, which then counts no longer."""
        text, self._held = self._held, ""
        return text


def _replaced(text: str, replacements: Mapping[str, str]) -> str:
    for old, new in replacements.items():
        text = text.replace(old, new)
    return text
