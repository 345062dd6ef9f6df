"""Speculative decoding, the half that knows no llama.cpp: tokens guessed ahead, and whether guessing pays.

The engine decodes a sequence's last token together with a draft of what may follow, and keeps of the draft what its own
sampler draws as well (Leviathan et al. 2023, https://arxiv.org/abs/2211.17192).
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Sequence as ReadOnly
from dataclasses import dataclass
from statistics import median
from typing import Protocol

LONGEST_MATCH = 4
SHORTEST_MATCH = 2

# In plain steps: credits, the margin that a step with drafts must win by, the allowance of each plain step.
FIRST_CREDIT = 4.0
SAVINGS = 16.0
MARGIN = 0.05
ALLOWANCE = 0.005
PLAIN_STEPS = 15
RUN_PER_CREDIT = 4
MEMORY = 15 / 16  # what a step leaves of the ones before it


@dataclass(frozen=True)
class DraftRequest:
    """Guess at most ``most`` tokens that follow ``tokens``, the whole sequence that runs in ``slot``."""

    slot: int
    tokens: list[int]
    most: int


class Drafter(Protocol):
    """Guesses ahead for all sequences of a step at once, so that a draft model can put them into one batch."""

    def propose(self, requests: ReadOnly[DraftRequest]) -> list[list[int]]:
        """One draft for each request, empty where there is nothing to guess from."""

    def forget(self, slot: int) -> None:
        """The sequence in ``slot`` has ended."""


class PromptLookup:
    """Drafts from a sequence's own text: what followed its last tokens when they occurred before.

    Apoorv Saxena's prompt lookup decoding (https://github.com/apoorvumang/prompt-lookup-decoding); good where a reply
    repeats names, formats or code. The longest match of 4 to 2 tokens wins, and of those the latest. Three tokens are
    evidence enough, two only when the same token has followed them twice (llama.cpp's ngram cache asks for as much). A
    draft that reaches the end of the text goes on in itself, as a copy in LZ77 does.

    One object for each sequence. It reads only what is new; a list that was cut or shifted it indexes again.
    """

    def __init__(self) -> None:
        self._next: dict[tuple[int, ...], int] = {}  # an n-gram, and where the token stands that followed it last
        self._indexed = 0
        self._newest: list[int] = []

    def propose(self, tokens: list[int], most: int) -> list[int]:
        """``most`` tokens that may follow ``tokens``, or none."""
        self._index(tokens)
        for length in range(LONGEST_MATCH, SHORTEST_MATCH - 1, -1):
            start = self._next.get(tuple(tokens[-length:]))
            if start is not None:
                period = len(tokens) - start
                return [tokens[start + ahead % period] for ahead in range(most)]
        return []

    def _index(self, tokens: list[int]) -> None:
        # The tokens before the index's end tell whether this is still the list that was indexed.
        if tokens[max(self._indexed - LONGEST_MATCH, 0) : self._indexed] != self._newest:
            self._next.clear()
            self._indexed = 0
        for at in range(max(self._indexed, SHORTEST_MATCH), len(tokens)):
            for length in range(SHORTEST_MATCH + 1, min(LONGEST_MATCH, at) + 1):
                self._next[tuple(tokens[at - length : at])] = at
            if tuple(tokens[at - SHORTEST_MATCH : at + 1]) in self._next:
                self._next[tuple(tokens[at - SHORTEST_MATCH : at])] = at
        self._indexed = len(tokens)
        self._newest = tokens[-LONGEST_MATCH:]


class PromptLookupDrafter:
    """The :class:`Drafter` that needs no second model: a :class:`PromptLookup` for each slot."""

    def __init__(self) -> None:
        self._lookups: defaultdict[int, PromptLookup] = defaultdict(PromptLookup)

    def propose(self, requests: ReadOnly[DraftRequest]) -> list[list[int]]:
        return [self._lookups[request.slot].propose(request.tokens, request.most) for request in requests]

    def forget(self, slot: int) -> None:
        self._lookups.pop(slot, None)


@dataclass(frozen=True)
class Step:
    """What a step did that read no prompt: each of ``running`` sequences got a token, and ``accepted`` more came.

    ``drafted`` tokens were tried in all; in ``rejected`` sequences one was wrong. ``seconds`` holds the drafter's own
    time if there were drafts.
    """

    seconds: float
    running: int
    drafted: int = 0
    accepted: int = 0
    rejected: int = 0


class Payoff:
    """Whether to speculate now, and how far; it gives up by itself where that is slower, and tries again.

    Speculation lives on an account of time, one for each number of running sequences, since that decides what a longer
    batch costs. The unit is a plain step, as the median of the last ones took. A step with drafts pays in the plain
    steps that it replaces and draws what it took and a margin, lest noise be taken for profit; a plain step pays in an
    allowance of half a percent. Drafts are tried while there is credit. So on a steady machine speculation can lose the
    allowance, the first credit and one step, whatever the text, and the pause after a failure is as long as it was
    costly: some 200 steps where a draft token costs a whole step, as on a CPU; a dozen where it costs next to nothing.

    Drafts have the length that gives the most tokens per second (Leviathan et al., theorem 3.8), by how often a token
    was right lately and what it cost.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._accounts: defaultdict[int, _Account] = defaultdict(_Account)

    def draft_limit(self, running: int) -> int:
        """How many tokens may be guessed for each of ``running`` sequences in the next step; 0 is none."""
        account = self._accounts[running]
        return account.best_length(self._most) if account.open else 0

    def record(self, step: Step) -> None:
        """To be called after every step that read no prompt, with drafts or without."""
        account = self._accounts[step.running]
        if step.drafted:
            account.book_drafts(step)
        else:
            account.book_plain(step.seconds)


class _Account:
    """Begins with the belief that a draft token is right every other time and costs a whole step, as on a CPU."""

    def __init__(self) -> None:
        self._plain: deque[float] = deque(maxlen=PLAIN_STEPS)
        self._run = 0
        self._credit = FIRST_CREDIT
        self._right, self._judged = 0.5, 1.0
        self._cost, self._drafted = 1.0, 1.0

    @property
    def open(self) -> bool:
        """Whether drafts may be tried. A run of them, the longer the more credit, ends with a plain step to compare."""
        return len(self._plain) == PLAIN_STEPS and self._run < RUN_PER_CREDIT * self._credit

    @property
    def _token_cost(self) -> float:
        return max(self._cost / self._drafted, 0.0)

    def best_length(self, most: int) -> int:
        """The length with the most tokens per time: 1 + a + ... + a^n of them in the time 1 + cn."""
        right = self._right / self._judged
        best, best_speed, tokens = 0, 0.0, 1.0
        for length in range(1, most + 1):
            tokens += right**length
            speed = tokens / (1 + self._token_cost * length)
            if speed > best_speed:
                best, best_speed = length, speed
        return best

    def book_plain(self, seconds: float) -> None:
        self._plain.append(seconds)
        self._run = 0
        self._credit = min(self._credit + ALLOWANCE, SAVINGS)

    def book_drafts(self, step: Step) -> None:
        self._run += 1
        plain = max(median(self._plain), 1e-9)
        drafted = step.drafted / step.running
        # Not more than twice the expected and one: a machine that stood still for a moment is not the drafts' fault.
        cost = min(step.seconds / plain - 1, 2 * self._token_cost * drafted + 1)
        self._cost, self._drafted = MEMORY * self._cost + cost, MEMORY * self._drafted + drafted
        self._right = MEMORY * self._right + step.accepted
        self._judged = MEMORY * self._judged + step.accepted + step.rejected
        self._credit = min(self._credit + step.accepted / step.running - cost - MARGIN, SAVINGS)
