"""Random requests, cancels and interruptions on tiny pools: every reply is what it is alone, and no cell is lost.

The model is strict (see ``fake_model.py``), so most of what can go wrong fails inside it.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.engine import prefix_cache, ram_store, scheduler
from server.engine.drafts import Drafts
from server.engine.engine import Engine
from server.engine.token_stream import Said
from server.events import EngineEvent, Finished, FinishReason, Generate, Guidance, Refused, TextPiece, Thinking
from tests.fake_model import (
    END_THINK,
    SPECIAL_TEXTS,
    THINK,
    AlwaysPays,
    FakeDrafter,
    FakeModel,
    eager_drafts,
    tokens_of,
)

EXAMPLES = 500
PATIENCE = 5000

# Prompts are put together from these, so that many begin alike, and many have lost their oldest messages.
MESSAGES = ("s" * 12, "alpha ", "beta, beta ", "gamma gamma g ", "d", "epsilon eps ")
REPLIES = ("", "ok", "abababab", "a long reply, " * 4, "and on and on " * 5)
THOUGHTFUL = (
    (THINK, *tokens_of("hm, hm, hm, hm"), END_THINK, *tokens_of("hail, hail")),
    (*tokens_of("hm and hm and hm"), END_THINK, *tokens_of("hail, hail")),
    (THINK, *tokens_of("abab" * 15)),
)
SCRIPTS: tuple[str | tuple[int, ...], ...] = (*REPLIES, *THOUGHTFUL)
TAGS = (("<THINK>", "</THINK>"),)
WAYS_TO_THINK = (
    None,
    Thinking(TAGS),
    Thinking(TAGS, budget=8),
    Thinking(TAGS, budget=30, closes="</THINK>", closing=" so.</THINK>"),
    Thinking(TAGS, budget=0, closes="</THINK>"),
)
BANNED: tuple[tuple[str, ...], ...] = ((), ("ab",), ("ON AND O", "hail", "long"), ("a", "reply, a"))
GUIDANCE = Guidance(tokens_of("s" * 8 + "nobody"), 1.5)


@pytest.fixture(scope="module", autouse=True)
def everything_is_worth_it() -> Iterator[None]:
    """The sizes from which on something pays, scaled down to tiny pools."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ram_store, "BLOCK", 4)
        patch.setattr(prefix_cache, "LEAST_FROM_RAM", 2)
        patch.setattr(prefix_cache, "LEAST_SHIFT", 6)
        patch.setattr(scheduler, "WORTH_WAITING", 3)
        patch.setattr(scheduler, "ROOM_TO_REPLY", 4)
        yield


@dataclass(frozen=True)
class Machine:
    """What the engine runs on."""

    context: int
    batch: int
    sequences: int
    can_trim: bool
    can_shift: bool
    reuse: bool
    cache_ram: int
    draft_room: int


@dataclass(frozen=True)
class Ask:
    messages: tuple[int, ...]
    reply: int
    max_tokens: int
    shift: bool
    keep: int
    thinking: int
    banned: int
    guided: bool


@dataclass(frozen=True)
class Steps:
    count: int


@dataclass(frozen=True)
class Cancel:
    """End the request that was asked ``back`` requests ago, within a step if it is ``sudden``."""

    back: int
    sudden: bool


machines = st.builds(
    Machine,
    context=st.integers(60, 160),
    batch=st.integers(4, 40),
    sequences=st.sampled_from((4, 3, 2, 1)),
    can_trim=st.sampled_from((True, True, True, False)),
    can_shift=st.booleans(),
    reuse=st.sampled_from((True, True, True, False)),
    cache_ram=st.sampled_from((0, 500, 2000, 100_000)),
    draft_room=st.sampled_from((0, 6, 16)),
)
asks = st.builds(
    Ask,
    messages=st.lists(st.integers(0, len(MESSAGES) - 1), min_size=1, max_size=6).map(tuple),
    reply=st.integers(0, len(SCRIPTS) - 1),
    max_tokens=st.sampled_from((40, 70, 5, 1)),
    shift=st.booleans(),
    keep=st.integers(0, 40),
    thinking=st.integers(0, len(WAYS_TO_THINK) - 1),
    banned=st.sampled_from((0, 0, *range(len(BANNED)))),
    guided=st.sampled_from((False, False, False, True)),
)
walks = st.lists(
    st.one_of(asks, st.builds(Steps, st.integers(1, 20)), st.builds(Cancel, st.integers(0, 3), st.booleans())),
    min_size=8,
    max_size=40,
)


class Walk:
    """The engine, what was asked of it, and what came back."""

    def __init__(self, machine: Machine, actions: list[Ask | Steps | Cancel], seed: int) -> None:
        # A reply belongs to its prompt, so the first of those asked with the same prompt decides.
        self.replies: dict[str, int] = {}
        for ask in actions:
            if isinstance(ask, Ask):
                self.replies.setdefault(prompt_of(ask), ask.reply)
        self.scripts = {prompt: SCRIPTS[reply] for prompt, reply in self.replies.items()}
        self.model = FakeModel(
            dict(self.scripts),
            context=machine.context,
            batch=machine.batch,
            sequences=machine.sequences,
            draft_room=machine.draft_room if machine.can_trim else 0,
            can_trim=machine.can_trim,
            can_shift=machine.can_shift,
        )
        self.engine = Engine(
            self.model,
            lambda: 1.0,
            cache_ram=machine.cache_ram,
            reuse=machine.reuse,
            drafts=self._drafts(machine, random.Random(seed)) if machine.draft_room else None,
        )
        self.limit = machine.cache_ram
        self.asked: list[tuple[Generate, Ask]] = []
        self.cancelled: set[int] = set()
        self.events: list[EngineEvent] = []

    def _drafts(self, machine: Machine, chance: random.Random) -> Drafts:
        def change(guess: list[int]) -> list[int]:
            right = guess[: chance.randrange(8)]
            return right + [chance.choice((97, 98, 0)) for _ in range(chance.randrange(3))]

        drafter = FakeDrafter(dict(self.scripts), change)
        return eager_drafts(drafter, AlwaysPays(8), room=self.model.draft_room, context=machine.context)

    def ask(self, ask: Ask) -> None:
        prompt = prompt_of(ask)
        number = len(self.asked)
        how = {"max_tokens": ask.max_tokens, "thinking": WAYS_TO_THINK[ask.thinking], "shown": tuple(SPECIAL_TEXTS)}
        how |= {"banned": BANNED[ask.banned], "guidance": GUIDANCE if ask.guided else None}
        request = Generate(number, tokens_of(prompt), shift=ask.shift and not ask.guided, keep=ask.keep, **how)
        self.asked.append((request, ask))
        self.events += self.engine.submit(request)

    def cancel(self, cancel: Cancel) -> None:
        number = len(self.asked) - 1 - cancel.back
        if number < 0:
            return
        if cancel.sudden:
            self.model.during_decode = lambda: self.engine.interrupt(number)
            self.step()
            self.model.during_decode = lambda: None
        events = self.engine.cancel(number)
        self.cancelled |= {number} if events else set()
        self.events += events

    def step(self) -> None:
        self.events += self.engine.step()
        stats = self.engine.stats()
        assert stats.cells_used + stats.cells_cached == self.model.kv.used
        assert stats.ram_used <= self.limit

    def finish(self) -> None:
        for _ in range(PATIENCE):
            if self.engine.idle:
                break
            self.step()
        assert self.engine.idle, "somebody starves"
        assert self.engine.stats().cells_used == 0

    def check_replies(self) -> None:
        for request, ask in self.asked:
            events = [event for event in self.events if event.request_id == request.request_id]
            said, end = gathered(events), events[-1]
            alone, tokens_alone = reply_alone(self.replies[prompt_of(ask)], ask.max_tokens, ask.thinking, ask.banned)
            assert not any(text.lower() in said.text for text in BANNED[ask.banned])
            assert not any(isinstance(event, (Finished, Refused)) for event in events[:-1])
            if isinstance(end, Refused):
                reply = 1 if request.shift else request.max_tokens
                guide = len(GUIDANCE.negative) + reply if ask.guided else 0
                crowded = len(request.prompt) + reply + guide > self.model.context
                assert crowded or (ask.guided and self.model.sequences == 1)
                continue
            assert isinstance(end, Finished)
            assert end.cached_tokens < max(end.prompt_tokens, 1)
            assert end.accepted <= end.drafted
            if request.request_id in self.cancelled:
                assert end.reason is FinishReason.CANCELLED
                # Its end may be the beginning of a text that it would have taken back.
                sure = len(said.text) - max(map(len, BANNED[ask.banned]), default=0)
                assert (alone.thought + alone.text).startswith(said.thought + said.text[: max(sure, 0)])
            else:
                assert (said.text, said.thought, end.completion_tokens) == (alone.text, alone.thought, tokens_alone)


def prompt_of(ask: Ask) -> str:
    return "".join(MESSAGES[message] for message in ask.messages)


def gathered(events: list[EngineEvent]) -> Said:
    said = Said()
    for event in events:
        if isinstance(event, TextPiece):
            said = said.then(Said(event.text, event.thought, event.unsaid))
    return said


@cache
def reply_alone(reply: int, max_tokens: int, thinking: int, banned: int) -> tuple[Said, int]:
    """What is said, in how many tokens, where there is room for everything and nobody else."""
    engine = Engine(FakeModel({"hi": SCRIPTS[reply]}), lambda: 1.0)
    how = {"thinking": WAYS_TO_THINK[thinking], "shown": tuple(SPECIAL_TEXTS), "banned": BANNED[banned]}
    events = engine.submit(Generate(0, tokens_of("hi"), max_tokens, **how))
    while not engine.idle:
        events += engine.step()
    assert isinstance(events[-1], Finished)
    return gathered(events), events[-1].completion_tokens


@pytest.mark.parametrize("reply", range(len(REPLIES)))
def test_a_reply_alone_is_its_script(reply):
    assert reply_alone(reply, 40, 0, 0) == (Said(REPLIES[reply][:40]), min(len(REPLIES[reply]) + 1, 40))


def walk(machine: Machine, actions: list[Ask | Steps | Cancel], seed: int) -> Walk:
    walk = Walk(machine, actions, seed)
    for action in actions:
        if isinstance(action, Ask):
            walk.ask(action)
        elif isinstance(action, Cancel):
            walk.cancel(action)
        else:
            for _ in range(action.count):
                if not walk.engine.idle:
                    walk.step()
    walk.finish()
    walk.check_replies()
    return walk


@settings(max_examples=EXAMPLES, derandomize=True, deadline=None)
@given(machines, walks, st.integers(0, 9))
def test_every_reply_is_what_it_is_alone(machine, actions, seed):
    walk(machine, actions, seed)
