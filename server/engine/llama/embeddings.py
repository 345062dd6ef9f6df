"""An embeddings model: texts to vectors. Used by the worker, in a process where no other model is."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator
from collections.abc import Sequence as ReadOnly
from pathlib import Path
from typing import Any

import numpy as np

from server.embedding import Embed, Embedded, Input, LoadEmbedder, Pair
from server.engine.llama.library import NativeLog, architecture, llama, load_backends
from server.engine.llama.vocabulary import Vocabulary
from server.errors import BadRequest, ModelLoadError, TavernkeepError
from server.events import ModelInfo

SEQUENCES = 16
LONGEST_BY_ITSELF = 2048  # tokens; what a model holds beyond that takes memory, so it must be asked for
PACKED = 512  # tokens of several texts that are read at once; llama.cpp reserves a row of its vocabulary for each


class EmbeddingModel:
    """A loaded model, of the kinds that only read (BERT's family) or of those that write.

    The vectors of a text's tokens are pooled as the model's file says, and averaged where it says nothing. A model
    whose file says that it ranks makes one number of a pair of texts, the larger the better they fit together.
    ``on_progress`` is called with the loaded fraction, 0 to 1. Raises :class:`ModelLoadError` with a sentence.
    """

    def __init__(self, spec: LoadEmbedder, native_log: NativeLog, on_progress: Callable[[float], None]) -> None:
        self._native_log = native_log
        devices = tuple(device.description for device in load_backends())
        llama.llama_backend_init()
        self._model = self._load(spec, on_progress)
        trained = llama.llama_model_n_ctx_train(self._model) or LONGEST_BY_ITSELF
        # Never beyond its training: models with a table of positions read past its end.
        self.context: int = min(spec.context or LONGEST_BY_ITSELF, trained)
        self._context = self._open_context(spec)
        self._run = llama.llama_encode if llama.llama_model_has_encoder(self._model) else llama.llama_decode
        self._memory = llama.llama_get_memory(self._context)
        self._batch = llama.llama_batch_init(self.context, 0, 1)
        self._judges = llama.llama_pooling_type(self._context) == llama.LLAMA_POOLING_TYPE_RANK
        self._size: int = (llama.llama_model_n_cls_out if self._judges else llama.llama_model_n_embd_out)(self._model)
        self._vocabulary = Vocabulary(self._model)
        self._ending = self._find_ending()
        self.info = self._describe(spec.path, trained, devices, native_log.cpu_variant())
        self._vectors([[0]])  # touches all weights, and shows now whether the model works at all

    def embed(self, command: Embed) -> Embedded:
        """The vectors of a command's inputs, in their order."""
        try:
            if command.dimensions > self._size:
                raise BadRequest(f"dimensions must be at most {self._size}, which is what this model's vectors have.")
            texts = [
                self._tokens(given, f"input[{number}]", truncate=command.truncate)
                for number, given in enumerate(command.inputs, command.first)
            ]
            vectors = [
                vector for packed in _packed(texts, min(PACKED, self.context)) for vector in self._vectors(packed)
            ]
            cut = [self._cut(vector, command.dimensions) for vector in vectors]
        except TavernkeepError as error:
            return Embedded(command.call_id, problem=str(error))
        return Embedded(command.call_id, tuple(vector.tobytes() for vector in cut), sum(map(len, texts)))

    def _cut(self, vector: Any, dimensions: int) -> Any:
        return vector[:1] if self._judges else _normalised(vector[: dimensions or self._size])

    def _tokens(self, given: Input, name: str, *, truncate: bool) -> list[int]:
        if isinstance(given, Pair):
            return self._pair_tokens(given)
        ids = self._vocabulary.tokenize(given, special=True) if isinstance(given, str) else list(given)
        if not ids:
            raise BadRequest(f"{name} is empty.", "Send some text.")
        if not all(0 <= token < self._vocabulary.size for token in ids):
            raise BadRequest(
                f"{name} has token ids that this model does not know; they go to {self._vocabulary.size - 1}."
            )
        if len(ids) <= self.context:
            return ids
        if not truncate:
            raise BadRequest(
                f"{name} has {len(ids)} tokens, and the embeddings model reads {self.context} at most.",
                "Shorten it, or allow it to be cut off with truncate.",
            )
        ending = self._ending if isinstance(given, str) else []
        return [*ids[: self.context - len(ending)], *ending]

    def _pair_tokens(self, pair: Pair) -> list[int]:
        """Both texts as the model's file says, else one behind the other with the tokens between them that it wants, as
        llama-server does it. A document that is too long loses its end."""
        template = llama.llama_model_chat_template(self._model, b"rerank")
        if template:
            text = template.decode("utf-8", "replace").replace("{query}", pair.query)
            ids = self._vocabulary.tokenize(text.replace("{document}", pair.document), special=True)
            return ids[: self.context]
        pointer = self._vocabulary.pointer
        end, gap = llama.llama_vocab_eos(pointer), llama.llama_vocab_sep(pointer)
        ends = [gap if end < 0 else end] if llama.llama_vocab_get_add_eos(pointer) else []
        starts = [llama.llama_vocab_bos(pointer)] if llama.llama_vocab_get_add_bos(pointer) else []
        gaps = [gap] if llama.llama_vocab_get_add_sep(pointer) else []
        query, document = (self._vocabulary.tokenize(text, special=False) for text in (pair.query, pair.document))
        front = [*starts, *query, *ends, *gaps]
        room = self.context - len(front) - len(ends)
        if room < 1:
            raise BadRequest(f"query leaves no room for a document: this model reads {self.context} tokens.")
        return [*front, *document[:room], *ends]

    def _vectors(self, texts: ReadOnly[ReadOnly[int]]) -> list[Any]:
        """The vectors of texts that fit into one batch, read together."""
        batch, count = self._batch, 0
        for slot, ids in enumerate(texts):
            for position, token in enumerate(ids):
                batch.token[count], batch.pos[count], batch.logits[count] = token, position, 1
                batch.n_seq_id[count], batch.seq_id[count][0] = 1, slot
                count += 1
        batch.n_tokens = count
        if self._memory:
            llama.llama_memory_clear(self._memory, True)
        status = self._run(self._context, batch)
        if status != 0:
            raise TavernkeepError(f"llama.cpp could not read a batch of {count} tokens (status {status}).")
        return [self._vector(slot) for slot in range(len(texts))]

    def _vector(self, slot: int) -> Any:
        pointer = llama.llama_get_embeddings_seq(self._context, slot)
        if not pointer:
            raise TavernkeepError("llama.cpp made no vector of the text.")
        vector = np.ctypeslib.as_array(pointer, (self._size,)).astype("<f4")
        if not np.isfinite(vector).all():
            raise TavernkeepError("The model's vector of the text holds something that is no number.")
        return vector

    def _find_ending(self) -> list[int]:
        """The token that the model wants behind every text, such as BERT's [SEP]; a text that is cut keeps it."""
        plain, whole = (self._vocabulary.tokenize("a", special=special) for special in (False, True))
        return whole[-1:] if whole[-1:] != plain[-1:] else []

    def _load(self, spec: LoadEmbedder, on_progress: Callable[[float], None]) -> Any:
        def report(fraction: float, _data: object) -> bool:
            on_progress(fraction)
            return True

        params = llama.llama_model_default_params()
        params.n_gpu_layers = spec.gpu_layers
        no_devices = (ctypes.c_void_p * 1)()
        if spec.gpu_layers == 0:  # llama.cpp uses the GPU's memory even then, unless it is told that there is none
            params.devices = ctypes.addressof(no_devices)
        params.progress_callback = llama.llama_progress_callback(report)
        model = llama.llama_model_load_from_file(os.fsencode(spec.path), params)
        if not model:
            raise ModelLoadError(self._native_log.reason(f"llama.cpp could not load {Path(spec.path).name}"))
        return model

    def _open_context(self, spec: LoadEmbedder) -> Any:
        """The context, with the model's own pooling, or the mean where it names none."""
        context = self._context_with(spec, llama.LLAMA_POOLING_TYPE_UNSPECIFIED)
        if llama.llama_pooling_type(context) != llama.LLAMA_POOLING_TYPE_NONE:
            return context
        llama.llama_free(context)
        return self._context_with(spec, llama.LLAMA_POOLING_TYPE_MEAN)

    def _context_with(self, spec: LoadEmbedder, pooling: int) -> Any:
        params = llama.llama_context_default_params()
        # A text is pooled within one micro-batch, and llama.cpp wants room for a token of each sequence.
        params.n_ctx = params.n_batch = params.n_ubatch = max(self.context, SEQUENCES)
        params.n_seq_max = SEQUENCES
        params.n_threads = params.n_threads_batch = spec.threads
        params.embeddings = True
        params.pooling_type = pooling
        params.kv_unified = True
        context = llama.llama_init_from_model(self._model, params)
        if not context:
            what = f"llama.cpp could not set up the embeddings model for {self.context} tokens"
            raise ModelLoadError(self._native_log.reason(what), "Choose a smaller embeddingsmaxctx.")
        return context

    def _describe(self, path: str, trained: int, devices: tuple[str, ...], variant: str) -> ModelInfo:
        return ModelInfo(
            name=Path(path).stem,
            path=path,
            architecture=architecture(self._model),
            parameters=llama.llama_model_n_params(self._model),
            size=llama.llama_model_size(self._model),
            quantisation=(llama.llama_ftype_name(llama.llama_model_ftype(self._model)) or b"").decode(),
            layers=llama.llama_model_n_layer(self._model),
            trained_context=trained,
            context=self.context,
            chat_template="",
            bos_text="",
            eos_text="",
            devices=devices,
            cpu_variant=variant,
            judges=self._judges,
        )


def _packed(texts: ReadOnly[ReadOnly[int]], room: int) -> Iterator[list[ReadOnly[int]]]:
    """Neighbouring texts, as many as are read together; one that is longer than ``room`` is alone."""
    packed: list[ReadOnly[int]] = []
    for text in texts:
        if packed and (len(packed) == SEQUENCES or sum(map(len, packed)) + len(text) > room):
            yield packed
            packed = []
        packed.append(text)
    if packed:
        yield packed


def _normalised(vector: Any) -> Any:
    """A vector of length 1, so that clients may compare by products alone; one of zeros stays."""
    length = float(np.linalg.norm(vector.astype(np.float64)))
    return (vector / length).astype("<f4") if length else vector
