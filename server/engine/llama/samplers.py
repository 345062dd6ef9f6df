"""One request's sampler chain in llama.cpp, and the draw of a token with it."""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Sequence as ReadOnly
from typing import Any

import numpy as np
import numpy.typing as npt

from server.engine import sampling
from server.engine.llama.library import llama
from server.engine.llama.vocabulary import Vocabulary
from server.events import Generate

FORBIDDEN = float("-inf")
LONGEST_GRAMMAR = 256 * 1024
DEEPEST_GRAMMAR = 200
MIROSTAT_M = 100  # candidates from which mirostat estimates, as in its paper (arXiv:2007.14966)
CANDIDATE = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])

log = logging.getLogger("tavernkeep.engine")


class LlamaSampler:
    """One request's sampler chain, and its grammar if it has one."""

    def __init__(self, chain: Any, grammar: Any = None) -> None:
        self.chain = chain
        self.grammar = grammar

    def __del__(self) -> None:
        for pointer in (self.chain, self.grammar):
            if pointer:
                llama.llama_sampler_free(pointer)


class Samplers:
    """Makes the samplers of a context of ``window`` tokens, and draws with them."""

    def __init__(self, context: Any, vocabulary: Vocabulary, window: int) -> None:
        self._context = context
        self._vocabulary = vocabulary
        self._window = window
        self._token_ids = np.arange(vocabulary.size, dtype=np.int32)
        self._candidates = np.zeros(vocabulary.size, CANDIDATE)

    def make(self, request: Generate, seed: int) -> LlamaSampler:
        """The chain of samplers a request asks for. An invalid grammar is left out, with a line in the log."""
        chain = llama.llama_sampler_chain_init(llama.llama_sampler_chain_default_params())
        sampler = LlamaSampler(chain)
        if request.ban_eos:
            self._add(sampler, self._logit_bias([(token, FORBIDDEN) for token in self._vocabulary.end_tokens]))
        for step in sampling.chain(request.sampling, seed):
            if step.name == "grammar":
                sampler.grammar = self._grammar(request.sampling.grammar)
            elif step.name == "logit_bias":
                self._add(sampler, self._logit_bias(request.sampling.logit_bias))
            elif step.name == "penalties":
                window, *penalties = step.values
                window = min(int(window), self._window)
                pointer = llama.llama_sampler_init_penalties(self._vocabulary.size, window, *penalties)
                for token in request.prompt[-window:] if window else ():
                    llama.llama_sampler_accept(pointer, token)
                self._add(sampler, pointer)
            elif step.name == "mirostat":
                self._add(sampler, llama.llama_sampler_init_mirostat(self._vocabulary.size, *step.values, MIROSTAT_M))
            else:
                self._add(sampler, getattr(llama, f"llama_sampler_init_{step.name}")(*step.values))
        return sampler

    def sample(self, sampler: LlamaSampler, index: int) -> int:
        """Pick the next token after the batch entry ``index``."""
        if not sampler.grammar:
            return int(llama.llama_sampler_sample(sampler.chain, self._context, index))
        token = self._draw(sampler.chain, index)
        if not self._allowed(sampler.grammar, token):
            token = self._draw(sampler.chain, index, first=sampler.grammar)
            if not self._allowed(sampler.grammar, token):
                # Nothing fits: the grammar is complete and its end is banned. Accepting any token would abort.
                return self._vocabulary.end_tokens[0]
        llama.llama_sampler_accept(sampler.grammar, token)
        llama.llama_sampler_accept(sampler.chain, token)
        return token

    def likeliest(self, index: int) -> int:
        """The token with the highest logit after the batch entry ``index``."""
        return int(self._logits(index).argmax())

    def _logits(self, index: int) -> npt.NDArray[np.float32]:
        """Shape [vocabulary size]; valid until the next decode."""
        pointer = llama.llama_get_logits_ith(self._context, index)
        logits: npt.NDArray[np.float32] = np.ctypeslib.as_array(pointer, (self._vocabulary.size,))
        return logits

    def _draw(self, chain: Any, index: int, first: Any = None) -> int:
        candidates = self._candidates
        candidates["id"] = self._token_ids
        candidates["logit"] = self._logits(index)
        array = _candidate_array(candidates)
        if first:
            llama.llama_sampler_apply(first, ctypes.byref(array))
        llama.llama_sampler_apply(chain, ctypes.byref(array))
        return int(candidates["id"][array.selected])

    def _allowed(self, grammar: Any, token: int) -> bool:
        # Most tokens fit the grammar, so one is tried before all of the vocabulary is filtered, which is slow.
        single = np.zeros(1, CANDIDATE)
        single["id"] = token
        llama.llama_sampler_apply(grammar, ctypes.byref(_candidate_array(single)))
        return bool(single["logit"][0] != FORBIDDEN)

    def _grammar(self, text: str) -> Any:
        pointer = None
        if len(text) <= LONGEST_GRAMMAR and _depth(text) <= DEEPEST_GRAMMAR:  # llama.cpp's parser recurses
            pointer = llama.llama_sampler_init_grammar(
                self._vocabulary.pointer, text.encode("utf-8", "replace"), b"root"
            )
        if not pointer:
            log.warning("A grammar that is invalid was left out; the reply is not constrained: %.60r", text)
        return pointer

    def _logit_bias(self, biases: ReadOnly[tuple[int, float]]) -> Any:
        known = [(token, bias) for token, bias in biases if 0 <= token < self._vocabulary.size]
        array = (llama.llama_logit_bias * len(known))(*(llama.llama_logit_bias(*pair) for pair in known))
        return llama.llama_sampler_init_logit_bias(self._vocabulary.size, len(known), array)

    def _add(self, sampler: LlamaSampler, pointer: Any) -> None:
        llama.llama_sampler_chain_add(sampler.chain, pointer)


def _depth(grammar: str) -> int:
    """How deep the parentheses of a grammar are nested, at most."""
    level = deepest = 0
    for character in grammar:
        level += (character == "(") - (character == ")")
        deepest = max(deepest, level)
    return deepest


def _candidate_array(candidates: Any) -> Any:
    pointer = candidates.ctypes.data_as(ctypes.POINTER(llama.llama_token_data))
    return llama.llama_token_data_array(data=pointer, size=len(candidates), selected=-1, sorted=False)
