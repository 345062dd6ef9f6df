"""Guessing ahead: what prompt lookup proposes, and that speculation stays only where it pays."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.engine.speculation import (
    ALLOWANCE,
    FIRST_CREDIT,
    PLAIN_STEPS,
    RUN_PER_CREDIT,
    SAVINGS,
    Drafter,
    DraftRequest,
    Payoff,
    PromptLookup,
    PromptLookupDrafter,
    Step,
)

MOST = 8

# Few different tokens, so that everything repeats.
texts = st.lists(st.integers(0, 3), max_size=60)


def proposal(tokens: list[int], most: int = 4) -> list[int]:
    return PromptLookup().propose(tokens, most)


# --- prompt lookup ---


def test_what_followed_the_last_tokens_before_is_proposed():
    assert proposal([1, 2, 3, 4, 5, 6, 7, 9, 1, 2, 3]) == [4, 5, 6, 7]


def test_a_longer_match_wins_over_a_later_one():
    assert proposal([1, 2, 3, 4, 50, 9, 2, 3, 4, 60, 9, 1, 2, 3, 4], most=1) == [50]


def test_of_equal_matches_the_latest_wins():
    assert proposal([1, 2, 3, 50, 9, 1, 2, 3, 60, 8, 1, 2, 3], most=1) == [60]


def test_text_without_repeats_gives_no_proposal():
    assert proposal(list(range(100))) == []


@pytest.mark.parametrize("tokens", [[], [1], [1, 1], [1, 2, 1]])
def test_too_little_text_gives_no_proposal(tokens):
    assert proposal(tokens) == []


def test_one_token_is_no_evidence():
    assert proposal([7, 1, 8, 1, 9, 1]) == []


def test_two_tokens_seen_once_are_no_evidence():
    assert proposal([1, 2, 3, 9, 1, 2]) == []


def test_two_tokens_that_went_on_differently_are_no_evidence():
    assert proposal([1, 2, 3, 9, 1, 2, 4, 8, 1, 2]) == []


def test_two_tokens_that_went_on_alike_twice_are_evidence():
    assert proposal([1, 2, 3, 9, 1, 2, 3, 8, 1, 2], most=2) == [3, 8]


def test_a_draft_goes_on_in_itself_at_the_end_of_the_text():
    assert proposal([1, 2, 3, 1, 2, 3], most=7) == [1, 2, 3, 1, 2, 3, 1]


def test_a_run_of_one_token_goes_on():
    assert proposal([9, 5, 5, 5, 5], most=3) == [5, 5, 5]


def test_nothing_is_proposed_when_nothing_is_wanted():
    assert proposal([1, 2, 3, 1, 2, 3], most=0) == []


def test_tokens_that_came_since_are_found():
    lookup = PromptLookup()
    tokens = [1, 2, 3]
    assert lookup.propose(tokens, 2) == []
    tokens += [4, 5, 1, 2, 3]
    assert lookup.propose(tokens, 2) == [4, 5]


def test_a_text_that_was_cut_is_indexed_again():
    lookup = PromptLookup()
    lookup.propose([1, 2, 3, 4, 1, 2, 3, 5, 6, 7], 1)
    assert lookup.propose([1, 2, 3, 4, 1, 2, 3], 1) == [4]


def test_a_text_that_was_shifted_and_grew_again_is_indexed_again():
    lookup = PromptLookup()
    text = list(range(50))
    lookup.propose(text, 1)
    assert lookup.propose([*text[:10], *text[30:], *range(60, 90), 40, 41, 42], 1) == [43]


@given(texts, st.integers(0, 12))
def test_a_proposal_never_exceeds_what_was_asked_for(tokens, most):
    assert len(proposal(tokens, most)) in {0, most}


@given(texts, st.integers(1, 12))
def test_a_proposal_has_followed_the_last_two_tokens_before(tokens, most):
    proposed = proposal(tokens, most)
    triples = list(zip(tokens, tokens[1:], tokens[2:], strict=False))
    assert not proposed or (*tokens[-2:], proposed[0]) in triples


@given(st.lists(st.integers(0, 9), min_size=3, max_size=9), st.lists(st.integers(10, 99), min_size=1, max_size=9))
def test_a_repeat_of_three_tokens_is_always_found(start, rest):
    assert proposal([*start, *rest, *start], most=1) != []


@given(texts, st.lists(texts, max_size=5))
def test_a_growing_text_is_known_as_well_as_one_seen_at_once(tokens, additions):
    lookup = PromptLookup()
    for more in additions:
        lookup.propose(tokens, 4)
        tokens = tokens + more
    assert lookup.propose(tokens, 4) == proposal(tokens)


@given(texts, texts)
def test_any_other_text_can_follow_a_text(first, second):
    lookup = PromptLookup()
    lookup.propose(first, 4)
    assert len(lookup.propose(second, 4)) in {0, 4}


class CountedList(list[int]):
    """Counts how many tokens are read from it."""

    read = 0

    def __getitem__(self, key):
        found = super().__getitem__(key)
        self.read += len(found) if isinstance(key, slice) else 1
        return found


def test_a_new_token_costs_the_same_in_a_long_text():
    def reads(length: int) -> int:
        random_tokens = random.Random(1)
        tokens = CountedList(random_tokens.randrange(20) for _ in range(length))
        lookup = PromptLookup()
        lookup.propose(tokens, MOST)
        tokens.read = 0
        tokens.append(3)
        lookup.propose(tokens, MOST)
        return tokens.read

    assert reads(8000) <= reads(50) + MOST
    assert reads(8000) < 50


# --- the drafter of several sequences ---


def test_slots_do_not_know_each_others_texts():
    drafter: Drafter = PromptLookupDrafter()
    requests = [DraftRequest(0, [1, 2, 3, 4, 1, 2, 3], most=1), DraftRequest(1, [1, 2, 3], most=4)]
    assert drafter.propose(requests) == [[4], []]


def test_each_request_has_its_own_limit():
    text = [1, 2, 3, 4, 5, 1, 2, 3]
    requests = [DraftRequest(slot, text, most) for slot, most in enumerate((2, 0, 1))]
    assert PromptLookupDrafter().propose(requests) == [[4, 5], [], [4]]


def test_a_forgotten_slot_begins_anew():
    drafter = PromptLookupDrafter()
    drafter.propose([DraftRequest(0, [1, 2, 3, 7, 5, 6, 7, 8], most=1)])
    drafter.forget(0)
    assert drafter.propose([DraftRequest(0, [0, 0, 0, 0, 5, 6, 7, 8, 1, 2, 3], most=1)]) == [[]]


def test_a_slot_that_never_drafted_can_be_forgotten():
    PromptLookupDrafter().forget(3)


# --- does it pay? ---


@dataclass
class Machine:
    """Runs steps as the engine does. In plain steps, a draft token costs ``cost`` and a draft ``fixed`` besides.

    A draft token is right with the chance ``right``, and in a share ``found`` of the steps there is a draft at all.
    """

    cost: float
    right: float
    running: int = 1
    found: float = 1.0
    fixed: float = 0.0
    noise: float = 0.0
    second: float = 0.01  # of a plain step
    payoff: Payoff = field(default_factory=lambda: Payoff(MOST))
    chance: random.Random = field(default_factory=lambda: random.Random(7))
    limits: list[int] = field(default_factory=list)
    time: float = 0.0
    tokens: int = 0

    def step(self) -> None:
        limit = self.payoff.draft_limit(self.running)
        lengths = [limit for _ in range(self.running) if self.chance.random() < self.found]
        accepted = [self.accepted(length) for length in lengths]
        drafted = sum(lengths)
        time = 1 + (self.fixed + self.cost * drafted / self.running if drafted else 0)
        time *= max(self.chance.gauss(1, self.noise), 0.1)
        rejected = sum(right < length for right, length in zip(accepted, lengths, strict=True))
        self.payoff.record(Step(time * self.second, self.running, drafted, sum(accepted), rejected))
        self.limits.append(limit)
        self.time += time
        self.tokens += self.running + sum(accepted)

    def accepted(self, length: int) -> int:
        return next((right for right in range(length) if self.chance.random() >= self.right), length)

    def run(self, steps: int) -> Machine:
        for _ in range(steps):
            self.step()
        return self

    @property
    def speed(self) -> float:
        """How many times as fast as without speculation."""
        return self.tokens / self.running / self.time

    def share_on(self, last: int) -> float:
        """The share of the ``last`` steps in which drafts were allowed."""
        return sum(limit > 0 for limit in self.limits[-last:]) / last


def cpu(right: float, **more: float) -> Machine:
    """Every token of a batch costs the same."""
    return Machine(1.0, right, **more)


def gpu(right: float, **more: float) -> Machine:
    """A few more tokens cost next to nothing."""
    return Machine(0.02, right, **more)


def after(machine: Machine, steps: Iterable[Step]) -> Machine:
    for step in steps:
        machine.payoff.record(step)
    return machine


machines = pytest.mark.parametrize("make", [cpu, gpu, lambda right: Machine(0.3, right)], ids=["cpu", "gpu", "between"])


def test_nothing_is_tried_before_plain_steps_were_measured():
    assert gpu(0.9).run(PLAIN_STEPS).limits == [0] * PLAIN_STEPS


def test_the_first_try_is_one_token():
    assert gpu(0.9).run(PLAIN_STEPS + 1).limits[-1] == 1


def test_on_a_cpu_it_gives_up_within_a_few_tokens():
    machine = cpu(0.3).run(100)
    assert machine.time - machine.tokens <= FIRST_CREDIT + 1
    assert machine.share_on(last=70) < 0.05


def test_on_a_cpu_tries_become_rare():
    assert 1 <= sum(cpu(0.0).run(10_000).limits[-5000:]) <= 25


@pytest.mark.parametrize("right", [0.0, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("running", [1, 4])
def test_on_a_cpu_it_costs_less_than_two_percent(right, running):
    assert cpu(right, running=running).run(1000).speed > 0.98


@pytest.mark.parametrize("right", [0.0, 0.5, 0.9])
def test_noise_is_not_taken_for_profit(right):
    runs = [cpu(right, noise=0.2, chance=random.Random(seed)).run(3000) for seed in range(10)]
    assert sum(run.speed for run in runs) / len(runs) > 0.98


@machines
def test_wrong_drafts_cost_less_than_two_percent_anywhere(make):
    assert make(0.0).run(3000).speed > 0.98


@pytest.mark.parametrize(("right", "speed"), [(0.3, 1.25), (0.7, 2.5), (0.9, 4.8)])
def test_on_a_gpu_it_stays_on(right, speed):
    machine = gpu(right).run(3000)
    assert machine.speed > speed
    assert machine.share_on(last=2000) > 0.95


def test_on_a_gpu_it_stays_on_though_drafts_are_rare():
    assert gpu(0.8, found=0.1).run(3000).share_on(last=2000) > 0.95


def test_a_small_profit_is_taken():
    assert 1.1 < Machine(0.5, 0.7).run(3000).speed < 1.14


def test_a_slow_drafter_counts():
    assert gpu(0.5, fixed=1.5).run(3000).share_on(last=1000) < 0.05


def test_it_returns_when_it_pays():
    machine = gpu(0.0).run(2000)
    machine.right = 0.9
    assert machine.run(600).share_on(last=400) > 0.9


def test_it_gives_up_when_it_no_longer_pays():
    machine = Machine(0.3, 0.9).run(1000)
    assert machine.share_on(last=500) > 0.9
    machine.right = 0.0
    assert machine.run(300).share_on(last=200) < 0.1


def test_savings_do_not_buy_long_losses():
    machine = Machine(0.3, 0.95).run(20_000)
    good, machine.right = machine.time, 0.0
    before = machine.tokens
    machine.run(1000)
    assert machine.time - good < 1.05 * (machine.tokens - before)


def test_each_number_of_sequences_has_its_own_account():
    payoff = Payoff(MOST)
    alone = gpu(0.9, payoff=payoff).run(200)
    crowded = cpu(0.5, running=8, payoff=payoff).run(200)
    assert crowded.share_on(last=100) < 0.05
    assert alone.run(10).share_on(last=10) > 0.8


# --- how far? ---


def mean_length(machine: Machine) -> float:
    tried = [limit for limit in machine.run(2000).limits[-1000:] if limit]
    return sum(tried) / len(tried)


def test_on_a_gpu_good_drafts_grow_to_the_most():
    assert mean_length(gpu(0.95)) > MOST - 1


def test_drafts_that_are_often_wrong_stay_short():
    assert mean_length(gpu(0.3)) < 4 < mean_length(gpu(0.6))


def test_drafts_that_cost_stay_short():
    assert mean_length(Machine(0.5, 0.8)) < mean_length(Machine(0.1, 0.8))


def test_many_sequences_draft_as_far_as_one():
    assert mean_length(Machine(0.3, 0.8, running=4)) == pytest.approx(mean_length(Machine(0.3, 0.8)), abs=0.5)


@given(st.integers(0, 12), st.floats(0, 1.2), st.floats(0, 1))
def test_the_limit_is_never_more_than_the_setting(most, cost, right):
    machine = Machine(cost, right, payoff=Payoff(most)).run(60)
    assert 0 <= min(machine.limits) <= max(machine.limits) <= most


# --- clocks and stalls ---


@pytest.mark.parametrize("second", [1e-6, 3.0])
def test_the_unit_of_time_does_not_matter(second):
    limits = Machine(0.3, 0.8).run(500).limits
    assert Machine(0.3, 0.8, second=second).run(500).limits == limits


def test_a_clock_that_sees_no_time_is_no_error():
    assert Machine(0.3, 0.8, second=0.0).run(100).share_on(last=50) > 0.9


def test_drafts_that_seem_to_take_no_time_are_no_error():
    plain, drafted = Step(1.0, 1), Step(0.0, 1, drafted=1, accepted=1)
    machine = after(gpu(0.9), [plain] * PLAIN_STEPS + [drafted] * 50)
    assert machine.payoff.draft_limit(1) == MOST


def test_a_long_run_is_interrupted_to_measure_a_plain_step():
    limits = gpu(1.0).run(500).limits
    longest_run = int(RUN_PER_CREDIT * SAVINGS)
    assert 0 in limits[100 : 101 + longest_run]


@pytest.mark.parametrize("stall", [Step(60.0, 1), Step(60.0, 1, 8, 0, 1)], ids=["plain", "with drafts"])
def test_a_moment_in_which_the_machine_stood_still_changes_little(stall):
    machine = after(gpu(0.8).run(500), [stall])
    assert machine.run(100).share_on(last=100) > 0.9
    machine = after(cpu(0.8).run(500), [stall])
    assert machine.run(100).share_on(last=100) < 0.1


def test_slow_first_steps_are_not_taken_for_plain_ones():
    machine = after(cpu(0.0), [Step(60.0, 1)] * 3).run(300)
    assert machine.time - machine.tokens <= FIRST_CREDIT + 3


def test_a_machine_that_became_slow_is_measured_anew():
    machine = gpu(0.8).run(500)
    machine.cost = 1.0
    machine.run(200)
    assert machine.share_on(last=100) < 0.1


# --- the promise ---


@given(
    cost=st.floats(0, 1),
    fixed=st.floats(0, 1),
    running=st.integers(1, 4),
    verdicts=st.lists(st.integers(0, MOST), min_size=1, max_size=20),
    bad=st.integers(0, 400),
)
def test_no_text_makes_it_lose_more_than_its_credit_and_its_allowance(cost, fixed, running, verdicts, bad):
    """``verdicts`` repeat: how many tokens of a draft are right. Between them come ``bad`` steps in which none is."""
    right = iter([])
    machine = Machine(cost, 0.0, running, fixed=fixed)

    def verdict(length: int) -> int:
        nonlocal right
        return min(next(right, 0), length)

    machine.accepted = verdict  # type: ignore[method-assign]
    for _ in range(3):
        right = iter(verdicts)
        machine.run(len(verdicts) + bad)
        plain = machine.tokens / running
        assert machine.time <= (1 + ALLOWANCE) * plain + FIRST_CREDIT + fixed + cost * MOST + 1e-6
