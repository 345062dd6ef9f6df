"""The engine's step loop over a scripted model: who shares a batch, what is read, who waits, and how replies end."""

import random
from collections.abc import Callable

import pytest

from server.engine.drafts import Drafts
from server.engine.engine import LEAST_READING, LONGEST_GAP, Engine
from server.events import EngineEvent, EngineStats, Finished, FinishReason, Generate, Refused, Sampling, TextPiece
from tests.fake_model import END, AlwaysPays, FakeDrafter, FakeModel, Scripts, eager_drafts, tokens_of

LONG = "long " * 10
NO_MORE = 258
PLENTY = 1_000_000


class Clock:
    """Moves on by ``step`` seconds each time it is read."""

    def __init__(self, step: float = 0.0) -> None:
        self.now = 100.0
        self.step = step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


def message(name: str, length: int = 100) -> str:
    """A text that is unlike any other message, from its first letter on."""
    return (f"{name}: " + "".join(f"{name}{number} " for number in range(length)))[:length]


SYSTEM = "You are a guard of Whiterun, and arrows are not to be joked about.  "
ONE, TWO, THREE = (message(name) for name in ("anna", "berta", "cora"))


def ask(number: int, prompt: str, max_tokens: int = 20, **options: object) -> Generate:
    return Generate(number, tokens_of(prompt), max_tokens=max_tokens, **options)


def engine_with(model: FakeModel, *requests: Generate, **options: object) -> Engine:
    engine = Engine(model, Clock(), **options)
    for request in requests:
        assert engine.submit(request) == []
    return engine


def run(engine: Engine, *requests: Generate) -> list[EngineEvent]:
    """Ask, and step until nothing is left to do."""
    events = [event for request in requests for event in engine.submit(request)]
    for _ in range(2000):
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


def decoded(model: FakeModel) -> int:
    """How many tokens all batches had together."""
    return sum(len(part.tokens) for batch in model.batches for part in batch)


def slots(model: FakeModel) -> list[set[int]]:
    return [{part.slot for part in batch} for batch in model.batches]


# --- one reply ---


def test_a_reply_ends_with_the_models_end_token():
    events = run(engine_with(FakeModel({"hi": "well met"}), ask(1, "hi")))
    assert text_of(events) == "well met"
    assert end_of(events).reason is FinishReason.STOP
    assert not end_of(events).stop_text


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
    assert end_of(events).stop_text


def test_a_stop_string_inside_one_token_is_cut_off():
    model = FakeModel({"hi": [*tokens_of("yes, "), NO_MORE]})
    assert text_of(run(engine_with(model, ask(1, "hi", stop=("###",))))) == "yes, no more"


def test_a_stop_string_stays_when_the_request_keeps_it():
    events = run(engine_with(FakeModel({"hi": "yes###no"}), ask(1, "hi", stop=("###",), keep_stop=True)))
    assert text_of(events) == "yes###"


def test_no_token_is_decoded_after_a_stop_string():
    model = FakeModel({"hi": "yes#no"})
    run(engine_with(model, ask(1, "hi", stop=("#",))))
    assert model.samplers.made[0].given == 4


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


def test_a_special_token_may_be_a_part_of_a_stop_text():
    model = FakeModel({"hi": [*tokens_of("yes"), 257, *tokens_of("\nuser: no")]})
    events = run(engine_with(model, ask(1, "hi", stop=("<|im_end|>\nuser",))))
    assert text_of(events) == "yes"
    assert end_of(events).stop_text


def test_one_that_was_not_the_beginning_of_a_stop_text_is_only_skipped():
    model = FakeModel({"hi": [*tokens_of("yes"), 257, *tokens_of(" no"), 257]})
    assert text_of(run(engine_with(model, ask(1, "hi", stop=("<|im_end|>\nuser",))))) == "yes no"


def test_a_stop_text_that_is_kept_is_written_with_its_special_token():
    model = FakeModel({"hi": [*tokens_of("yes"), 257, *tokens_of("\nuser: no")]})
    events = run(engine_with(model, ask(1, "hi", stop=("<|im_end|>\nuser",), keep_stop=True)))
    assert text_of(events) == "yes<|im_end|>\nuser"


def test_the_seed_of_the_request_is_used_and_reported():
    model = FakeModel({"hi": "a"})
    events = run(engine_with(model, ask(1, "hi", sampling=Sampling(seed=42))))
    assert model.samplers.made[0].seed == end_of(events).seed == 42


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


def test_a_short_prompt_is_not_stuck_behind_a_long_one():
    model = FakeModel({"x" * 60: "a", "y" * 8: "b"}, batch=16)
    events = run(engine_with(model, ask(1, "x" * 60), ask(2, "y" * 8)))
    assert [len(part.tokens) for part in model.batches[0]] == [8, 8]
    assert events.index(end_of(events, 2)) < events.index(end_of(events, 1))


def slow(model: FakeModel, clock: Clock, seconds: float) -> None:
    """Let every decode take this long."""

    def pass_time() -> None:
        clock.now += seconds

    model.during_decode = pass_time


@pytest.mark.parametrize(("seconds", "share"), [(0.01, 128), (0.25, 51), (2.0, LEAST_READING)])
def test_beside_replies_as_much_is_read_as_the_machine_reads_in_a_moment(seconds, share):
    clock = Clock()
    model = FakeModel({"x" * 128: "a" * 20, "y" * 300: "b"}, batch=128, context=600)
    engine = Engine(model, clock)
    slow(model, clock, seconds)
    engine.submit(ask(1, "x" * 128))
    engine.step()
    engine.submit(ask(2, "y" * 300))
    engine.step()
    assert [len(part.tokens) for part in model.batches[1]] == [1, share]
    assert share == LEAST_READING or share <= 128 / seconds * LONGEST_GAP


def test_the_share_follows_what_was_measured_last():
    clock = Clock()
    model = FakeModel({"x" * 128: "a" * 20, "y" * 300: "b"}, batch=128, context=600)
    engine = Engine(model, clock)
    slow(model, clock, 0.01)
    engine.submit(ask(1, "x" * 128))
    engine.step()
    slow(model, clock, 0.25)
    engine.submit(ask(2, "y" * 300))
    steps(engine, 2)
    assert [[len(part.tokens) for part in batch] for batch in model.batches[1:]] == [[1, 128], [1, 51]]


def test_requests_start_in_the_order_they_came():
    scripts = {f"p{number}": "a" for number in range(6)}
    model = FakeModel(scripts, sequences=2)
    run(engine_with(model, *(ask(number, prompt) for number, prompt in enumerate(scripts))))
    assert [sampler.prompt for sampler in model.samplers.made] == [tokens_of(prompt) for prompt in scripts]


def test_a_request_waits_while_the_cells_are_short():
    model = FakeModel({"one": "a" * 5, "two": "b" * 5}, context=40)
    engine = engine_with(model, ask(1, "one", max_tokens=30), ask(2, "two", max_tokens=30))
    engine.step()
    assert engine.stats().waiting == 1
    events = run(engine)
    assert text_of(events, 2) == "bbbbb"
    assert all(len(used) == 1 for used in slots(model))


def test_a_request_waits_for_what_others_still_have_to_read():
    model = FakeModel({ONE: "a", TWO: "b", THREE: "c"}, batch=16, context=250)
    engine = engine_with(model, *(ask(number, prompt) for number, prompt in enumerate((ONE, TWO, THREE))))
    engine.step()
    assert (engine.stats().running, engine.stats().waiting) == (2, 1)
    run(engine)
    assert decoded(model) == 3 * 101


def test_more_requests_than_may_run_come_in_turn():
    scripts = {f"p{number}": "ab" for number in range(8)}
    model = FakeModel(scripts, sequences=2)
    events = run(engine_with(model, *(ask(number, prompt) for number, prompt in enumerate(scripts))))
    assert [text_of(events, number) for number in range(8)] == ["ab"] * 8
    assert max(len(used) for used in slots(model)) == 2


# --- what need not be read again ---


def test_a_chat_that_goes_on_reads_only_what_is_new():
    model = FakeModel({ONE: "ok", ONE + "ok" + TWO: "fine"}, context=400)
    engine = engine_with(model)
    run(engine, ask(1, ONE))
    events = run(engine, ask(2, ONE + "ok" + TWO))
    assert end_of(events, 2).cached_tokens == len(ONE + "ok")
    assert decoded(model) == len(ONE + "ok" + TWO + "fine")


def test_a_chat_that_goes_on_keeps_its_slot():
    model = FakeModel({ONE: "ok", ONE + "ok" + TWO: "fine"}, context=400)
    engine = engine_with(model)
    run(engine, ask(1, ONE))
    run(engine, ask(2, ONE + "ok" + TWO))
    assert slots(model) == [{0}] * len(model.batches)
    assert model.kv.used == len(ONE + "ok" + TWO + "fine")


def test_the_last_token_of_a_reply_is_not_known_when_it_was_cut_off():
    model = FakeModel({ONE: "okay", ONE + "ok" + TWO: "fine"}, context=400)
    engine = engine_with(model)
    run(engine, ask(1, ONE, max_tokens=2))
    assert end_of(run(engine, ask(2, ONE + "ok" + TWO)), 2).cached_tokens == len(ONE + "o")


def test_another_reply_to_the_same_prompt_reads_one_token():
    model = FakeModel({ONE: "ok"})
    engine = engine_with(model)
    run(engine, ask(1, ONE))
    batches = len(model.batches)
    events = run(engine, ask(2, ONE))
    assert text_of(events, 2) == "ok"
    assert end_of(events, 2).cached_tokens == len(ONE) - 1
    assert [len(part.tokens) for part in model.batches[batches]] == [1]


def test_the_same_prompt_twice_at_once_is_read_once():
    model = FakeModel({ONE: "ok"})
    events = run(engine_with(model, ask(1, ONE), ask(2, ONE)))
    assert (text_of(events, 1), text_of(events, 2)) == ("ok", "ok")
    assert end_of(events, 1).cached_tokens == 0
    assert end_of(events, 2).cached_tokens > len(ONE) // 2


def test_a_shared_beginning_is_read_and_stored_once():
    prompts = [SYSTEM + ONE, SYSTEM + TWO, SYSTEM + THREE]
    model = FakeModel(dict.fromkeys(prompts, "ok"), batch=100, context=600)
    events = run(engine_with(model, *(ask(number, prompt) for number, prompt in enumerate(prompts))))
    assert [end_of(events, number).cached_tokens for number in range(3)] == [0, len(SYSTEM), len(SYSTEM)]
    assert decoded(model) == model.kv.used == len(SYSTEM) + 3 * len(ONE + "ok")


def test_who_waits_for_a_beginning_lets_others_pass():
    model = FakeModel({SYSTEM + ONE: "a", SYSTEM + TWO: "b", "hi": "hello"}, batch=16, context=400)
    engine = engine_with(model, ask(1, SYSTEM + ONE), ask(2, SYSTEM + TWO), ask(3, "hi"))
    engine.step()
    assert (engine.stats().running, engine.stats().waiting) == (2, 1)
    events = run(engine)
    assert events.index(end_of(events, 3)) < events.index(end_of(events, 1))
    assert text_of(events, 2) == "b"


def test_the_prompt_not_used_for_longest_is_forgotten_first():
    model = FakeModel(dict.fromkeys((ONE, TWO, THREE), "ok"), context=250)
    engine = engine_with(model)
    for number, prompt in enumerate((ONE, TWO, ONE, THREE)):
        run(engine, ask(number, prompt))
    assert [model.kv.holds(prompt) for prompt in (ONE, TWO, THREE)] == [True, False, True]


def test_a_prompt_that_fell_out_of_the_cache_comes_back_from_ram():
    model = FakeModel(dict.fromkeys((ONE + TWO, THREE), "ok"), context=210)
    engine = engine_with(model, cache_ram=PLENTY)
    run(engine, ask(1, ONE + TWO, max_tokens=5))
    run(engine, ask(2, THREE, max_tokens=5))
    assert engine.stats().ram_used > 0
    events = run(engine, ask(3, ONE + TWO, max_tokens=5))
    assert text_of(events, 3) == "ok"
    assert end_of(events, 3).cached_tokens == len(ONE + TWO) - 1


def test_a_beginning_comes_back_from_ram_for_another_prompt():
    prompts = (ONE + TWO, THREE, ONE + THREE)
    model = FakeModel(dict.fromkeys(prompts, "ok"), context=210)
    engine = engine_with(model, cache_ram=PLENTY)
    for number, prompt in enumerate(prompts):
        events = run(engine, ask(number, prompt, max_tokens=5))
    assert end_of(events, 2).cached_tokens == len(ONE)


def test_the_ram_has_a_limit():
    prompts = [message(name) for name in ("a", "b", "c", "d", "e", "f")]
    model = FakeModel(dict.fromkeys(prompts, "ok"), context=110)
    engine = engine_with(model, cache_ram=4000)
    for number, prompt in enumerate(prompts):
        run(engine, ask(number, prompt, max_tokens=5))
        assert engine.stats().ram_used <= 4000
    assert end_of(run(engine, ask(7, prompts[0], max_tokens=5)), 7).cached_tokens == 0
    assert end_of(run(engine, ask(8, prompts[-1], max_tokens=5)), 8).cached_tokens == len(prompts[-1]) - 1


def test_without_reuse_everything_is_read_every_time():
    model = FakeModel({SYSTEM + ONE: "ok"})
    engine = engine_with(model, reuse=False, cache_ram=PLENTY)
    for number in (1, 2):
        assert end_of(run(engine, ask(number, SYSTEM + ONE)), number).cached_tokens == 0
    assert decoded(model) == 2 * len(SYSTEM + ONE + "ok")
    assert engine.stats().cells_cached == engine.stats().ram_used == 0


def test_a_running_state_goes_on_where_it_stopped():
    model = FakeModel({ONE: "ok", ONE + "ok" + TWO: "fine"}, context=400, can_trim=False)
    engine = engine_with(model)
    run(engine, ask(1, ONE))
    assert end_of(run(engine, ask(2, ONE + "ok" + TWO)), 2).cached_tokens == len(ONE + "ok")


def test_a_running_state_that_has_said_something_cannot_go_back():
    model = FakeModel({ONE: "ok"}, context=400, can_trim=False)
    engine = engine_with(model)
    run(engine, ask(1, ONE))
    events = run(engine, ask(2, ONE))
    assert text_of(events, 2) == "ok"
    assert end_of(events, 2).cached_tokens == 0


# --- the end of the context ---


def test_a_chat_that_lost_its_oldest_message_reads_only_what_is_new():
    older, newer = SYSTEM + ONE + TWO, SYSTEM + TWO + "ok" + THREE[:50]
    model = FakeModel({older: "ok", newer: "fine"}, context=400)
    engine = engine_with(model)
    run(engine, ask(1, older))
    events = run(engine, ask(2, newer))
    assert text_of(events, 2) == "fine"
    assert end_of(events, 2).cached_tokens == len(SYSTEM + TWO + "ok")


def test_a_model_that_cannot_shift_reads_such_a_chat_again():
    older, newer = SYSTEM + ONE + TWO, SYSTEM + TWO + "ok" + THREE[:50]
    model = FakeModel({older: "ok", newer: "fine"}, context=400, can_shift=False)
    engine = engine_with(model)
    run(engine, ask(1, older))
    assert end_of(run(engine, ask(2, newer)), 2).cached_tokens == len(SYSTEM)


def test_shifting_one_chat_leaves_another_that_shares_its_cells_alone():
    one, other = SYSTEM + ONE + TWO + THREE, SYSTEM + ONE + TWO + "and another one that is long enough" * 4
    shifted, after = SYSTEM + TWO + THREE + "!", other + "ok?"
    model = FakeModel(dict.fromkeys((one, other, shifted, after), "ok"), context=2000, batch=64)
    engine = engine_with(model)
    run(engine, ask(1, one))
    run(engine, ask(2, other))
    assert end_of(run(engine, ask(3, shifted)), 3).cached_tokens == len(shifted) - 1
    assert model.kv.cuts == 1
    assert end_of(run(engine, ask(4, after)), 4).cached_tokens == len(other + "ok")


def endless(**options: object) -> FakeModel:
    """A context of 60 tokens, and a reply that needs more."""
    return FakeModel({ONE[:20]: TWO}, context=60, **options)


def test_a_reply_that_outgrows_the_context_goes_on_to_its_length():
    model = endless()
    events = run(engine_with(model, ask(1, ONE[:20], max_tokens=90, shift=True, keep=8)))
    assert text_of(events) == TWO[:90]
    assert end_of(events).reason is FinishReason.LENGTH
    assert model.kv.cuts == 2
    assert decoded(model) == 20 + 89


def test_the_first_tokens_are_kept_and_the_oldest_of_the_others_go():
    model = endless()
    engine = engine_with(model, ask(1, ONE[:20], max_tokens=90, shift=True, keep=8))
    while not model.kv.cuts:
        engine.step()
    held = bytes(model.kv.tokens(0)).decode()
    so_far = ONE[:20] + TWO[:40]
    assert held.startswith(ONE[:8])
    assert so_far.endswith(held[8:])
    assert len(held) == 34


def test_half_of_the_context_at_most_is_kept():
    model = endless()
    events = run(engine_with(model, ask(1, ONE[:20], max_tokens=90, shift=True, keep=59)))
    assert text_of(events) == TWO[:90]


@pytest.mark.parametrize("memory", [{"can_shift": False}, {"can_trim": False}])
def test_a_model_that_cannot_shift_reads_again_what_is_left(memory):
    model = endless(**memory)
    events = run(engine_with(model, ask(1, ONE[:20], max_tokens=90, shift=True, keep=8)))
    assert text_of(events) == TWO[:90]
    assert decoded(model) > 20 + 90
    assert end_of(events).completion_tokens == 90


def test_two_replies_that_outgrow_the_context_both_go_on():
    model = FakeModel({ONE[:20]: TWO, THREE[:20]: TWO[::-1]}, context=300)
    requests = [ask(number, prompt, max_tokens=100, shift=True) for number, prompt in enumerate((ONE[:20], THREE[:20]))]
    events = run(engine_with(model, *requests))
    assert (text_of(events, 0), text_of(events, 1)) == (TWO, TWO[::-1])


def test_a_prompt_that_fills_the_context_can_have_a_reply_that_shifts():
    model = FakeModel({ONE[:59]: TWO}, context=60)
    assert text_of(run(engine_with(model, ask(1, ONE[:59], max_tokens=50, shift=True)))) == TWO[:50]


# --- replies that outgrow the cells ---


def talkers(count: int, context: int, length: int = 150, **options: object) -> tuple[FakeModel, list[Generate]]:
    """So many requests for long replies, which all start at once and find no room for all they say."""
    scripts = {message(name, 10): message(name, 200)[10:] for name in "abcdef"[:count]}
    model = FakeModel(scripts, context=context, **options)
    return model, [ask(number, prompt, max_tokens=length) for number, prompt in enumerate(scripts)]


def said(request: Generate) -> str:
    """The whole reply to one of the talkers' requests."""
    return message(chr(request.prompt[0]), 200)[10:][: request.max_tokens]


def test_a_reply_that_was_preempted_goes_on_as_if_nothing_had_been():
    model, requests = talkers(2, context=200)
    engine = engine_with(model, *requests)
    early = steps(engine, 110)
    assert (engine.stats().running, engine.stats().waiting) == (1, 1)
    events = early + run(engine)
    assert [text_of(events, request.request_id) for request in requests] == [said(request) for request in requests]


def test_the_older_reply_is_not_held_up():
    model, requests = talkers(2, context=200)
    events = run(engine_with(model, *requests))
    assert events.index(end_of(events, 0)) < events.index(end_of(events, 1))
    assert all(0 in used for used in slots(model)[:150])


def test_a_preempted_request_is_counted_once():
    model, requests = talkers(2, context=200)
    engine = engine_with(model, *requests)
    events = run(engine)
    finished = end_of(events, 1)
    assert (finished.prompt_tokens, finished.completion_tokens, finished.cached_tokens) == (10, 150, 0)
    assert engine.stats().prompt_tokens == 20
    assert len(model.samplers.made) == 2


def test_several_are_preempted_youngest_first_and_come_back_oldest_first():
    model, requests = talkers(3, context=300, length=190)
    engine = engine_with(model, *requests)
    events = engine.step()
    assert engine.stats().running == 3
    events += run(engine)
    assert [text_of(events, request.request_id) for request in requests] == [said(request) for request in requests]
    ends = [event.request_id for event in events if isinstance(event, Finished)]
    assert ends == [0, 1, 2]


def test_what_was_preempted_comes_back_from_ram():
    model, requests = talkers(2, context=200, length=180)
    run(engine_with(model, *requests, cache_ram=PLENTY))
    assert model.kv.loaded
    assert decoded(model) < 2 * (10 + 180) + 16


def test_a_newcomer_does_not_overtake_a_preempted_reply():
    model, requests = talkers(3, context=200)
    engine = engine_with(model, *requests[:2])
    events = steps(engine, 110)
    engine.submit(requests[2])
    events += run(engine)
    ends = [event.request_id for event in events if isinstance(event, Finished)]
    assert ends == [0, 1, 2]


def test_a_running_state_that_was_preempted_is_read_again():
    model, requests = talkers(2, context=200, can_trim=False)
    events = run(engine_with(model, *requests))
    assert [text_of(events, request.request_id) for request in requests] == [said(request) for request in requests]


# --- cancelling ---


def test_a_waiting_request_can_be_cancelled():
    model = FakeModel({"one": "aaa", "two": "bbb"}, sequences=1)
    engine = engine_with(model, ask(1, "one"), ask(2, "two"))
    engine.step()
    assert end_of(engine.cancel(2), 2).reason is FinishReason.CANCELLED
    assert text_of(run(engine), 2) == ""
    assert len(model.samplers.made) == 1


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
    assert engine.stats().cells_used == 0


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


def test_a_preempted_reply_can_be_cancelled():
    model, requests = talkers(2, context=200)
    engine = engine_with(model, *requests)
    events = steps(engine, 110)
    assert engine.stats().waiting == 1
    events += engine.cancel(1)
    assert said(requests[1]).startswith(text_of(events, 1))
    assert end_of(events, 1).reason is FinishReason.CANCELLED
    assert text_of(events + run(engine), 0) == said(requests[0])


def test_a_request_that_waits_for_a_beginning_can_be_cancelled():
    model = FakeModel({SYSTEM + ONE: "a", SYSTEM + TWO: "b"}, batch=16, context=400)
    engine = engine_with(model, ask(1, SYSTEM + ONE), ask(2, SYSTEM + TWO))
    engine.step()
    assert end_of(engine.cancel(2), 2).prompt_seconds == 0
    assert text_of(run(engine), 1) == "a"


def test_when_the_one_that_reads_a_beginning_is_cancelled_another_reads_on():
    model = FakeModel({SYSTEM + ONE: "a", SYSTEM + TWO: "b"}, batch=16, context=400)
    engine = engine_with(model, ask(1, SYSTEM + ONE), ask(2, SYSTEM + TWO))
    engine.step()
    engine.cancel(1)
    events = run(engine)
    assert text_of(events, 2) == "b"
    assert end_of(events, 2).cached_tokens == 16


def test_what_a_cancelled_request_has_read_is_kept():
    model = FakeModel({ONE: "ok"}, batch=16)
    engine = engine_with(model, ask(1, ONE))
    steps(engine, 3)
    engine.cancel(1)
    assert end_of(run(engine, ask(2, ONE)), 2).cached_tokens == 48


# --- a step that ends early ---


def interrupted_by(model: FakeModel, interrupt: Callable[[], None]) -> None:
    """Let another thread do this during the next decode."""

    def once() -> None:
        model.during_decode = lambda: None
        interrupt()

    model.during_decode = once


def test_a_step_that_reads_a_prompt_can_be_ended_for_a_cancel():
    model = FakeModel({ONE: "ok"}, batch=64)
    engine = engine_with(model, ask(1, ONE))
    interrupted_by(model, lambda: engine.interrupt(1))
    assert engine.step() == []
    assert end_of(engine.cancel(1)).completion_tokens == 0
    assert model.kv.used == 0


def test_after_an_interrupted_step_all_goes_on():
    model = FakeModel({"hi": "well met", ONE: "ok", TWO: "fine"}, batch=32)
    engine = engine_with(model, ask(1, "hi"), ask(2, ONE), ask(3, TWO))
    events = steps(engine, 3)
    interrupted_by(model, lambda: engine.interrupt(2))
    events += [*engine.step(), *engine.cancel(2), *run(engine)]
    assert (text_of(events, 1), text_of(events, 3)) == ("well met", "fine")
    assert decoded(model) < len("hi" + "well met" + ONE + TWO + "fine")


def test_an_interruption_without_a_cancel_only_costs_a_step():
    model = FakeModel({ONE: "ok"}, batch=64)
    engine = engine_with(model, ask(1, ONE))
    interrupted_by(model, lambda: engine.interrupt(1))
    assert text_of(run(engine)) == "ok"
    assert [len(batch[0].tokens) for batch in model.batches] == [64, 36, 1, 1]


@pytest.mark.parametrize("number", [1, 99])
def test_a_step_goes_on_when_it_does_not_read_that_prompt(number):
    model = FakeModel({"hi": "well met", ONE: "ok"}, batch=64)
    engine = engine_with(model, ask(1, "hi"))
    engine.step()
    engine.submit(ask(2, ONE))
    interrupted_by(model, lambda: engine.interrupt(number))
    assert text_of(engine.step(), 1) == "e"


def test_an_interruption_that_comes_too_late_does_nothing():
    model = FakeModel({ONE: "ok"}, batch=64)
    engine = engine_with(model, ask(1, ONE))
    engine.step()
    engine.interrupt(1)
    engine.step()
    assert len(model.batches) == 2


def test_a_running_state_is_never_interrupted():
    model = FakeModel({ONE: "ok"}, batch=64, can_trim=False)
    engine = engine_with(model, ask(1, ONE))
    interrupted_by(model, lambda: engine.interrupt(1))
    assert text_of(run(engine)) == "ok"
    assert decoded(model) == len(ONE + "ok")


def test_a_step_that_makes_up_for_moved_cells_is_not_interrupted():
    older, newer = SYSTEM + ONE + TWO, SYSTEM + TWO + "ok" + THREE[:50]
    model = FakeModel({older: "ok", newer: "fine"}, context=400)
    engine = engine_with(model)
    run(engine, ask(1, older))
    interrupted_by(model, lambda: engine.interrupt(2))
    assert text_of(run(engine, ask(2, newer)), 2) == "fine"


# --- guessing ahead ---


Change = Callable[[list[int]], list[int]]


def all_wrong(guess: list[int]) -> list[int]:
    return [0] * len(guess)


def drafting(
    scripts: Scripts, *requests: Generate, change: Change = list, context: int = 200
) -> tuple[FakeModel, Engine]:
    """A model that foresees up to four tokens of each reply, or what ``change`` makes of them."""
    model = FakeModel(scripts, context=context, draft_room=8)
    drafts = eager_drafts(FakeDrafter(scripts, change), AlwaysPays(4), room=8, context=context)
    return model, engine_with(model, *requests, drafts=drafts)


def test_right_guesses_are_taken_at_once():
    model, engine = drafting({"hi": "abcdefghij"}, ask(1, "hi", max_tokens=10))
    events = run(engine)
    assert [event.text for event in events if isinstance(event, TextPiece)] == ["a", "bcdef", "ghij"]
    assert [event.tokens for event in events if isinstance(event, TextPiece)] == [1, 6, 10]
    assert len(model.batches) == 3


def test_wrong_guesses_change_nothing():
    _, engine = drafting({"hi": "abcdef"}, ask(1, "hi", max_tokens=6), change=all_wrong)
    events = run(engine)
    assert [event.text for event in events if isinstance(event, TextPiece)] == list("abcdef")
    assert (end_of(events).drafted, end_of(events).accepted) == (4 + 3 + 2 + 1, 0)


def test_of_a_guess_the_right_beginning_is_taken():
    _, engine = drafting(
        {"hi": "abcdefgh"}, ask(1, "hi", max_tokens=8), change=lambda guess: [*guess[:2], 0, *guess[3:]]
    )
    events = run(engine)
    assert [event.text for event in events if isinstance(event, TextPiece)] == ["a", "bcd", "efg", "h"]
    assert (end_of(events).drafted, end_of(events).accepted) == (4 + 3, 4)


def test_wrong_guesses_are_not_kept():
    model, engine = drafting({"hi": "abcdef"}, ask(1, "hi"), change=all_wrong)
    run(engine)
    assert model.kv.tokens(0) == tokens_of("hiabcdef")


def test_a_stop_string_inside_a_guess_ends_the_reply():
    model, engine = drafting({"hi": "yes#no more"}, ask(1, "hi", stop=("#",)))
    events = run(engine)
    assert text_of(events) == "yes"
    assert end_of(events).stop_text
    assert model.samplers.made[0].given == end_of(events).completion_tokens == 4
    assert model.kv.tokens(0) == tokens_of("hiyes")


def test_the_end_inside_a_guess_ends_the_reply():
    model, engine = drafting({"hi": [*tokens_of("yes"), END, *tokens_of("no more")]}, ask(1, "hi"))
    events = run(engine)
    assert text_of(events) == "yes"
    assert end_of(events).reason is FinishReason.STOP
    assert model.samplers.made[0].given == 4
    assert model.kv.tokens(0) == tokens_of("hiyes")


@pytest.mark.parametrize("length", range(1, 12))
def test_a_reply_with_guesses_has_the_length_that_was_asked_for(length):
    model, engine = drafting({"hi": "abcdefghijklmnop"}, ask(1, "hi", max_tokens=length))
    events = run(engine)
    assert text_of(events) == "abcdefghijklmnop"[:length]
    assert model.samplers.made[0].given == end_of(events).completion_tokens == length


def test_guesses_stop_at_the_end_of_the_context():
    _, engine = drafting({"hi": "x" * 48}, ask(1, "hi", max_tokens=48), context=50)
    assert text_of(run(engine)) == "x" * 48


def test_a_reply_with_guesses_goes_on_beyond_the_context():
    model, engine = drafting({"hi": TWO}, ask(1, "hi", max_tokens=100, shift=True), context=50)
    assert text_of(run(engine)) == TWO
    assert model.kv.cuts > 0


def test_several_replies_share_the_room_for_guesses():
    scripts = {"one": "a" * 20, "two": "b" * 20, "three": "c" * 20}
    model, engine = drafting(scripts, *(ask(number, prompt) for number, prompt in enumerate(scripts)))
    events = run(engine)
    assert [text_of(events, number) for number in range(3)] == list(scripts.values())
    assert [len(part.tokens) for part in model.batches[1]] == [3, 3, 3]


def test_while_a_prompt_is_read_nothing_is_guessed():
    model, engine = drafting({"hi": "a" * 20, LONG: "ok"}, ask(1, "hi"))
    engine.step()
    engine.submit(ask(2, LONG))
    engine.step()
    assert [len(part.tokens) for part in model.batches[1]] == [1, 4]


def test_guesses_preempt_nobody():
    model, engine = drafting({"hi": "a" * 40, "ho": "b" * 40}, context=84)
    events = run(engine, ask(1, "hi", max_tokens=40), ask(2, "ho", max_tokens=40))
    assert (text_of(events, 1), text_of(events, 2)) == ("a" * 40, "b" * 40)
    assert decoded(model) >= 82
    assert engine.stats().waiting == 0


@pytest.mark.parametrize("seed", range(5))
def test_a_reply_is_the_same_with_guesses_and_without(seed):
    chance = random.Random(seed)
    scripts = {message(name, 10): message(name, 80)[10:] for name in "abc"}
    requests = [ask(number, prompt, max_tokens=60) for number, prompt in enumerate(scripts)]
    _, engine = drafting(
        scripts, *requests, change=lambda guess: guess[: chance.randrange(4)] + [0] * chance.randrange(3)
    )
    plain = run(engine_with(FakeModel(scripts), *requests))
    events = run(engine)
    for number in range(3):
        assert text_of(events, number) == text_of(plain, number)
        assert end_of(events, number).completion_tokens == end_of(plain, number).completion_tokens


def test_what_became_of_the_guesses_is_learned():
    scripts = {"hi": "abcdefgh"}
    right_or_wrong = iter((list, all_wrong))

    def in_turn(guess: list[int]) -> list[int]:
        return next(right_or_wrong)(guess)

    payoff = AlwaysPays(4)
    drafts = eager_drafts(FakeDrafter(scripts, in_turn), payoff, room=8, context=200)
    run(engine_with(FakeModel(scripts, draft_room=8), ask(1, "hi", max_tokens=8), drafts=drafts))
    told = [(step.drafted, step.accepted, step.rejected) for step in payoff.steps]
    assert told == [(4, 4, 0), (1, 0, 1), (0, 0, 0)]


def test_until_a_step_is_known_to_pay_nothing_is_guessed():
    scripts = {"hi": "a" * 60}
    model = FakeModel(scripts, draft_room=8)
    engine = engine_with(model, drafts=Drafts(FakeDrafter(scripts), most=4, room=8, context=200))
    finished = end_of(run(engine, ask(1, "hi", max_tokens=60)))
    assert [len(batch[0].tokens) for batch in model.batches[:17]] == [2, *[1] * 15, 2]
    assert finished.drafted == finished.accepted > 10


def test_the_drafter_hears_when_a_reply_ends():
    scripts = {"hi": "ok"}
    drafter = FakeDrafter(scripts)
    model = FakeModel(scripts, draft_room=8)
    run(engine_with(model, ask(1, "hi"), drafts=Drafts(drafter, most=4, room=8, context=200)))
    assert drafter.forgotten == [0]


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
    model = FakeModel({"fine": "ok"})  # for the odd one there is no script
    engine = engine_with(model, ask(1, "odd"), ask(2, "fine"))
    events = run(engine)
    assert [event.request_id for event in events if isinstance(event, Refused)] == [1]
    assert text_of(events, 2) == "ok"
    assert engine.stats().prompt_tokens == len("fine")


def test_the_stats_tell_running_cells_from_kept_ones():
    model = FakeModel({SYSTEM + ONE: "ok", SYSTEM + TWO: "fine"}, context=400, batch=400)
    engine = engine_with(model)
    run(engine, ask(1, SYSTEM + ONE))
    assert (engine.stats().cells_used, engine.stats().cells_cached) == (0, len(SYSTEM + ONE + "ok"))
    engine.submit(ask(2, SYSTEM + TWO))
    engine.step()
    assert (engine.stats().cells_used, engine.stats().cells_cached) == (len(SYSTEM + TWO), len(ONE + "ok"))


def test_the_stats_count_what_need_not_be_read():
    model = FakeModel({ONE: "ok"})
    engine = engine_with(model)
    for number in (1, 2):
        run(engine, ask(number, ONE))
    assert (engine.stats().prompt_tokens, engine.stats().cached_tokens) == (200, 99)


def test_the_stats_count_the_guesses_of_all_replies():
    _, engine = drafting({"hi": "abcdefghij", "ho": "ABCDEFGHIJ"})
    run(engine, ask(1, "hi", max_tokens=10))
    run(engine, ask(2, "ho", max_tokens=10))
    assert (engine.stats().drafted, engine.stats().accepted) == (14, 14)
