"""Classifier-free guidance: a second sequence reads the negative prompt, and both are ready in the same step."""

from __future__ import annotations

from server.engine.engine import Engine
from server.events import EngineEvent, Finished, FinishReason, Generate, Guidance, Refused, TextPiece
from tests.fake_model import FakeModel, tokens_of

LONG = "a long story, " * 5


def asked(prompt: str, negative: str, number: int = 1, **how: object) -> Generate:
    """The scripted model checks that the guide has read the negative prompt and then the same reply."""
    guidance = Guidance(tokens_of(negative), 1.5)
    return Generate(number, tokens_of(prompt), **{"max_tokens": 20, "guidance": guidance, **how})


def run(engine: Engine, *requests: Generate) -> list[EngineEvent]:
    events = [event for request in requests for event in engine.submit(request)]
    for _ in range(2000):
        if engine.idle:
            return events
        events += engine.step()
    raise AssertionError("the engine never came to an end")


def text_of(events: list[EngineEvent], number: int = 1) -> str:
    return "".join(event.text for event in events if isinstance(event, TextPiece) and event.request_id == number)


def test_a_guided_reply_is_told_as_one():
    events = run(Engine(FakeModel({"hi": "well met"})), asked("hi", "bye"))
    assert text_of(events) == "well met"
    end = events[-1]
    assert isinstance(end, Finished)
    assert (end.prompt_tokens, end.completion_tokens, end.reason) == (2, 9, FinishReason.STOP)


def test_the_shorter_prompt_waits_for_the_longer_one():
    assert text_of(run(Engine(FakeModel({"hi": "ok"})), asked("hi", LONG))) == "ok"
    assert text_of(run(Engine(FakeModel({LONG: "ok"})), asked(LONG, "no"))) == "ok"


def test_it_shares_its_steps_with_others():
    model = FakeModel({"hi": "well met", "hello": "how are you?"})
    plain = Generate(2, tokens_of("hello"), max_tokens=20)
    events = run(Engine(model), asked("hi", "bye"), plain)
    assert (text_of(events, 1), text_of(events, 2)) == ("well met", "how are you?")
    assert max(len(parts) for parts in model.batches) == 3


def test_it_counts_as_one_running_reply():
    engine = Engine(FakeModel({"hi": "well met"}))
    engine.submit(asked("hi", "bye"))
    engine.step()
    assert (engine.stats().running, engine.stats().waiting) == (1, 0)


def test_it_waits_until_there_are_two_places():
    model = FakeModel({"hi": "well met", "hello": "how are you?"}, sequences=2)
    engine = Engine(model)
    engine.submit(Generate(2, tokens_of("hello"), max_tokens=20))
    engine.submit(asked("hi", "bye"))
    engine.step()
    assert (engine.stats().running, engine.stats().waiting) == (1, 1)
    assert text_of(run(engine)) == "well met"


def test_what_is_cancelled_leaves_no_guide_behind():
    model = FakeModel({"hi": "well met"})
    engine = Engine(model)
    engine.submit(asked("hi", "bye"))
    engine.step()
    engine.cancel(1)
    assert engine.idle
    assert engine.stats().cells_used == 0


def test_both_are_preempted_together_and_come_back():
    model = FakeModel({"hi": "x" * 30, "hello": "y" * 30}, context=90)
    events = run(Engine(model), Generate(2, tokens_of("hello"), max_tokens=30), asked("hi", "bye", max_tokens=30))
    assert (text_of(events, 1), text_of(events, 2)) == ("x" * 30, "y" * 30)


def test_a_banned_text_is_taken_back_from_the_guide_as_well():
    events = run(Engine(FakeModel({"hi": "oh no!"})), asked("hi", "bye", banned=("no",)))
    assert text_of(events) == "oh 0o!"


def test_both_prompts_and_their_replies_must_fit():
    (refused,) = Engine(FakeModel({"hi": "ok"}, context=50)).submit(asked("hi", "bye", max_tokens=30))
    assert isinstance(refused, Refused)
    assert "2 and 3 tokens" in refused.sentence


def test_a_model_that_holds_one_sequence_cannot_be_guided():
    (refused,) = Engine(FakeModel({"hi": "ok"}, sequences=1)).submit(asked("hi", "bye"))
    assert isinstance(refused, Refused)


def test_a_negative_prompt_of_nothing_is_refused():
    (refused,) = Engine(FakeModel({"hi": "ok"})).submit(asked("hi", ""))
    assert isinstance(refused, Refused)


def test_the_next_turn_of_a_guided_chat_goes_on_where_it_stopped():
    model = FakeModel({LONG: "ok.", LONG + "ok. and": "so?"}, context=400)
    engine = Engine(model)
    run(engine, asked(LONG, "a negative prompt"))
    (end,) = [event for event in run(engine, asked(LONG + "ok. and", "another")) if isinstance(event, Finished)]
    assert end.cached_tokens >= len(LONG)
