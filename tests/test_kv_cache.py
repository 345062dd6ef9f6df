"""The cells of the KV cache: copied, cut, saved and loaded on real contexts, for every kind of memory a model can have.

The models are tiny and have random weights (``tiny_models.py``). They run without flash attention, which sums in 16
bits: then the way a text was read changes their logits by 0.02 at most, one wrong token in a text of 200 by 0.06 at
least, and positions that are off by one by 0.9 (x86-64).
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Iterator
from collections.abc import Sequence as ReadOnly
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from server.engine import scheduler
from server.engine.batch import Batch
from server.engine.drafts import Drafts
from server.engine.llama.kv_cache import BLOCK, MOST_STATES
from server.engine.llama.library import llama
from server.engine.llama.model import LlamaModel
from server.engine.speculation import DraftRequest
from server.errors import TavernkeepError
from server.events import Sampling
from tests import tiny_models
from tests.witness import Prompt, Said, Talk, difference, loaded, logits_at, read

TOLERANCE = 0.05
ROUGH = 0.25  # with flash attention or a quantised cache
WINDOW = 128
CONTEXT = 512
NOTHING = (-1, -1)
WILD = Sampling(temperature=2.0, seed=7)  # greedy, a random model soon repeats one token
PLENTY = 1 << 30

MODELS = {
    "plain": tiny_models.plain(),
    "sliding": tiny_models.sliding_window(WINDOW),
    "short": tiny_models.sliding_window(BLOCK // 2),
    "jumping": tiny_models.jumping_window(),
    "recurrent": tiny_models.recurrent(),
    "hybrid": tiny_models.hybrid(),
    "unrotated": tiny_models.plain("smollm3", layers=4),
}
WINDOW_ONLY = {"sliding_window": True}
FLASH, Q8, Q4 = {"flash_attention": "on"}, {"kv_type": "q8_0"}, {"kv_type": "q4_0"}
cutting = pytest.mark.parametrize("kind", ["plain", "sliding"])
going_on = pytest.mark.parametrize(
    ("kind", "options"),
    [("recurrent", {}), ("hybrid", {}), ("sliding", WINDOW_ONLY), ("short", {})],
    ids=["recurrent", "hybrid", "window only", "short window"],
)


@pytest.fixture
def load(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Iterator[Callable[..., LlamaModel]]:
    """Opens a tiny model, with room for two sequences unless told otherwise."""
    caplog.set_level(logging.INFO, logger="tavernkeep.engine")
    with ExitStack() as stack:

        def load(kind: str, **options: Any) -> LlamaModel:
            file = tmp_path / f"{kind}.gguf"
            file.write_bytes(MODELS[kind])
            exact = {} if "kv_type" in options else {"flash_attention": "off"}
            return stack.enter_context(loaded(file, **{"context": CONTEXT, "sequences": 2, **exact, **options}))

        yield load


def tokens(length: int, seed: int = 0) -> list[int]:
    """A text that nobody has written before."""
    chance = random.Random(seed)
    return [chance.randrange(3, 3 + 256) for _ in range(length)]


def fresh(model: LlamaModel, text: ReadOnly[int]) -> Any:
    """What the model says after a text when it has read nothing else. It has read nothing at all afterwards."""
    model.kv.clear()
    logits = read(model, 0, text)
    model.kv.clear()
    return logits


def positions(model: LlamaModel, slot: int) -> tuple[int, int]:
    """The first and the last position that a slot holds."""
    memory = model.kv._memory
    return llama.llama_memory_seq_pos_min(memory, slot), llama.llama_memory_seq_pos_max(memory, slot)


def assert_fresh(model: LlamaModel, replies: ReadOnly[Said], tolerance: float = TOLERANCE) -> None:
    """Each token was drawn from the logits that a model has which reads the prompt and the reply for the first time."""
    for said in replies:
        model.kv.clear()
        expected = [read(model, 0, said.prompt)]
        for ahead, token in enumerate(said.tokens[:-1]):
            expected.append(read(model, 0, [token], len(said.prompt) + ahead))
        differences = [difference(mine, theirs) for mine, theirs in zip(said.logits, expected, strict=True)]
        assert max(differences) < tolerance


# --- copy, trim, cut, unshare ---


@cutting
def test_a_copy_goes_on_where_its_source_is_long_past(load, kind):
    model, text = load(kind), tokens(300)
    expected = fresh(model, text[:200])
    read(model, 0, text)
    model.kv.copy(0, 1, 199)
    assert (positions(model, 0), positions(model, 1)) == ((0, 299), (0, 198))
    model.kv.forget(0)
    assert positions(model, 0) == NOTHING
    assert difference(read(model, 1, text[199:200], 199), expected) < TOLERANCE


@cutting
def test_what_is_trimmed_can_be_read_in_another_way(load, kind):
    model, text = load(kind), tokens(300)
    other = text[:150] + tokens(40, seed=1)
    expected = fresh(model, other)
    read(model, 0, text)
    model.kv.trim(0, 150)
    assert positions(model, 0) == (0, 149)
    assert difference(read(model, 0, other[150:], 150), expected) < TOLERANCE


@cutting
@pytest.mark.parametrize(
    ("options", "tolerance"), [({}, TOLERANCE), (FLASH, TOLERANCE), (Q8, ROUGH)], ids=["exact", "flash", "q8_0"]
)
def test_moved_cells_say_what_they_said_where_they_were(load, kind, options, tolerance):
    """Models see how far apart tokens are, not where they stand."""
    model, text = load(kind, **options), tokens(300)
    read(model, 0, text[:-1])
    llama.llama_memory_seq_rm(model.kv._memory, 0, 0, 70)
    left_there = read(model, 0, text[-1:], 299)
    without_a_past = fresh(model, text[70:])
    read(model, 0, text[:-1])
    model.kv.cut(0, 0, 70)
    assert positions(model, 0) == (0, 228)
    moved = read(model, 0, text[-1:], 229)
    assert difference(moved, left_there) < tolerance
    assert difference(moved, without_a_past) > 4 * tolerance, "it knows still what was cut out"


@cutting
def test_a_slot_can_be_cut_whose_cells_another_holds(load, kind):
    model, text = load(kind), tokens(220)
    expected = fresh(model, text)
    read(model, 0, text[:-1])
    model.kv.copy(0, 1, 219)
    model.kv.unshare(1, 100, 219)
    model.kv.cut(1, 50, 100)
    assert (positions(model, 0), positions(model, 1)) == ((0, 218), (0, 168))
    assert difference(read(model, 0, text[-1:], 219), expected) < TOLERANCE


# --- save and load ---


@cutting
@pytest.mark.parametrize("options", [{}, FLASH, Q8, Q4], ids=["f16", "flash", "q8_0", "q4_0"])
def test_saved_blocks_come_back_bit_by_bit(load, kind, options):
    model, text = load(kind, **options), tokens(300)
    expected = fresh(model, text)
    read(model, 0, text[:-1])
    ranges = [(0, 128), (128, 256), (256, 299)]
    blocks = [model.kv.save(0, start, end) for start, end in ranges]
    assert positions(model, 0) == (0, 298)
    model.kv.forget(0)
    for (start, end), block in zip(ranges, blocks, strict=True):
        model.kv.load(1, start, end, block)
    assert positions(model, 1) == (0, 298)
    assert [model.kv.save(1, start, end) for start, end in ranges] == blocks
    assert difference(read(model, 1, text[-1:], 299), expected) < (ROUGH if options else TOLERANCE)


@cutting
def test_a_part_of_a_block_leaves_the_other_cells_free(load, kind):
    model, text = load(kind), tokens(CONTEXT)
    expected = fresh(model, text[:51])
    read(model, 0, text[:128])
    block = model.kv.save(0, 0, 128)
    model.kv.forget(0)
    model.kv.load(1, 0, 50, block)
    assert positions(model, 1) == (0, 49)
    assert difference(read(model, 1, text[50:51], 50), expected) < TOLERANCE
    read(model, 0, text[: CONTEXT - 51])


@cutting
def test_a_block_that_finds_no_room_is_refused_and_nothing_is_lost(load, kind):
    model, text = load(kind), tokens(CONTEXT)
    expected = fresh(model, text[:401])
    read(model, 0, text[:400])
    block = model.kv.save(0, 0, 128)
    with pytest.raises(TavernkeepError, match="could not restore 128 tokens"):
        model.kv.load(1, 0, 128, block)
    assert (positions(model, 0), positions(model, 1)) == ((0, 399), NOTHING)
    assert difference(read(model, 0, text[400:401], 400), expected) < TOLERANCE


@cutting
def test_another_texts_block_would_be_seen(load, kind):
    model, text = load(kind), tokens(300)
    expected = fresh(model, text)
    read(model, 1, tokens(128, seed=1))
    foreign = model.kv.save(1, 0, 128)
    model.kv.forget(1)
    read(model, 0, text[:-1])
    own = [model.kv.save(0, start, min(start + BLOCK, 299)) for start in (128, 256)]
    model.kv.forget(0)
    for start, block in zip((0, 128, 256), (foreign, *own), strict=True):
        model.kv.load(0, start, min(start + BLOCK, 299), block)
    assert difference(read(model, 0, text[-1:], 299), expected) > 4 * ROUGH


# --- interrupt ---


@cutting
def test_an_interrupted_batch_can_be_read_again(load, kind):
    model, text, other = load(kind), tokens(60), tokens(51, seed=1)
    expected = fresh(model, text), fresh(model, other)
    read(model, 1, other[:-1])
    batch = Batch(model.batch)
    ends = [batch.add(0, text, 0, logits=True), batch.add(1, other[-1:], 50, logits=True)]
    thread = threading.Thread(target=model.interrupt, args=(True,))
    thread.start()
    thread.join()
    assert not model.decode(batch)
    model.interrupt(False)
    model.kv.forget(0)
    model.kv.trim(1, 50)
    assert (positions(model, 0), positions(model, 1)) == (NOTHING, (0, 49))
    assert model.decode(batch)
    for end, logits in zip(ends, expected, strict=True):
        assert difference(logits_at(model, end), logits) < TOLERANCE


@pytest.mark.parametrize(
    ("kind", "heeded"), [("plain", True), ("sliding", True), ("recurrent", False), ("hybrid", False)]
)
def test_a_prompt_whose_reading_was_interrupted_is_answered_all_the_same(load, monkeypatch, kind, heeded):
    """A memory that cannot be cut would be spoilt by half a batch, so there it is read to the end."""
    model = load(kind)
    talk, decode, done = Talk(model), model.decode, []

    def interrupted_once(batch: Batch) -> bool:
        if len(done) == 1:
            thread = threading.Thread(target=talk.engine.interrupt, args=(1,))
            thread.start()
            thread.join()
        done.append(decode(batch))
        return done[-1]

    monkeypatch.setattr(model, "decode", interrupted_once)
    replies = talk.ask(tuple(tokens(300)), tokens=5, sampling=WILD)
    assert done.count(False) == heeded
    monkeypatch.undo()
    assert_fresh(model, replies)


# --- sliding windows ---


def read_once(model: LlamaModel) -> list[int]:
    read(model, 0, tokens(400))
    return tokens(400)


def emptied(model: LlamaModel) -> list[int]:
    read(model, 0, tokens(300, seed=1))
    model.kv.clear()
    read(model, 3, tokens(60, seed=2))
    read(model, 0, tokens(250))
    return tokens(250)


def forgotten(model: LlamaModel) -> list[int]:
    read(model, 0, tokens(300, seed=1))
    model.kv.forget(0)
    read(model, 0, tokens(250))
    return tokens(250)


def trimmed(model: LlamaModel) -> list[int]:
    read(model, 0, tokens(100) + tokens(200, seed=1))
    model.kv.trim(0, 100)
    read(model, 0, tokens(250)[100:], 100)
    return tokens(250)


def cut(model: LlamaModel) -> list[int]:
    read(model, 0, tokens(300))
    model.kv.cut(0, 0, 100)
    read(model, 0, tokens(400)[300:], 200)
    return []  # nothing that could be read afresh: it still knows what was cut out


def copied(model: LlamaModel) -> list[int]:
    read(model, 1, tokens(400))
    model.kv.copy(1, 0, 400)
    model.kv.forget(1)
    return tokens(400)


def unshared(model: LlamaModel) -> list[int]:
    read(model, 0, tokens(300))
    model.kv.copy(0, 1, 300)
    model.kv.unshare(0, 280, 300)
    model.kv.forget(1)
    read(model, 0, tokens(410)[300:], 300)
    return tokens(410)


def loaded_again(model: LlamaModel) -> list[int]:
    read(model, 1, tokens(384))
    blocks = [model.kv.save(1, start, start + BLOCK) for start in (0, 128, 256)]
    model.kv.forget(1)
    for start, block in zip((0, 128, 256), blocks, strict=True):
        model.kv.load(0, start, start + BLOCK, block)
    return tokens(384)


def press(model: LlamaModel, history: Callable[[LlamaModel], list[int]]) -> tuple[list[int], int]:
    """Have llama.cpp look for free cells in slot 0 before it finds others; the text that this slot held, its length."""
    read(model, 3, tokens(60, seed=2))
    text = history(model)
    _, last = positions(model, 0)
    model.kv.forget(3)
    read(model, 2, tokens(CONTEXT - last - 1, seed=3))
    return text, last + 1


@pytest.mark.parametrize(
    "history",
    [read_once, emptied, forgotten, trimmed, cut, copied, unshared, loaded_again],
    ids=lambda history: history.__name__,
)
def test_what_a_window_has_left_behind_is_kept(load, history):
    model = load("sliding")
    text, length = press(model, history)
    assert positions(model, 0) == (0, length - 1)
    model.kv.forget(2)
    model.kv.trim(0, 200)
    assert not text or difference(read(model, 0, [5], 200), fresh(model, [*text[:200], 5])) < TOLERANCE


def test_it_is_kept_too_when_the_window_jumps(load):
    model = load("jumping", context=17_000, batch=512)
    read(model, 3, tokens(60, seed=1))
    read(model, 1, tokens(6000))
    model.kv.copy(1, 0, 6000)
    model.kv.forget(1)
    read(model, 0, tokens(8300)[6000:], 6000)
    model.kv.forget(3)
    read(model, 2, tokens(model.kv.cells - 8300, seed=2))
    assert positions(model, 0) == (0, 8299)


def test_without_its_guard_it_would_be_lost(load, monkeypatch):
    model = load("sliding")
    monkeypatch.setattr(model.kv._layout, "guarded", False)
    _, length = press(model, read_once)
    first, last = positions(model, 0)
    assert first > 0
    assert last == length - 1


def test_full_pools_ram_and_preemption_with_a_sliding_window(load, monkeypatch):
    monkeypatch.setattr(scheduler, "ROOM_TO_REPLY", 1)
    model = load("sliding", sequences=4)
    talk = Talk(model, cache_ram=PLENTY)
    first, second, third = (tuple(tokens(150, seed)) for seed in range(3))
    begun_like_the_first = first[:140] + tuple(tokens(30, seed=3))
    replies = talk.ask(first, second, third, tokens=60, sampling=WILD)
    assert talk.preempted
    replies += talk.ask(begun_like_the_first, tokens=20, sampling=WILD)
    replies += talk.ask(second, third, first, tokens=10, sampling=WILD)
    assert [reply.cached for reply in replies[3:]] == [140, 149, 149, 149]
    assert talk.engine.stats().ram_used
    assert_fresh(model, replies)


# --- memories that can only go on ---


@going_on
def test_a_prompt_is_read_again_unless_it_goes_on(load, kind, options):
    model = load(kind, **options)
    talk = Talk(model, cache_ram=PLENTY)
    (first,) = talk.ask(tuple(tokens(200)), tokens=20, sampling=WILD)
    (longer,) = talk.ask((*first.prompt, *first.tokens, *tokens(30, seed=1)), tokens=10, sampling=WILD)
    assert longer.cached == 200 + 20 - 1
    (changed,) = talk.ask(longer.prompt[:180] + tuple(tokens(40, seed=2)), tokens=10, sampling=WILD)
    (shorter,) = talk.ask(longer.prompt[:180], tokens=10, sampling=WILD)
    assert (changed.cached, shorter.cached) == (0, 0)
    assert not model.kv.can_trim
    assert not talk.engine.stats().ram_used
    assert_fresh(model, [first, longer, changed, shorter])


@going_on
def test_a_cancelled_prompt_goes_on_from_where_it_was_left(load, kind, options):
    model = load(kind, **options)
    talk, prompt = Talk(model), tuple(tokens(200))
    number = talk.submit(prompt, tokens=10)
    talk.step()
    talk.step()
    talk.note(talk.engine.cancel(number))
    (reply,) = talk.ask(prompt, tokens=10, sampling=WILD)
    assert reply.cached == 2 * model.batch
    assert_fresh(model, [reply])


@going_on
def test_a_preempted_reply_goes_on_all_the_same(load, monkeypatch, kind, options):
    monkeypatch.setattr(scheduler, "ROOM_TO_REPLY", 1)
    model = load(kind, **options, sequences=3)
    monkeypatch.setattr(model.kv, "cells", 400)
    talk = Talk(model)
    replies = talk.ask(*(tuple(tokens(100, seed)) for seed in range(3)), tokens=70, sampling=WILD)
    assert (talk.most_running, talk.preempted > 0) == (3, True)
    assert_fresh(model, replies)


@pytest.mark.parametrize(
    ("kind", "options", "sentence"),
    [
        ("recurrent", {}, "This model keeps a running state: a prompt is read again unless"),
        ("hybrid", {}, "This model keeps a running state: a prompt is read again unless"),
        ("sliding", WINDOW_ONLY, "Only the sliding window is kept: a prompt is read again unless"),
        ("short", {}, "This model's sliding window is very short: a prompt is read again unless"),
        (
            "unrotated",
            {},
            "This model cannot shift its context: where a chat loses its oldest messages it is read again",
        ),
    ],
)
def test_the_log_says_what_a_model_cannot_do(load, caplog, kind, options, sentence):
    load(kind, **options)
    assert sentence in caplog.text


def test_the_log_says_nothing_of_a_model_that_can_do_all(load, caplog):
    load("plain")
    load("sliding")
    assert "read again" not in caplog.text


# --- what is known of a model before its context is opened ---


@pytest.mark.parametrize(
    ("kind", "options", "sequences", "slots", "native"),
    [
        ("plain", {}, 8, 16, 17),
        ("sliding", {}, 8, 16, 33),
        ("plain", {}, 200, 120, 121),
        ("sliding", {}, 200, 120, 241),
        ("sliding", WINDOW_ONLY, MOST_STATES, MOST_STATES, MOST_STATES + 1),
        ("recurrent", {}, MOST_STATES, MOST_STATES, MOST_STATES + 1),
        ("recurrent", {}, 1, 1, 2),
    ],
)
def test_slots_and_the_sequences_that_llama_cpp_is_asked_for(load, *, kind, options, sequences, slots, native):
    model = load(kind, **options, sequences=sequences)
    assert (model.sequences, model.kv.slots) == (sequences, slots)
    assert llama.llama_n_seq_max(model._context) == native


@pytest.mark.parametrize(
    ("kind", "options", "can"),
    [
        ("plain", {}, True),
        ("sliding", {}, True),
        ("plain", {"shift": False}, False),
        ("sliding", WINDOW_ONLY, False),
        ("recurrent", {}, False),
        ("unrotated", {}, False),
    ],
)
def test_which_models_can_shift(load, kind, options, can):
    assert load(kind, **options).kv.can_shift == can


# --- everything at once ---


class Echo:
    """Guesses that the last token comes again, which it often does."""

    def propose(self, requests: ReadOnly[DraftRequest]) -> list[list[int]]:
        return [request.tokens[-1:] * request.most for request in requests]

    def forget(self, slot: int) -> None:
        pass


class Walk:
    """Requests that often begin like earlier ones; some are cancelled, and some batches interrupted."""

    def __init__(self, model: LlamaModel, monkeypatch: pytest.MonkeyPatch, **options: Any) -> None:
        self._model = model
        self._chance = random.Random(1)
        self._decode = model.decode
        self._texts: list[Prompt] = []
        monkeypatch.setattr(model, "decode", self._decode_or_not)
        drafts = Drafts(Echo(), most=4, room=model.draft_room, context=model.context)
        self.talk = Talk(model, clock=lambda: 1.0, drafts=drafts, **options)
        self.interrupted = 0

    def go(self, requests: int) -> list[Said]:
        """What was said to all of them."""
        engine = self.talk.engine
        while requests or not engine.idle:
            if requests and (engine.idle or self._happens(0.3)):
                self._submit()
                requests -= 1
            if self._happens(0.01):
                self.talk.note(engine.cancel(self._chance.choice(list(self.talk.said or [1]))))
            self.talk.step()
            self._check_cells()
        return [said for said in self.talk.said.values() if said.tokens]

    def _happens(self, how_often: float) -> bool:
        return self._chance.random() < how_often

    def _submit(self) -> None:
        begun = ()
        if self.talk.said and self._happens(0.75):
            said = self._chance.choice(list(self.talk.said.values())[-12:])
            text = (*said.prompt, *said.tokens)
            begun = text if self._happens(0.5) else text[: self._chance.randrange(len(text))]
        prompt = (*begun[:320], *tokens(self._chance.randrange(1, 100), seed=self._chance.randrange(1000)))
        sampling = self._chance.choice([WILD, Sampling(temperature=0)])
        self.talk.submit(prompt, tokens=self._chance.choice([3, 20, 60, 90]), sampling=sampling, ban_eos=True)

    def _decode_or_not(self, batch: Batch) -> bool:
        if self._model.kv.can_trim and self._happens(0.03):
            self._model.interrupt(True)
            self.interrupted += 1
        return self._decode(batch)

    def _check_cells(self) -> None:
        for slot in self.talk.engine._cache._slots:
            first, last = positions(self._model, slot.number)
            assert last == len(slot.tokens) - 1
            assert first == min(last, 0) or not self._model.kv.can_trim


@pytest.mark.parametrize(
    ("kind", "options", "ram"),
    [
        ("plain", {}, 1 << 20),
        ("plain", Q8, 0),
        ("sliding", {}, 1 << 20),
        ("sliding", FLASH, PLENTY),
        ("sliding", {"batch": 200, "ubatch": 32}, 0),
        ("sliding", WINDOW_ONLY, PLENTY),
        ("recurrent", {}, PLENTY),
        ("hybrid", {}, PLENTY),
    ],
    ids=["plain", "q8_0", "sliding", "flash", "batches longer than the window", "window only", "recurrent", "hybrid"],
)
def test_on_a_long_walk_nothing_is_ever_mixed_up(load, monkeypatch, *, kind, options, ram):
    monkeypatch.setattr(scheduler, "ROOM_TO_REPLY", 1)
    model = load(kind, **options, sequences=4, draft_tokens=4, prompt_lookup=True, shift=False)
    walk = Walk(model, monkeypatch, cache_ram=ram)
    replies = walk.go(requests=60)
    stats = walk.talk.engine.stats()
    assert walk.talk.preempted
    if model.kv.can_trim:
        assert stats.cached_tokens
        assert walk.interrupted
        assert 0 < stats.accepted < stats.drafted
        assert (stats.ram_used > 0) == (ram > 0)
    monkeypatch.undo()
    assert_fresh(model, replies, ROUGH if options in (FLASH, Q8) else TOLERANCE)
