"""Our options in llama.cpp's terms: what a model is loaded with, and what its context is opened with."""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from server.engine.llama.kv_cache import Layout
from server.engine.llama.library import cpu_buffer_type, llama
from server.errors import ModelLoadError
from server.events import LoadModel
from server.model import fit, gguf
from server.snapshot import Device

AUTOMATIC_UBATCH = 512  # llama.cpp's default
FLASH_ATTENTION = {
    "auto": llama.LLAMA_FLASH_ATTN_TYPE_AUTO,
    "on": llama.LLAMA_FLASH_ATTN_TYPE_ENABLED,
    "off": llama.LLAMA_FLASH_ATTN_TYPE_DISABLED,
}
KV_TYPES = {"f16": llama.GGML_TYPE_F16, "q8_0": llama.GGML_TYPE_Q8_0, "q4_0": llama.GGML_TYPE_Q4_0}
EXPERTS = r"\.ffn_(up|down|gate|gate_up)_(ch|)exps"  # llama.cpp's LLM_FFN_EXPS_REGEX

log = logging.getLogger("tavernkeep.engine")


@dataclass(frozen=True)
class ModelParams:
    """llama.cpp's ``native`` struct, and what it points to: ``kept`` must live until the model is loaded."""

    native: Any
    kept: tuple[Any, ...]


class BufferOverride(ctypes.Structure):
    """llama.cpp's ``llama_model_tensor_buft_override``, which llama-cpp-python does not have."""

    _fields_ = [("pattern", ctypes.c_char_p), ("buffer_type", ctypes.c_void_p)]


def gpu_layers(spec: LoadModel, devices: Sequence[Device]) -> int:
    """The layers that go to the GPUs; -1 in the options is as many as fit. One more than the model has is all of it."""
    if not fit.gpus(devices):
        return 0
    shape = gguf.inspect(spec.path).shape
    whole = len(shape.layers) + 1
    if spec.gpu_layers >= 0:
        return min(spec.gpu_layers, whole)
    # The draft model is loaded after this one.
    taken = gguf.inspect(spec.draft_model).size if spec.draft_model and spec.draft_gpu_layers else 0
    chosen = fit.automatic_layers(shape, spec, devices, taken)
    free = sum(device.free for device in fit.gpus(devices)) / 1e9
    stays = spec.reserve / 1e9
    log.info("%d of %d layers go to the GPU: %.1f GB are free, %.1f shall stay so.", chosen, whole, free, stays)
    return chosen


def model_params(spec: LoadModel, on_gpu: int) -> ModelParams:
    """What the model is loaded with, ``on_gpu`` of its layers on GPUs. The back ends must be registered already.

    Raises :class:`ModelLoadError` for options that do not go together, also those of the context: a load takes long.
    """
    if spec.kv_type != "f16" and spec.flash_attention == "off":
        raise ModelLoadError(
            f"A KV cache of the type {spec.kv_type} needs flash attention, which is switched off.",
            "Set flashattention to auto, or quantkv to 0.",
        )
    native = llama.llama_model_default_params()
    native.n_gpu_layers = on_gpu
    native.load_mode = _load_mode(spec)
    if spec.main_gpu >= 0:
        native.main_gpu = spec.main_gpu
        if not spec.tensor_split:  # llama.cpp looks at the main GPU only where the model is not split by layers
            native.split_mode = llama.LLAMA_SPLIT_MODE_NONE
    split, experts, metadata = _tensor_split(spec), _experts_on_cpu(spec), _metadata(spec)
    if split:
        native.tensor_split = split
    if experts:
        native.tensor_buft_overrides = ctypes.addressof(experts)
    if metadata:
        native.kv_overrides = metadata
    return ModelParams(native, (split, experts, metadata))


def context_params(spec: LoadModel, layout: Layout, draft_room: int) -> Any:
    """What the context is opened with."""
    if spec.ubatch and layout.guarded:
        log.info("This model's sliding window needs every batch in one piece; ubatchsize is not used.")
    params = llama.llama_context_default_params()
    params.n_ctx = spec.context
    params.n_batch = spec.batch + layout.sequences + draft_room
    # A guarded cache counts on one micro-batch per batch (see KVCache).
    params.n_ubatch = params.n_batch if layout.guarded else spec.ubatch or min(spec.batch, AUTOMATIC_UBATCH)
    params.n_seq_max = layout.native_sequences
    params.n_outputs_max = max(layout.sequences + draft_room, layout.native_sequences)  # llama.cpp asserts it
    params.n_threads = spec.threads
    params.n_threads_batch = spec.batch_threads or spec.threads
    params.flash_attn_type = FLASH_ATTENTION[spec.flash_attention]
    params.type_k = params.type_v = KV_TYPES[spec.kv_type]
    params.offload_kqv = spec.kv_on_gpu
    params.swa_full = not spec.sliding_window
    params.kv_unified = True
    params.rope_freq_scale = spec.rope_scale
    params.rope_freq_base = spec.rope_base
    return params


def warn_beyond_training(spec: LoadModel, trained: int) -> None:
    """Say that the context is longer than what the model has learned, unless its RoPE is set for that."""
    if spec.context > trained and not spec.rope_scale:
        log.warning(
            "The context of %d tokens is longer than the %d this model was trained for; replies may make no sense"
            " beyond those. Choose a smaller context size, or set ropeconfig.",
            spec.context,
            trained,
        )


def _load_mode(spec: LoadModel) -> int:
    if spec.mlock:
        return int(llama.LLAMA_LOAD_MODE_MMAP_MLOCK if spec.mmap else llama.LLAMA_LOAD_MODE_MLOCK)
    return int(llama.LLAMA_LOAD_MODE_AUTO if spec.mmap else llama.LLAMA_LOAD_MODE_NONE)


def _tensor_split(spec: LoadModel) -> Any:
    """llama.cpp reads as many shares as there can be devices."""
    return (ctypes.c_float * llama.LLAMA_MAX_DEVICES)(*spec.tensor_split) if spec.tensor_split else None


def _experts_on_cpu(spec: LoadModel) -> Any:
    """The overrides of llama.cpp's ``--n-cpu-moe``, or of its ``--cpu-moe`` for all layers; the last one is empty."""
    if not spec.moe_on_cpu:
        return None
    all_layers = spec.moe_on_cpu >= gguf.inspect(spec.path).layers
    patterns = [EXPERTS] if all_layers else [rf"blk\.{layer}{EXPERTS}" for layer in range(spec.moe_on_cpu)]
    overrides = (BufferOverride * (len(patterns) + 1))()
    for override, pattern in zip(overrides, patterns, strict=False):
        override.pattern = pattern.encode()
        override.buffer_type = cpu_buffer_type()
    return overrides


def _metadata(spec: LoadModel) -> Any:
    """The model's trained context in place of what its file says; the last entry is empty."""
    if not spec.native_context:
        return None
    overrides: Any = (llama.llama_model_kv_override * 2)()
    overrides[0].tag = llama.LLAMA_KV_OVERRIDE_TYPE_INT
    overrides[0].key = f"{gguf.inspect(spec.path).architecture}.context_length".encode()
    overrides[0].value.val_i64 = spec.native_context
    return overrides
