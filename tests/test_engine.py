"""The engine's step loop over a scripted model: who shares a batch, who waits, and how replies end."""

import pytest

from server.engine.engine import Engine
from server.events import EngineEvent, EngineStats, Finished, FinishReason, Generate, Refused, Sampling, TextPiece
from tests.fake_model import END, FakeModel, tokens_of

LONG = "long " * 10
NO_MORE = 258


class Clock:
    """Moves on by ``step`` seconds each time it is read."""

    def __init__(self, step: float = 0.0) -> None:
        self.now = 100.0
        self.step = step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


def ask(number: int, prompt: str, max_tokens: int = 20, **options: object) -> Generate:
    return Generate(number, tokens_of(prompt), max_tokens=max_tokens, **options)


def engine_with(model: FakeModel, *requests: Generate) -> Engine:
    engine = Engine(model, Clock())
    for request in requests:
        assert engine.submit(request) == []
    return engine


def run(engine: Engine) -> list[EngineEvent]:
    """Step until nothing is left to do."""
    events: list[EngineEvent] = []
    for _ in range(500):
        if engine.idle:
            return events
        events += engine.step()
    raise AssertionError("the engine never came to an end")


def steps(engine: Engine, count: int) -> list[EngineEvent]:
    return [event for _ in range(count) for event in engine.step()]


def text_of(events: list[EngineEvent], number: int = 1) -> str:
    return "".join(event.text for event in events if isinstance(event, TextPiece) and event.request_id == number)


def end_of(events: list[EngineEvent], number: int = 1) -> Finished:
    (finished,) = [event for event in events if isinstance(event, Finished) and event.request_id == number]
    return finished


def slots(model: FakeModel) -> list[set[int]]:
    return [{part.slot for part in batch} for batch in model.batches]


# --- one reply ---


def test_a_reply_ends_with_the_models_end_token():
    events = run(engine_with(FakeModel({"hi": "well met"}), ask(1, "hi")))
    assert text_of(events) == "well met"
    assert end_of(events).reason is FinishReason.STOP
    assert not end_of(events).stopped_by_text


def test_a_reply_ends_at_its_length():
    events = run(engine_with(FakeModel({"hi": "well met"}), ask(1, "hi", max_tokens=4)))
    assert text_of(events) == "well"
    assert end_of(events).reason is FinishReason.LENGTH
    assert end_of(events).completion_tokens == 4


def test_the_tokens_of_prompt_and_reply_are_counted():
    finished = end_of(run(engine_with(FakeModel({"hello": "ok"}), ask(1, "hello", max_tokens=2))))
    assert (finished.prompt_tokens, finished.completion_tokens) == (5, 2)


def test_text_comes_token_by_token_with_its_count():
    events = run(engine_with(FakeModel({"hi": "abc"}), ask(1, "hi")))
    assert [(event.text, event.tokens) for event in events if isinstance(event, TextPiece)] == [
        ("a", 1),
        ("b", 2),
        ("c", 3),
    ]


def test_the_end_is_the_last_event_of_a_reply():
    events = run(engine_with(FakeModel({"hi": "abc"}), ask(1, "hi")))
    assert isinstance(events[-1], Finished)


def test_a_reply_of_nothing_is_a_reply():
    events = run(engine_with(FakeModel({"hi": ""}), ask(1, "hi")))
    assert text_of(events) == ""
    assert end_of(events).reason is FinishReason.STOP


def test_a_character_in_several_tokens_comes_whole():
    events = run(engine_with(FakeModel({"hi": "🙂!"}), ask(1, "hi")))
    assert [event.text for event in events if isinstance(event, TextPiece)] == ["🙂", "!"]


def test_a_stop_string_is_cut_off():
    events = run(engine_with(FakeModel({"hi": "yes###no"}), ask(1, "hi", stop=("###",))))
    assert text_of(events) == "yes"
    assert end_of(events).reason is FinishReason.STOP
    assert end_of(events).stopped_by_text


def test_a_stop_string_inside_one_token_is_cut_off():
    model = FakeModel({"hi": [*tokens_of("yes, "), NO_MORE]})
    assert text_of(run(engine_with(model, ask(1, "hi", stop=("###",))))) == "yes, no more"


def test_a_stop_string_stays_when_the_request_keeps_it():
    events = run(engine_with(FakeModel({"hi": "yes###no"}), ask(1, "hi", stop=("###",), keep_stop=True)))
    assert text_of(events) == "yes###"


def test_no_token_is_decoded_after_a_stop_string():
    model = FakeModel({"hi": "yes#no"})
    run(engine_with(model, ask(1, "hi", stop=("#",))))
    assert model.samplers[0].given == 4


def test_a_stop_string_at_the_very_length_is_a_stop():
    finished = end_of(run(engine_with(FakeModel({"hi": "yes#"}), ask(1, "hi", max_tokens=4, stop=("#",)))))
    assert finished.reason is FinishReason.STOP


def test_half_a_stop_string_is_released_when_the_length_is_reached():
    events = run(engine_with(FakeModel({"hi": "yes##no"}), ask(1, "hi", max_tokens=5, stop=("###",))))
    assert text_of(events) == "yes##"


def test_a_stop_that_is_a_special_token_ends_the_reply_without_any_text():
    model = FakeModel({"hi": [*tokens_of("yes"), 257, *tokens_of("no")]})
    events = run(engine_with(model, ask(1, "hi", stop=("<|im_end|>",))))
    assert text_of(events) == "yes"
    assert end_of(events).reason is FinishReason.STOP


def test_a_special_token_that_is_no_stop_is_only_skipped():
    model = FakeModel({"hi": [*tokens_of("yes"), 257, *tokens_of("no")]})
    assert text_of(run(engine_with(model, ask(1, "hi")))) == "yesno"


def test_the_seed_of_the_request_is_used_and_reported():
    model = FakeModel({"hi": "a"})
    events = run(engine_with(model, ask(1, "hi", sampling=Sampling(seed=42))))
    assert model.samplers[0].seed == end_of(events).seed == 42


@pytest.mark.parametrize("asked", [-1, 2**40 + 5])
def test_any_other_seed_becomes_one_that_fits(asked):
    events = run(engine_with(FakeModel({"hi": "a"}), ask(1, "hi", sampling=Sampling(seed=asked))))
    assert 0 <= end_of(events).seed < 2**31


# --- what is refused ---


def test_an_empty_prompt_is_refused_with_a_sentence():
    (refused,) = Engine(FakeModel({})).submit(ask(1, ""))
    assert isinstance(refused, Refused)
    assert "empty" in refused.sentence


def test_what_can_never_fit_is_refused_with_its_numbers():
    (refused,) = Engine(FakeModel({}, context=100)).submit(ask(1, "x" * 90, max_tokens=11))
    assert isinstance(refused, Refused)
    assert all(number in refused.sentence for number in ("90", "11", "100"))


def test_what_just_fits_is_served():
    model = FakeModel({"x" * 90: "y" * 10}, context=100)
    assert text_of(run(engine_with(model, ask(1, "x" * 90, max_tokens=10)))) == "y" * 10


def test_a_refused_request_leaves_the_engine_idle():
    engine = Engine(FakeModel({}))
    engine.submit(ask(1, ""))
    assert engine.idle


# --- several at a time ---


def test_two_requests_share_every_batch():
    model = FakeModel({"one": "aaaa", "two": "bbbb"})
    events = run(engine_with(model, ask(1, "one"), ask(2, "two")))
    assert text_of(events, 1) == "aaaa"
    assert text_of(events, 2) == "bbbb"
    assert slots(model) == [{0, 1}] * 5


def test_a_late_request_joins_a_running_one():
    model = FakeModel({"one": "a" * 10, "two": "b" * 3})
    engine = engine_with(model, ask(1, "one"))
    early = steps(engine, 4)
    engine.submit(ask(2, "two"))
    events = early + run(engine)
    assert slots(model)[3:5] == [{0}, {0, 1}]
    assert (text_of(events, 1), text_of(events, 2)) == ("a" * 10, "b" * 3)
    assert events.index(end_of(events, 2)) < events.index(end_of(events, 1))


def test_many_different_replies_never_mix():
    scripts = {f"prompt {number}": chr(97 + number) * (number + 3) for number in range(12)}
    requests = [ask(number, prompt) for number, prompt in enumerate(scripts)]
    events = run(engine_with(FakeModel(scripts), *requests))
    assert [text_of(events, number) for number in range(12)] == list(scripts.values())


def test_a_long_prompt_is_read_in_chunks():
    model = FakeModel({LONG: "ok"}, batch=16)
    assert text_of(run(engine_with(model, ask(1, LONG)))) == "ok"
    assert [len(batch[0].tokens) for batch in model.batches[:4]] == [16, 16, 16, 2]
    assert [batch[0].logits for batch in model.batches[:4]] == [False, False, False, True]


def test_replies_keep_flowing_while_a_long_prompt_is_read():
    model = FakeModel({"one": "a" * 20, LONG: "ok"}, batch=16)
    engine = engine_with(model, ask(1, "one", max_tokens=30))
    engine.step()
    engine.submit(ask(2, LONG))
    events = steps(engine, 10)
    assert text_of(events, 1) == "a" * 10
    assert [len(part.tokens) for batch in model.batches[1:11] for part in batch] == [1, 4] * 10
    assert text_of(run(engine), 2) == "ok"


def test_two_prompts_are_read_in_order_of_arrival():
    model = FakeModel({"x" * 24: "a", "y" * 8: "b"}, batch=16)
    run(engine_with(model, ask(1, "x" * 24), ask(2, "y" * 8)))
    assert [[len(part.tokens) for part in batch] for batch in model.batches[:2]] == [[16], [8, 8]]


def test_requests_start_in_the_order_they_came():
    scripts = {f"p{number}": "a" for number in range(6)}
    model = FakeModel(scripts, sequences=2)
    run(engine_with(model, *(ask(number, prompt) for number, prompt in enumerate(scripts))))
    assert [sampler.prompt for sampler in model.samplers] == [tokens_of(prompt) for prompt in scripts]


def test_a_request_waits_while_the_cells_are_short():
    model = FakeModel({"one": "a" * 5, "two": "b" * 5}, context=40)
    engine = engine_with(model, ask(1, "one", max_tokens=30), ask(2, "two", max_tokens=30))
    engine.step()
    assert engine.stats().waiting == 1
    events = run(engine)
    assert text_of(events, 2) == "bbbbb"
    assert all(len(used) == 1 for used in slots(model))


def test_slots_are_used_again():
    scripts = {f"p{number}": "ab" for number in range(8)}
    model = FakeModel(scripts, sequences=2)
    events = run(engine_with(model, *(ask(number, prompt) for number, prompt in enumerate(scripts))))
    assert [text_of(events, number) for number in range(8)] == ["ab"] * 8
    assert set().union(*slots(model)) == {0, 1}


def test_the_cells_of_a_finished_reply_are_freed():
    model = FakeModel({"hi": "ab"})
    run(engine_with(model, ask(1, "hi")))
    assert model.cache == {}


# --- cancelling ---


def test_a_waiting_request_can_be_cancelled():
    model = FakeModel({"one": "aaa", "two": "bbb"}, sequences=1)
    engine = engine_with(model, ask(1, "one"), ask(2, "two"))
    engine.step()
    assert end_of(engine.cancel(2), 2).reason is FinishReason.CANCELLED
    assert text_of(run(engine), 2) == ""
    assert len(model.samplers) == 1


def test_a_request_can_be_cancelled_before_the_first_step():
    engine = engine_with(FakeModel({"one": "aaa"}), ask(1, "one"))
    assert end_of(engine.cancel(1)).completion_tokens == 0
    assert engine.idle


def test_a_request_can_be_cancelled_while_its_prompt_is_read():
    model = FakeModel({LONG: "ok"}, batch=16)
    engine = engine_with(model, ask(1, LONG))
    engine.step()
    assert end_of(engine.cancel(1)).completion_tokens == 0
    assert engine.idle
    assert model.cache == {}


def test_a_cancelled_reply_keeps_what_it_has_said():
    engine = engine_with(FakeModel({"hi": "well met"}), ask(1, "hi"))
    events = [*steps(engine, 4), *engine.cancel(1)]
    assert text_of(events) == "well"
    assert end_of(events).reason is FinishReason.CANCELLED
    assert engine.idle


def test_what_was_held_back_is_released_by_a_cancel():
    engine = engine_with(FakeModel({"hi": "we##"}), ask(1, "hi", stop=("###",)))
    assert text_of([*steps(engine, 4), *engine.cancel(1)]) == "we##"


def test_cancelling_one_reply_leaves_the_others_alone():
    model = FakeModel({"one": "aaaaaa", "two": "bbbbbb"})
    engine = engine_with(model, ask(1, "one"), ask(2, "two"))
    events = [*steps(engine, 2), *engine.cancel(1), *run(engine)]
    assert (text_of(events, 1), text_of(events, 2)) == ("aa", "bbbbbb")


def test_a_waiting_request_starts_as_soon_as_another_is_cancelled():
    model = FakeModel({"one": "a" * 20, "two": "b"}, sequences=1)
    engine = engine_with(model, ask(1, "one"), ask(2, "two"))
    engine.step()
    engine.cancel(1)
    assert text_of(engine.step(), 2) == "b"


def test_cancelling_what_is_over_or_unknown_does_nothing():
    engine = engine_with(FakeModel({"hi": "a"}), ask(1, "hi"))
    run(engine)
    assert engine.cancel(1) == engine.cancel(99) == []


# --- the pulse and the clock ---


def test_an_idle_engine_has_no_speed_and_no_cells():
    assert Engine(FakeModel({}, context=64)).stats() == EngineStats(cells_total=64)


def test_the_stats_count_who_runs_and_who_waits():
    scripts = {"one": "a" * 9, "two": "b" * 9, "three": "c" * 9}
    engine = engine_with(
        FakeModel(scripts, sequences=2, context=99), *(ask(number, prompt) for number, prompt in enumerate(scripts))
    )
    engine.step()
    stats = engine.stats()
    assert (stats.running, stats.waiting) == (2, 1)
    assert (stats.cells_used, stats.cells_total) == (6, 99)


def test_the_speeds_are_those_of_the_steps():
    engine = Engine(FakeModel({"four": "a" * 9}), Clock(step=0.01))
    engine.submit(ask(1, "four"))
    engine.step()
    assert engine.stats().prompt_speed > 0
    engine.step()
    assert engine.stats().decode_speed > 0


def test_a_finished_engine_has_no_speed():
    engine = Engine(FakeModel({"hi": "abc"}), Clock(step=0.01))
    engine.submit(ask(1, "hi"))
    run(engine)
    assert engine.stats().decode_speed == 0


def test_the_times_of_a_reply_are_waiting_then_reading_then_replying():
    clock = Clock()
    engine = Engine(FakeModel({LONG: "ab"}, batch=32), clock)
    engine.submit(ask(1, LONG))
    events = []
    for seconds in (1, 10, 10, 100, 100):  # waiting; two chunks of the prompt; the second token, the end
        clock.now += seconds
        events += engine.step() if not engine.idle else []
    finished = end_of(events)
    assert (finished.queue_seconds, finished.prompt_seconds, finished.decode_seconds) == (1, 10, 110)


def test_a_cancelled_waiter_spent_all_its_time_in_the_queue():
    clock = Clock()
    engine = Engine(FakeModel({"hi": "a"}), clock)
    engine.submit(ask(1, "hi"))
    clock.now += 5
    finished = end_of(engine.cancel(1))
    assert (finished.queue_seconds, finished.prompt_seconds, finished.decode_seconds) == (5, 0, 0)


def test_the_end_token_is_counted_as_a_token_of_the_reply():
    finished = end_of(run(engine_with(FakeModel({"hi": [*tokens_of("ab"), END]}), ask(1, "hi"))))
    assert finished.completion_tokens == 3


def test_a_request_that_cannot_start_is_refused_and_the_others_go_on():
    class Picky(FakeModel):
        def make_sampler(self, request, seed):
            if request.sampling.top_k == 13:
                raise OverflowError("int too large")
            return super().make_sampler(request, seed)

    odd = ask(1, "odd", sampling=Sampling(top_k=13))
    engine = engine_with(Picky({"odd": "x", "fine": "ok"}), odd, ask(2, "fine"))
    events = run(engine)
    assert [event.request_id for event in events if isinstance(event, Refused)] == [1]
    assert text_of(events, 2) == "ok"
