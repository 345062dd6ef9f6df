"""The real model says the same alone, in a batch of eight, from copied, stored or preempted cells, and with drafts.

The order of the cells and the length of a batch change the last bits of llama.cpp's sums. With the 4-bit weights of
the starter model it rounds what goes through a layer to 8 bits too, and thirty layers later such a bit has become up to
1.7 in a logit, so that small mistakes could hide there. Therefore the weights are unpacked to 16 bits, which leaves
0.11 at most (x86-64 with AVX-512, AVX2 and neither). A wrong block of the cache, or positions off by one, make 10.

The replies are such that the best token is always ahead by more than twice the tolerance: it can never change.
"""

from __future__ import annotations

import ctypes
from collections import Counter
from collections.abc import Callable, Iterator
from collections.abc import Sequence as ReadOnly
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from server.engine import scheduler
from server.engine.drafts import Drafts
from server.engine.llama.library import llama, load_backends
from server.engine.llama.model import LlamaModel
from server.engine.speculation import Drafter, DraftRequest, PromptLookupDrafter
from server.events import Thinking
from tests.witness import Prompt, Said, Talk, difference, loaded

TOLERANCE = 0.25
FAR = 10 * TOLERANCE
REPLY = 22
PLENTY = 1 << 30

HILDA = (
    "You are Hilda, the innkeeper of the Prancing Boar. The rooms cost four silver coins a night. The soup of the day"
    " is leek and potato. The north road leads to the castle of Arnwald. The river is called the Elm. The blacksmith is"
    " called Goran, and his wife is called Mira. The market is held every Saturday morning. The old tower was built by"
    " King Aldric. The dragon sleeps under the Grey Mountain. The bridge was washed away by the flood last spring."
)
STRANGER = (
    "The night was cold and the rain had not stopped since noon. Two men sat by the window of the tavern, and neither"
    " spoke. One of them had a scar on his cheek and wore the grey cloak of the mountain guard; the other was young,"
    " and his hands were stained with ink. When the door opened they both looked up, but it was only the boy who"
    " brought the wood. He put it down beside the fire, wiped his face with his sleeve and went out without a word. The"
    " young man poured the last of the wine into his cup and asked how long they would have to wait."
)
SENTENCES = (
    "the rooms cost four silver coins a night, and the market is held every Saturday morning.",
    "the north road leads to the castle of Arnwald, and the bridge over the river was washed away last spring.",
    "the dragon sleeps under the Grey Mountain, and nobody who went there has ever come back to the village.",
    "the soup of the day is leek and potato, and the bread was baked this morning by the wife of the miller.",
    "the blacksmith is called Goran, his wife is called Mira, and their daughter is called Elspeth.",
    "the king is in the garden, the queen is in the kitchen, and the cat is on the roof of the stable.",
    "the wolf and the bear are hungry, the fox is asleep, and the owl is awake in the old oak tree.",
    "the ship sails at dawn, the captain is never late, and the crew sings all the way to the harbour.",
)


@pytest.fixture(scope="module")
def model(starter_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlamaModel]:
    unpacked = tmp_path_factory.mktemp("unpacked") / "starter-f16.gguf"
    load_backends()
    how = llama.llama_model_quantize_default_params()
    how.ftype, how.allow_requantize = llama.LLAMA_FTYPE_MOSTLY_F16, True
    assert llama.llama_model_quantize(bytes(starter_model), bytes(unpacked), ctypes.byref(how)) == 0
    with loaded(unpacked, context=2048, batch=128, draft_tokens=8, prompt_lookup=True) as model:
        yield model
    unpacked.unlink()


@pytest.fixture(scope="module")
def prompts(model: LlamaModel) -> tuple[Prompt, ...]:
    return tuple(chat(model, HILDA, f"Repeat after me: {sentence}") for sentence in SENTENCES)


@pytest.fixture(scope="module")
def alone(model: LlamaModel, prompts: tuple[Prompt, ...]) -> tuple[Said, ...]:
    """The reply to each prompt when nothing else has ever been asked."""
    return tuple(Talk(model, reuse=False).ask(prompt, tokens=REPLY)[0] for prompt in prompts)


@pytest.fixture
def moves(model: LlamaModel, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often cells were copied, saved and loaded."""
    counts: Counter[str] = Counter()

    def counted(name: str, method: Callable[..., Any], *arguments: Any) -> Any:
        counts[name] += 1
        return method(*arguments)

    for name in ("copy", "save", "load"):
        monkeypatch.setattr(model.kv, name, partial(counted, name, getattr(model.kv, name)))
    return counts


@pytest.fixture
def small(model: LlamaModel, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Makes the pool as small as if it had so many cells, and lets replies begin that outgrow it."""

    def shrink(cells: int) -> None:
        monkeypatch.setattr(model.kv, "cells", cells)
        monkeypatch.setattr(scheduler, "ROOM_TO_REPLY", 1)

    return shrink


class HalfRight:
    """Guesses what will be said, but every third token wrong."""

    def __init__(self, replies: ReadOnly[Said]) -> None:
        self._texts = [[*reply.prompt, *reply.tokens] for reply in replies]

    def propose(self, requests: ReadOnly[DraftRequest]) -> list[list[int]]:
        return [self._guess(request.tokens, request.most) for request in requests]

    def forget(self, slot: int) -> None:
        pass

    def _guess(self, tokens: list[int], most: int) -> list[int]:
        text = next(text for text in self._texts if text[: len(tokens)] == tokens)
        ahead = range(len(tokens), min(len(tokens) + most, len(text)))
        return [text[at] if at % 3 else text[at] + 1 for at in ahead]


def drafts(model: LlamaModel, drafter: Drafter) -> Drafts:
    """With a clock that stands still drafts cost nothing, so they are tried once there is something to compare."""
    return Drafts(drafter, most=8, room=model.draft_room, context=model.context)


def chat(model: LlamaModel, system: str, question: str) -> Prompt:
    parts = (f"<|im_start|>{role}\n{text}<|im_end|>\n" for role, text in (("system", system), ("user", question)))
    return tuple(model.vocabulary.tokenize("".join(parts) + "<|im_start|>assistant\n", special=True))


def next_turn(model: LlamaModel, said: Said, sentence: str) -> Prompt:
    text = f"<|im_end|>\n<|im_start|>user\nRepeat after me: {sentence}<|im_end|>\n<|im_start|>assistant\n"
    return (*said.prompt, *said.tokens, *model.vocabulary.tokenize(text, special=False))


def stranger(model: LlamaModel) -> Prompt:
    """A prompt that shares nothing with the others."""
    return tuple(model.vocabulary.tokenize(STRANGER, special=True))


def shared(one: Prompt, other: Prompt) -> int:
    return next(index for index, (mine, theirs) in enumerate(zip(one, other, strict=False)) if mine != theirs)


def assert_same(replies: ReadOnly[Said], references: ReadOnly[Said]) -> None:
    for reply, reference in zip(replies, references, strict=True):
        assert reply.tokens == reference.tokens
        assert reply.difference(reference) < TOLERANCE


# --- what the others are compared with ---


def test_no_token_hangs_on_the_last_bits(model, alone):
    assert min(reply.margin for reply in alone) > 2 * TOLERANCE
    for reply, sentence in zip(alone, SENTENCES, strict=True):
        text = b"".join(map(model.vocabulary.piece, reply.tokens)).decode()
        assert text.lower().startswith(sentence.lower()[:60]), "the model does as it is told"


def test_the_file_as_it_is_says_the_same_words(starter_model, monkeypatch):
    """All ways in one, with replies that even these weights leave no doubt about."""
    with loaded(starter_model, context=2048, batch=128, draft_tokens=8) as model:
        prompts = [chat(model, HILDA, f"Repeat after me: {SENTENCES[index]}") for index in (0, 1, 3, 5, 7)]
        alone = [Talk(model, reuse=False).ask(prompt, tokens=16)[0] for prompt in prompts]
        assert min(said.margin for said in alone) > 1
        monkeypatch.setattr(model.kv, "cells", 240)
        monkeypatch.setattr(scheduler, "ROOM_TO_REPLY", 1)
        talk = Talk(model, clock=lambda: 1.0, cache_ram=PLENTY, drafts=drafts(model, HalfRight(alone)))
        for _ in range(2):
            replies = talk.ask(*prompts, tokens=16)
            assert [said.tokens for said in replies] == [said.tokens for said in alone]
        assert talk.preempted
        assert talk.engine.stats().ram_used
        assert talk.engine.stats().accepted


def test_the_same_way_gives_the_same_bits(model, prompts, alone):
    (again,) = Talk(model, reuse=False).ask(prompts[0], tokens=REPLY)
    assert again.difference(alone[0]) == 0


# --- the ways ---


def test_in_a_batch_of_eight(model, prompts, alone):
    talk = Talk(model, reuse=False)
    assert_same(talk.ask(*prompts, tokens=REPLY), alone)
    assert talk.most_running == 8


def test_in_a_batch_of_eight_that_share_what_the_first_one_reads(model, prompts, alone, moves):
    talk = Talk(model)
    replies = talk.ask(*prompts, tokens=REPLY)
    assert_same(replies, alone)
    assert talk.most_running == 8
    assert [reply.cached for reply in replies[1:]] == [shared(prompts[0], prompt) for prompt in prompts[1:]]
    assert moves == {"copy": 7}


def test_after_a_prefix_was_copied(model, prompts, alone, moves):
    talk = Talk(model)
    for prompt, reference in zip(prompts[:3], alone, strict=False):
        assert_same(talk.ask(prompt, tokens=REPLY), [reference])
    assert moves == {"copy": 2}
    assert talk.said[3].cached == max(shared(prompts[2], other) for other in prompts[:2])


def test_while_the_source_of_its_beginning_becomes_another_prompt(model, prompts, alone, moves):
    talk = Talk(model)
    first, second = talk.submit(prompts[0], tokens=REPLY), talk.submit(prompts[1], tokens=REPLY)
    while second not in talk.said:
        talk.step()
    talk.note(talk.engine.cancel(first))
    third = talk.submit(prompts[2], tokens=REPLY)
    talk.finish()
    assert_same([talk.said[second], talk.said[third]], alone[1:3])
    assert moves == {"copy": 1}, "the third took the first one's slot"


def test_where_a_chat_goes_on(model, prompts, alone, moves):
    (reference,) = Talk(model, reuse=False).ask(next_turn(model, alone[7], SENTENCES[1]), tokens=REPLY)
    assert reference.margin > 2 * TOLERANCE
    talk = Talk(model)
    (first,) = talk.ask(prompts[7], tokens=REPLY)
    (second,) = talk.ask(next_turn(model, first, SENTENCES[1]), tokens=REPLY)
    assert_same([first, second], [alone[7], reference])
    assert second.cached == len(prompts[7]) + REPLY - 1
    assert not moves


def test_when_the_same_is_asked_again(model, prompts, alone, moves):
    talk = Talk(model)
    for expected in (0, len(prompts[0]) - 1):
        (reply,) = talk.ask(prompts[0], tokens=REPLY)
        assert_same([reply], [alone[0]])
        assert reply.cached == expected
    assert not moves


def test_after_a_round_trip_to_ram(model, prompts, alone, moves, small):
    small(220)
    talk = Talk(model, cache_ram=PLENTY)
    talk.ask(prompts[0], tokens=REPLY)
    talk.ask(stranger(model), tokens=1)
    assert talk.engine.stats().ram_used > 0
    (reply,) = talk.ask(prompts[0], tokens=REPLY)
    assert_same([reply], [alone[0]])
    assert reply.cached == len(prompts[0]) - 1
    assert moves["load"] == 2


def test_with_the_beginning_of_another_prompt_from_ram(model, prompts, alone, moves, small):
    small(220)
    talk = Talk(model, cache_ram=PLENTY)
    talk.ask(prompts[0], tokens=REPLY)
    talk.ask(stranger(model), tokens=1)
    (reply,) = talk.ask(prompts[1], tokens=REPLY)
    assert_same([reply], [alone[1]])
    assert reply.cached == shared(prompts[0], prompts[1])
    assert moves["load"] == 1


@pytest.mark.parametrize("options", [{"reuse": False}, {}, {"cache_ram": PLENTY}], ids=["read again", "cells", "RAM"])
def test_after_a_preemption(model, prompts, alone, *, moves, small, options):
    small(480 if options == {"reuse": False} else 230)
    talk = Talk(model, **options)
    assert_same(talk.ask(*prompts[:3], tokens=REPLY), alone[:3])
    assert talk.preempted
    assert (moves["load"] > 0) == ("cache_ram" in options)


@pytest.mark.parametrize("drafter", ["lookup", "half right"])
def test_with_drafts(model, prompts, alone, drafter):
    source: Drafter = PromptLookupDrafter() if drafter == "lookup" else HalfRight(alone)
    talk = Talk(model, clock=lambda: 1.0, drafts=drafts(model, source))
    assert_same(talk.ask(*prompts, tokens=REPLY), alone)
    assert_same(talk.ask(prompts[0], tokens=REPLY), alone[:1])
    assert_same(talk.ask(prompts[1], tokens=REPLY), alone[1:2])
    drafted, accepted = talk.engine.stats().drafted, talk.engine.stats().accepted
    assert talk.most_running == 8
    assert 0 < accepted < drafted
    assert talk.said[2].finished.accepted > 0, "also in the batch of eight"
    assert talk.said[10].finished.accepted > 0, "also alone"


# --- what the engine says in the model's place ---


@pytest.mark.parametrize("budgets", [(5,), (5, 3, 7)], ids=["alone", "in a batch"])
def test_a_thought_that_the_prompt_began_is_closed_when_its_budget_is_used(model, prompts, budgets):
    begun, closing = (model.vocabulary.tokenize(text, special=False) for text in ("<think>\n", "\n</think>\n\n"))
    talk, how = Talk(model), partial(Thinking, (("<think>", "</think>"),), "</think>")
    numbers = [
        talk.submit((*prompt, *begun), tokens=budget + len(closing) + 3, thinking=how(budget))
        for prompt, budget in zip(prompts, budgets, strict=False)
    ]
    talk.finish()
    for said, budget in zip(map(talk.said.get, numbers), budgets, strict=True):
        assert said.tokens[budget : budget + len(closing)] == closing
        assert len(said.logits) == budget + 3, "nobody drew the others"
        assert said.finished.completion_tokens == len(said.tokens) == budget + len(closing) + 3


# --- that a mistake would be seen ---


def test_another_prompts_block_would_be_seen(model, prompts, alone, monkeypatch, small):
    small(300)
    talk = Talk(model, cache_ram=PLENTY)
    talk.ask(prompts[0], tokens=REPLY)
    talk.ask(stranger(model) * 2, tokens=1)
    load, foreign = model.kv.load, model.kv.save(1, 0, 128)

    def load_wrongly(slot: int, start: int, end: int, data: bytes) -> None:
        load(slot, start, end, data if start else foreign)

    monkeypatch.setattr(model.kv, "load", load_wrongly)
    (reply,) = talk.ask(prompts[0], tokens=1)
    assert reply.cached == len(prompts[0]) - 1
    assert difference(reply.logits[0], alone[0].logits[0]) > FAR


def test_positions_that_are_off_by_one_would_be_seen(model, prompts, alone, monkeypatch):
    talk = Talk(model)
    talk.ask(prompts[0], tokens=REPLY)
    trim = model.kv.trim

    def trim_and_move(slot: int, length: int) -> None:
        trim(slot, length - 1)
        llama.llama_memory_seq_add(model.kv._memory, slot, 0, -1, 1)

    monkeypatch.setattr(model.kv, "trim", trim_and_move)
    (reply,) = talk.ask(prompts[0], tokens=1)
    assert difference(reply.logits[0], alone[0].logits[0]) > FAR


def test_a_token_that_is_missing_would_be_seen(model, prompts, alone):
    talk = Talk(model)
    talk.ask(prompts[0], tokens=REPLY)
    llama.llama_memory_seq_rm(model.kv._memory, 0, 0, 1)
    (reply,) = talk.ask(prompts[0], tokens=1)
    assert difference(reply.logits[0], alone[0].logits[0]) > FAR
