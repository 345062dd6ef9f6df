"""Conversations on disk: what the KV cache holds of a chat, in numbered slots. Used by the engine process's worker."""

from __future__ import annotations

import hashlib
import os
import struct
from array import array
from collections.abc import Iterable
from functools import cached_property
from importlib.metadata import version
from itertools import accumulate
from pathlib import Path
from typing import BinaryIO

from server.engine.ram_store import Block
from server.errors import TavernkeepError
from server.events import KeptState, LoadModel
from server.whole_file import whole_file

SLOTS = 10
# Magic, version, fingerprint, number of tokens, number of blocks. Then come the tokens, the length of each block in
# tokens and in bytes, what the blocks hold, and a digest of all that.
HEADER = struct.Struct("<8sI32sII")
MAGIC = b"TAVKVSTA"
VERSION = 1
DIGEST = 32
MOST_TOKENS = 1 << 24
MOST_BYTES = 16 << 30
PIECES = 64
PIECE = 1 << 16


class KVStates:
    """The states of one model in ``folder``, which may not be there yet.

    They lie in a folder named after all that the KV cache of ``spec`` depends on, so that no other model sees them. A
    file is checked to its last byte before anything in it is used, because llama.cpp trusts what it is given.
    """

    def __init__(self, folder: str, spec: LoadModel) -> None:
        self._parent = Path(folder)
        self._spec = spec

    def kept(self) -> tuple[KeptState, ...]:
        """What each slot holds; nothing where its file is missing or not one of this model's."""
        return tuple(self._look(self._path(slot)) for slot in range(SLOTS))

    def write(self, slot: int, blocks: list[Block]) -> None:
        """Put a conversation into a slot, whole or not at all. Raises :class:`TavernkeepError`."""
        path = self._path(slot)
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with whole_file(path, private=True) as file:  # it is what somebody talked about
                self._write(file, blocks)
        except OSError as error:
            raise TavernkeepError(
                f"The state could not be written to {path}: {error.strerror}.",
                "Make room there, or choose another folder with --statedir.",
            ) from None

    def read(self, slot: int) -> list[Block]:
        """The conversation in a slot. Raises :class:`TavernkeepError` when there is none, or its file is damaged."""
        path = self._path(slot)
        try:
            with path.open("rb") as file:
                blocks = self._read(file)
        except FileNotFoundError:
            raise TavernkeepError(f"Slot {slot} holds no state of this model with these settings.") from None
        except OSError as error:
            raise TavernkeepError(f"The state {path} cannot be read: {error.strerror}.") from None
        if not blocks:
            raise TavernkeepError(f"The state {path} is damaged or of another model.", "Save it again.")
        return blocks

    def clear(self, slot: int) -> None:
        """Empty a slot; harmless when it is. Raises :class:`TavernkeepError`."""
        path = self._path(slot)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise TavernkeepError(f"The state {path} cannot be removed: {error.strerror}.") from None

    @cached_property
    def _fingerprint(self) -> bytes:
        """Made when the first state is asked for, because it reads files."""
        try:
            return fingerprint(self._spec)
        except OSError as error:
            raise TavernkeepError(f"{error.filename} cannot be read any more: {error.strerror}.") from None

    def _path(self, slot: int) -> Path:
        if not 0 <= slot < SLOTS:
            raise TavernkeepError(f"There is no slot {slot}: they are numbered from 0 to {SLOTS - 1}.")
        return self._parent / self._fingerprint.hex()[:32] / f"slot-{slot}.kv"

    def _look(self, path: Path) -> KeptState:
        try:
            with path.open("rb") as file:
                tokens, _ = self._counts(file.read(HEADER.size))
                return KeptState(tokens, os.fstat(file.fileno()).st_size) if tokens else KeptState()
        except OSError:  # such a slot is empty for whoever looks; reading it says why
            return KeptState()

    def _counts(self, header: bytes) -> tuple[int, int]:
        """Number of tokens and of blocks in a file that begins like this; 0 and 0 if it is none of this model's."""
        if len(header) < HEADER.size:
            return 0, 0
        *signature, tokens, blocks = HEADER.unpack(header)
        ours = signature == [MAGIC, VERSION, self._fingerprint] and 0 < blocks <= tokens <= MOST_TOKENS
        return (tokens, blocks) if ours else (0, 0)

    def _write(self, file: BinaryIO, blocks: list[Block]) -> None:
        tokens = array("i", [token for block in blocks for token in block.tokens])
        lengths = array("Q", [length for block in blocks for length in (len(block.tokens), len(block.data))])
        header = HEADER.pack(MAGIC, VERSION, self._fingerprint, len(tokens), len(blocks))
        parts: list[bytes | array[int]] = [header, tokens, lengths, *(block.data for block in blocks)]
        for part in parts:
            file.write(part)
        file.write(_digest_of(parts))

    def _read(self, file: BinaryIO) -> list[Block]:
        """The blocks in a file; none if any byte of it is not as it was written."""
        size = os.fstat(file.fileno()).st_size
        header = file.read(HEADER.size)
        count, blocks = self._counts(header)
        start = HEADER.size + 4 * count + 16 * blocks
        if not count or not start + DIGEST <= size <= MOST_BYTES:
            return []
        tokens, lengths = array("i", file.read(4 * count)), array("Q", file.read(16 * blocks))
        if sum(lengths[::2]) != count or start + sum(lengths[1::2]) + DIGEST != size:
            return []
        data = [file.read(length) for length in lengths[1::2]]
        if _digest_of([header, tokens, lengths, *data]) != file.read():
            return []
        ends = list(accumulate(lengths[::2]))
        starts = [0, *ends[:-1]]
        return [
            Block(None, first, tuple(tokens[first:end]), held)
            for first, end, held in zip(starts, ends, data, strict=True)
        ]


def fingerprint(spec: LoadModel) -> bytes:
    """Of all that the KV cache of a model depends on: its file, LoRAs, how tokens are placed, and how numbers are kept.

    The version of llama.cpp is part of it, because what it writes is meant for itself only.
    """
    form = (
        version("llama-cpp-python"),
        spec.kv_type,
        spec.flash_attention,
        spec.sliding_window,
        (spec.rope_scale, spec.rope_base, spec.native_context),
        [(_piecewise_digest(path), scale) for path, scale in spec.loras],
    )
    return _digest_of([_piecewise_digest(spec.path), repr(form).encode()])


def _piecewise_digest(path: str) -> bytes:
    """Of a file's length and of pieces all over it: to read all of a large model would take a minute."""
    size = os.path.getsize(path)
    pieces = [str(size).encode()]
    with open(path, "rb") as file:
        for piece in range(PIECES):
            file.seek(max(size - PIECE, 0) * piece // (PIECES - 1))
            pieces.append(file.read(PIECE))
    return _digest_of(pieces)


def _digest_of(parts: Iterable[bytes | array[int]]) -> bytes:
    digest = hashlib.blake2b(digest_size=DIGEST)
    for part in parts:
        digest.update(part)
    return digest.digest()
