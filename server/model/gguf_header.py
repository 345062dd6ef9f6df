"""The header of one GGUF file, read with bounds and held against what llama.cpp demands. Used by the GGUF reader."""

from __future__ import annotations

import math
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from server.errors import ModelLoadError
from server.model.gguf_cursor import Cursor, until_zero
from server.model.gguf_facts import (
    ARRAY,
    BLOCKS,
    DEFAULT_ALIGNMENT,
    F32,
    MAGIC,
    MAX_DIMENSIONS,
    MAX_NAME,
    MOST,
    REMOVED,
    SCALARS,
    STRING,
    UINT32,
    VERSIONS,
    WHOLE_NUMBERS,
)
from server.model.shape import Array, Metadata, Tensor, text_in, whole_in

MAX_ENTRIES: Final = 10_000  # models have some dozens; llama.cpp compares each name with all before it
MAX_TENSORS: Final = 20_000  # of the most layers that llama.cpp takes, 40 each
MAX_ALIGNMENT: Final = 1024 * 1024
ALIGNMENT: Final = "general.alignment"
LEAST_ALIGNMENT: Final = 8
NORM: Final = b"norm.weight"  # llama.cpp aborts on one of another type than F32, and files never have any
WEIGHT: Final = b".weight"
TABLE: Final = b"tid2eid"  # from tokens to experts, in DeepSeek 4
RWKV: Final = "rwkv"
ONE_BYTE: Final = re.compile(rb"[^\\]|\\(?:[^x]|x[0-9a-f]{2})", re.DOTALL)  # as its vocabulary writes them
ESCAPED: Final = {b"t": b"\t", b"n": b"\n", b"r": b"\r"}


@dataclass(frozen=True)
class Header:
    """What one file says: its metadata and tensors, and how long it is."""

    size: int
    metadata: Metadata
    tensors: list[Tensor]


def read(file: Path) -> Header:
    """Read a file's header. Raises :class:`ModelLoadError` if it is missing, no GGUF, cut off or damaged."""
    try:
        status = file.stat()
        if stat.S_ISDIR(status.st_mode):
            raise ModelLoadError(f"{file} is a folder.", "Choose a .gguf file in it.")
        if not stat.S_ISREG(status.st_mode):  # to open a pipe would wait for somebody who writes into it
            raise ModelLoadError(f"{file} is a device or a pipe, not a file.", "Choose a .gguf file.")
        with file.open("rb") as stream:
            return _read(Cursor(stream, file, status.st_size), file, status.st_size)
    except (FileNotFoundError, UnicodeEncodeError):  # some names no file can have
        raise ModelLoadError(f"There is no file {file}.", "Check the path of the model.") from None
    except OSError as error:
        raise ModelLoadError(f"{file} cannot be read: {error.strerror}.", "Check the path of the model.") from None


def _read(cursor: Cursor, file: Path, size: int) -> Header:
    if size < len(MAGIC) or cursor.take(len(MAGIC)) != MAGIC:
        raise ModelLoadError(f"{file.name} is not a GGUF file.", "Choose a model in the GGUF format.")
    version = cursor.whole("<I")
    if version not in VERSIONS:
        raise ModelLoadError(
            f"{file.name} has GGUF version {version}; versions 2 and 3 can be read.",
            "Choose a newer file of this model, made for ordinary PCs.",
        )
    count = cursor.count("<Q", MAX_TENSORS, "tensors")
    metadata = _metadata(cursor, cursor.count("<Q", MAX_ENTRIES, "metadata entries"))
    tensors, end = _tensors(cursor, count, _alignment(cursor, metadata))
    if end > size:
        raise cursor.cut_off(end)
    _vocabulary(cursor, metadata)
    return Header(size, metadata, tensors)


def _metadata(cursor: Cursor, count: int) -> Metadata:
    metadata: dict[str, object] = {}
    seen: set[bytes] = set()
    for _ in range(count):
        key = cursor.text()
        if not key:
            raise cursor.damaged("an entry of its metadata has no name")
        if b"\0" in key:
            raise cursor.damaged(f"the name of an entry of its metadata, {_quoted(key)}, has a zero in it")
        if key in seen:
            raise cursor.damaged(f"its metadata has two entries named {_quoted(key)}")
        seen.add(key)
        name, kind = key.decode("utf-8", "replace"), cursor.whole("<I")
        if name == ALIGNMENT and kind != UINT32:
            raise cursor.damaged(f"its {ALIGNMENT} is of the type {kind} instead of {UINT32}")
        metadata[name] = _value(cursor, kind)
    return metadata


def _value(cursor: Cursor, kind: int) -> object:
    if kind in SCALARS:
        return cursor.value(kind)
    if kind == STRING:
        return until_zero(cursor.text()).decode("utf-8", "replace")
    if kind == ARRAY:
        return cursor.array()
    raise cursor.damaged(f"it holds a value of the unknown type {kind}")


def _alignment(cursor: Cursor, metadata: Metadata) -> int:
    alignment = whole_in(metadata, ALIGNMENT, DEFAULT_ALIGNMENT)
    if not LEAST_ALIGNMENT <= alignment <= MAX_ALIGNMENT or alignment & (alignment - 1):
        powers = f"a power of two from {LEAST_ALIGNMENT} to {MAX_ALIGNMENT:,}"
        raise cursor.damaged(f"its alignment is {alignment}, not {powers}")
    return alignment


def _tensors(cursor: Cursor, count: int, alignment: int) -> tuple[list[Tensor], int]:
    """The tensors, and where the last one's data ends in the file: one follows the other without gaps."""
    tensors: list[Tensor] = []
    seen: set[bytes] = set()
    expected = end = 0
    for _ in range(count):
        name = cursor.text()
        if len(name) >= MAX_NAME:
            raise cursor.damaged(f"the name of a tensor has {len(name)} characters, {MAX_NAME - 1} are the most")
        name = until_zero(name)
        if name in seen:
            raise cursor.damaged(f"it has two tensors named {_quoted(name)}")
        seen.add(name)
        tensor, offset = _tensor(cursor, name)
        if offset != expected:
            raise cursor.damaged(f"its tensor {_quoted(name)} begins at {offset}, where {expected} is expected")
        end = offset + tensor.bytes
        expected = _padded(end, alignment)
        tensors.append(tensor)
    start = _padded(cursor.at, alignment) if tensors else cursor.at
    return tensors, start + end


def _tensor(cursor: Cursor, name: bytes) -> tuple[Tensor, int]:
    """A tensor, and where its data begins."""
    sizes = [cursor.whole("<Q") for _ in range(cursor.count("<I", MAX_DIMENSIONS, "dimensions"))]
    kind, offset = cursor.whole("<I"), cursor.whole("<Q")
    shown = _quoted(name)
    if 0 in sizes:
        raise cursor.damaged(f"its tensor {shown} is empty")
    if math.prod(sizes) >= MOST:
        raise cursor.damaged(f"its tensor {shown} has more elements than can be counted")
    if kind in REMOVED:
        raise ModelLoadError(
            f"{cursor.name} is too old: its tensor {shown} is of the type {kind}, which llama.cpp gave up.",
            "Download a newer file of this model.",
        )
    if kind not in BLOCKS:
        raise ModelLoadError(
            f"{cursor.name} is damaged, or newer than this program: its tensor {shown} is of the unknown type {kind}.",
            "Update Tavernkeep, or choose another file of this model.",
        )
    per_block, block_bytes = BLOCKS[kind]
    if name.endswith(NORM) and kind != F32:
        raise cursor.damaged(f"its tensor {shown} is of the type {kind}, and norms are of the type {F32}")
    if name.endswith(WEIGHT) and kind in WHOLE_NUMBERS and TABLE not in name:
        raise cursor.damaged(f"its tensor {shown} holds whole numbers, which are no weights")
    row = sizes[0] if sizes else 1
    if row % per_block:
        raise cursor.damaged(f"a row of its tensor {shown} has {row} elements, not a multiple of {per_block}")
    return Tensor(name.decode("utf-8", "replace"), tuple(sizes), math.prod(sizes) // per_block * block_bytes), offset


def _vocabulary(cursor: Cursor, metadata: Metadata) -> None:
    """With a token that begins with a byte that is no token, llama.cpp's RWKV tokenizer never comes to an end."""
    tokens = metadata.get("tokenizer.ggml.tokens")
    if text_in(metadata, "tokenizer.ggml.model") != RWKV or not isinstance(tokens, Array) or tokens.kind != STRING:
        return
    found = {_byte(token) for token in cursor.texts(tokens) if ONE_BYTE.fullmatch(token)}
    if len(found) < 256:
        raise cursor.damaged(f"its vocabulary of RWKV has {len(found)} of the 256 bytes")


def _byte(token: bytes) -> bytes:
    """The byte that a token of RWKV stands for."""
    if token.startswith(b"\\x"):
        return bytes.fromhex(token[2:].decode())
    return ESCAPED.get(token[1:], token[-1:]) if token.startswith(b"\\") else token


def _padded(position: int, alignment: int) -> int:
    return -(-position // alignment) * alignment


def _quoted(name: bytes) -> str:
    return repr(name[:MAX_NAME].decode("utf-8", "replace"))
