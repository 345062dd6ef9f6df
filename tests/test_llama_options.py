"""Options from the settings to llama.cpp: what the engine is told, the structs that come of it, and a real model."""

import ctypes
import logging
import re
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from server import loading
from server.engine.batch import Batch
from server.engine.llama import library, params
from server.engine.llama.library import NativeLog, llama
from server.engine.llama.model import LlamaModel
from server.errors import ModelLoadError
from server.events import EngineState, LoadModel
from server.loading import SEQUENCES, load_command
from server.settings import Settings
from tests.conftest import settings_for_tests
from tests.test_gguf import FLOAT32, STRING, UINT32, tiny

F32 = 0
WIDTH = 576  # of the starter model
RANK = 4


# --- from the settings to the engine's command ---


def test_the_engine_is_told_what_the_settings_say():
    settings = Settings(
        model="/a.gguf",
        contextsize=4096,
        gpulayers=7,
        threads=3,
        blasthreads=5,
        blasbatchsize=256,
        ubatchsize=128,
        flashattention="on",
        quantkv=1,
        lowvram=True,
        usemmap=False,
        usemlock=True,
        tensor_split=(3.0, 1.0),
        maingpu=1,
        moecpu=9,
        ropeconfig=(0.5, 20000.0),
        overridenativecontext=2048,
        lora=("/b.gguf", "/c.gguf"),
        loramult=0.5,
        useswa=True,
        nofastforward=True,
        noshift=True,
        cacheram=3,
        draftmodel="/d.gguf",
        draftamount=4,
        draftgpulayers=2,
        lowpriority=True,
        statedir="/states",
        reservevram=2.5,
    )
    assert load_command(settings) == LoadModel(
        path="/a.gguf",
        context=4096,
        gpu_layers=7,
        threads=3,
        batch=256,
        sequences=SEQUENCES,
        batch_threads=5,
        ubatch=128,
        flash_attention="on",
        kv_type="q8_0",
        kv_on_gpu=False,
        mmap=False,
        mlock=True,
        tensor_split=(3.0, 1.0),
        main_gpu=1,
        moe_on_cpu=9,
        rope_scale=0.5,
        rope_base=20000.0,
        native_context=2048,
        loras=(("/b.gguf", 0.5), ("/c.gguf", 0.5)),
        sliding_window=True,
        reuse=False,
        shift=False,
        cache_ram=3 * 1024 * 1024,
        draft_model="/d.gguf",
        draft_tokens=4,
        draft_gpu_layers=2,
        low_priority=True,
        state_folder="/states",
        reserve=2_500_000_000,
    )


def test_the_defaults_leave_everything_to_llama_cpp():
    told = load_command(Settings(model="/a.gguf", threads=2))
    plain = LoadModel("/a.gguf", context=8192, gpu_layers=-1, threads=2, batch=512, sequences=SEQUENCES)
    kept = {"cache_ram": 2048 * 1024 * 1024, "state_folder": told.state_folder, "reserve": 10**9}
    assert told == replace(plain, **kept)


def test_conversations_are_kept_in_the_users_data_unless_another_folder_is_chosen(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    kept = Path(load_command(Settings()).state_folder)
    assert kept.is_absolute()
    assert "tavernkeep" in kept.parts
    assert load_command(Settings(statedir="here")).state_folder == str(Path("here").absolute())


@pytest.mark.parametrize(("quantkv", "kv_type"), [(0, "f16"), (1, "q8_0"), (2, "q4_0")])
def test_the_kv_cache_has_koboldcpps_numbers(quantkv, kv_type):
    assert load_command(Settings(quantkv=quantkv)).kv_type == kv_type


@pytest.mark.parametrize(
    ("ropeconfig", "told"),
    [((), (0.0, 0.0)), ((0.0, 10000.0), (0.0, 0.0)), ((0.5,), (0.5, 0.0)), ((0.5, 20000.0), (0.5, 20000.0))],
)
def test_a_rope_base_counts_only_with_a_scale(ropeconfig, told):
    command = load_command(Settings(ropeconfig=ropeconfig))
    assert (command.rope_scale, command.rope_base) == told


@pytest.mark.parametrize(
    ("settings", "tokens"),
    [(Settings(), 0), (Settings(draftamount=4), 0), (Settings(promptlookup=True), 8), (Settings(draftmodel="/a"), 8)],
    ids=["nothing", "amount", "lookup", "model"],
)
def test_tokens_are_guessed_only_where_something_guesses_them(settings, tokens):
    assert load_command(settings).draft_tokens == tokens


@pytest.mark.parametrize(
    ("cores", "usual", "beside_a_game"), [(1, 1, 1), (2, 2, 1), (3, 3, 1), (4, 3, 2), (8, 7, 4), (16, 15, 8)]
)
def test_automatic_threads_leave_room_for_a_game(monkeypatch, cores, usual, beside_a_game):
    monkeypatch.setattr(loading.psutil, "cpu_count", lambda logical: cores)
    monkeypatch.setattr(loading.os, "sched_getaffinity", lambda _: set(range(2 * cores)), raising=False)
    assert load_command(Settings()).threads == usual
    assert load_command(Settings(gamemode=True)).threads == beside_a_game


def test_game_mode_lowers_the_priority_and_leaves_chosen_threads():
    told = load_command(Settings(gamemode=True, threads=6))
    assert (told.game_mode, told.low_priority, told.threads) == (True, True, 6)


@pytest.mark.parametrize("option", ["lora", "draftmodel"])
def test_a_file_that_is_missing_is_named_before_an_engine_starts(own_server, tmp_path, option):
    path = str(tmp_path / "none.gguf")
    own_server.controller.start(settings_for_tests(**{option: (path,) if option == "lora" else path}))
    assert own_server.snapshot().state is EngineState.FAILED
    assert own_server.snapshot().sentence == f"{option}: There is no file {path}. Check --{option}."


# --- from the command to llama.cpp's structs ---


SPEC = LoadModel("none.gguf", context=512, gpu_layers=0, threads=2, batch=64, sequences=1)
LAYOUT = SimpleNamespace(sequences=4, native_sequences=9, guarded=False)
GUARDED = SimpleNamespace(sequences=4, native_sequences=17, guarded=True)


def context_params(layout: Any = LAYOUT, draft_room: int = 0, **changes: Any) -> Any:
    return params.context_params(replace(SPEC, **changes), layout, draft_room)


def model_params(**changes: Any) -> params.ModelParams:
    spec = replace(SPEC, **changes)
    return params.model_params(spec, spec.gpu_layers)


@pytest.fixture
def model_file(tmp_path: Path) -> str:
    file = tmp_path / "tiny.gguf"
    file.write_bytes(tiny())
    return str(file)


def test_without_options_the_structs_are_llama_cpps_own():
    native, usual = model_params(gpu_layers=-1).native, llama.llama_model_default_params()
    assert not any((native.tensor_buft_overrides, native.tensor_split, native.kv_overrides))
    for name in ("n_gpu_layers", "split_mode", "load_mode", "main_gpu"):
        assert getattr(native, name) == getattr(usual, name), name
    opened, usual = context_params(), llama.llama_context_default_params()
    for name in ("flash_attn_type", "type_k", "type_v", "offload_kqv", "rope_freq_base", "rope_freq_scale"):
        assert getattr(opened, name) == getattr(usual, name), name


def test_the_context_has_room_for_a_batch_and_one_token_of_each_sequence():
    opened = context_params(draft_room=32)
    assert (opened.n_ctx, opened.n_batch, opened.n_ubatch) == (512, 64 + 4 + 32, 64)
    assert (opened.n_seq_max, opened.n_outputs_max) == (9, 4 + 32)
    assert context_params().n_outputs_max == 9
    assert opened.kv_unified


@pytest.mark.parametrize(("ubatch", "batch", "computed"), [(0, 64, 64), (0, 2048, 512), (128, 2048, 128), (16, 64, 16)])
def test_the_micro_batch_is_automatic_or_chosen(ubatch, batch, computed):
    assert context_params(ubatch=ubatch, batch=batch).n_ubatch == computed


def test_a_guarded_cache_gets_whole_batches(caplog):
    with caplog.at_level(logging.INFO, logger="tavernkeep.engine"):
        assert context_params(GUARDED, batch=2048, ubatch=128).n_ubatch == 2048 + 4
    assert "ubatchsize is not used" in caplog.text


@pytest.mark.parametrize(("batch_threads", "reading"), [(0, 2), (1, 1), (8, 8)])
def test_prompts_are_read_with_as_many_threads_unless_told(batch_threads, reading):
    opened = context_params(batch_threads=batch_threads)
    assert (opened.n_threads, opened.n_threads_batch) == (2, reading)


@pytest.mark.parametrize(("choice", "number"), [("auto", -1), ("off", 0), ("on", 1)])
def test_flash_attention_has_llama_cpps_numbers(choice, number):
    assert context_params(flash_attention=choice).flash_attn_type == number


@pytest.mark.parametrize(("kv_type", "number"), [("f16", 1), ("q8_0", 8), ("q4_0", 2)])
def test_keys_and_values_have_the_same_type(kv_type, number):
    opened = context_params(kv_type=kv_type)
    assert (opened.type_k, opened.type_v) == (number, number)


@pytest.mark.parametrize("kv_type", ["q8_0", "q4_0"])
def test_a_quantised_kv_cache_without_flash_attention_is_refused_before_the_load(kv_type):
    with pytest.raises(ModelLoadError) as caught:
        model_params(kv_type=kv_type, flash_attention="off")
    assert str(caught.value) == (
        f"A KV cache of the type {kv_type} needs flash attention, which is switched off."
        " Set flashattention to auto, or quantkv to 0."
    )


def test_the_other_options_of_a_context_stand_in_its_struct():
    opened = context_params(kv_on_gpu=False, sliding_window=True, rope_scale=0.5, rope_base=20000.0)
    assert (opened.offload_kqv, opened.swa_full) == (False, False)
    assert (opened.rope_freq_scale, opened.rope_freq_base) == (0.5, 20000.0)
    assert context_params().swa_full


@pytest.mark.parametrize(
    ("mmap", "mlock", "mode"),
    [
        (True, False, llama.LLAMA_LOAD_MODE_AUTO),
        (True, True, llama.LLAMA_LOAD_MODE_MMAP_MLOCK),
        (False, False, llama.LLAMA_LOAD_MODE_NONE),
        (False, True, llama.LLAMA_LOAD_MODE_MLOCK),
    ],
)
def test_mapping_and_locking_choose_the_load_mode(mmap, mlock, mode):
    assert model_params(mmap=mmap, mlock=mlock).native.load_mode == mode


def test_shares_of_the_gpus_fill_the_array_that_llama_cpp_reads():
    shares = model_params(tensor_split=(3.0, 1.0)).native.tensor_split[: llama.LLAMA_MAX_DEVICES]
    assert shares == [3.0, 1.0] + [0.0] * (llama.LLAMA_MAX_DEVICES - 2)


def test_as_many_shares_can_be_set_as_llama_cpp_has_room_for():
    with pytest.raises(Exception, match="the most is"):
        Settings(tensor_split=(1.0,) * (llama.LLAMA_MAX_DEVICES + 1))
    assert model_params(tensor_split=Settings(tensor_split=(1.0,) * llama.LLAMA_MAX_DEVICES).tensor_split)


def test_a_main_gpu_holds_the_whole_model_unless_it_is_split():
    alone, split = model_params(main_gpu=1).native, model_params(main_gpu=1, tensor_split=(3.0, 1.0)).native
    assert (alone.main_gpu, alone.split_mode) == (1, llama.LLAMA_SPLIT_MODE_NONE)
    assert (split.main_gpu, split.split_mode) == (1, llama.LLAMA_SPLIT_MODE_LAYER)


def overrides_of(prepared: params.ModelParams) -> list[params.BufferOverride]:
    array = ctypes.cast(prepared.native.tensor_buft_overrides, ctypes.POINTER(params.BufferOverride))
    found = []
    while array[len(found)].pattern:
        found.append(array[len(found)])
    return found


def test_experts_of_the_first_layers_stay_in_ram(model_file):
    library.load_backends()
    prepared = model_params(path=model_file, moe_on_cpu=1)
    (first,) = overrides_of(prepared)
    assert first.buffer_type == library.cpu_buffer_type()
    pattern = first.pattern.decode()
    assert all(re.search(pattern, f"blk.0.ffn_{part}_exps.weight") for part in ("up", "down", "gate", "gate_up"))
    assert not any(re.search(pattern, name) for name in ("blk.1.ffn_up_exps.weight", "blk.0.ffn_up.weight"))
    assert not re.search(pattern, "blk.10.ffn_up_exps.weight")


@pytest.mark.parametrize("layers", [2, 999])
def test_experts_of_all_layers_need_one_pattern(model_file, layers):
    library.load_backends()
    prepared = model_params(path=model_file, moe_on_cpu=layers)
    (every,) = overrides_of(prepared)
    assert all(re.search(every.pattern.decode(), f"blk.{layer}.ffn_down_exps.weight") for layer in (0, 1, 60))


def test_another_trained_context_is_an_override_of_the_files_own(model_file):
    prepared = model_params(path=model_file, native_context=4096)
    override, end = prepared.native.kv_overrides[0], prepared.native.kv_overrides[1]
    assert (override.tag, override.key, override.value.val_i64) == (0, b"llama.context_length", 4096)
    assert end.key == b""


@pytest.mark.parametrize(
    ("context", "changes", "warned"),
    [(512, {}, False), (513, {}, True), (513, {"rope_scale": 0.5}, False)],
    ids=["as trained", "longer", "longer with RoPE"],
)
def test_a_context_longer_than_trained_is_warned_of(caplog, context, changes, warned):
    params.warn_beyond_training(replace(SPEC, context=context, **changes), 512)
    assert ("longer than the 512 this model was trained for" in caplog.text) is warned


# --- with the real model ---


@pytest.fixture(scope="module")
def native_log() -> Iterator[NativeLog]:
    yield NativeLog()
    llama.llama_log_set(llama.llama_log_callback(), None)  # llama.cpp keeps a pointer to what ends with this module


class Loaded:
    """The starter model with one prompt read: what it said, and the logits for its first token."""

    def __init__(self, spec: LoadModel, native_log: NativeLog) -> None:
        self.model = LlamaModel(spec, native_log, lambda _: None)
        said = self.read("The capital of France is", tokens=4)
        self.text = b"".join(self.model.vocabulary.piece(token) for token, _ in said).decode()
        self.logits = said[0][1]
        self.micro_batch = llama.llama_n_ubatch(self.model._context)

    def read(self, text: str, tokens: int) -> list[tuple[int, npt.NDArray[np.float32]]]:
        said: list[tuple[int, npt.NDArray[np.float32]]] = []
        batch, new, position = Batch(self.model.batch), self.model.vocabulary.tokenize(text, special=True), 0
        for _ in range(tokens):
            batch.clear()
            index = batch.add(0, new, position, logits=True)
            assert self.model.decode(batch)
            pointer = llama.llama_get_logits_ith(self.model._context, index)
            logits = np.ctypeslib.as_array(pointer, (self.model.vocabulary.size,)).copy()
            position += len(new)
            new = [int(logits.argmax())]
            said.append((new[0], logits))
        return said

    def close(self) -> None:
        llama.llama_free(self.model._context)
        llama.llama_model_free(self.model._model)


@pytest.fixture(scope="module")
def load(starter_model, native_log):
    def load(**changes: Any) -> Loaded:
        spec = LoadModel(str(starter_model), context=256, gpu_layers=0, threads=1, batch=64, sequences=1)
        loaded = Loaded(replace(spec, **changes), native_log)
        loaded.close()
        return loaded

    return load


@pytest.fixture(scope="module")
def plain(load) -> Loaded:
    loaded: Loaded = load()
    return loaded


def test_the_plain_model_answers(plain):
    assert plain.text.startswith(" Paris")
    assert plain.micro_batch == 64


@pytest.mark.parametrize(
    "changes",
    [
        {"kv_type": "q8_0"},
        {"kv_type": "q4_0"},
        {"flash_attention": "off"},
        {"flash_attention": "on", "kv_type": "q8_0"},
    ],
    ids=str,
)
def test_less_exact_attention_gives_other_numbers_and_a_sensible_answer(load, plain, changes):
    loaded = load(**changes)
    assert loaded.text.startswith(" Paris")
    assert not np.array_equal(loaded.logits, plain.logits)


@pytest.mark.parametrize(
    "changes",
    [
        {"mmap": False},
        {"mlock": True},
        {"flash_attention": "on", "kv_on_gpu": False, "batch_threads": 2},
        {"ubatch": 16, "main_gpu": 0},
        {"tensor_split": (3.0, 1.0), "moe_on_cpu": 3, "native_context": 2048},
    ],
    ids=str,
)
def test_where_things_lie_does_not_change_the_answer(load, plain, changes):
    loaded = load(**changes)
    assert loaded.text == plain.text
    assert loaded.micro_batch == changes.get("ubatch", 64)


def test_another_rope_changes_what_the_model_sees(load, plain):
    assert np.abs(load(rope_scale=0.5, rope_base=10000.0).logits - plain.logits).max() > 1


def test_the_native_context_decides_what_is_too_long(load, caplog):
    assert load(native_context=128).model.info.trained_context == 128
    assert "longer than the 128 this model was trained for" in caplog.text


def test_where_a_main_gpu_was_chosen_a_failed_load_points_to_it(load, model_file):
    with pytest.raises(ModelLoadError, match=r"could not load tiny\.gguf.*Check maingpu: GPUs are counted from 0\."):
        load(path=model_file, main_gpu=3)


# --- LoRA ---


@pytest.fixture
def lora(tmp_path):
    def lora(strength: float, width: int = WIDTH, kind: str = "adapter") -> str:
        """An adapter for the first layer's attention: random numbers of which ``strength`` decides the effect."""
        name = "blk.0.attn_output.weight"
        metadata = {
            "general.type": (STRING, kind),
            "general.architecture": (STRING, "llama"),
            "general.alignment": (UINT32, 32),
            "adapter.type": (STRING, "lora"),
            "adapter.lora.alpha": (FLOAT32, float(RANK)),
        }
        down = np.random.default_rng(0).normal(0, 1, width * RANK)
        up = np.random.default_rng(1).normal(0, 1, width * RANK) * strength
        tensors = [
            (f"{name}.lora_a", (width, RANK), F32, 0),
            (f"{name}.lora_b", (RANK, width), F32, 4 * len(down)),
        ]
        numbers = [*down, *up]
        file = tmp_path / f"lora{strength}.gguf"
        file.write_bytes(tiny(metadata, tensors, data_bytes=0) + struct.pack(f"<{len(numbers)}f", *numbers))
        return str(file)

    return lora


def test_a_lora_without_effect_changes_nothing(load, plain, lora):
    loaded = load(loras=((lora(0.0), 1.0),))
    assert np.array_equal(loaded.logits, plain.logits)


def test_a_lora_changes_the_answer_by_its_scale(load, plain, lora):
    strong, weak = load(loras=((lora(1.0), 1.0),)), load(loras=((lora(1.0), 0.0001),))
    assert strong.text != plain.text
    assert np.abs(strong.logits - plain.logits).max() > 1 > np.abs(weak.logits - plain.logits).max() > 0


def test_loras_add_up(load, plain, lora):
    # The second takes back what the first adds.
    both = load(loras=((lora(1.0), 0.5), (lora(-1.0), 0.5)))
    assert both.text == plain.text
    assert np.abs(both.logits - plain.logits).max() < 1


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        ({"strength": 1.0, "width": 64}, "has incorrect shape"),
        ({"strength": 1.0, "kind": "model"}, "expect general.type to be 'adapter', but got: model"),
    ],
    ids=["shape", "kind"],
)
def test_a_lora_that_does_not_fit_gives_one_sentence(load, lora, made, reason):
    with pytest.raises(ModelLoadError) as caught:
        load(loras=((lora(**made), 1.0),))
    sentence = str(caught.value)
    assert sentence.startswith("The LoRA lora1.0.gguf cannot be used with SmolLM2-135M-Instruct.Q4_1.gguf: ")
    assert reason in sentence
    assert sentence.endswith("Choose a LoRA that was made for this model.")
    assert "\n" not in sentence
