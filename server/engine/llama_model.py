"""llama.cpp behind a small door: load, tokenize, decode, sample. The only module that imports ``llama_cpp``.

Every pointer is checked: a call on a NULL model or context is a segmentation fault, not an exception.
"""

from __future__ import annotations

import ctypes
import logging
import os
import re
import sys
from collections import deque
from collections.abc import Callable
from collections.abc import Sequence as ReadOnly
from pathlib import Path
from typing import Any

import numpy as np

from server.engine import sampling
from server.engine.batch import Batch
from server.errors import ModelLoadError, TavernkeepError
from server.events import Generate, LoadModel, ModelInfo

# libgomp reads this when it is loaded. Short spinning keeps the speed of a quiet machine and does not collapse as soon
# as a game wants the cores (measured in docs/architecture.md).
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
from llama_cpp import llama_cpp as llama

FORBIDDEN = float("-inf")
KEPT_LOG_LINES = 50
LONGEST_GRAMMAR = 256 * 1024
DEEPEST_GRAMMAR = 200
MIROSTAT_M = 100  # candidates from which mirostat estimates, as in its paper (arXiv:2007.14966)

log = logging.getLogger("tavernkeep.engine")

CANDIDATE = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])


def _ggml() -> ctypes.CDLL:
    """The very library file that libllama links. The wheel holds copies of it, and a copy has a registry of its own:
    back ends loaded there are not seen by llama.cpp, which then crashes."""
    names = {"win32": "ggml.dll", "darwin": "libggml.0.dylib"}
    library = ctypes.CDLL(str(Path(llama.__file__).parent / "lib" / names.get(sys.platform, "libggml.so.0")))
    library.ggml_backend_load_all_from_path.argtypes = [ctypes.c_char_p]
    library.ggml_backend_dev_count.restype = ctypes.c_size_t
    library.ggml_backend_dev_get.argtypes = [ctypes.c_size_t]
    library.ggml_backend_dev_get.restype = ctypes.c_void_p
    library.ggml_backend_dev_description.argtypes = [ctypes.c_void_p]
    library.ggml_backend_dev_description.restype = ctypes.c_char_p
    return library


def load_backends() -> tuple[str, ...]:
    """Register the CPU variant that suits this machine and every GPU back end that was built; returns the devices."""
    ggml = _ggml()
    if ggml.ggml_backend_dev_count() == 0:
        variants = Path(llama.__file__).parent.parent / "bin"
        ggml.ggml_backend_load_all_from_path(str(variants).encode())
    if ggml.ggml_backend_dev_count() == 0:
        raise ModelLoadError(
            "llama.cpp found no back end that runs on this machine's processor.",
            "Run bootstrap.py again; it rebuilds the library.",
        )
    devices = (ggml.ggml_backend_dev_get(index) for index in range(ggml.ggml_backend_dev_count()))
    return tuple(ggml.ggml_backend_dev_description(device).decode() for device in devices)


class NativeLog:
    """Passes llama.cpp's log on to standard error and remembers the last lines for error sentences."""

    def __init__(self) -> None:
        self.lines: deque[str] = deque(maxlen=KEPT_LOG_LINES)
        self._partial = ""
        self._callback = llama.llama_log_callback(self._write)  # kept alive: llama.cpp holds only a pointer
        llama.llama_log_set(self._callback, None)

    def cpu_variant(self) -> str:
        """Which build of the CPU back end was chosen, such as ``zen4``; "" in a native build, which has only one."""
        chosen = [re.search(r"loaded CPU backend from .*ggml-cpu-(\w+)", line) for line in self.lines]
        return next((match.group(1) for match in chosen if match), "")

    def _write(self, _level: int, text: bytes, _data: object) -> None:
        *whole, self._partial = (self._partial + text.decode("utf-8", "replace")).split("\n")
        for line in whole:
            self.lines.append(line)
            print(line, file=sys.stderr, flush=True)


class LlamaSampler:
    """One request's sampler chain, and its grammar if it has one."""

    def __init__(self, chain: Any, grammar: Any = None) -> None:
        self.chain = chain
        self.grammar = grammar

    def __del__(self) -> None:
        for pointer in (self.chain, self.grammar):
            if pointer:
                llama.llama_sampler_free(pointer)


class LlamaModel:
    """A loaded model with one context, whose KV cache is one pool for up to ``sequences`` sequences.

    ``on_progress`` is called with the loaded fraction, 0 to 1. Raises :class:`ModelLoadError` with a sentence.
    """

    def __init__(self, spec: LoadModel, native_log: NativeLog, on_progress: Callable[[float], None]) -> None:
        self._native_log = native_log
        devices = load_backends()
        variant = native_log.cpu_variant()
        llama.llama_backend_init()
        self._model = self._load(spec, on_progress)
        self._vocab = llama.llama_model_get_vocab(self._model)
        self._context = self._open_context(spec)
        self._memory = llama.llama_get_memory(self._context)
        if not self._memory or not llama.llama_model_has_decoder(self._model):
            raise ModelLoadError(f"{Path(spec.path).name} is no model that writes text.", "Choose another model.")
        self._vocab_size = llama.llama_vocab_n_tokens(self._vocab)
        self._pieces: dict[int, bytes] = {}
        self._ends: tuple[int, ...] | None = None
        self._token_ids = np.arange(self._vocab_size, dtype=np.int32)
        self._candidates = np.zeros(self._vocab_size, CANDIDATE)
        self.context: int = llama.llama_n_ctx(self._context)
        self.sequences = spec.sequences
        self.batch: int = min(spec.batch, self.context)
        self._slot_of = np.zeros(self.batch + self.sequences, np.int32)
        self._slot_pointers = (ctypes.POINTER(ctypes.c_int32) * len(self._slot_of))()
        self._one_slot_each = np.ones(len(self._slot_of), np.int32)
        for index in range(len(self._slot_of)):
            address = self._slot_of.ctypes.data + index * self._slot_of.itemsize
            self._slot_pointers[index] = ctypes.cast(address, ctypes.POINTER(ctypes.c_int32))
        self._warm_up()
        self.info = self._describe(spec.path, devices, variant)

    def tokenize(self, text: str, *, special: bool) -> list[int]:
        """Token ids of ``text``; tags such as ``<|im_end|>`` become their special token.

        ``special`` adds the beginning-of-text token where the model wants one. Safe to call from any thread.
        """
        data = text.encode("utf-8", "surrogatepass")
        room = len(data) + 8
        tokens = (llama.llama_token * room)()
        count = llama.llama_tokenize(self._vocab, data, len(data), tokens, room, special, True)
        if count < 0:
            raise TavernkeepError(f"The text of {len(data)} bytes cannot be tokenized.")
        return list(tokens[:count])

    def piece(self, token: int) -> bytes:
        """The bytes a token adds to a reply; special tokens add none."""
        if token not in self._pieces:
            self._pieces[token] = self._read_piece(token, special=False)
        return self._pieces[token]

    def is_end(self, token: int) -> bool:
        """Whether the model ends its reply with this token."""
        return bool(llama.llama_vocab_is_eog(self._vocab, token))

    def stop_tokens(self, stop: ReadOnly[str]) -> frozenset[int]:
        """Those stop texts that are one special token, such as ``<|im_end|>``: their text never appears in a reply."""
        candidates = (self.tokenize(text, special=False) for text in stop if text)
        return frozenset(
            tokens[0]
            for tokens in candidates
            if len(tokens) == 1 and llama.llama_vocab_is_control(self._vocab, tokens[0])
        )

    def decode(self, batch: Batch) -> None:
        """Run the model over a batch; logits are then ready for the tokens that want them."""
        self._slot_of[: batch.size] = batch.slots[: batch.size]
        status = llama.llama_decode(self._context, self._native_batch(batch))
        if status != 0:
            raise TavernkeepError(f"llama.cpp could not decode a batch of {batch.size} tokens (status {status}).")

    def forget(self, slot: int) -> None:
        """Free the KV cells of a sequence."""
        llama.llama_memory_seq_rm(self._memory, slot, -1, -1)

    def make_sampler(self, request: Generate, seed: int) -> LlamaSampler:
        """The chain of samplers a request asks for. An invalid grammar is left out, with a line in the log."""
        chain = llama.llama_sampler_chain_init(llama.llama_sampler_chain_default_params())
        sampler = LlamaSampler(chain)
        if request.ban_eos:
            self._add(sampler, self._logit_bias([(token, FORBIDDEN) for token in self._end_tokens()]))
        for step in sampling.chain(request.sampling, seed):
            if step.name == "grammar":
                sampler.grammar = self._grammar(request.sampling.grammar)
            elif step.name == "logit_bias":
                self._add(sampler, self._logit_bias(request.sampling.logit_bias))
            elif step.name == "penalties":
                window, *penalties = step.values
                window = min(int(window), self.context)
                pointer = llama.llama_sampler_init_penalties(self._vocab_size, window, *penalties)
                for token in request.prompt[-window:] if window else ():
                    llama.llama_sampler_accept(pointer, token)
                self._add(sampler, pointer)
            elif step.name == "mirostat":
                self._add(sampler, llama.llama_sampler_init_mirostat(self._vocab_size, *step.values, MIROSTAT_M))
            else:
                self._add(sampler, getattr(llama, f"llama_sampler_init_{step.name}")(*step.values))
        return sampler

    def sample(self, sampler: LlamaSampler, index: int) -> int:
        """Pick the next token after the batch entry ``index``."""
        if not sampler.grammar:
            return int(llama.llama_sampler_sample(sampler.chain, self._context, index))
        token = self._draw(sampler.chain, index)
        if not self._allowed(sampler.grammar, token):
            token = self._draw(sampler.chain, index, first=sampler.grammar)
            if not self._allowed(sampler.grammar, token):
                # Nothing fits: the grammar is complete and its end is banned. Accepting any token would abort.
                return self._end_tokens()[0]
        llama.llama_sampler_accept(sampler.grammar, token)
        llama.llama_sampler_accept(sampler.chain, token)
        return token

    def _draw(self, chain: Any, index: int, first: Any = None) -> int:
        candidates = self._candidates
        candidates["id"] = self._token_ids
        candidates["logit"] = np.ctypeslib.as_array(
            llama.llama_get_logits_ith(self._context, index), (self._vocab_size,)
        )
        array = _candidate_array(candidates)
        if first:
            llama.llama_sampler_apply(first, ctypes.byref(array))
        llama.llama_sampler_apply(chain, ctypes.byref(array))
        return int(candidates["id"][array.selected])

    def _allowed(self, grammar: Any, token: int) -> bool:
        # Most tokens fit the grammar, so one is tried before all of the vocabulary is filtered, which is slow.
        single = np.zeros(1, CANDIDATE)
        single["id"] = token
        llama.llama_sampler_apply(grammar, ctypes.byref(_candidate_array(single)))
        return bool(single["logit"][0] != FORBIDDEN)

    def _grammar(self, text: str) -> Any:
        pointer = None
        if len(text) <= LONGEST_GRAMMAR and _depth(text) <= DEEPEST_GRAMMAR:  # llama.cpp's parser recurses
            pointer = llama.llama_sampler_init_grammar(self._vocab, text.encode("utf-8", "replace"), b"root")
        if not pointer:
            log.warning("A grammar that is invalid was left out; the reply is not constrained: %.60r", text)
        return pointer

    def _logit_bias(self, biases: ReadOnly[tuple[int, float]]) -> Any:
        known = [(token, bias) for token, bias in biases if 0 <= token < self._vocab_size]
        array = (llama.llama_logit_bias * len(known))(*(llama.llama_logit_bias(*pair) for pair in known))
        return llama.llama_sampler_init_logit_bias(self._vocab_size, len(known), array)

    def _add(self, sampler: LlamaSampler, pointer: Any) -> None:
        llama.llama_sampler_chain_add(sampler.chain, pointer)

    def _end_tokens(self) -> tuple[int, ...]:
        if self._ends is None:
            self._ends = tuple(token for token in range(self._vocab_size) if self.is_end(token))
        return self._ends

    def _read_piece(self, token: int, *, special: bool) -> bytes:
        if not 0 <= token < self._vocab_size:
            return b""
        buffer = ctypes.create_string_buffer(64)
        size = llama.llama_token_to_piece(self._vocab, token, buffer, len(buffer), 0, special)
        if size < 0:
            buffer = ctypes.create_string_buffer(-size)
            size = llama.llama_token_to_piece(self._vocab, token, buffer, len(buffer), 0, special)
        return buffer.raw[:size]

    def _native_batch(self, batch: Batch) -> Any:
        native: Any = llama.llama_batch()
        native.n_tokens = batch.size
        native.token = batch.tokens.ctypes.data_as(ctypes.POINTER(ctypes.c_int32))
        native.pos = batch.positions.ctypes.data_as(ctypes.POINTER(ctypes.c_int32))
        native.n_seq_id = self._one_slot_each.ctypes.data_as(ctypes.POINTER(ctypes.c_int32))
        native.seq_id = self._slot_pointers
        native.logits = batch.wants_logits.ctypes.data_as(ctypes.POINTER(ctypes.c_int8))
        return native

    def _load(self, spec: LoadModel, on_progress: Callable[[float], None]) -> Any:
        def report(fraction: float, _data: object) -> bool:
            on_progress(fraction)
            return True

        params = llama.llama_model_default_params()
        params.n_gpu_layers = spec.gpu_layers
        params.progress_callback = llama.llama_progress_callback(report)
        model = llama.llama_model_load_from_file(os.fsencode(spec.path), params)
        if not model:
            raise ModelLoadError(self._reason(f"llama.cpp could not load {Path(spec.path).name}"))
        return model

    def _open_context(self, spec: LoadModel) -> Any:
        params = llama.llama_context_default_params()
        params.n_ctx = spec.context
        params.n_batch = spec.batch + spec.sequences
        params.n_ubatch = min(spec.batch, 512)
        params.n_seq_max = spec.sequences
        params.n_outputs_max = spec.sequences
        params.n_threads = params.n_threads_batch = spec.threads
        params.kv_unified = True
        context = llama.llama_init_from_model(self._model, params)
        if not context:
            raise ModelLoadError(
                self._reason(f"llama.cpp could not set up a context of {spec.context} tokens"),
                "Choose a smaller context size or fewer GPU layers.",
            )
        return context

    def _warm_up(self) -> None:
        """Touch all weights once, so that the first request is not the slow one."""
        batch = Batch(1)
        batch.add(0, [max(llama.llama_vocab_bos(self._vocab), 0)], 0, logits=True)
        self.decode(batch)
        llama.llama_memory_clear(self._memory, True)

    def _reason(self, what: str) -> str:
        """``what`` failed, and the last thing llama.cpp said about it."""
        said = [line for line in self._native_log.lines if "error" in line.lower() or "failed" in line.lower()]
        cause = said[0].split(": ", 1)[-1].strip() if said else ""
        return f"{what}: {cause}." if cause else f"{what}."

    def _describe(self, path: str, devices: tuple[str, ...], variant: str) -> ModelInfo:
        template = llama.llama_model_chat_template(self._model, None)
        return ModelInfo(
            name=Path(path).stem,
            path=path,
            architecture=self._metadata("general.architecture"),
            parameters=llama.llama_model_n_params(self._model),
            size=llama.llama_model_size(self._model),
            quantisation=(llama.llama_ftype_name(llama.llama_model_ftype(self._model)) or b"").decode(),
            layers=llama.llama_model_n_layer(self._model),
            trained_context=llama.llama_model_n_ctx_train(self._model),
            context=self.context,
            chat_template=template.decode("utf-8", "replace") if template else "",
            bos_text=self._token_text(llama.llama_vocab_bos(self._vocab)),
            eos_text=self._token_text(llama.llama_vocab_eos(self._vocab)),
            devices=devices,
            cpu_variant=variant,
        )

    def _token_text(self, token: int) -> str:
        return self._read_piece(token, special=True).decode("utf-8", "replace")

    def _metadata(self, key: str) -> str:
        buffer = ctypes.create_string_buffer(256)
        size = llama.llama_model_meta_val_str(self._model, key.encode(), buffer, len(buffer))
        return buffer.value.decode("utf-8", "replace") if size >= 0 else ""


def _depth(grammar: str) -> int:
    """How deep the parentheses of a grammar are nested, at most."""
    level = deepest = 0
    for character in grammar:
        level += (character == "(") - (character == ")")
        deepest = max(deepest, level)
    return deepest


def _candidate_array(candidates: Any) -> Any:
    pointer = candidates.ctypes.data_as(ctypes.POINTER(llama.llama_token_data))
    return llama.llama_token_data_array(data=pointer, size=len(candidates), selected=-1, sorted=False)
