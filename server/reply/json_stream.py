"""A reply's text read as it comes, and the JSON in it: :mod:`server.reply.tool_calls` reads with both.

The readers are generators that stand still where they need the next piece, so that each reads like a parser of the
whole text, and what it finds does not depend on where the pieces end.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator
from typing import TypeVar

Result = TypeVar("Result")
Reading = Generator[None, None, Result]
Sink = Callable[[str], None]

MOST_HELD = 1 << 18  # characters that may have to be read again
DEEPEST = 64  # brackets in brackets; a tool's arguments have a handful

BLANK = " \t\r\n"
_WORD = re.compile(r"[\w.:-]{0,128}")
_PLAIN = re.compile(r'[^"\\]+')
_CONTROL = re.compile(r"[\x00-\x1f]")
_ESCAPE = re.compile(r'\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})')
_HALF_ESCAPE = re.compile(r"\\(?:u[0-9a-fA-F]{0,3})?")
_LITERAL = re.compile(r"[\w.+-]*")
_SCALAR = re.compile(r"true|false|null|-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")


class Malformed(Exception):
    """The text is not what the reader looks for."""


class CutOff(Malformed):
    """The text ends before what the reader reads is complete."""


class Incoming:
    """Text that comes in pieces, and how far it was read.

    Between :meth:`mark` and :meth:`release` what was read is kept, because it may have to be read again.
    """

    def __init__(self) -> None:
        self.ended = False
        self._text = ""
        self._position = 0
        self._kept = False

    def add(self, piece: str) -> None:
        """Take the next piece of the text."""
        self._text += piece

    @property
    def unread(self) -> str:
        """What has come and was not read yet."""
        return self._text[self._position :]

    def ahead(self, length: int) -> str:
        """The next characters of those that have come, without reading them."""
        return self._text[self._position : self._position + length]

    def found(self, pattern: re.Pattern[str]) -> str:
        """Read what a pattern matches here in what has come."""
        match = pattern.match(self._text, self._position)
        return self.read(len(match.group())) if match else ""

    def mark(self) -> int:
        """The place that :meth:`rewind` may come back to."""
        self._kept = True
        return self._position

    def back(self, text: str) -> None:
        """Put back what was read last."""
        self._position -= len(text)

    def rewind(self, mark: int) -> None:
        """Go back to a place, which is then no longer kept."""
        self._position = mark
        self._kept = False

    def release(self) -> None:
        """What was read will not be read again."""
        self._kept = False

    def more(self) -> Reading[bool]:
        """Wait for the next piece. False at the end of the text. Raises :class:`Malformed` if too much is kept."""
        if self.ended:
            return False
        if not self._kept:
            self._text, self._position = self.unread, 0
        elif len(self._text) > MOST_HELD:
            raise Malformed
        yield
        return True

    def read(self, length: int) -> str:
        """The next characters of those that have come."""
        start, self._position = self._position, self._position + length
        return self._text[start : self._position]

    def match(self, pattern: re.Pattern[str]) -> Reading[str]:
        """Read what a pattern matches here; the pattern must match the beginnings of all it matches, and nothing."""
        while True:
            found = pattern.match(self._text, self._position)
            length = len(found.group()) if found else 0
            if self._position + length < len(self._text) or not (yield from self.more()):
                return self.read(length)

    def peek(self) -> Reading[str]:
        """The next character, "" at the end of the text."""
        while self._position >= len(self._text):
            if not (yield from self.more()):
                return ""
        return self._text[self._position]

    def blank(self) -> Reading[str]:
        """Read JSON's white space."""
        space = ""
        while (char := (yield from self.peek())) and char in BLANK:
            space += self.read(1)
        return space

    def next(self) -> Reading[str]:
        """Read white space; the character behind it, which is not read. "" at the end of the text."""
        yield from self.blank()
        return (yield from self.peek())

    def word(self) -> Reading[str]:
        """Read a name of at most 128 letters, digits and ``_.:-``."""
        return (yield from self.match(_WORD))

    def take(self, *literals: str) -> Reading[str]:
        """Read that one of the texts which stands here, "" if none does. None may be the beginning of another."""
        longest = max(map(len, literals))
        while True:
            rest = self.ahead(longest)
            for literal in literals:
                if rest.startswith(literal):
                    return self.read(len(literal))
            if not any(literal.startswith(rest) for literal in literals) or not (yield from self.more()):
                return ""

    def until(self, end: str, most: int = MOST_HELD) -> Reading[str | None]:
        """Read up to and with ``end``; the text before it. None, and nothing read, if that is too long or cut off."""
        searched = 0
        while True:
            found = self._text.find(end, self._position + searched) - self._position
            if 0 <= found <= most:
                return self.read(found + len(end))[:found]
            searched = max(0, len(self._text) - self._position - len(end) + 1)
            if found > most or searched > most or not (yield from self.more()):
                return None


def value(source: Incoming, sink: Sink) -> Reading[None]:
    """Read one JSON value; its text goes to ``sink`` as it comes.

    What models often get wrong is put right on the way: line breaks in strings, backslashes that escape nothing and
    commas before a closing bracket. Raises :class:`Malformed` where it cannot go on.
    """
    closers: list[str] = []
    while True:
        char = yield from _significant(source, sink)
        if char in "{[":
            if len(closers) == DEEPEST:
                raise Malformed
            sink(source.read(1))
            closers.append("}" if char == "{" else "]")
            if (yield from _significant(source, sink)) != closers[-1]:
                if char == "{":
                    yield from _key(source, sink)
                continue
        elif char == '"':
            yield from string(source, sink)
        else:
            yield from _scalar(source, sink)
        while closers and (yield from _closed(source, sink, closers[-1])):
            closers.pop()
        if not closers:
            return
        if closers[-1] == "}":
            yield from _key(source, sink)


def _closed(source: Incoming, sink: Sink, closer: str) -> Reading[bool]:
    """Behind a value: read the closing bracket (True), or the comma before the next value."""
    char = yield from _significant(source, sink)
    if char == ",":
        source.read(1)
        space = yield from source.blank()
        if (char := (yield from source.peek())) != closer:
            sink("," + space)
            return False
    if char != closer:
        raise Malformed
    sink(source.read(1))
    return True


def _key(source: Incoming, sink: Sink) -> Reading[None]:
    if (yield from _significant(source, sink)) != '"':
        raise Malformed
    yield from string(source, sink)
    if (yield from _significant(source, sink)) != ":":
        raise Malformed
    sink(source.read(1))


def string(source: Incoming, sink: Sink) -> Reading[None]:
    """Read a JSON string, from quote to quote."""
    sink(source.read(1))
    while char := (yield from source.peek()):
        if char == '"':
            sink(source.read(1))
            return
        if char == "\\":
            yield from _escape(source, sink)
        else:
            sink(_CONTROL.sub(lambda found: f"\\u{ord(found.group()):04x}", source.found(_PLAIN)))
    raise CutOff


def _escape(source: Incoming, sink: Sink) -> Reading[None]:
    while True:
        if escape := source.found(_ESCAPE):
            sink(escape)
            return
        ahead = source.ahead(6)
        if not _HALF_ESCAPE.fullmatch(ahead):
            sink("\\" + source.read(1))
            return
        if not (yield from source.more()):
            sink(source.read(len(ahead)))
            raise CutOff


def _scalar(source: Incoming, sink: Sink) -> Reading[None]:
    """Read a number, true, false or null."""
    text = yield from source.match(_LITERAL)
    cut_off = source.ended and text and not source.ahead(1)
    if not cut_off and not _SCALAR.fullmatch(text):
        source.back(text)
        raise Malformed
    sink(text)


def _significant(source: Incoming, sink: Sink) -> Reading[str]:
    """The next character that is no white space. Raises :class:`CutOff` at the end of the text."""
    sink((yield from source.blank()))
    if char := (yield from source.peek()):
        return char
    raise CutOff
