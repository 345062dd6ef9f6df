"""Text and tokens: the loaded model's vocabulary."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Sequence as ReadOnly
from typing import Any

from server.engine.llama.library import llama
from server.errors import TavernkeepError

KNOWN_TEXTS = 1024
SPARE_TOKENS = 128  # as llama.cpp allows between a model and its draft model


class Vocabulary:
    """Reads only what never changes, so every method may be called from any thread."""

    def __init__(self, model: Any) -> None:
        self.pointer = llama.llama_model_get_vocab(model)
        self.size: int = llama.llama_vocab_n_tokens(self.pointer)
        self._pieces: dict[int, bytes] = {}
        # Nearly every request brings the same tags.
        self._special_token = functools.lru_cache(maxsize=KNOWN_TEXTS)(self._find_special_token)
        self._special_parts = functools.lru_cache(maxsize=KNOWN_TEXTS)(self._find_special_parts)
        self._tokens_with = functools.lru_cache(maxsize=KNOWN_TEXTS)(self._find_tokens_with)

    def tokenize(self, text: str, *, special: bool) -> list[int]:
        """Token ids of ``text``; tags such as ``<|im_end|>`` become their special token.

        ``special`` adds the beginning-of-text token where the model wants one.
        """
        data = text.encode("utf-8", "surrogatepass")
        room = len(data) + 8
        tokens = (llama.llama_token * room)()
        count = llama.llama_tokenize(self.pointer, data, len(data), tokens, room, special, True)
        if count < 0:  # that many are needed: a vocabulary without a token for the blank writes it in three bytes
            room = -count
            tokens = (llama.llama_token * room)()
            count = llama.llama_tokenize(self.pointer, data, len(data), tokens, room, special, True)
        if count < 0:
            raise TavernkeepError(f"The text of {len(data)} bytes cannot be tokenized.")
        return list(tokens[:count])

    def piece(self, token: int) -> bytes:
        """The bytes a token adds to a reply; special tokens add none."""
        if token not in self._pieces:
            self._pieces[token] = self._read_piece(token, special=False)
        return self._pieces[token]

    def is_end(self, token: int) -> bool:
        """Whether the model ends its reply with this token."""
        return bool(llama.llama_vocab_is_eog(self.pointer, token))

    def stop_tokens(self, stop: ReadOnly[str]) -> frozenset[int]:
        """Those stop texts that are one special token, such as ``<|im_end|>``: their text never appears in a reply."""
        return frozenset(self._special_tokens(stop))

    def shown_tokens(self, texts: ReadOnly[str]) -> dict[int, bytes]:
        """Those texts that are one special token, which :meth:`piece` would not write, and their bytes."""
        return {token: self.spelling(token) for token in self._special_tokens(texts)}

    def unwritten_in(self, stop: ReadOnly[str]) -> dict[int, str]:
        """The special tokens that are a part of stop texts, such as ``<|im_start|>user``, with their texts."""
        return {token: self.text_of(token) for text in stop for token in self._special_parts(text)}

    def matches(self, other: Vocabulary) -> bool:
        """Whether both write the same tokens; one may have some more at the end, which families differ in."""
        size = min(self.size, other.size)
        return abs(self.size - other.size) <= SPARE_TOKENS and all(
            llama.llama_vocab_get_text(self.pointer, token) == llama.llama_vocab_get_text(other.pointer, token)
            for token in range(size)
        )

    def infill_tokens(self) -> tuple[int, ...]:
        """Those before the text in front of a gap, before the text behind it, and before what fills it; or none."""
        find = (llama.llama_vocab_fim_pre, llama.llama_vocab_fim_suf, llama.llama_vocab_fim_mid)
        found = tuple(int(each(self.pointer)) for each in find)
        return found if min(found) >= 0 else ()

    @functools.cached_property
    def end_tokens(self) -> tuple[int, ...]:
        """Every token that ends a reply."""
        return tuple(token for token in range(self.size) if self.is_end(token))

    @functools.cached_property
    def letters(self) -> tuple[int, ...]:
        """Every token that writes one byte which is no whitespace."""
        pieces = ((token, self.piece(token)) for token in range(self.size))
        return tuple(token for token, piece in pieces if len(piece) == 1 and piece.strip())

    def tokens_with(self, letter: str) -> frozenset[int]:
        """Every token that writes this letter, in upper or lower case. Looking for one takes a moment, once."""
        return self._tokens_with(letter.lower())

    def spelling(self, token: int) -> bytes:
        """The bytes that a token is written with, special ones too; b"" for a token that does not exist."""
        return self._read_piece(token, special=True)

    def text_of(self, token: int) -> str:
        """The spelling as text, as far as it is any."""
        return self.spelling(token).decode("utf-8", "replace")

    def _find_tokens_with(self, letter: str) -> frozenset[int]:
        found = (token for token in range(self.size) if letter in self.piece(token).decode("utf-8", "ignore").lower())
        return frozenset(found)

    def _special_tokens(self, texts: ReadOnly[str]) -> list[int]:
        found = (self._special_token(text) for text in texts if text)
        return [token for token in found if token is not None]

    def _find_special_token(self, text: str) -> int | None:
        tokens = self.tokenize(text, special=False)
        return tokens[0] if len(tokens) == 1 and llama.llama_vocab_is_control(self.pointer, tokens[0]) else None

    def _find_special_parts(self, text: str) -> tuple[int, ...]:
        tokens = self.tokenize(text, special=False)
        special = (token for token in tokens if llama.llama_vocab_is_control(self.pointer, token))
        return tuple(special) if len(tokens) > 1 else ()

    def _read_piece(self, token: int, *, special: bool) -> bytes:
        if not 0 <= token < self.size:
            return b""
        buffer = ctypes.create_string_buffer(64)
        size = llama.llama_token_to_piece(self.pointer, token, buffer, len(buffer), 0, special)
        if size < 0:
            buffer = ctypes.create_string_buffer(-size)
            size = llama.llama_token_to_piece(self.pointer, token, buffer, len(buffer), 0, special)
        return buffer.raw[:size]
