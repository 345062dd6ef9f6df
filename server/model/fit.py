"""How much memory a model will take, and how many of its layers fit a GPU. Used by the engine when it loads a model,
and by the library to forecast that.

Weights are the sums of the file's tensors, the KV cache follows from the layers. The size of what llama.cpp computes in
was found by loading models of four shapes with ``no_alloc`` and holds for them to the megabyte: docs/architecture.md.
"""

from __future__ import annotations

from collections.abc import Sequence

import psutil

from server.events import LoadModel
from server.snapshot import (
    Device,
    DeviceKind,
    Fit,
    Forecast,
    LayerShape,
    MemoryPool,
    MemoryShare,
    ModelFile,
    ModelShape,
)

KV_BYTES = {"f16": 2.0, "q8_0": 34 / 32, "q4_0": 18 / 32}  # for a number; blocks of 32 numbers have a scale
NUMBER = 4  # bytes of a float
MASK_NUMBER = 2
CELLS_AT_ONCE = 256  # llama.cpp rounds a context up to this
UBATCH = 512
STATES = 4  # sequences of a recurrent model at the same time
LIKELY_MORE, LIKELY_BESIDES = 1.1, 1_500_000_000  # for a context of 8192 tokens, buffers, and something for a game
DRIVER = 128 * 2**20  # what a GPU's driver takes besides: a guess


def gpus(devices: Sequence[Device]) -> list[Device]:
    """The devices that layers go to: llama.cpp leaves out an integrated GPU where there is another one."""
    found = [device for device in devices if device.kind is DeviceKind.GPU]
    return found or [device for device in devices if device.kind is DeviceKind.INTEGRATED][:1]


def gpu_memory(devices: Sequence[Device]) -> tuple[int, int]:
    """Bytes of the GPUs' memory that are taken, and all of them."""
    used = gpus(devices)
    total = sum(device.total for device in used)
    return total - sum(device.free for device in used), total


def automatic_layers(shape: ModelShape, spec: LoadModel, devices: Sequence[Device], taken: int = 0) -> int:
    """The most layers that the GPUs have room for, with ``spec.reserve`` and ``taken`` bytes left; 0 without a GPU."""
    used = _used(spec, devices)
    if not used:
        return 0
    free = sum(device.free for device in used) - spec.reserve - taken
    most = len(shape.layers) + 1
    return next((n for n in range(most, 0, -1) if _on_gpus(shape, spec, n, len(used)).all <= free), 0)


def forecast(file: ModelFile, spec: LoadModel, devices: Sequence[Device], taken: int = 0) -> Forecast:
    """Where the model will find room. With ``gpu_layers`` -1 the engine chooses them by :func:`automatic_layers`."""
    shape, used = file.shape, _used(spec, devices)
    whole = len(shape.layers) + 1
    layers = min(spec.gpu_layers, whole) if spec.gpu_layers >= 0 else automatic_layers(shape, spec, devices, taken)
    layers = layers if used else 0
    memory = psutil.virtual_memory()
    share = _in_ram(shape, spec, layers)
    ram = MemoryPool("", memory.total, memory.available, share, reserve=0 if used else spec.reserve)
    if not used:
        return Forecast(Fit.RAM if ram.left >= 0 else Fit.TOO_LARGE, 0, (ram,))
    gpu = MemoryPool(
        used[0].description if len(used) == 1 else f"{len(used)} GPUs",
        sum(device.total for device in used),
        sum(device.free for device in used) - taken,
        _on_gpus(shape, spec, layers, len(used)) if layers else MemoryShare(),
        reserve=spec.reserve,
    )
    fit = Fit.GPU if layers == whole else Fit.SPLIT if layers else Fit.RAM
    # What does not fit into the reserve is the user's wish; what does not fit at all fails.
    fits = gpu.left + gpu.reserve >= 0 and ram.left >= 0
    return Forecast(fit if fits else Fit.TOO_LARGE, layers, (gpu, ram))


def likely(size: int, devices: Sequence[Device]) -> Fit:
    """As :func:`forecast` for a model of which only the ``size`` in bytes is known."""
    need = int(size * LIKELY_MORE) + LIKELY_BESIDES
    on_gpus = sum(device.free for device in gpus(devices))
    if need <= on_gpus:
        return Fit.GPU
    if need > on_gpus + psutil.virtual_memory().available:
        return Fit.TOO_LARGE
    return Fit.SPLIT if on_gpus > need // 4 else Fit.RAM


def _used(spec: LoadModel, devices: Sequence[Device]) -> list[Device]:
    found = gpus(devices)
    if spec.main_gpu >= 0 and not spec.tensor_split:
        return found[spec.main_gpu : spec.main_gpu + 1]
    return found


def _on_gpus(shape: ModelShape, spec: LoadModel, layers: int, count: int) -> MemoryShare:
    """What the last ``layers`` take on ``count`` GPUs, the output layer being the last one."""
    first = max(len(shape.layers) + 1 - layers, 0)
    there = list(enumerate(shape.layers))[first:]
    output = shape.outputs + (shape.inputs if shape.tied else 0)
    weights = [layer.weights - (layer.experts if number < spec.moe_on_cpu else 0) for number, layer in there]
    # Layers are not cut to fill two GPUs to their brims.
    uneven = (count - 1) * max(weights, default=0)
    return MemoryShare(
        weights=sum(weights) + output,
        kv=_kv(spec, [layer for _, layer in there]) if spec.kv_on_gpu else 0,
        buffers=count * (_compute(shape, spec) + DRIVER) + uneven,
    )


def _in_ram(shape: ModelShape, spec: LoadModel, gpu_layers: int) -> MemoryShare:
    """What stays in RAM: the embeddings, the other layers, and what all tokens' probabilities are handed over in."""
    first = max(len(shape.layers) + 1 - gpu_layers, 0)
    weights = [
        layer.weights if number < first else layer.experts if number < spec.moe_on_cpu else 0
        for number, layer in enumerate(shape.layers)
    ]
    cached = shape.layers[:first] if spec.kv_on_gpu else shape.layers
    outputs = shape.outputs if gpu_layers == 0 else 0
    return MemoryShare(
        weights=shape.inputs + outputs + sum(weights),
        kv=_kv(spec, cached),
        buffers=_compute(shape, spec) + _rows(spec) * shape.vocabulary * NUMBER,
    )


def _kv(spec: LoadModel, layers: Sequence[LayerShape]) -> int:
    numbers = sum(layer.keys + layer.values for layer in layers)
    states = sum(layer.state for layer in layers) * STATES * NUMBER
    return int(_cells(spec) * numbers * KV_BYTES[spec.kv_type]) + states


def _compute(shape: ModelShape, spec: LoadModel) -> int:
    """What llama.cpp computes in: the widest point of a layer or the logits, and which cells each token sees."""
    tokens = spec.ubatch or min(spec.batch, UBATCH)
    layer = tokens * NUMBER * (3 * shape.feed_forward + 3 * shape.width + shape.queries)
    logits = _rows(spec) * shape.vocabulary * NUMBER
    attention = tokens * _cells(spec) * MASK_NUMBER
    if spec.flash_attention == "off":
        attention += tokens * _cells(spec) * shape.heads * NUMBER
    return max(layer, logits) + attention


def _rows(spec: LoadModel) -> int:
    """Rows of logits, one for each token that may be drawn in a step."""
    return 2 * spec.sequences + (32 if spec.draft_tokens else 0)


def _cells(spec: LoadModel) -> int:
    return -(-spec.context // CELLS_AT_ONCE) * CELLS_AT_ONCE
