"""Models of a few kilobytes with random weights, for the kinds of memory that the starter model does not have.

Their tokens are bytes (3 to 258) after <unk>, <s> and </s>. Weights are large enough for every token to be felt by all
that come after it, as far as the model sees.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tests.test_gguf import ARRAY, BOOL, F32, FLOAT32, INT32, STRING, UINT32, tiny

WIDTH = 64
STATE = 16
RANK = 4
INNER = 2 * WIDTH
CONVOLUTION = 4
VOCABULARY = 3 + 256
ALIGNMENT = 32

Shapes = dict[str, tuple[int, ...]]


def plain(architecture: str = "llama", layers: int = 2, more: dict[str, tuple[int, Any]] | None = None) -> bytes:
    """Every layer sees all. ``more`` is added to the header."""
    shapes = {f"blk.{layer}.{name}.weight": shape for layer in range(layers) for name, shape in LAYER.items()}
    return _model(architecture, shapes, layers=layers, kv_heads=1, tokenizer=more)


def sliding_window(window: int) -> bytes:
    """Gemma 2: one layer that sees ``window`` tokens, and one that sees all."""
    shapes: Shapes = {}
    for layer in range(2):
        shapes |= {f"blk.{layer}.{name}.weight": shape for name, shape in LAYER.items()}
        shapes |= {f"blk.{layer}.post_{name}_norm.weight": (WIDTH,) for name in ("attention", "ffw")}
    return _model("gemma2", shapes, layers=2, kv_heads=1, **{"attention.sliding_window": (UINT32, window)})


def jumping_window() -> bytes:
    """Llama 4: three layers that see what came since the last multiple of 8192 tokens, and one that sees all."""
    names = {f"{name}.weight": shape for name, shape in (ATTENTION | EXPERTS).items()}
    shapes = {f"blk.{layer}.{name}": shape for layer in range(4) for name, shape in names.items()}
    return _model("llama4", shapes, layers=4, kv_heads=1, **MIXTURE)


def recurrent() -> bytes:
    """Mamba: one state for all that was read."""
    shapes = {f"blk.{layer}.{name}": shape for layer in range(2) for name, shape in MAMBA.items()}
    return _model("mamba", shapes, layers=2, kv_heads=0, **STATE_SPACE)


def hybrid() -> bytes:
    """Jamba: a layer with a state, and one that sees all."""
    shapes = {f"blk.0.{name}": shape for name, shape in {**MAMBA, **JAMBA}.items()}
    shapes |= {f"blk.1.{name}.weight": shape for name, shape in ATTENTION.items()}
    shapes |= {f"blk.{layer}.{name}.weight": shape for layer in range(2) for name, shape in FEED_FORWARD.items()}
    kv_heads = {"attention.head_count_kv": (ARRAY, (UINT32, [0, 1]))}
    return _model("jamba", shapes, layers=2, kv_heads=1, **STATE_SPACE, **kv_heads)


def reader(pooling: int, *, context: int = 64, **more: tuple[int, ...]) -> bytes:
    """BERT: it reads a text in both directions, writes nothing, and knows its positions by heart. ``more`` tensors have
    underscores for dots in their names."""
    shapes: Shapes = {f"blk.{layer}.{name}": shape for layer in range(2) for name, shape in READER.items()}
    shapes |= {"position_embd.weight": (WIDTH, context), "token_types.weight": (WIDTH, 1)}
    shapes |= {"token_embd_norm.weight": (WIDTH,), "token_embd_norm.bias": (WIDTH,)}
    shapes |= {name.replace("_", "."): shape for name, shape in more.items()}
    described = {"context_length": (UINT32, context), "pooling_type": (UINT32, pooling)}
    described |= {"attention.causal": (BOOL, False), "attention.layer_norm_epsilon": (FLOAT32, 1e-6)}
    tokenizer = {"tokenizer.ggml.token_type_count": (UINT32, 1), "tokenizer.ggml.add_eos_token": (BOOL, True)}
    return _model("bert", shapes, layers=2, kv_heads=1, tokenizer=tokenizer, **described)


ATTENTION: Shapes = {
    "attn_norm": (WIDTH,),
    "attn_q": (WIDTH, WIDTH),
    "attn_k": (WIDTH, WIDTH),
    "attn_v": (WIDTH, WIDTH),
    "attn_output": (WIDTH, WIDTH),
}
FEED_FORWARD: Shapes = {
    "ffn_norm": (WIDTH,),
    "ffn_gate": (WIDTH, WIDTH),
    "ffn_up": (WIDTH, WIDTH),
    "ffn_down": (WIDTH, WIDTH),
}
LAYER = ATTENTION | FEED_FORWARD
READER: Shapes = {
    **{
        f"attn_{part}.{kind}": shape
        for part in "qkv"
        for kind, shape in (("weight", (WIDTH, WIDTH)), ("bias", (WIDTH,)))
    },
    **{f"{name}_norm.{kind}": (WIDTH,) for name in ("attn_output", "layer_output") for kind in ("weight", "bias")},
    **{f"{name}.weight": (WIDTH, WIDTH) for name in ("attn_output", "ffn_up", "ffn_down")},
}
EXPERTS: Shapes = {
    "ffn_norm": (WIDTH,),
    "ffn_gate_inp": (WIDTH, 2),
    **{f"ffn_{part}_exps": (WIDTH, WIDTH, 2) for part in ("gate", "up", "down")},
    **{f"ffn_{part}_shexp": (WIDTH, WIDTH) for part in ("gate", "up", "down")},
}
MIXTURE: dict[str, tuple[int, Any]] = {
    "expert_count": (UINT32, 2),
    "expert_used_count": (UINT32, 1),
    "expert_feed_forward_length": (UINT32, WIDTH),
    "interleave_moe_layer_step": (UINT32, 1),
}
MAMBA: Shapes = {
    "attn_norm.weight": (WIDTH,),
    "ssm_in.weight": (WIDTH, 2 * INNER),
    "ssm_conv1d.weight": (CONVOLUTION, INNER),
    "ssm_conv1d.bias": (INNER,),
    "ssm_x.weight": (INNER, RANK + 2 * STATE),
    "ssm_dt.weight": (RANK, INNER),
    "ssm_dt.bias": (INNER,),
    "ssm_a": (STATE, INNER),
    "ssm_d": (INNER,),
    "ssm_out.weight": (INNER, WIDTH),
}
JAMBA: Shapes = {"ssm_dt_norm.weight": (RANK,), "ssm_b_norm.weight": (STATE,), "ssm_c_norm.weight": (STATE,)}
STATE_SPACE: dict[str, tuple[int, Any]] = {
    "ssm.conv_kernel": (UINT32, CONVOLUTION),
    "ssm.inner_size": (UINT32, INNER),
    "ssm.state_size": (UINT32, STATE),
    "ssm.time_step_rank": (UINT32, RANK),
}


def _model(
    architecture: str,
    shapes: Shapes,
    *,
    layers: int,
    kv_heads: int,
    tokenizer: dict[str, tuple[int, Any]] | None = None,
    **metadata: tuple[int, Any],
) -> bytes:
    random = np.random.default_rng(1)
    ending: Shapes = {} if architecture == "bert" else {"output_norm.weight": (WIDTH,)}
    shapes = {"token_embd.weight": (WIDTH, VOCABULARY), **ending, **shapes}
    weights = {name: _weights(name, shape, random) for name, shape in shapes.items()}
    tensors, data = [], b""
    for name, shape in shapes.items():
        tensors.append((name, shape, F32, len(data)))
        data += weights[name].astype("<f4").tobytes()
        data += b"\0" * (-len(data) % ALIGNMENT)
    described: dict[str, tuple[int, Any]] = {
        "context_length": (UINT32, 4096),
        "embedding_length": (UINT32, WIDTH),
        "block_count": (UINT32, layers),
        "feed_forward_length": (UINT32, WIDTH),
        "attention.head_count": (UINT32, kv_heads),
        "attention.head_count_kv": (UINT32, kv_heads),
        "attention.key_length": (UINT32, WIDTH),
        "attention.value_length": (UINT32, WIDTH),
        "attention.layer_norm_rms_epsilon": (FLOAT32, 1e-6),
        **metadata,
    }
    entries = {f"{architecture}.{key}": value for key, value in described.items()}
    entries |= TOKENIZER | (tokenizer or {})
    header = tiny({"general.architecture": (STRING, architecture), **entries}, tensors, data_bytes=0)
    return header + data


TOKENIZER: dict[str, tuple[int, Any]] = {
    "tokenizer.ggml.model": (STRING, "llama"),
    "tokenizer.ggml.tokens": (ARRAY, (STRING, ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))])),
    "tokenizer.ggml.scores": (ARRAY, (FLOAT32, [0.0] * VOCABULARY)),
    "tokenizer.ggml.token_type": (ARRAY, (INT32, [2, 3, 3, *[6] * 256])),  # unknown, control, control, bytes
}


def _weights(name: str, shape: tuple[int, ...], random: np.random.Generator) -> Any:
    """Reversed, as numpy counts dimensions."""
    plain = random.standard_normal(shape[::-1])
    if name.endswith("_norm.weight"):
        return np.full(shape, 3.0 if "post_" in name else 1.0)
    if name.endswith("ssm_a"):  # how fast a state is forgotten
        return -np.exp(plain)
    if name.endswith("ssm_dt.bias"):  # softplus of it is the length of a step
        return plain - 3.0
    return plain * (0.5 if name == "token_embd.weight" else 1 / math.sqrt(shape[0]))
