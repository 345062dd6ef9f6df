"""What a reply must look like, token by token: one class for llama.cpp's own grammars, one for llguidance's languages.

llama.cpp reads GBNF, because hand-written grammars must mean what they mean in KoboldCpp. Schemas, expressions and Lark
go to llguidance, which is faster and has limits on what a grammar may cost.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any, Protocol

import llguidance
import llguidance.numpy
import numpy as np
import numpy.typing as npt

from server.engine.formulas import FORBIDDEN, Logits
from server.engine.llama import gbnf
from server.engine.llama.candidates import Candidates
from server.engine.llama.library import llama
from server.engine.llama.vocabulary import Vocabulary
from server.errors import BadRequest
from server.events import Constraint, ConstraintKind

LONGEST = 256 * 1024
STANDARD_ERROR = 2
PARSE_ERROR = b"error parsing grammar: "
SHOWN = 60  # characters of a grammar in a sentence
SLOWEST = 0.5  # seconds that a grammar may take for one token
AT_ONCE = 256  # tokens that llama.cpp looks at before the time is looked at
LIKELY = 16.0  # below the highest logit: what is less likely is one in ten million

# A state takes up to 2 KiB, and 250,000 are allowed by default.
LIMITS: dict[str, Any] = {"max_lexer_states": 50_000, "verbose_errors": False}
FROM_TEXT: dict[ConstraintKind, Callable[[str], str]] = {
    ConstraintKind.JSON_SCHEMA: llguidance.LLMatcher.grammar_from_json_schema,
    ConstraintKind.REGEX: llguidance.LLMatcher.grammar_from_regex,
    ConstraintKind.LARK: llguidance.LLMatcher.grammar_from_lark,
}

log = logging.getLogger("tavernkeep.engine")


class Matcher(Protocol):
    """One reply on its way through its constraint. An end token is allowed where the reply is complete."""

    @property
    def broken(self) -> bool:
        """Whether it went beyond its limits; it then allows nothing any more."""

    def allows(self, token: int) -> bool: ...

    def only_blanks_follow(self) -> bool:
        """Whether the reply is complete, and nothing but whitespace may still come."""

    def accept(self, token: int) -> None:
        """Go on behind a token that is allowed."""

    def rewind(self, count: int) -> None:
        """The last ``count`` tokens that were accepted have never been."""

    def choose(self, candidates: Candidates, logits: Logits) -> bool:
        """Make candidates of those tokens that are allowed; False when there are none."""


class GrammarMatcher:
    """A GBNF grammar, in llama.cpp. ``pointer`` is its sampler, which belongs to this object.

    llama.cpp follows every way to read the reply so far, and compares each with all others. With rules such as
    ``r ::= "(" r ")" | "(" r "]" | "x"`` each parenthesis doubles the ways and takes four times as long as the one
    before. A call cannot be interrupted, so each gets a part of the tokens, and nothing is allowed any more once they
    have taken longer than SLOWEST.
    """

    def __init__(self, pointer: Any, vocabulary: Vocabulary) -> None:
        self._pointer = pointer
        self._vocabulary = vocabulary
        self._accepted: list[int] = []
        self._single = Candidates(1)
        self._given_up = False

    def __del__(self) -> None:
        llama.llama_sampler_free(self._pointer)

    @property
    def broken(self) -> bool:
        return self._given_up

    def allows(self, token: int) -> bool:
        if self._given_up:
            return False
        self._single.take_one(token)
        with self._timed():
            self._single.apply(self._pointer)
        return self._single.logit(0) != FORBIDDEN

    def only_blanks_follow(self) -> bool:
        ends, letters = self._vocabulary.end_tokens, self._vocabulary.letters
        return self.allows(ends[0]) and not any(self.allows(letter) for letter in letters)

    def accept(self, token: int) -> None:
        if self._given_up:
            return
        self._accepted.append(token)
        with self._timed():
            llama.llama_sampler_accept(self._pointer, token)

    def rewind(self, count: int) -> None:
        """llama.cpp's grammars cannot go back, so it goes forward again from the beginning."""
        again = self._accepted[: len(self._accepted) - count]
        self._accepted = []
        llama.llama_sampler_reset(self._pointer)
        for token in again:
            self.accept(token)

    def choose(self, candidates: Candidates, logits: Logits) -> bool:
        if self._given_up:
            return False
        # llama.cpp walks through all tokens it is given, and nearly always a likely one fits.
        likeliest = float(logits.max())
        with self._timed() as in_time:
            candidates.take(np.flatnonzero(logits >= likeliest - LIKELY), logits)
            candidates.apply_in_parts(self._pointer, AT_ONCE, in_time)
            if candidates.highest() < likeliest - LIKELY / 2:  # what was not looked at may be as likely as what is left
                candidates.take_all(logits)
                candidates.apply_in_parts(self._pointer, AT_ONCE, in_time)
        return True

    @contextlib.contextmanager
    def _timed(self) -> Iterator[Callable[[], bool]]:
        began = time.thread_time()  # not the clock's, which runs on while a game has the core

        def in_time() -> bool:
            return time.thread_time() - began <= SLOWEST

        yield in_time
        if not in_time():
            self._given_up = True
            log.warning("A grammar can be read in too many ways and became too slow; the reply ends.")


class GuidedMatcher:
    """A schema, an expression or a Lark grammar, in llguidance."""

    def __init__(self, matcher: llguidance.LLMatcher, vocabulary: Vocabulary) -> None:
        self._matcher = matcher
        self._ends = vocabulary.end_tokens
        self._mask = llguidance.numpy.allocate_token_bitmask(1, vocabulary.size)
        self._size = vocabulary.size

    @property
    def broken(self) -> bool:
        return bool(self._matcher.is_error())

    def allows(self, token: int) -> bool:
        if self._matcher.is_stopped():  # llguidance then calls no token valid, not even an end
            return token in self._ends and not self._matcher.is_error()
        return self._matcher.validate_tokens([token]) == 1

    def only_blanks_follow(self) -> bool:
        return False  # llguidance stops where a reply is complete, and schemas bound their blanks

    def accept(self, token: int) -> None:
        if not self._matcher.consume_token(token):
            log.warning("A constraint can no longer be followed.")

    def rewind(self, count: int) -> None:
        self._matcher.rollback(count)

    def choose(self, candidates: Candidates, logits: Logits) -> bool:
        ids = self.allowed()
        candidates.take(ids, logits)
        return len(ids) > 0

    def allowed(self) -> npt.NDArray[np.intp]:
        """Every token that is allowed; none when the constraint has gone beyond its limits."""
        if self._matcher.is_error():
            return np.empty(0, np.intp)
        llguidance.numpy.fill_next_token_bitmask(self._matcher, self._mask)
        if self._matcher.is_error():
            log.warning("A constraint can no longer be followed.")
            return np.empty(0, np.intp)
        return np.flatnonzero(np.unpackbits(self._mask.view(np.uint8)[0], bitorder="little")[: self._size])


class Constraints:
    """Begins constraints in a model's vocabulary. Every method may be called from any thread."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._building = threading.Lock()
        self._listening = threading.Lock()

    def begin(self, constraint: Constraint) -> Matcher:
        """A matcher at the beginning of a reply. Raises :class:`BadRequest`, which says what is wrong."""
        if len(constraint.text) > LONGEST:
            raise BadRequest(f"The constraint is longer than {LONGEST // 1024} KiB.")
        if not self._vocabulary.end_tokens:
            raise BadRequest("The model has no token that ends a reply, so nothing can be asked of its replies.")
        if constraint.kind is ConstraintKind.GBNF:
            return self._grammar(constraint.text)
        return self._guided(constraint)

    def problem(self, constraint: Constraint) -> str:
        """A sentence on what is wrong with a constraint, or ""."""
        try:
            self.begin(constraint)
        except BadRequest as error:
            return str(error)
        return ""

    def _grammar(self, text: str) -> GrammarMatcher:
        data = text.encode("utf-8", "replace")
        text = data.decode("utf-8")  # half a character is a "?" by now, which means something
        danger = gbnf.danger(text)
        if danger:
            raise BadRequest(danger)
        if gbnf.lacks(text, "root"):
            raise BadRequest("The grammar has no rule named root.")
        # What llama.cpp says of one it cannot read, it says on standard error only, and repeats the grammar there.
        with self._listening, _standard_error_in_file() as file:
            pointer = llama.llama_sampler_init_grammar(self._vocabulary.pointer, data, b"root")
            if not pointer:
                file.seek(0)
                raise BadRequest(f"llama.cpp cannot read the grammar{_parse_error(file.read(), data)}.")
        return GrammarMatcher(pointer, self._vocabulary)

    def _guided(self, constraint: Constraint) -> GuidedMatcher:
        try:
            grammar = FROM_TEXT[constraint.kind](constraint.text)
            limits = llguidance.LLParserLimits(**LIMITS)
            matcher = llguidance.LLMatcher(self._tokenizer, grammar, log_level=0, limits=limits)
        except ValueError as error:  # a lone surrogate, or a schema that is no JSON
            raise BadRequest(f"The {constraint.kind.value} cannot be used: {error}.") from None
        found = GuidedMatcher(matcher, self._vocabulary)
        if matcher.is_error() or not len(found.allowed()):
            said = " ".join(matcher.get_error().split()) or "no token fits its beginning"
            raise BadRequest(f"The {constraint.kind.value} cannot be used: {said.rstrip('.')}.")
        return found

    @property
    def _tokenizer(self) -> llguidance.LLTokenizer:
        with self._building:
            return self._built_tokenizer

    @cached_property
    def _built_tokenizer(self) -> llguidance.LLTokenizer:
        """llguidance's view of the vocabulary. It takes a second for 262,000 tokens.

        Its own ``lltokenizer_from_vocab`` asks llama-cpp-python for what that calls deprecated, with a warning each.
        """
        tokenize = ctypes.cast(llama.llama_tokenize, ctypes.c_void_p).value
        return llguidance.LLTokenizer.from_llamacpp(  # type: ignore[attr-defined, no-any-return]
            tokens=[self._spelled(token) for token in range(self._vocabulary.size)],
            vocab_ptr=self._vocabulary.pointer,
            tokenize_fptr=tokenize,
            eos_token=list(self._vocabulary.end_tokens),
            slices=None,
        )

    def _spelled(self, token: int) -> bytes:
        """A token's bytes, marked as llguidance wants it where the token is special and no text."""
        pointer = self._vocabulary.pointer
        text = self._vocabulary.spelling(token)
        attributes = llama.llama_vocab_get_attr(pointer, token)
        control = attributes & llama.LLAMA_TOKEN_ATTR_CONTROL
        defined = attributes & llama.LLAMA_TOKEN_ATTR_USER_DEFINED
        tag = text.startswith(b"<") and text.endswith(b">")
        return b"\xff" + text if control or (defined and tag) else text


def _parse_error(said: bytes, grammar: bytes) -> str:
    """What llama.cpp ``said`` of a grammar it has refused: what is wrong, and where."""
    start = said.find(PARSE_ERROR) + len(PARSE_ERROR)
    words = said[start : said.find(b"\n\n" + grammar, start)]
    if start < len(PARSE_ERROR):
        return ""
    what, at, rest = words.partition(b" at ")
    if not at or not grammar.endswith(rest):
        return f": {' '.join(words.decode('utf-8', 'replace').split())[:SHOWN]}"
    before = grammar[: len(grammar) - len(rest)].decode("utf-8", "replace")
    where = f"line {before.count(chr(10)) + 1}, column {len(before) - before.rfind(chr(10))}"
    shown = rest.decode("utf-8", "replace").split("\n")[0][:SHOWN]
    return f": {what.decode()} at {where}, {f'before {shown!r}' if shown else 'at its end'}"


@contextlib.contextmanager
def _standard_error_in_file() -> Iterator[Any]:
    """What anybody writes to standard error meanwhile goes to a file; without an error it is passed on."""
    with tempfile.TemporaryFile() as file:
        usual = os.dup(STANDARD_ERROR)
        try:
            os.dup2(file.fileno(), STANDARD_ERROR)
            yield file
        finally:
            os.dup2(usual, STANDARD_ERROR)
            os.close(usual)
        file.seek(0)
        sys.stderr.write(file.read().decode("utf-8", "replace"))
