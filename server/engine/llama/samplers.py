"""One request's sampler chain in llama.cpp, and the draw of a token with it."""

from __future__ import annotations

import logging
from collections.abc import Sequence as ReadOnly
from typing import Any

import numpy as np
import numpy.typing as npt

from server.engine import sampling
from server.engine.llama.candidates import FORBIDDEN, Candidates
from server.engine.llama.constraints import Constraints, Matcher
from server.engine.llama.library import llama
from server.engine.llama.vocabulary import Vocabulary
from server.errors import BadRequest
from server.events import Constraint, Generate

MIROSTAT_M = 100  # candidates from which mirostat estimates, as in its paper (arXiv:2007.14966)

log = logging.getLogger("tavernkeep.engine")


class LlamaSampler:
    """One request's sampler chain, and the matcher of its constraint if it has one."""

    def __init__(self, chain: Any, matcher: Matcher | None) -> None:
        self.chain = chain
        self.matcher = matcher

    def __del__(self) -> None:
        llama.llama_sampler_free(self.chain)


class Samplers:
    """Makes the samplers of a context of ``window`` tokens, and draws with them.

    ``constraints`` may be used from any thread, the rest on the engine's.
    """

    def __init__(self, context: Any, vocabulary: Vocabulary, window: int) -> None:
        self._context = context
        self._vocabulary = vocabulary
        self._window = window
        self._candidates = Candidates(vocabulary.size)
        self.constraints = Constraints(vocabulary)

    def make(self, request: Generate, seed: int) -> LlamaSampler:
        """The chain of samplers a request asks for. A constraint of no use is left out, with a line in the log."""
        chain = llama.llama_sampler_chain_init(llama.llama_sampler_chain_default_params())
        sampler = LlamaSampler(chain, self._matcher(request.constraint))
        if request.ban_eos:
            self._add(sampler, self._logit_bias([(token, FORBIDDEN) for token in self._vocabulary.end_tokens]))
        for step in sampling.chain(request.sampling, seed):
            if step.name == "logit_bias":
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

    def sample(
        self,
        sampler: LlamaSampler,
        index: int,
        *,
        constrained: bool = True,
        also: frozenset[int] = frozenset(),
        banned: frozenset[int] = frozenset(),
        guide: tuple[int, float] | None = None,
    ) -> int:
        """Pick the next token after the batch entry ``index``.

        When it is not ``constrained``, the request's constraint neither sees it nor forbids it; nor does it for a token
        of ``also``, if that is what is drawn.
        """
        matcher = sampler.matcher
        if matcher is None or not constrained:
            return int(llama.llama_sampler_sample(sampler.chain, self._context, index))
        logits = self._logits(index)
        self._candidates.take_all(logits)
        token = self._draw(sampler.chain)
        if token not in also:
            # Most tokens fit, so one is tried before all of the vocabulary is filtered, which takes longer.
            if not matcher.allows(token):
                found = matcher.choose(self._candidates, logits)
                token = self._draw(sampler.chain) if found else token
                if not found or not matcher.allows(token):
                    # Nothing fits: the reply is complete and its end is banned. To accept a token would abort.
                    return self._vocabulary.end_tokens[0]
            matcher.accept(token)
        self.accept(sampler, token)
        return token

    def accept(self, sampler: LlamaSampler, token: int) -> None:
        """Tell the samplers of a token that was not drawn. The constraint does not see it."""
        llama.llama_sampler_accept(sampler.chain, token)

    def gave_up(self, sampler: LlamaSampler) -> bool:
        """Whether the request's constraint went beyond its limits, so that the reply had to end in the middle."""
        return sampler.matcher is not None and sampler.matcher.broken

    def likeliest(self, index: int) -> int:
        """The token with the highest logit after the batch entry ``index``."""
        return int(self._logits(index).argmax())

    def _logits(self, index: int) -> npt.NDArray[np.float32]:
        """Shape [vocabulary size]; valid until the next decode."""
        pointer = llama.llama_get_logits_ith(self._context, index)
        logits: npt.NDArray[np.float32] = np.ctypeslib.as_array(pointer, (self._vocabulary.size,))
        return logits

    def _draw(self, chain: Any) -> int:
        self._candidates.apply(chain)
        return self._candidates.selected()

    def _matcher(self, constraint: Constraint | None) -> Matcher | None:
        if constraint is None:
            return None
        try:
            return self.constraints.begin(constraint)
        except BadRequest as error:
            log.warning("A constraint was left out; the reply is free. %s It begins: %.60r", error, constraint.text)
            return None

    def _logit_bias(self, biases: ReadOnly[tuple[int, float]]) -> Any:
        known = [(token, bias) for token, bias in biases if 0 <= token < self._vocabulary.size]
        array = (llama.llama_logit_bias * len(known))(*(llama.llama_logit_bias(*pair) for pair in known))
        return llama.llama_sampler_init_logit_bias(self._vocabulary.size, len(known), array)

    def _add(self, sampler: LlamaSampler, pointer: Any) -> None:
        llama.llama_sampler_chain_add(sampler.chain, pointer)
