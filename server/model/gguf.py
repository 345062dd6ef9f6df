"""The header of a GGUF file, read with bounds before llama.cpp sees the file. Called by the controller.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from server.errors import ModelLoadError
from server.model.shape import Metadata, Tensor, shape_of, text_in, whole_in
from server.snapshot import ModelFile

MAGIC = b"GGUF"
VERSIONS = (2, 3)
MAX_ENTRIES = 100_000
MAX_STRING = 16 * 1024 * 1024
MAX_ARRAY = 10_000_000
MAX_DIMENSIONS = 4
MAX_KEPT_ARRAY = 4096  # numbers for each layer; longer arrays are vocabularies
PART = re.compile(r"-(\d{5})-of-(\d{5})\.gguf$", re.IGNORECASE)
DEFAULT_ALIGNMENT = 32

_SCALARS = {
    0: "<B",
    1: "<b",
    2: "<H",
    3: "<h",
    4: "<I",
    5: "<i",
    6: "<f",
    7: "<?",
    10: "<Q",
    11: "<q",
    12: "<d",
}
_STRING, _ARRAY = 8, 9

# ggml type -> (elements a block, bytes a block), and llama.cpp's file types by number: facts of the format.
_BLOCKS = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 9: (32, 36),
    10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 15: (256, 292),
    16: (256, 66), 17: (256, 74), 18: (256, 98), 19: (256, 50), 20: (32, 18), 21: (256, 110), 22: (256, 82),
    23: (256, 136), 24: (1, 1), 25: (1, 2), 26: (1, 4), 27: (1, 8), 28: (1, 8), 29: (256, 56), 30: (1, 2),
    34: (256, 54), 35: (256, 66), 39: (32, 17),
}  # fmt: skip
_FILE_TYPES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S",
    12: "Q3_K_M", 13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K", 19: "IQ2_XXS",
    20: "IQ2_XS", 21: "Q2_K_S", 22: "IQ3_XS", 23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL", 26: "IQ3_S", 27: "IQ3_M",
    28: "IQ2_S", 29: "IQ2_M", 30: "IQ4_XS", 31: "IQ1_M", 32: "BF16", 36: "TQ1_0", 37: "TQ2_0", 38: "MXFP4_MOE",
}  # fmt: skip


def inspect(path: str) -> ModelFile:
    """What the file says of itself, and of its further parts if it is split. Raises :class:`ModelLoadError` if it is
    missing, no GGUF or cut off."""
    if not path or "\0" in path:
        raise ModelLoadError("No model file is named.", "Choose a .gguf file.")
    first, *others = [_read(each) for each in _parts(Path(path))]
    metadata, tensors = first.metadata, [tensor for part in (first, *others) for tensor in part.tensors]
    architecture = text_in(metadata, "general.architecture")
    return ModelFile(
        path=path,
        size=sum(part.size for part in (first, *others)),
        architecture=architecture,
        name=text_in(metadata, "general.name"),
        quantisation=_FILE_TYPES.get(whole_in(metadata, "general.file_type", -1), ""),
        layers=whole_in(metadata, f"{architecture}.block_count"),
        trained_context=whole_in(metadata, f"{architecture}.context_length"),
        chat_template=text_in(metadata, "tokenizer.chat_template"),
        embeds=whole_in(metadata, f"{architecture}.pooling_type") > 0,
        shape=shape_of(metadata, tensors),
    )


def is_further_part(name: str) -> bool:
    """Whether a file's name says that it is a part of a split model, but not the first one, which stands for all."""
    part = PART.search(name)
    return part is not None and int(part.group(1)) != 1


def _parts(file: Path) -> Iterator[Path]:
    """The file, and the further parts that its name promises."""
    if is_further_part(file.name):
        first = PART.sub(r"-00001-of-\2.gguf", file.name)
        raise ModelLoadError(f"{file.name} is a later part of a model.", f"Choose the first part, {first}.")
    yield file
    part = PART.search(file.name)
    if not part:
        return
    for number in range(2, int(part.group(2)) + 1):
        further = file.with_name(f"{file.name[: part.start()]}-{number:05}-of-{part.group(2)}.gguf")
        if not further.is_file():
            raise ModelLoadError(
                f"{file.name} is incomplete: {further.name} is missing.", "Download that file as well."
            )
        yield further


@dataclass(frozen=True)
class _Part:
    size: int
    metadata: Metadata
    tensors: list[Tensor]


def _read(file: Path) -> _Part:
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            return _Header(stream, file, size).read()
    except FileNotFoundError:
        raise ModelLoadError(f"There is no file {file}.", "Check the path of the model.") from None
    except IsADirectoryError:
        raise ModelLoadError(f"{file} is a folder.", "Choose a .gguf file in it.") from None
    except OSError as error:
        raise ModelLoadError(f"{file} cannot be read: {error.strerror}.") from None


class _Header:
    """A cursor over the file; every read is checked against the file's size."""

    def __init__(self, stream: BinaryIO, file: Path, size: int) -> None:
        self._stream = stream
        self._file = file
        self._size = size

    def read(self) -> _Part:
        if self._stream.read(4) != MAGIC:
            raise ModelLoadError(f"{self._file.name} is not a GGUF file.", "Choose a model in the GGUF format.")
        version = self._number("<I")
        if version not in VERSIONS:
            raise ModelLoadError(f"{self._file.name} has GGUF version {version}; versions 2 and 3 can be read.")
        tensors, entries = (
            self._count("<Q", MAX_ENTRIES, "tensors"),
            self._count("<Q", MAX_ENTRIES, "metadata entries"),
        )
        metadata = {self._text(): self._value(int(self._number("<I"))) for _ in range(entries)}
        return _Part(self._size, metadata, self._tensors(tensors, metadata))

    def _tensors(self, count: int, metadata: Metadata) -> list[Tensor]:
        """The data of every tensor must lie inside the file; a download that broke off is found here."""
        end, tensors = 0, []
        for _ in range(count):
            name = self._text()
            sizes = [int(self._number("<Q")) for _ in range(self._count("<I", MAX_DIMENSIONS, "dimensions"))]
            kind, offset = int(self._number("<I")), int(self._number("<Q"))
            per_block, block_bytes = _BLOCKS.get(kind, (1, 0))
            tensor = Tensor(name, tuple(sizes), math.prod(sizes) // per_block * block_bytes)
            end = max(end, offset + tensor.bytes)
            tensors.append(tensor)
        alignment = max(whole_in(metadata, "general.alignment", DEFAULT_ALIGNMENT), 1)
        start = -(-self._stream.tell() // alignment) * alignment
        if start + end > self._size:
            raise self._cut_off(start + end)
        return tensors

    def _value(self, kind: int) -> object:
        if kind in _SCALARS:
            return self._number(_SCALARS[kind])
        if kind == _STRING:
            return self._text()
        if kind == _ARRAY:
            return self._array()
        raise ModelLoadError(f"{self._file.name} is damaged: it holds a value of the unknown type {kind}.")

    def _array(self) -> tuple[float, ...] | None:
        """A short array of numbers; others are vocabularies, which nothing here needs."""
        kind = int(self._number("<I"))
        length = self._count("<Q", MAX_ARRAY, "array elements")
        if kind in _SCALARS:
            layout = _SCALARS[kind]
            kept = length <= MAX_KEPT_ARRAY
            data = self._take(struct.calcsize(layout) * length, keep=kept)
            return tuple(number for (number,) in struct.iter_unpack(layout, data)) if kept else None
        if kind != _STRING:
            raise ModelLoadError(f"{self._file.name} is damaged: it holds an array of the unknown type {kind}.")
        for _ in range(length):
            self._take(self._count("<Q", MAX_STRING, "characters"), keep=False)
        return None

    def _text(self) -> str:
        return self._take(self._count("<Q", MAX_STRING, "characters")).decode("utf-8", "replace")

    def _number(self, layout: str) -> float:
        number: float = struct.unpack(layout, self._take(struct.calcsize(layout)))[0]
        return number

    def _count(self, layout: str, most: int, what: str) -> int:
        count = int(self._number(layout))
        if count > most:
            raise ModelLoadError(f"{self._file.name} is damaged: it claims to hold {count} {what}.")
        return count

    def _take(self, length: int, *, keep: bool = True) -> bytes:
        if self._stream.tell() + length > self._size:
            raise self._cut_off(self._stream.tell() + length)
        if keep:
            return self._stream.read(length)
        self._stream.seek(length, 1)
        return b""

    def _cut_off(self, needed: int) -> ModelLoadError:
        return ModelLoadError(
            f"{self._file.name} is incomplete: it is {self._size:,} bytes long and should be at least {needed:,}.",
            "Download it again.",
        )
