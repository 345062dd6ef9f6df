"""Does a model's header make sense as a whole? What llama.cpp would crash on, or refuse in words for programmers, is
refused here. Called by the GGUF reader."""

from __future__ import annotations

import math
from collections.abc import Sequence

from server.errors import ModelLoadError
from server.model.gguf_facts import MAX_EXPERTS, MAX_LAYERS
from server.model.shape import BLOCK, Metadata, Tensor, numbers_in, text_in, whole_in


def check(name: str, metadata: Metadata, tensors: Sequence[Tensor]) -> None:
    """Raise :class:`ModelLoadError` where parts of a header contradict each other. ``name`` is the file's."""
    for problem in (_layers(metadata, tensors), _epsilons(metadata), _experts(metadata), _heads(metadata)):
        if problem:
            raise ModelLoadError(f"{name} is damaged: {problem}.", "Download it again, or choose another file.")


def _layers(metadata: Metadata, tensors: Sequence[Tensor]) -> str:
    architecture = text_in(metadata, "general.architecture")
    layers = whole_in(metadata, f"{architecture}.block_count")
    if not 0 <= layers <= MAX_LAYERS:
        return f"it claims to have {layers} layers, {MAX_LAYERS} are the most"
    numbers = [int(block.group(1)) for tensor in tensors if (block := BLOCK.match(tensor.name))]
    counted = layers or f"{architecture}.block_count" in metadata  # an adapter counts none
    if counted and numbers and max(numbers) >= layers:
        return f"it claims to have {layers} layers and holds {max(numbers) + 1}"
    return ""


def _epsilons(metadata: Metadata) -> str:
    """What norms add so as not to divide by nothing; llama.cpp aborts on any other."""
    for key, value in metadata.items():
        if key.endswith("_epsilon") and isinstance(value, float) and not 0 <= value < math.inf:
            return f"its {key} is {value}"
    return ""


def _experts(metadata: Metadata) -> str:
    architecture = text_in(metadata, "general.architecture")
    experts = whole_in(metadata, f"{architecture}.expert_count")
    used = max(numbers_in(metadata, f"{architecture}.expert_used_count"), default=0)
    if experts > MAX_EXPERTS:
        return f"it claims to have {experts} experts, {MAX_EXPERTS} are the most"
    none_used = experts > 1 and not used  # a single expert is how some dense models say that they have none
    if used > experts or none_used:
        return f"it claims to use {used} of {experts} experts"
    groups, used_groups = (whole_in(metadata, f"{architecture}.expert_group{each}_count") for each in ("", "_used"))
    odd = groups > 1 and (experts % groups or not 0 < used_groups < groups)
    if groups and (groups >= experts or odd):
        return f"it claims to use {used_groups} of {groups} groups of {experts} experts"
    return ""


def _heads(metadata: Metadata) -> str:
    architecture = text_in(metadata, "general.architecture")
    width = whole_in(metadata, f"{architecture}.embedding_length")
    heads = max(numbers_in(metadata, f"{architecture}.attention.head_count"), default=0)
    return f"it claims to have {heads} heads for {width} numbers of a token" if width and heads > width else ""
