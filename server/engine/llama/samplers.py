"""One request's sampler chain, and the draw of a token with it."""

from __future__ import annotations

import ctypes
import functools
import logging
from collections.abc import Callable
from collections.abc import Sequence as ReadOnly
from typing import Any

import numpy as np

from server.engine import formulas, sampling
from server.engine.formulas import FORBIDDEN, Ids, Logits
from server.engine.llama.candidates import Candidates
from server.engine.llama.constraints import Constraints, Matcher
from server.engine.llama.library import llama
from server.engine.llama.vocabulary import Vocabulary
from server.errors import BadRequest
from server.events import Constraint, Generate, TokenLogprob

MIROSTAT_M = 100  # candidates from which mirostat estimates, as in its paper (arXiv:2007.14966)
KNOWN_BREAKERS = 8

log = logging.getLogger("tavernkeep.engine")

Formula = Callable[[Logits, Ids], Logits]


class NativeChain:
    """Samplers of llama.cpp that run one after the other. ``histories`` are those that look back, with how far."""

    def __init__(self) -> None:
        self.pointer = llama.llama_sampler_chain_init(llama.llama_sampler_chain_default_params())
        self.histories: list[tuple[Any, int]] = []

    def __del__(self) -> None:
        llama.llama_sampler_free(self.pointer)

    def add(self, sampler: Any) -> None:
        """Take a sampler over; it is freed with the chain."""
        llama.llama_sampler_chain_add(self.pointer, sampler)


class Sampler:
    """One request's samplers: chains of llama.cpp and, between them, formulas; and the matcher of its constraint.

    ``tokens`` are the prompt and the reply so far, ``matched`` whether the constraint has seen each token of the reply.
    """

    def __init__(self, request: Generate, matcher: Matcher | None) -> None:
        self.request = request
        self.matcher = matcher
        self.links: list[NativeChain | Formula] = []
        self.tokens = list(request.prompt)
        self.matched: list[bool] = []
        self.stuck = False

    @property
    def only_chain(self) -> NativeChain | None:
        """All of them, where there is no formula."""
        first = self.links[0]
        return first if isinstance(first, NativeChain) and len(self.links) == 1 else None

    @property
    def chains(self) -> list[NativeChain]:
        return [link for link in self.links if isinstance(link, NativeChain)]

    def chain(self) -> NativeChain:
        """The chain that the next sampler of llama.cpp goes into."""
        if not self.links or not isinstance(self.links[-1], NativeChain):
            self.links.append(NativeChain())
        last = self.links[-1]
        assert isinstance(last, NativeChain)
        return last

    def look_back(self, chain: NativeChain, sampler: Any, window: int) -> None:
        """Add a sampler that judges by the last ``window`` tokens, and tell it those that are there already."""
        chain.add(sampler)
        chain.histories.append((sampler, window))
        _tell(sampler, self.tokens, window)


class Samplers:
    """Makes the samplers of a context of ``window`` tokens, and draws with them.

    ``constraints`` may be used from any thread, the rest on the engine's. A request whose samplers are all llama.cpp's,
    and that forbids nothing, is left to llama.cpp alone; everything else happens on the candidates here.
    """

    def __init__(self, context: Any, vocabulary: Vocabulary, window: int) -> None:
        self._context = context
        self._vocabulary = vocabulary
        self._window = window
        self._candidates = Candidates(vocabulary.size)
        self.constraints = Constraints(vocabulary)
        # Breakers are looked for in the whole vocabulary, which takes 10 ms each; clients send the same ones always.
        self._dry = functools.lru_cache(maxsize=KNOWN_BREAKERS)(self._new_dry)

    def make(self, request: Generate, seed: int) -> Sampler:
        """The samplers a request asks for. A constraint of no use is left out, with a line in the log."""
        sampler = Sampler(request, self._matcher(request.constraint))
        forbidden = self._forbidden(request)
        if forbidden:
            sampler.chain().add(self._logit_bias([(token, FORBIDDEN) for token in forbidden]))
        for step in sampling.chain(request.sampling, seed):
            self._add(sampler, step)
        return sampler

    def sample(
        self,
        sampler: Sampler,
        index: int,
        *,
        constrained: bool = True,
        also: frozenset[int] = frozenset(),
        banned: frozenset[int] = frozenset(),
        guide: tuple[int, float] | None = None,
    ) -> int:
        """Pick the next token after the batch entry ``index``.

        When it is not ``constrained``, the request's constraint neither sees it nor forbids it; nor does it for a token
        of ``also``, if that is what is drawn. Tokens that are ``banned`` are not drawn now. A ``guide`` is the batch
        entry of the negative prompt, and how strongly to lead away from it.
        """
        matcher = sampler.matcher if constrained else None
        banned |= self._too_early(sampler)
        if sampler.only_chain and matcher is None and not banned and guide is None:
            token = int(llama.llama_sampler_sample(sampler.only_chain.pointer, self._context, index))
            _note(sampler, token, matched=False)
            return token
        logits = self._logits(index)
        if guide:
            logits = formulas.guided(logits, self._logits(guide[0]), guide[1])
        if banned:
            logits = logits.copy()
            logits[[token for token in banned if token < len(logits)]] = FORBIDDEN
        self._candidates.take_all(logits)
        token = self._draw(sampler)
        if matcher is None or token in also:
            self.accept(sampler, token)
            return token
        # Most tokens fit, so one is tried before all of the vocabulary is filtered, which takes longer.
        if not matcher.allows(token):
            found = matcher.choose(self._candidates, logits) and self._candidates.highest() > FORBIDDEN
            token = self._draw(sampler) if found else token
            if not found or not matcher.allows(token):
                # Nothing fits: the reply is complete and its end is banned. To accept a token would abort.
                sampler.stuck = bool(banned)
                return self._vocabulary.end_tokens[0]
        if not self._vocabulary.piece(token).strip() and not banned and matcher.only_blanks_follow():
            return self._vocabulary.end_tokens[0]  # else a model may write blanks until its reply is cut off
        matcher.accept(token)
        _accept(sampler, token, matched=True)
        return token

    def accept(self, sampler: Sampler, token: int) -> None:
        """Tell the samplers of a token that was not drawn. The constraint does not see it."""
        _accept(sampler, token, matched=False)

    def rewind(self, sampler: Sampler, count: int) -> None:
        """The last ``count`` tokens have never been. Only the random numbers, and the averages of mirostat and
        adaptive-p, go on from where they are."""
        matched = sum(sampler.matched[-count:])
        del sampler.tokens[-count:], sampler.matched[-count:]
        for chain in sampler.chains:
            for looking_back, window in chain.histories:
                llama.llama_sampler_reset(looking_back)
                _tell(looking_back, sampler.tokens, window)
        if sampler.matcher and matched:
            sampler.matcher.rewind(matched)

    def gave_up(self, sampler: Sampler) -> bool:
        """Whether a reply had to end in the middle: its constraint went beyond its limits, or allows only what is
        banned."""
        return sampler.stuck or (sampler.matcher is not None and sampler.matcher.broken)

    def likeliest(self, index: int) -> int:
        """The token with the highest logit after the batch entry ``index``."""
        return int(self._logits(index).argmax())

    def logprobs(self, index: int, token: int, most: int) -> TokenLogprob:
        """Natural logarithms of probability after the batch entry ``index``, before all samplers: of a token and of the
        ``most`` likeliest ones."""
        numbers = formulas.log_softmax(self._logits(index))
        most = min(most, len(numbers))
        likeliest = np.argpartition(-numbers, most - 1)[:most] if most else np.empty(0, np.intp)
        ranked = sorted(likeliest.tolist(), key=lambda each: (-numbers[each], each))
        spelling = self._vocabulary.spelling
        top = tuple((spelling(each), float(numbers[each])) for each in ranked)
        return TokenLogprob(spelling(token), float(numbers[token]), top)

    def _logits(self, index: int) -> Logits:
        """Shape [vocabulary size]; valid until the next decode."""
        pointer = llama.llama_get_logits_ith(self._context, index)
        logits: Logits = np.ctypeslib.as_array(pointer, (self._vocabulary.size,))
        return logits

    def _draw(self, sampler: Sampler) -> int:
        for link in sampler.links:
            if isinstance(link, NativeChain):
                self._candidates.apply(link.pointer)
            else:
                self._candidates.change(link)
        return self._candidates.selected()

    def _too_early(self, sampler: Sampler) -> frozenset[int]:
        """The ends of a reply, while it has not its least length."""
        early = len(sampler.matched) < sampler.request.min_tokens and not sampler.request.bypass_eos
        return frozenset(self._vocabulary.end_tokens) if early else frozenset()

    def _forbidden(self, request: Generate) -> set[int]:
        """Tokens that are never drawn, for what they are or for a letter in them."""
        ends = self._vocabulary.end_tokens if request.ban_eos and not request.bypass_eos else ()
        letters = [text for text in request.banned if len(text) == 1]
        return {*ends, *(token for letter in letters for token in self._vocabulary.tokens_with(letter))}

    def _matcher(self, constraint: Constraint | None) -> Matcher | None:
        if constraint is None:
            return None
        try:
            return self.constraints.begin(constraint)
        except BadRequest:
            log.warning("A constraint was left out; the reply is free.")
            return None

    def _add(self, sampler: Sampler, step: sampling.Sampler) -> None:
        """Add one step of the chain. Its name is that of llama.cpp's sampler or of a formula."""
        values, asked = step.values, sampler.request.sampling
        if step.name == "logit_bias":
            bans = [(token, FORBIDDEN) for token in asked.token_bans]
            sampler.chain().add(self._logit_bias([*asked.logit_bias, *bans]))
        elif step.name == "penalties":
            window = self._as_window(values[0])
            penalties = llama.llama_sampler_init_penalties(self._vocabulary.size, window, *values[1:])
            sampler.look_back(sampler.chain(), penalties, window)
        elif step.name == "dry":
            window = self._as_window(values[3]) or self._window  # 0 is all there is
            pristine = self._dry((*values[:2], int(values[2]), window), asked.dry_sequence_breakers)
            dry = llama.llama_sampler_clone(llama.llama_sampler_chain_get(pristine.pointer, 0))
            sampler.look_back(sampler.chain(), dry, window)
        elif step.name == "mirostat":
            sampler.chain().add(llama.llama_sampler_init_mirostat(self._vocabulary.size, *values, MIROSTAT_M))
        elif step.name == "sloped_penalties":
            sampler.links.append(self._sloped(sampler, values))
        elif step.name in FORMULAS:
            formula = FORMULAS[step.name]
            sampler.links.append(lambda logits, _ids: formula(logits, *values))
        else:
            sampler.chain().add(getattr(llama, f"llama_sampler_init_{step.name}")(*values))

    def _sloped(self, sampler: Sampler, values: tuple[float, ...]) -> Formula:
        window, rep_pen, frequency, presence, slope = values
        how = {"rep_pen": rep_pen, "slope": slope, "frequency": frequency, "presence": presence}
        length = self._as_window(window)

        def penalise(logits: Logits, ids: Ids) -> Logits:
            return formulas.sloped_penalties(logits, ids, sampler.tokens[-length:] if length else (), **how)

        return penalise

    def _new_dry(self, values: tuple[float, ...], breakers: tuple[str, ...]) -> NativeChain:
        """A DRY sampler that has seen nothing, alone in a chain."""
        texts = [text.encode("utf-8", "ignore") for text in breakers]
        array = (ctypes.c_char_p * len(texts))(*texts)
        chain = NativeChain()
        chain.add(llama.llama_sampler_init_dry(self._vocabulary.pointer, *values, array, len(texts)))
        return chain

    def _as_window(self, tokens: float) -> int:
        return min(int(tokens), self._window)

    def _logit_bias(self, biases: ReadOnly[tuple[int, float]]) -> Any:
        known = [(token, bias) for token, bias in biases if 0 <= token < self._vocabulary.size]
        array = (llama.llama_logit_bias * len(known))(*(llama.llama_logit_bias(*pair) for pair in known))
        return llama.llama_sampler_init_logit_bias(self._vocabulary.size, len(known), array)


FORMULAS: dict[str, Callable[..., Logits]] = {
    "top_a": formulas.top_a,
    "tail_free": formulas.tail_free,
    "typical": formulas.typical,
    "inverted_temperature": formulas.inverted_temperature,
    "smoothing": formulas.smoothing,
}


def _tell(sampler: Any, tokens: ReadOnly[int], window: int) -> None:
    for token in tokens[-window:] if window else ():
        llama.llama_sampler_accept(sampler, token)


def _accept(sampler: Sampler, token: int, *, matched: bool) -> None:
    for chain in sampler.chains:
        llama.llama_sampler_accept(chain.pointer, token)
    _note(sampler, token, matched=matched)


def _note(sampler: Sampler, token: int, *, matched: bool) -> None:
    sampler.tokens.append(token)
    sampler.matched.append(matched)
