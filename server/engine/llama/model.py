"""A loaded model with its context: decode batches, and say what the model is."""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from server.engine.batch import Batch
from server.engine.llama.kv_cache import KVCache, Layout
from server.engine.llama.library import NativeLog, architecture, llama, load_backends
from server.engine.llama.params import context_params, gpu_layers, model_params, warn_beyond_training
from server.engine.llama.samplers import Samplers
from server.engine.llama.vocabulary import Vocabulary
from server.errors import ModelLoadError, TavernkeepError
from server.events import LoadModel, ModelInfo
from server.snapshot import Device

DRAFT_ROOM = 32
LONGEST_NUMBER = 64
RECOMMENDED = {  # llama.cpp's key for general.sampling.*, and our name
    llama.LLAMA_MODEL_META_KEY_SAMPLING_TOP_K: "top_k",
    llama.LLAMA_MODEL_META_KEY_SAMPLING_TOP_P: "top_p",
    llama.LLAMA_MODEL_META_KEY_SAMPLING_MIN_P: "min_p",
    llama.LLAMA_MODEL_META_KEY_SAMPLING_XTC_PROBABILITY: "xtc_probability",
    llama.LLAMA_MODEL_META_KEY_SAMPLING_XTC_THRESHOLD: "xtc_threshold",
    llama.LLAMA_MODEL_META_KEY_SAMPLING_TEMP: "temperature",
    llama.LLAMA_MODEL_META_KEY_SAMPLING_PENALTY_LAST_N: "rep_pen_range",
    llama.LLAMA_MODEL_META_KEY_SAMPLING_PENALTY_REPEAT: "rep_pen",
    llama.LLAMA_MODEL_META_KEY_SAMPLING_MIROSTAT: "mirostat",
    llama.LLAMA_MODEL_META_KEY_SAMPLING_MIROSTAT_TAU: "mirostat_tau",
    llama.LLAMA_MODEL_META_KEY_SAMPLING_MIROSTAT_ETA: "mirostat_eta",
}
INTERRUPTED = 2


class LlamaModel:
    """A loaded model with one context, whose KV cache is one pool for up to ``sequences`` running sequences.

    ``batch`` prompt tokens and, besides, one token of each sequence and ``draft_room`` guessed ones go into a step.
    ``threads``, for generation, may be changed between steps.
    ``on_progress`` is called with the loaded fraction, 0 to 1. Raises :class:`ModelLoadError` with a sentence.
    """

    def __init__(self, spec: LoadModel, native_log: NativeLog, on_progress: Callable[[float], None]) -> None:
        self._native_log = native_log
        native_log.errors.clear()  # the log may have served another model before
        devices = load_backends()
        variant = native_log.cpu_variant()
        llama.llama_backend_init()
        self._gpu_layers = gpu_layers(spec, devices)
        self._model = self._load(spec, on_progress)
        self.vocabulary = Vocabulary(self._model)
        layout = Layout(self._model, spec.sequences, window_only=spec.sliding_window)
        self.sequences = layout.sequences
        self.draft_room = DRAFT_ROOM if spec.draft_tokens and layout.can_trim else 0
        self._context = self._open_context(spec, layout)
        if not llama.llama_get_memory(self._context) or not llama.llama_model_has_decoder(self._model):
            raise ModelLoadError(
                f"{Path(spec.path).name} is no model that writes text.",
                "Choose another one for that; one that makes embeddings is asked on /v1/embeddings.",
            )
        self.kv = KVCache(self._context, layout, shift=spec.shift)
        self.context = self.kv.cells
        self.batch: int = min(spec.batch, self.context)
        self.samplers = Samplers(self._context, self.vocabulary, self.context)
        self._batch: Batch | None = None
        self._native: Any = None
        self.threads = spec.threads
        self._batch_threads = spec.batch_threads or spec.threads
        self._warm_up()
        self._stop_flag = ctypes.create_string_buffer(2)
        self._watch_stop_flag()
        self.info = self._describe(spec.path, devices, variant)

    def decode(self, batch: Batch) -> bool:
        """Run the model over a batch; logits are then ready for the tokens that want them.

        Returns False when :meth:`interrupt` ended it: a part of the batch may then be in the KV cache.
        """
        # llama.cpp takes the second number for every batch of more than one token, also when replies share a step. A
        # prompt is worth all threads: its operations are long, so they wait for each other less.
        reading = batch.size > self.sequences + self.draft_room
        llama.llama_set_n_threads(self._context, self.threads, self._batch_threads if reading else self.threads)
        status = llama.llama_decode(self._context, self._native_batch(batch))
        if status not in (0, INTERRUPTED):
            raise TavernkeepError(f"llama.cpp could not decode a batch of {batch.size} tokens (status {status}).")
        self.kv.guard(batch)
        return bool(status == 0)

    def interrupt(self, wanted: bool) -> None:
        """End the running :meth:`decode` early, or allow it again. Safe to call from any thread.

        The CPU looks at this between two operations, a GPU does not.
        """
        self._stop_flag.raw = b"\1\0" if wanted else b"\0\0"

    def _watch_stop_flag(self) -> None:
        """Have llama.cpp call C's ``strlen`` on the flag: 0 goes on, 1 stops. Python would be called too often."""
        library = ctypes.CDLL("msvcrt" if sys.platform == "win32" else None)
        strlen = ctypes.cast(library.strlen, llama.ggml_abort_callback)
        llama.llama_set_abort_callback(self._context, strlen, ctypes.cast(self._stop_flag, ctypes.c_void_p))

    def _native_batch(self, batch: Batch) -> Any:
        """llama.cpp's view of a batch's arrays; they never move, so it is made once for each :class:`Batch`."""
        if batch is not self._batch:
            pointers = ctypes.POINTER(ctypes.c_int32)
            slots = batch.slots.ctypes.data
            self._one_slot_each = np.ones(batch.capacity, np.int32)
            self._slot_pointers = (pointers * batch.capacity)(
                *(ctypes.cast(slots + index * batch.slots.itemsize, pointers) for index in range(batch.capacity))
            )
            self._native = llama.llama_batch()
            self._native.token = batch.tokens.ctypes.data_as(pointers)
            self._native.pos = batch.positions.ctypes.data_as(pointers)
            self._native.n_seq_id = self._one_slot_each.ctypes.data_as(pointers)
            self._native.seq_id = self._slot_pointers
            self._native.logits = batch.wants_logits.ctypes.data_as(ctypes.POINTER(ctypes.c_int8))
            self._batch = batch
        self._native.n_tokens = batch.size
        return self._native

    def _load(self, spec: LoadModel, on_progress: Callable[[float], None]) -> Any:
        def report(fraction: float, _data: object) -> bool:
            on_progress(fraction)
            return True

        params = model_params(spec, self._gpu_layers)
        params.native.progress_callback = llama.llama_progress_callback(report)
        model = llama.llama_model_load_from_file(os.fsencode(spec.path), params.native)
        if not model:
            hint = "Check maingpu: GPUs are counted from 0." if spec.main_gpu >= 0 else ""
            raise ModelLoadError(self._native_log.reason(f"llama.cpp could not load {Path(spec.path).name}"), hint)
        return model

    def _open_context(self, spec: LoadModel, layout: Layout) -> Any:
        warn_beyond_training(spec, llama.llama_model_n_ctx_train(self._model))
        params = context_params(spec, layout, self.draft_room)
        context = llama.llama_init_from_model(self._model, params)
        if not context:
            raise ModelLoadError(
                self._native_log.reason(f"llama.cpp could not set up a context of {spec.context} tokens"),
                "Choose a smaller context size or fewer GPU layers.",
            )
        self._apply_loras(context, spec)
        return context

    def _apply_loras(self, context: Any, spec: LoadModel) -> None:
        adapters = []
        for path, _scale in spec.loras:
            self._native_log.errors.clear()  # what is said from here on is about this file
            adapters.append(llama.llama_adapter_lora_init(self._model, os.fsencode(path)))
            if not adapters[-1]:
                what = f"The LoRA {Path(path).name} cannot be used with {Path(spec.path).name}"
                raise ModelLoadError(self._native_log.reason(what), "Choose a LoRA that was made for this model.")
        if adapters:
            pointers = (llama.llama_adapter_lora_p_ctypes * len(adapters))(*adapters)
            scales = (ctypes.c_float * len(adapters))(*(scale for _path, scale in spec.loras))
            llama.llama_set_adapters_lora(context, pointers, len(adapters), scales)

    def _warm_up(self) -> None:
        """Touch all weights once, so that the first request is not the slow one."""
        batch = Batch(1)
        batch.add(0, [max(llama.llama_vocab_bos(self.vocabulary.pointer), 0)], 0, logits=True)
        self.decode(batch)
        self.kv.clear()

    def _describe(self, path: str, devices: tuple[Device, ...], variant: str) -> ModelInfo:
        return ModelInfo(
            name=Path(path).stem,
            path=path,
            architecture=architecture(self._model),
            parameters=llama.llama_model_n_params(self._model),
            size=llama.llama_model_size(self._model),
            quantisation=(llama.llama_ftype_name(llama.llama_model_ftype(self._model)) or b"").decode(),
            layers=llama.llama_model_n_layer(self._model),
            trained_context=llama.llama_model_n_ctx_train(self._model),
            context=self.context,
            chat_template=self._template(None),
            bos_text=self.vocabulary.text_of(llama.llama_vocab_bos(self.vocabulary.pointer)),
            eos_text=self.vocabulary.text_of(llama.llama_vocab_eos(self.vocabulary.pointer)),
            devices=tuple(device.description for device in devices),
            cpu_variant=variant,
            tool_template=self._template(b"tool_use"),
            vocabulary=self.vocabulary.size,
            infill=self.vocabulary.infill_tokens(),
            sampling=tuple(self._recommended()),
            gpu_layers=self._gpu_layers,
        )

    def _recommended(self) -> Iterator[tuple[str, float]]:
        """The sampler settings in the model's file."""
        value = ctypes.create_string_buffer(LONGEST_NUMBER)
        for key, name in RECOMMENDED.items():
            if llama.llama_model_meta_val_str(self._model, llama.llama_model_meta_key_str(key), value, len(value)) >= 0:
                with contextlib.suppress(ValueError):  # a file may hold anything
                    number = float(value.value)
                    if math.isfinite(number):
                        yield name, number

    def _template(self, name: bytes | None) -> str:
        """A chat template of the model file by name, the ordinary one for None; "" where there is none."""
        text = llama.llama_model_chat_template(self._model, name)
        return text.decode("utf-8", "replace") if text else ""
