"""Conversations on disk: they outlive the program, and no file that is not exactly what was written is ever used."""

from __future__ import annotations

import dataclasses
import os
import random
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from server.controller import Controller
from server.engine.kv_states import SLOTS, KVStates, fingerprint
from server.engine.ram_store import BLOCK, Block
from server.errors import TavernkeepError
from server.events import EngineState, KeptState, LoadModel, Sampling
from tests import tiny_models
from tests.conftest import Server, settings_for_tests, small_disk
from tests.witness import Talk, loaded

WILD = Sampling(temperature=2.0, seed=7)  # greedy, a random model soon repeats one token
STORY = (
    "You are Hilda, the innkeeper of the Prancing Boar. The rooms cost four silver coins a night. The soup of the day"
    " is leek and potato. The north road leads to the castle of Arnwald. The river is called the Elm. The blacksmith is"
    " called Goran, and his wife is called Mira. The market is held every Saturday morning. The old tower was built by"
    " King Aldric. The dragon sleeps under the Grey Mountain. The bridge was washed away by the flood last spring."
    " A guest comes in, shakes the rain from his cloak and asks what there is to eat. Hilda looks up and says:"
)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    file = tmp_path / "model.gguf"
    file.write_bytes(os.urandom(300_000))
    return file


def spec(model: Path, **changes: Any) -> LoadModel:
    usual: dict[str, Any] = {"context": 512, "gpu_layers": 0, "threads": 1, "batch": 64, "sequences": 1}
    return LoadModel(str(model), **{**usual, **changes})


@pytest.fixture
def states(tmp_path: Path, model: Path) -> KVStates:
    return KVStates(str(tmp_path / "states"), spec(model))


def blocks_of(*texts: str) -> list[Block]:
    blocks: list[Block] = []
    for text in texts:
        start = blocks[-1].end if blocks else 0
        blocks.append(Block(None, start, tuple(text.encode()), text.upper().encode() * 3))
    return blocks


def plain(blocks: list[Block]) -> list[tuple[Any, ...]]:
    return [(block.start, block.tokens, block.data) for block in blocks]


def the_file(states: KVStates, slot: int = 0) -> Path:
    return states._path(slot)


# --- the file ---


def test_what_is_written_is_read_again(states: KVStates) -> None:
    states.write(3, blocks_of("one thing", "and another"))
    assert plain(states.read(3)) == plain(blocks_of("one thing", "and another"))


def test_each_slot_tells_what_it_holds(states: KVStates) -> None:
    assert states.kept() == (KeptState(),) * SLOTS
    states.write(1, blocks_of("one thing", "and another"))
    assert states.kept()[1] == KeptState(20, the_file(states, 1).stat().st_size)
    assert states.kept()[0] == KeptState()


def test_a_slot_is_written_over_and_cleared(states: KVStates) -> None:
    states.write(0, blocks_of("one"))
    states.write(0, blocks_of("two"))
    assert plain(states.read(0)) == plain(blocks_of("two"))
    states.clear(0)
    states.clear(0)
    with pytest.raises(TavernkeepError, match="Slot 0 holds no state"):
        states.read(0)


@pytest.mark.parametrize("slot", [-1, SLOTS, 10**9])
def test_there_are_no_other_slots(states: KVStates, slot: int) -> None:
    for use in (lambda: states.write(slot, blocks_of("one")), lambda: states.read(slot), lambda: states.clear(slot)):
        with pytest.raises(TavernkeepError, match="numbered from 0"):
            use()


@pytest.mark.skipif(os.name == "nt", reason="Windows keeps the folders of users apart by itself")
def test_nobody_else_can_read_what_was_talked_about(states: KVStates) -> None:
    states.write(0, blocks_of("one"))
    assert stat.S_IMODE(the_file(states).stat().st_mode) == 0o600


def flip(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


def test_a_file_with_any_bit_turned_is_refused(states: KVStates) -> None:
    states.write(0, blocks_of("one thing", "and another"))
    whole = the_file(states).read_bytes()
    for at in range(len(whole)):
        the_file(states).write_bytes(flip(whole, at))
        with pytest.raises(TavernkeepError, match="damaged or of another model"):
            states.read(0)


def test_a_file_of_any_other_length_is_refused(states: KVStates) -> None:
    states.write(0, blocks_of("one thing", "and another"))
    whole = the_file(states).read_bytes()
    for content in (*(whole[:length] for length in range(len(whole))), whole + b"\0", whole + whole):
        the_file(states).write_bytes(content)
        with pytest.raises(TavernkeepError, match="damaged or of another model"):
            states.read(0)


def test_a_file_of_noise_is_an_empty_slot(states: KVStates) -> None:
    states.write(0, blocks_of("one"))
    the_file(states).write_bytes(random.Random(1).randbytes(5000))
    assert states.kept()[0] == KeptState()


def test_a_file_of_another_model_is_refused_wherever_it_lies(states: KVStates, model: Path, tmp_path: Path) -> None:
    other = KVStates(str(tmp_path / "states"), spec(model, kv_type="q8_0"))
    other.write(0, blocks_of("one"))
    assert states.kept()[0] == KeptState()
    states.write(0, blocks_of("two"))
    the_file(states).write_bytes(the_file(other).read_bytes())
    with pytest.raises(TavernkeepError, match="of another model"):
        states.read(0)
    assert states.kept()[0] == KeptState()


def test_a_full_disk_leaves_the_state_that_was_there(states: KVStates) -> None:
    states.write(0, blocks_of("one"))
    with small_disk(20_000), pytest.raises(TavernkeepError, match=r"could not be written to .*slot-0.*: .* Make room"):
        states.write(0, blocks_of("two" * 10_000))
    assert plain(states.read(0)) == plain(blocks_of("one"))
    assert [file.name for file in the_file(states).parent.iterdir()] == ["slot-0.kv"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, model: Path) -> None:
    (tmp_path / "states").write_text("a file, where a folder should be")
    states = KVStates(str(tmp_path / "states"), spec(model))
    with pytest.raises(TavernkeepError, match=r"could not be written .* --statedir"):
        states.write(0, blocks_of("one"))
    with pytest.raises(TavernkeepError):
        states.read(0)
    assert states.kept() == (KeptState(),) * SLOTS


def test_a_model_file_that_is_gone_is_told_of(tmp_path: Path, model: Path) -> None:
    states = KVStates(str(tmp_path), spec(model))
    model.unlink()
    with pytest.raises(TavernkeepError, match="cannot be read any more"):
        states.kept()


# --- which states a model may have ---


def test_the_same_model_elsewhere_with_other_threads_and_another_context_has_the_same_states(
    model: Path, tmp_path: Path
) -> None:
    copied = tmp_path / "copied.gguf"
    copied.write_bytes(model.read_bytes())
    other = spec(copied, threads=4, context=4096, gpu_layers=99, batch=512, cache_ram=5, state_folder="/elsewhere")
    assert fingerprint(other) == fingerprint(spec(model))


@pytest.mark.parametrize(
    "changes",
    [
        {"kv_type": "q8_0"},
        {"flash_attention": "on"},
        {"sliding_window": True},
        {"rope_scale": 0.5},
        {"rope_base": 20000.0},
        {"native_context": 4096},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_what_the_cache_depends_on_makes_other_states(model: Path, changes: dict[str, Any]) -> None:
    assert fingerprint(dataclasses.replace(spec(model), **changes)) != fingerprint(spec(model))


def test_another_file_or_lora_makes_other_states(model: Path, tmp_path: Path) -> None:
    plain = fingerprint(spec(model))
    with_lora = {fingerprint(spec(model, loras=((str(model), scale),))) for scale in (0.5, 1.0)}
    changed, longer, tiny = (tmp_path / name for name in ("changed", "longer", "tiny"))
    changed.write_bytes(flip(model.read_bytes(), -1 % 300_000))
    longer.write_bytes(model.read_bytes() + b"\0")
    tiny.write_bytes(b"a")
    assert len({plain, *with_lora, *map(fingerprint, map(spec, (changed, longer, tiny)))}) == 6


# --- every kind of memory ---


KINDS = {
    "plain": (tiny_models.plain(), {}),
    "sliding window": (tiny_models.sliding_window(128), {}),
    "window only": (tiny_models.sliding_window(128), {"sliding_window": True}),
    "recurrent": (tiny_models.recurrent(), {}),
    "hybrid": (tiny_models.hybrid(), {}),
}


def tokens(length: int, seed: int = 0) -> list[int]:
    chance = random.Random(seed)
    return [chance.randrange(3, 3 + 256) for _ in range(length)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_chat_from_disk_goes_on_as_if_the_program_had_never_ended(kind: str, tmp_path: Path) -> None:
    content, options = KINDS[kind]
    file = tmp_path / "tiny.gguf"
    file.write_bytes(content)
    states = KVStates(str(tmp_path), spec(file))
    with loaded(file, context=512, sequences=2, flash_attention="off", **options) as model:
        talk = Talk(model)
        (first,) = talk.ask(tuple(tokens(200)), tokens=20, sampling=WILD)
        states.write(0, talk.engine.save_state())
        more = (*first.prompt, *first.tokens, *tokens(30, seed=1))
        (went_on,) = talk.ask(more, tokens=10, sampling=WILD)
        talk = Talk(model)
        talk.ask(tuple(tokens(50, seed=2)), tokens=5)
        assert talk.engine.load_state(states.read(0)) == 219
        (from_disk,) = talk.ask(more, tokens=10, sampling=WILD)
    assert from_disk.cached == went_on.cached == 219
    assert from_disk.tokens == went_on.tokens
    assert from_disk.difference(went_on) < 0.05


def test_blocks_that_llama_cpp_refuses_leave_the_engine_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "tiny.gguf"
    file.write_bytes(tiny_models.plain())
    prompt = tuple(tokens(200))
    with loaded(file, context=512, sequences=2, kv_type="q8_0") as model:
        talk = Talk(model)
        talk.ask(prompt, tokens=5)
        foreign = talk.engine.save_state()
    with loaded(file, context=512, sequences=2) as model:
        talk = Talk(model)
        (before,) = talk.ask(prompt, tokens=5)
        with pytest.raises(TavernkeepError, match="could not restore"):
            talk.engine.load_state(foreign)
        (after,) = talk.ask(prompt, tokens=5)
        assert after.cached == len(prompt) - 1
        assert after.tokens == before.tokens
        assert talk.engine.stats().cells_cached == len(prompt) + 4


# --- over HTTP ---


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "states"


def start(server: Server, folder: Path, **changes: Any) -> None:
    server.controller.start(settings_for_tests(**{"admin": True, "statedir": str(folder), **changes}))
    server.wait_for(EngineState.READY)


def say(server: Server, prompt: str, length: int = 12) -> tuple[str, int]:
    """The reply to a prompt, and how much of the prompt was not read."""
    reply = server.post("/api/v1/generate", {"prompt": prompt, "max_length": length, "temperature": 0, "top_k": 1})
    text: str = reply.json["results"][0]["text"]
    cached: int = server.get("/api/extra/perf").json["last_cached_count"]
    return text, cached


def use(server: Server, what: str, body: Any = None) -> Any:
    reply = server.post(f"/api/admin/{what}_state", body)
    assert reply.status == 200
    return reply.json


@pytest.mark.parametrize("cacheram", [2048, 0])
def test_an_npc_remembers_after_the_program_has_ended(own_server: Server, folder: Path, cacheram: int) -> None:
    start(own_server, folder, cacheram=cacheram)
    answer, cached = say(own_server, STORY)
    assert cached == 0
    saved = use(own_server, "save", {"slot": 2})
    assert saved["success"]
    assert saved["new_tokens"] > BLOCK
    assert saved["new_state_size"] > 0
    chat = STORY + answer + " The guest sits down and asks:"
    said = say(own_server, chat)
    own_server.controller.stop()

    server = Server(Controller())
    try:
        start(server, folder, cacheram=cacheram)
        assert use(server, "load", {"slot": 2}) == {"success": True, "new_tokens": saved["new_tokens"]}
        assert say(server, chat) == said
        assert said[1] > BLOCK
        assert server.snapshot().stats.cached_tokens > BLOCK
    finally:
        server.controller.stop()


@pytest.fixture(scope="module")
def keeper(tmp_path_factory: pytest.TempPathFactory, starter_model: Path) -> Iterator[Server]:
    """A server that keeps conversations, with one to save."""
    server = Server(Controller())
    start(server, tmp_path_factory.mktemp("states"), contextsize=1024)
    say(server, STORY, 1)
    yield server
    server.controller.stop()


def test_the_slots_can_be_looked_at_and_cleared(keeper: Server) -> None:
    use(keeper, "clear", {"slot": 1})
    saved = use(keeper, "save", {"slot": 1})
    seen = use(keeper, "check")
    assert list(seen) == ["success", "old_states", "new_state_size", "new_tokens"]
    assert len(seen["old_states"]) == SLOTS
    assert (seen["new_tokens"], seen["new_state_size"]) == (saved["new_tokens"], saved["new_state_size"])
    assert seen["old_states"][1]["tokens"] == saved["new_tokens"]
    assert seen["old_states"][1]["size"] > saved["new_state_size"]
    assert use(keeper, "clear", {"slot": 1}) == {"success": True}
    assert use(keeper, "check")["old_states"][1] == {"tokens": 0, "size": 0}
    empty = use(keeper, "load", {"slot": 1})
    assert (empty["success"], empty["new_tokens"]) == (False, 0)
    assert "Slot 1 holds no state" in empty["error"]


@pytest.mark.parametrize("body", [None, {}, {"slot": None}, {"slot": "0"}, {"slot": 0.0}])
def test_the_first_slot_is_meant_where_none_is_named(keeper: Server, body: Any) -> None:
    use(keeper, "clear", {"slot": 0})
    assert use(keeper, "save", body)["success"]
    assert use(keeper, "check")["old_states"][0]["tokens"]


@pytest.mark.parametrize("slot", [-1, SLOTS, 1e300, "1e999", 1.5, "one", [0], {"slot": 0}])
def test_a_slot_that_is_not_there_never_means_another(keeper: Server, slot: Any) -> None:
    use(keeper, "clear", {"slot": 0})
    for what in ("save", "load", "clear"):
        refused = use(keeper, what, {"slot": slot})
        assert refused["success"] is False
        assert "There is no slot" in refused["error"]
    assert not any(state["tokens"] for state in use(keeper, "check")["old_states"][:1])


def test_a_chat_is_kept_as_far_as_it_is_said(keeper: Server) -> None:
    story = {"prompt": "Once upon a time", "max_length": 900, "temperature": 0, "ban_eos_token": True}
    with keeper.send_raw("/api/extra/generate/stream", story, "Connection: close") as connection:
        received = b""
        while b"token" not in received:
            received += connection.recv(4096)
        saved = use(keeper, "save", {"slot": 4})
        assert saved["success"]
        assert saved["new_tokens"] > 4
        while piece := connection.recv(4096):
            received += piece
    assert b'"finish_reason": "length"' in received, "it was not disturbed"
    keeper.wait_until_quiet()


def test_a_damaged_file_is_refused_and_the_server_goes_on(own_server: Server, folder: Path) -> None:
    start(own_server, folder, contextsize=1024)
    say(own_server, STORY, 1)
    use(own_server, "save", {"slot": 0})
    (file,) = folder.rglob("slot-0.kv")
    file.write_bytes(flip(file.read_bytes(), file.stat().st_size // 2))
    refused = use(own_server, "load", {"slot": 0})
    assert refused["success"] is False
    assert "damaged" in refused["error"]
    assert own_server.snapshot().state is EngineState.READY
    assert say(own_server, STORY, 1)[1] > BLOCK, "what was there is there still"


def test_a_folder_that_cannot_be_written_is_told_of(own_server: Server, folder: Path) -> None:
    folder.write_text("a file, where a folder should be")
    start(own_server, folder, contextsize=512)
    nothing = use(own_server, "save", {"slot": 0})
    assert "no conversation" in nothing["error"]
    say(own_server, "Once upon a time", 1)
    refused = use(own_server, "save", {"slot": 0})
    assert (refused["success"], refused["new_tokens"], refused["new_state_size"]) == (False, 0, 0)
    assert "--statedir" in refused["error"]
    assert use(own_server, "check")["success"]
    assert own_server.get("/health").status == 200


def test_where_nothing_is_reused_nothing_is_kept(own_server: Server, folder: Path) -> None:
    start(own_server, folder, contextsize=512, nofastforward=True)
    say(own_server, "Once upon a time", 1)
    assert use(own_server, "save", {"slot": 0})["success"] is False
    assert use(own_server, "check")["new_tokens"] == 0
