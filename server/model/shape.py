"""What of a model takes memory, by its file's metadata and tensors: layer by layer. Used by the GGUF reader.

Tensor and metadata names are the format's: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from server.model.gguf_facts import MAX_LAYERS
from server.snapshot import LayerShape, ModelShape

Metadata = Mapping[str, object]

BLOCK = re.compile(r"blk\.(\d+)\.(.+)")
EXPERTS = re.compile(r"ffn_(up|down|gate|gate_up)_(ch|)exps\.")
ATTENTION = ("attn_k.", "attn_kv_a_mqa.")
FUSED_ATTENTION = "attn_qkv."
RECURRENT = "ssm_"


@dataclass(frozen=True)
class Tensor:
    """A tensor's name, its sizes, and the bytes of its data."""

    name: str
    sizes: tuple[int, ...]
    bytes: int


@dataclass(frozen=True)
class Array:
    """An array of the metadata: the type of its elements, how many it has, where in the file they begin, and the
    ``numbers`` of a short one."""

    kind: int
    length: int
    at: int
    numbers: tuple[float, ...] = ()


def text_in(metadata: Metadata, key: str) -> str:
    """A text of the metadata, or ""."""
    value = metadata.get(key)
    return value if isinstance(value, str) else ""


def whole_in(metadata: Metadata, key: str, default: int = 0) -> int:
    """A whole number of the metadata, or ``default``."""
    value = metadata.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) else default


def numbers_in(metadata: Metadata, key: str) -> tuple[float, ...]:
    """The number of the metadata, or the numbers where it has one for each layer; none if it has none."""
    value = metadata.get(key)
    if isinstance(value, Array):
        return value.numbers
    return (value,) if isinstance(value, int | float) else ()


def shape_of(metadata: Metadata, tensors: Sequence[Tensor]) -> ModelShape:
    """What of the model takes memory; what the file does not say counts as nothing."""
    architecture = text_in(metadata, "general.architecture")
    facts = {
        key.removeprefix(f"{architecture}."): value
        for key, value in metadata.items()
        if key.startswith(f"{architecture}.")
    }
    blocks: dict[int, list[Tensor]] = defaultdict(list)
    others: dict[str, Tensor] = {}
    for tensor in tensors:
        block = BLOCK.match(tensor.name)
        if block:
            blocks[int(block.group(1))].append(Tensor(block.group(2), tensor.sizes, tensor.bytes))
        else:
            others[tensor.name] = tensor
    embeddings = others.get("token_embd.weight", Tensor("", (), 0))
    outputs = sum(tensor.bytes for name, tensor in others.items() if name.startswith("output"))
    heads = max(_each(facts, "attention.head_count", 1))
    layers = min(whole_in(facts, "block_count"), MAX_LAYERS)
    return ModelShape(
        layers=tuple(_layer(facts, number, layers, blocks[number]) for number in range(layers)),
        inputs=sum(tensor.bytes for tensor in others.values()) - outputs,
        outputs=outputs,
        tied="output.weight" not in others,
        width=whole_in(facts, "embedding_length"),
        feed_forward=max(
            *_each(facts, "feed_forward_length", layers),
            whole_in(facts, "expert_feed_forward_length") * whole_in(facts, "expert_used_count"),
        ),
        queries=heads * _head(facts, "key"),
        heads=heads,
        vocabulary=embeddings.sizes[1] if len(embeddings.sizes) > 1 else 0,
    )


def _layer(facts: Metadata, number: int, layers: int, tensors: list[Tensor]) -> LayerShape:
    names = [tensor.name for tensor in tensors]
    recurrent = any(name.startswith(RECURRENT) for name in names)
    attends = any(name.startswith(ATTENTION) for name in names)
    attends = attends or (not recurrent and any(name.startswith(FUSED_ATTENTION) for name in names))
    if number >= layers - whole_in(facts, "attention.shared_kv_layers"):
        attends = False  # it looks at what an earlier layer has stored
    keys, values = _cached(facts, number, layers) if attends else (0, 0)
    return LayerShape(
        weights=sum(tensor.bytes for tensor in tensors),
        experts=sum(tensor.bytes for tensor in tensors if EXPERTS.match(tensor.name)),
        keys=keys,
        values=values,
        state=_state(facts) if recurrent else 0,
    )


def _cached(facts: Metadata, number: int, layers: int) -> tuple[int, int]:
    """Numbers for each token in the cache of keys and of values."""
    rank = whole_in(facts, "attention.kv_lora_rank")
    if rank and "attention.key_length_mla" in facts:  # DeepSeek's latent attention: values are a part of the keys
        return rank + whole_in(facts, "rope.dimension_count"), 0
    kv_heads = (
        _each(facts, "attention.head_count_kv", layers)[number] or _each(facts, "attention.head_count", layers)[number]
    )
    return kv_heads * _head(facts, "key"), kv_heads * _head(facts, "value")


def _state(facts: Metadata) -> int:
    """Numbers of the state that a Mamba-like layer keeps for each sequence: of its convolution, and its own."""
    inner, states = whole_in(facts, "ssm.inner_size"), whole_in(facts, "ssm.state_size")
    convolution = max(whole_in(facts, "ssm.conv_kernel") - 1, 0)
    return convolution * (inner + 2 * whole_in(facts, "ssm.group_count") * states) + inner * states


def _head(facts: Metadata, what: str) -> int:
    """The width of one head's keys or values."""
    heads = max(_each(facts, "attention.head_count", 1))
    return whole_in(facts, f"attention.{what}_length", whole_in(facts, "embedding_length") // max(heads, 1))


def _each(facts: Metadata, key: str, layers: int) -> tuple[int, ...]:
    """A number for each layer, where the file may say one for all."""
    numbers = numbers_in(facts, key)
    if len(numbers) == 1:
        numbers *= max(layers, 1)
    whole = tuple(max(number, 0) if isinstance(number, int) else 0 for number in numbers)
    return whole + (0,) * (max(layers, 1) - len(whole))
