"""Guesses in the plan of a step: when they are asked for, how many, and what is learned from them."""

from __future__ import annotations

import pytest

from server.engine.drafts import Drafts
from server.engine.prefix_cache import Slot
from server.engine.scheduler import Chunk
from server.engine.sequence import Sequence
from server.engine.speculation import PLAIN_STEPS, Step
from server.engine.token_stream import TokenStream
from server.events import Generate
from tests.fake_model import AlwaysPays, FakeDrafter, eager_drafts, tokens_of

PROMPT, SCRIPT = "guess", "abcdefghijklmnop"
CONTEXT = 100


def drafts_of(
    drafter: FakeDrafter, payoff: AlwaysPays | None = None, *, room: int = 16, context: int = CONTEXT
) -> Drafts:
    """Drafts of four tokens at most."""
    return eager_drafts(drafter, payoff or AlwaysPays(4), room=room, context=context)


def replying(generated: int = 1, max_tokens: int = 50, slot: int = 0) -> Chunk:
    """A reply whose last token is pending."""
    sequence = Sequence(Generate(1, tokens_of(PROMPT), max_tokens), arrived=0.0, stream=TokenStream())
    sequence.tokens += tokens_of(SCRIPT[:generated])
    sequence.generated = generated
    sequence.slot = Slot(slot, tokens=sequence.tokens[:-1])
    return Chunk(sequence, 1)


def reading() -> Chunk:
    sequence = Sequence(Generate(2, tokens_of("read this"), 20), arrived=0.0, stream=TokenStream())
    sequence.slot = Slot(7)
    return Chunk(sequence, 5)


@pytest.fixture
def drafter() -> FakeDrafter:
    return FakeDrafter({PROMPT: SCRIPT})


def texts(plan: list[Chunk]) -> list[str]:
    return [bytes(chunk.draft).decode() for chunk in plan]


def test_a_reply_gets_its_guesses(drafter):
    assert texts(drafts_of(drafter).add_to([replying()])) == ["bcde"]


def test_the_drafter_sees_the_slot_and_the_whole_text(drafter):
    chunk = replying(slot=3)
    drafts_of(drafter).add_to([chunk])
    (request,) = drafter.requests
    assert request.slot == 3
    assert tuple(request.tokens) == tokens_of(PROMPT + "a")


def test_beside_a_prompt_nothing_is_guessed(drafter):
    plan = [replying(), reading()]
    assert drafts_of(drafter).add_to(plan) == plan
    assert not drafter.requests


def test_in_an_empty_step_nothing_is_guessed(drafter):
    assert drafts_of(drafter).add_to([]) == []


def test_until_it_is_known_what_a_step_takes_nothing_is_guessed(drafter):
    drafts = Drafts(drafter, most=4, room=16, context=CONTEXT)
    plan = [replying()]
    assert drafts.add_to(plan) == plan
    for _ in range(PLAIN_STEPS):
        drafts.record(plan, 0.01, accepted=0, rejected=0)
    assert texts(drafts.add_to(plan)) == ["b"]


def test_the_room_is_shared_by_all_replies(drafter):
    plan = drafts_of(drafter, room=5).add_to([replying(), replying(generated=3)])
    assert texts(plan) == ["bc", "de"]


def test_with_more_replies_than_room_nothing_is_guessed(drafter):
    plan = [replying() for _ in range(6)]
    assert drafts_of(drafter, room=5).add_to(plan) == plan
    assert not drafter.requests


@pytest.mark.parametrize(("left", "guesses"), [(1, ""), (2, "b"), (3, "bc"), (9, "bcde")])
def test_no_more_is_guessed_than_the_reply_may_have(drafter, left, guesses):
    assert texts(drafts_of(drafter).add_to([replying(max_tokens=1 + left)])) == [guesses]


@pytest.mark.parametrize(("free", "guesses"), [(0, ""), (1, "b"), (9, "bcde")])
def test_no_more_is_guessed_than_the_context_holds(drafter, free, guesses):
    drafts = drafts_of(drafter, context=len(PROMPT) + 1 + free)
    assert texts(drafts.add_to([replying()])) == [guesses]


def test_a_reply_without_a_guess_goes_on_without(drafter):
    strange = replying()
    strange.sequence.tokens[0] = 0
    assert texts(drafts_of(drafter).add_to([strange, replying()])) == ["", "bcde"]


def test_what_a_step_brought_is_recorded(drafter):
    payoff = AlwaysPays(4)
    drafts = drafts_of(drafter, payoff)
    plan = drafts.add_to([replying(), replying(generated=15)])
    drafts.record(plan, 0.25, accepted=3, rejected=1)
    assert payoff.steps == [Step(0.25, running=2, drafted=4 + 2, accepted=3, rejected=1)]


@pytest.mark.parametrize("plan", [[], [reading()], [replying(), reading()]])
def test_steps_that_read_prompts_teach_nothing(drafter, plan):
    payoff = AlwaysPays(4)
    drafts_of(drafter, payoff).record(plan, 0.25, accepted=0, rejected=0)
    assert not payoff.steps


def test_the_drafter_hears_of_a_slot_that_was_left(drafter):
    drafts_of(drafter).forget(5)
    assert drafter.forgotten == [5]
