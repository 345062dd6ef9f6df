"""A cursor over a GGUF file that reads nothing without a bound: no byte past the file's end, no count and no text
that a model does not have. Used by the reader of the header."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from server.errors import ModelLoadError
from server.model.gguf_facts import BOOL, SCALARS, STRING
from server.model.shape import Array

MAX_STRING: Final = 16 * 1024 * 1024
MAX_TEXT: Final = 64 * 1024 * 1024  # of all names and texts that are kept
MAX_ELEMENTS: Final = 4_000_000  # of all arrays; the largest vocabularies come to 1.5 million
MAX_KEPT_ARRAY: Final = 512  # numbers for each layer; longer arrays are vocabularies
CHUNK: Final = 1024 * 1024


def until_zero(text: bytes) -> bytes:
    """A text as llama.cpp takes it: it ends at the first zero."""
    return text.partition(b"\0")[0]


class Cursor:
    """Every read is checked against the file's ``size``; raises :class:`ModelLoadError`."""

    def __init__(self, stream: BinaryIO, file: Path, size: int) -> None:
        self.at = 0
        self._stream = stream
        self.name = file.name
        self._size = size
        self._text = 0
        self._elements = 0

    def number(self, layout: str) -> float:
        """The next number, laid out as :mod:`struct` says."""
        number: float = struct.unpack(layout, self.take(struct.calcsize(layout)))[0]
        return number

    def whole(self, layout: str) -> int:
        """The next whole number."""
        return int(self.number(layout))

    def count(self, layout: str, most: int, what: str) -> int:
        """The next number, which says how many there are of something."""
        count = self.whole(layout)
        if count > most:
            raise self.damaged(f"it claims to hold {count} {what}")
        return count

    def text(self) -> bytes:
        """The next text, which is kept."""
        length = self.count("<Q", MAX_STRING, "characters")
        self._text += length
        if self._text > MAX_TEXT:
            raise self.damaged(f"its header holds more than {MAX_TEXT:,} characters of text")
        return self.take(length)

    def value(self, kind: int) -> float | bool:
        """The next value of a scalar type."""
        number = self.number(SCALARS[kind])
        if kind == BOOL and number > 1:
            raise self.damaged(f"a value that can be 0 or 1 is {number}")
        return bool(number) if kind == BOOL else number

    def array(self) -> Array:
        """The next array. The numbers of a short one are kept; others are vocabularies, which nothing here needs."""
        kind = self.whole("<I")
        length = self.whole("<Q")
        self._elements += length
        if self._elements > MAX_ELEMENTS:
            raise self.damaged(f"it claims to hold {self._elements} array elements")
        at = self.at
        if kind == STRING:
            self._skip_texts(length)
            return Array(kind, length, at)
        if kind not in SCALARS:
            raise self.damaged(f"it holds an array of the unknown type {kind}")
        data = self.take(struct.calcsize(SCALARS[kind]) * length)
        if kind == BOOL and data.strip(b"\0\1"):
            raise self.damaged("an array of values that can be 0 or 1 has others")
        kept = struct.unpack(f"<{length}{SCALARS[kind][1:]}", data) if length <= MAX_KEPT_ARRAY else ()
        return Array(kind, length, at, kept)

    def texts(self, array: Array) -> Iterator[bytes]:
        """The texts of an array that was passed, as llama.cpp takes them. The cursor stays behind the last one."""
        self._stream.seek(array.at)
        self.at = array.at
        for _ in range(array.length):
            yield until_zero(self.take(self.count("<Q", MAX_STRING, "characters")))

    def damaged(self, what: str) -> ModelLoadError:
        """Why the file cannot be used, where only another copy of it helps."""
        return ModelLoadError(f"{self.name} is damaged: {what}.", "Download it again, or choose another file.")

    def cut_off(self, needed: int) -> ModelLoadError:
        """The file ends too early."""
        return ModelLoadError(
            f"{self.name} is incomplete: it is {self._size:,} bytes long and should be at least {needed:,}.",
            "Download it again.",
        )

    def _skip_texts(self, count: int) -> None:
        """Read in large pieces: a vocabulary has a million texts of a few bytes."""
        piece, position = b"", 0
        for _ in range(count):
            if position + 8 > len(piece):
                left = piece[position:]
                piece, position = left + self._stream.read(CHUNK), 0
                if len(piece) < 8:
                    raise self.cut_off(self.at + 8)
            (length,) = struct.unpack_from("<Q", piece, position)
            if length > MAX_STRING:
                raise self.damaged(f"it claims to hold {length} characters")
            position += 8 + length
            self.at += 8 + length
            if position > len(piece):
                if self.at > self._size:
                    raise self.cut_off(self.at)
                self._stream.seek(self.at)
                piece, position = b"", 0
        self._stream.seek(self.at)

    def take(self, length: int) -> bytes:
        """The next bytes."""
        data = self._stream.read(length) if self.at + length <= self._size else b""
        if len(data) < length:
            raise self.cut_off(self.at + length)
        self.at += length
        return data
