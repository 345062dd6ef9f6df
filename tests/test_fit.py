"""The forecast of memory: against what llama.cpp itself says, and against GPUs that are only told of."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from server.engine.llama import params
from server.engine.llama.library import llama, load_backends
from server.events import LoadModel
from server.model import fit, gguf
from server.snapshot import Device, DeviceKind, Fit, LayerShape, ModelFile, ModelShape
from tests import tiny_models

MIB = 2**20
GB = 10**9
SPEC = LoadModel("/model.gguf", context=8192, gpu_layers=-1, threads=1, batch=512, sequences=16, reserve=GB)
# 32 layers of 200 MB, each with a cache of 4 KB for a token.
BIG = ModelShape(
    layers=(LayerShape(weights=200_000_000, experts=150_000_000, keys=1024, values=1024),) * 32,
    inputs=300_000_000,
    outputs=300_000_000,
    width=4096,
    feed_forward=14336,
    queries=4096,
    heads=32,
    vocabulary=128_000,
)
FILE = ModelFile("/model.gguf", 7 * GB, "llama", "Big", "Q6_K", 32, 131072, "", shape=BIG)


def gpu(free: float, kind: DeviceKind = DeviceKind.GPU) -> Device:
    return Device("CUDA0", "A card", kind, 12 * GB, int(free * GB))


def said_by_llama(path: Path, spec: LoadModel) -> dict[str, float]:
    """MiB of the KV cache and of what is computed in, as llama.cpp plans them without taking the memory."""
    lines: list[str] = []
    callback = llama.llama_log_callback(lambda _level, text, _data: lines.append(text.decode("utf-8", "replace")))
    llama.llama_log_set(callback, None)
    load_backends()
    planned = llama.llama_model_default_params()
    planned.no_alloc, planned.load_mode = True, llama.LLAMA_LOAD_MODE_NONE
    model = llama.llama_model_load_from_file(str(path).encode(), planned)
    assert model, lines[-3:]
    opened = params.context_params(spec, params.Layout(model, spec.sequences, window_only=False), 0)
    context = llama.llama_init_from_model(model, opened)
    llama.llama_free(context)
    llama.llama_model_free(model)
    said = "".join(lines)
    kv = re.findall(r"llama_kv_cache: size = +([\d.]+) MiB", said)
    states = re.findall(r"llama_memory_recurrent: size = +([\d.]+) MiB", said)
    compute = re.findall(r"CPU compute buffer size = +([\d.]+) MiB", said)
    return {"kv": sum(map(float, kv + states)), "compute": float(compute[-1])}


@pytest.mark.parametrize("kv_type", ["f16", "q8_0", "q4_0"])
@pytest.mark.parametrize("context", [2000, 8192, 30000])
def test_the_starter_models_cache_is_what_llama_says(starter_model, context, kv_type):
    spec = replace(SPEC, path=str(starter_model), context=context, kv_type=kv_type)
    share = fit.forecast(gguf.inspect(str(starter_model)), spec, ()).pools[-1].share
    said = said_by_llama(starter_model, spec)
    assert share.kv / MIB == pytest.approx(said["kv"], abs=0.02)
    # Buffers are at least what llama.cpp computes in, and not twice as much.
    assert said["compute"] <= share.buffers / MIB < 2 * said["compute"] + 8


@pytest.mark.parametrize(
    "content", [tiny_models.plain(), tiny_models.sliding_window(8), tiny_models.hybrid(), tiny_models.recurrent()]
)
def test_so_is_the_cache_of_other_kinds_of_memory(tmp_path, content):
    path = tmp_path / "tiny.gguf"
    path.write_bytes(content)
    spec = replace(SPEC, path=str(path), context=16384, sequences=4)
    share = fit.forecast(gguf.inspect(str(path)), spec, ()).pools[-1].share
    assert share.kv / MIB == pytest.approx(said_by_llama(path, spec)["kv"], abs=0.1, rel=0.1)


def test_weights_are_the_files_tensors(starter_model):
    file = gguf.inspect(str(starter_model))
    share = fit.forecast(file, SPEC, ()).pools[-1].share
    assert 0.9 * file.size < share.weights <= file.size


# --- layers for a GPU


# Of the free GB 1 is reserved, 0.26 are buffers and 0.3 the output layer; a layer takes 0.2 and 0.0336 for its cache.
@pytest.mark.parametrize(("free", "layers"), [(12, 33), (9.4, 33), (8, 28), (4, 11), (1.2, 0), (0, 0)])
def test_as_many_layers_go_to_the_gpu_as_leave_the_reserve(free, layers):
    assert fit.automatic_layers(BIG, SPEC, [gpu(free)]) == layers
    forecast = fit.forecast(FILE, SPEC, [gpu(free)])
    if layers:
        assert forecast.pools[0].left >= 0
    if 0 < layers < 33:
        more = fit.forecast(FILE, replace(SPEC, gpu_layers=forecast.gpu_layers + 1), [gpu(free)])
        assert more.pools[0].left < 0


def test_a_larger_reserve_a_longer_context_and_a_draft_model_leave_fewer_layers():
    layers = fit.automatic_layers(BIG, SPEC, [gpu(6)])
    assert fit.automatic_layers(BIG, replace(SPEC, reserve=3 * GB), [gpu(6)]) < layers
    assert fit.automatic_layers(BIG, replace(SPEC, context=32768), [gpu(6)]) < layers
    assert fit.automatic_layers(BIG, SPEC, [gpu(6)], taken=GB) < layers


def test_a_coarser_cache_and_experts_in_ram_leave_more():
    layers = fit.automatic_layers(BIG, SPEC, [gpu(6)])
    assert fit.automatic_layers(BIG, replace(SPEC, kv_type="q4_0"), [gpu(6)]) > layers
    assert fit.automatic_layers(BIG, replace(SPEC, kv_on_gpu=False), [gpu(6)]) > layers
    assert fit.automatic_layers(BIG, replace(SPEC, moe_on_cpu=32), [gpu(6)]) == 33


def test_two_cards_hold_more_than_one_but_less_than_one_of_both_sizes():
    one, two, large = ([gpu(3)], [gpu(3), gpu(3)], [gpu(6)])
    counted = [fit.automatic_layers(BIG, SPEC, devices) for devices in (one, two, large)]
    assert counted == sorted(counted)
    assert len(set(counted)) == 3


def test_the_main_gpu_is_the_only_one_that_counts():
    cards = [gpu(2), gpu(8)]
    assert fit.forecast(FILE, replace(SPEC, main_gpu=1), cards).pools[0].free == 8 * GB
    assert fit.automatic_layers(BIG, replace(SPEC, main_gpu=5), cards) == 0


def test_an_integrated_gpu_counts_only_where_there_is_no_other():
    shared = gpu(16, DeviceKind.INTEGRATED)
    assert fit.gpus([shared, gpu(2)]) == [gpu(2)]
    assert fit.gpus([shared]) == [shared]
    assert fit.gpus([gpu(8, DeviceKind.CPU), gpu(8, DeviceKind.OTHER)]) == []


def test_where_it_fits_is_said(monkeypatch):
    def said(free: float | None, ram: float, **changes: int) -> Fit:
        memory = type("Memory", (), {"total": 64 * GB, "available": int(ram * GB)})
        monkeypatch.setattr(fit.psutil, "virtual_memory", lambda: memory)
        return fit.forecast(FILE, replace(SPEC, **changes), [gpu(free)] if free is not None else []).fit

    assert said(12, 64) is Fit.GPU
    assert said(6, 64) is Fit.SPLIT
    assert said(0.5, 64) is Fit.RAM
    assert said(None, 64) is Fit.RAM
    assert said(None, 7) is Fit.TOO_LARGE
    assert said(6, 1) is Fit.TOO_LARGE
    assert said(6, 64, gpu_layers=33) is Fit.TOO_LARGE
    assert said(6, 64, gpu_layers=0) is Fit.RAM


def test_what_goes_into_the_reserve_by_hand_still_fits(monkeypatch):
    layers = fit.automatic_layers(BIG, SPEC, [gpu(6)]) + 3
    forecast = fit.forecast(FILE, replace(SPEC, gpu_layers=layers), [gpu(6)])
    assert forecast.fit is Fit.SPLIT
    assert forecast.pools[0].left < 0


def test_without_a_gpu_the_engine_puts_no_layer_there():
    assert params.gpu_layers(replace(SPEC, gpu_layers=99), [gpu(8, DeviceKind.CPU)]) == 0


def test_the_engine_counts_by_the_file_and_the_real_devices(starter_model):
    spec = replace(SPEC, path=str(starter_model))
    assert params.gpu_layers(spec, [gpu(8)]) == 31
    assert params.gpu_layers(replace(spec, gpu_layers=99), [gpu(0)]) == 31
    assert params.gpu_layers(replace(spec, gpu_layers=7), [gpu(8)]) == 7
    assert params.gpu_layers(replace(spec, draft_model=str(starter_model)), [gpu(1.5)]) < params.gpu_layers(
        spec, [gpu(1.5)]
    )


def test_a_model_that_is_not_here_yet_is_judged_by_its_size(monkeypatch):
    memory = type("Memory", (), {"total": 16 * GB, "available": 8 * GB})
    monkeypatch.setattr(fit.psutil, "virtual_memory", lambda: memory)
    assert fit.likely(4 * GB, [gpu(8)]) is Fit.GPU
    assert fit.likely(10 * GB, [gpu(8)]) is Fit.SPLIT
    assert fit.likely(4 * GB, []) is Fit.RAM
    assert fit.likely(10 * GB, []) is Fit.TOO_LARGE


def test_what_is_taken_of_the_gpus_memory_is_told():
    assert fit.gpu_memory([gpu(8), gpu(2), gpu(9, DeviceKind.CPU)]) == (14 * GB, 24 * GB)
    assert fit.gpu_memory([gpu(9, DeviceKind.CPU)]) == (0, 0)
