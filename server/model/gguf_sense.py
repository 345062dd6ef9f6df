"""Does a model's header make sense as a whole? What llama.cpp would crash on, or refuse in words for programmers, is
refused here. Called by the GGUF reader."""

from __future__ import annotations

from collections.abc import Sequence

from server.errors import ModelLoadError
from server.model.gguf_facts import MAX_LAYERS
from server.model.shape import BLOCK, Metadata, Tensor, text_in, whole_in


def check(name: str, metadata: Metadata, tensors: Sequence[Tensor]) -> None:
    """Raise :class:`ModelLoadError` where parts of a header contradict each other. ``name`` is the file's."""
    for problem in (_layers(metadata, tensors),):
        if problem:
            raise ModelLoadError(f"{name} is damaged: {problem}.", "Download it again, or choose another file.")


def _layers(metadata: Metadata, tensors: Sequence[Tensor]) -> str:
    layers = whole_in(metadata, f"{text_in(metadata, 'general.architecture')}.block_count")
    if not 0 <= layers <= MAX_LAYERS:
        return f"it claims to have {layers} layers, {MAX_LAYERS} are the most"
    numbers = [int(block.group(1)) for tensor in tensors if (block := BLOCK.match(tensor.name))]
    if layers and max(numbers, default=0) >= layers:
        return f"it claims to have {layers} layers and holds {max(numbers) + 1}"
    return ""
