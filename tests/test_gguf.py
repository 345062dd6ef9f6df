"""The GGUF header: what it says is read, and whatever is wrong with a file becomes one sentence."""

import contextlib
import math
import os
import struct
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.errors import ModelLoadError
from server.model import gguf
from server.snapshot import LayerShape, ModelFile, ModelShape

UINT16, UINT32, INT32, FLOAT32, BOOL, STRING, ARRAY, UINT64 = 2, 4, 5, 6, 7, 8, 9, 10
LAYOUTS = {0: "<B", 1: "<b", UINT16: "<H", 3: "<h", UINT32: "<I", INT32: "<i", FLOAT32: "<f", BOOL: "<?", UINT64: "<Q"}
F32, Q4_1 = 0, 3

METADATA: dict[str, tuple[int, Any]] = {
    "general.architecture": (STRING, "llama"),
    "general.name": (STRING, "Tiny"),
    "general.file_type": (UINT32, 3),
    "llama.block_count": (UINT32, 2),
    "llama.context_length": (UINT32, 512),
    "llama.rope.freq_base": (FLOAT32, 10000.0),
    "tokenizer.ggml.add_bos_token": (BOOL, True),
    "tokenizer.ggml.tokens": (ARRAY, (STRING, ["a", "bb", ""])),
    "tokenizer.ggml.scores": (ARRAY, (FLOAT32, [0.0, 1.0, 2.0])),
    "tokenizer.chat_template": (STRING, "{{ messages }}"),
}
TENSORS = [("token_embd.weight", (32, 3), F32, 0), ("output.weight", (32, 3), Q4_1, 384)]
DATA_BYTES = 384 + 60


def text(value: str | bytes) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(data)) + data


def value_of(kind: int, value: Any) -> bytes:
    if kind == STRING:
        return text(value)
    if kind == ARRAY:
        inner, entries = value
        return struct.pack("<IQ", inner, len(entries)) + b"".join(value_of(inner, entry) for entry in entries)
    return struct.pack(LAYOUTS[kind], value)


def tensor(name: str, dimensions: tuple[int, ...], kind: int, offset: int) -> bytes:
    counts = b"".join(struct.pack("<Q", count) for count in dimensions)
    return text(name) + struct.pack("<I", len(dimensions)) + counts + struct.pack("<IQ", kind, offset)


def tiny(
    metadata: dict[str, tuple[int, Any]] = METADATA,
    tensors: list[tuple[str, tuple[int, ...], int, int]] = TENSORS,
    *,
    version: int = 3,
    data_bytes: int = DATA_BYTES,
    alignment: int = 32,
) -> bytes:
    """A whole GGUF file with two small tensors, one plain and one in blocks."""
    entries = b"".join(
        text(key) + struct.pack("<I", kind) + value_of(kind, value) for key, (kind, value) in metadata.items()
    )
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(metadata)) + entries
    head += b"".join(tensor(*entry) for entry in tensors)
    return head + b"\0" * (-len(head) % alignment) + b"\0" * data_bytes


def fact(architecture: str = "llama", **facts: Any) -> dict[str, tuple[int, Any]]:
    """The metadata of a model of two layers; names have two underscores for a dot."""
    named = {name.replace("__", "."): typed(value) for name, value in {"block_count": 2, **facts}.items()}
    return {
        "general.architecture": (STRING, architecture),
        **{f"{architecture}.{name}": value for name, value in named.items()},
    }


def typed(value: Any) -> tuple[int, Any]:
    """A number, a truth value or a list of numbers, as metadata holds it."""
    return (ARRAY, (UINT32, value)) if isinstance(value, list) else ({int: UINT32, bool: BOOL}[type(value)], value)


def raw_entry(key: str, kind: int, value: bytes) -> bytes:
    """A file without tensors whose only metadata entry has exactly these bytes as value."""
    return b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text(key) + struct.pack("<I", kind) + value


@pytest.fixture
def inspect(tmp_path: Path):
    def inspect(content: bytes) -> ModelFile:
        file = tmp_path / "tiny.gguf"
        file.write_bytes(content)
        return gguf.inspect(str(file))

    return inspect


@pytest.fixture
def refusal(inspect):
    def refusal(content: bytes) -> str:
        with pytest.raises(ModelLoadError) as caught:
            inspect(content)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    return refusal


# --- what is read ---


def test_a_file_says_what_it_is(inspect, tmp_path):
    assert replace(inspect(tiny()), shape=ModelShape()) == ModelFile(
        path=str(tmp_path / "tiny.gguf"),
        size=len(tiny()),
        architecture="llama",
        name="Tiny",
        quantisation="Q4_1",
        layers=2,
        trained_context=512,
        chat_template="{{ messages }}",
    )


def test_the_starter_model_says_what_it_is(starter_model):
    found = gguf.inspect(str(starter_model))
    assert (found.architecture, found.quantisation, found.layers, found.trained_context) == ("llama", "Q4_1", 30, 8192)
    assert found.size == starter_model.stat().st_size
    assert "<|im_start|>" in found.chat_template


# --- what of it takes memory ---


def layer(number: int, **sizes: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    return {f"blk.{number}.{name}.weight": size for name, size in sizes.items()}


def shaped(inspect, tensors: dict[str, tuple[int, ...]], **facts: Any) -> ModelShape:
    """The shape of a model with these tensors of floats."""
    metadata = fact("some", **{"block_count": 1, **facts})
    listed, offset = [], 0
    for name, size in tensors.items():
        listed.append((name, size, F32, offset))
        offset += 4 * math.prod(size)
    found: ModelShape = inspect(tiny(metadata, listed, data_bytes=offset)).shape
    return found


def test_weights_are_counted_by_where_they_go(inspect):
    tensors = {"token_embd.weight": (8, 16), "output_norm.weight": (8,), **layer(0, attn_k=(8, 4), ffn_up_exps=(8, 2))}
    found = shaped(inspect, tensors, embedding_length=8, attention__head_count=2, attention__head_count_kv=1)
    assert (found.inputs, found.outputs, found.tied, found.vocabulary) == (512, 32, True, 16)
    assert found.layers == (LayerShape(weights=128 + 64, experts=64, keys=4, values=4),)
    assert not shaped(inspect, {"output.weight": (8, 16)}).tied


def test_each_layer_may_have_its_own_number_of_heads(inspect):
    tensors = {**layer(0, attn_k=(8, 4)), **layer(1, attn_qkv=(8, 4)), **layer(2, ssm_in=(8, 4))}
    facts = {"block_count": 3, "embedding_length": 8, "attention__head_count": [4, 2, 1]}
    state = {"ssm__conv_kernel": 4, "ssm__inner_size": 16, "ssm__state_size": 2}
    found = shaped(inspect, tensors, **facts, **state, attention__head_count_kv=[2, 1, 0], attention__key_length=3)
    assert [(each.keys, each.values, each.state) for each in found.layers] == [(6, 4, 0), (3, 2, 0), (0, 0, 80)]


def test_latent_attention_and_shared_caches_take_less(inspect):
    latent = {"attention__kv_lora_rank": 512, "attention__key_length_mla": 192, "rope__dimension_count": 64}
    assert shaped(inspect, layer(0, attn_kv_a_mqa=(8, 4)), **latent).layers[0].keys == 576
    tensors = {**layer(0, attn_k=(8, 4)), **layer(1, attn_k=(8, 4))}
    sharing = {"block_count": 2, "embedding_length": 8, "attention__head_count": 1, "attention__shared_kv_layers": 1}
    assert [each.keys for each in shaped(inspect, tensors, **sharing).layers] == [8, 0]


def test_odd_facts_break_nothing(inspect):
    huge = shaped(inspect, {}, block_count=512, attention__head_count=0, attention__head_count_kv=[])
    assert set(huge.layers) == {LayerShape()}


# --- models in parts ---


def test_all_parts_of_a_split_model_are_read_by_its_first(tmp_path):
    names = [f"big-{number:05}-of-00002.gguf" for number in (1, 2)]
    tensors = [("blk.0.a.weight", (32,), F32, 0)], [("blk.1.a.weight", (32,), F32, 0)]
    for name, own in zip(names, tensors, strict=True):
        (tmp_path / name).write_bytes(tiny(METADATA, own, data_bytes=128))
    found = gguf.inspect(str(tmp_path / names[0]))
    assert [each.weights for each in found.shape.layers] == [128, 128]
    assert found.size == sum((tmp_path / name).stat().st_size for name in names)
    with pytest.raises(ModelLoadError, match=f"Choose the first part, {names[0]}"):
        gguf.inspect(str(tmp_path / names[1]))
    (tmp_path / names[1]).unlink()
    with pytest.raises(ModelLoadError, match=f"{names[1]} is missing"):
        gguf.inspect(str(tmp_path / names[0]))


def test_version_2_is_read_too(inspect):
    assert inspect(tiny(version=2)).name == "Tiny"


def test_a_file_without_metadata_says_nothing(inspect):
    found = inspect(tiny({}, [], data_bytes=0))
    assert (found.architecture, found.name, found.quantisation, found.layers) == ("", "", "", 0)


def test_values_of_an_unexpected_kind_say_nothing(inspect):
    odd = {
        "general.architecture": (STRING, "llama"),
        "general.name": (ARRAY, (STRING, ["a"])),
        "general.file_type": (STRING, "Q4"),
        "llama.block_count": (STRING, "many"),
        "llama.context_length": (BOOL, True),
    }
    found = inspect(tiny(odd))
    assert (found.name, found.quantisation, found.layers, found.trained_context) == ("", "", 0, 0)


def test_an_unknown_file_type_is_no_error(inspect):
    assert inspect(tiny({"general.file_type": (UINT32, 4711)})).quantisation == ""


def test_text_that_is_no_utf8_is_shown_as_well_as_it_can_be(inspect):
    assert inspect(tiny({"general.name": (STRING, b"Tin\xff")})).name == "Tin\ufffd"


def test_the_alignment_of_the_file_counts(inspect, refusal):
    metadata = {"general.alignment": (UINT32, 256)}
    whole = tiny(metadata, [("x", (32,), F32, 0), ("y", (32,), F32, 256)], data_bytes=384, alignment=256)
    assert inspect(whole).size == len(whole)
    assert "incomplete" in refusal(whole[:-1])


# --- what is refused ---


def test_a_missing_file_is_named(tmp_path):
    path = str(tmp_path / "none.gguf")
    with pytest.raises(ModelLoadError, match=f"^There is no file {path}"):
        gguf.inspect(path)


def test_a_folder_is_named_as_one(tmp_path):
    with pytest.raises(ModelLoadError, match="is a folder"):
        gguf.inspect(str(tmp_path))


def test_no_path_at_all_is_not_called_a_folder():
    with pytest.raises(ModelLoadError) as caught:
        gguf.inspect("")
    assert "folder" not in str(caught.value)


def test_a_path_that_cannot_exist_is_refused():
    with pytest.raises(ModelLoadError):
        gguf.inspect("a\0b.gguf")


@pytest.mark.parametrize("content", [b"", b"GG", b"<!doctype html>", b"PK\x03\x04", b"gguf" + bytes(100)])
def test_what_is_not_gguf_is_named_so(refusal, content):
    assert refusal(content).startswith("tiny.gguf is not a GGUF file.")


@pytest.mark.parametrize("version", [0, 1, 4, 2**31])
def test_another_version_is_named(refusal, version):
    assert f"version {version}" in refusal(tiny(version=version))


@pytest.mark.parametrize("length", [4, 7, 12, 23, 24, 30, 200])
def test_a_file_cut_off_in_its_header_is_incomplete(refusal, length):
    assert "incomplete" in refusal(tiny()[:length])


@pytest.mark.parametrize("missing", [1, 60, DATA_BYTES])
def test_a_file_cut_off_in_its_data_is_incomplete_and_says_how_long_it_should_be(refusal, missing):
    sentence = refusal(tiny()[:-missing])
    assert "incomplete" in sentence
    assert f"{len(tiny()):,}" in sentence


def test_a_starter_model_cut_off_in_its_data_is_incomplete(refusal, starter_model):
    with starter_model.open("rb") as stream:
        assert "incomplete" in refusal(stream.read(4_000_000))


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"GGUF" + struct.pack("<IQQ", 3, 2**63, 0), "tensors"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 2**63), "metadata entries"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 2**62), "characters"),
        (raw_entry("a", STRING, struct.pack("<Q", 2**40)), "characters"),
        (raw_entry("a", ARRAY, struct.pack("<IQ", FLOAT32, 2**60)), "array elements"),
        (raw_entry("a", ARRAY, struct.pack("<IQQ", STRING, 1, 2**60)), "characters"),
        (tiny(tensors=[("x", (1,) * 9, F32, 0)]), "dimensions"),
    ],
    ids=["tensors", "entries", "key", "string", "array", "string in an array", "dimensions"],
)
def test_an_absurd_count_is_damage_and_costs_nothing(refusal, content, what):
    sentence = refusal(content)
    assert "damaged" in sentence
    assert what in sentence


def test_a_string_longer_than_the_file_is_incomplete(refusal):
    assert "incomplete" in refusal(raw_entry("a", STRING, struct.pack("<Q", 1_000_000)))


def test_an_array_longer_than_the_file_is_incomplete(refusal):
    assert "incomplete" in refusal(raw_entry("a", ARRAY, struct.pack("<IQ", UINT64, 3_000_000)))


def test_nested_arrays_are_refused(refusal):
    nested = struct.pack("<IQ", ARRAY, 1) + struct.pack("<IQI", UINT32, 1, 7)
    assert "damaged" in refusal(raw_entry("a", ARRAY, nested))


@pytest.mark.parametrize("kind", [13, 99, 2**32 - 1])
def test_an_unknown_kind_of_value_is_damage(refusal, kind):
    assert "unknown type" in refusal(raw_entry("a", kind, b""))


def test_a_tensor_larger_than_the_world_is_incomplete(refusal):
    assert "incomplete" in refusal(tiny(tensors=[("x", (2**40, 2**20), F32, 0)]))


@pytest.mark.parametrize(
    ("tensors", "what"),
    [
        ([("x", (0,), F32, 0)], "'x' is empty"),
        ([("x", (2**63,), F32, 0)], "more elements than can be counted"),
        ([("x", (2**40, 2**40), F32, 0)], "more elements than can be counted"),
        ([("x", (33,), Q4_1, 0)], "has 33 elements, not a multiple of 32"),
        ([("x", (32,), 4, 0)], "too old"),
        ([("x", (32,), 250, 0)], "newer than this program"),
        ([("x", (32,), F32, 32)], "'x' begins at 32, where 0 is expected"),
        ([("x", (32,), F32, 2**63)], "where 0 is expected"),
        ([("x", (32,), F32, 0), ("y", (32,), F32, 0)], "'y' begins at 0, where 128 is expected"),
        ([("x", (9,), F32, 0), ("y", (9,), F32, 36)], "'y' begins at 36, where 64 is expected"),
        ([("x", (32,), F32, 0), ("x", (32,), F32, 128)], "two tensors named 'x'"),
        ([("x\0a", (32,), F32, 0), ("x\0b", (32,), F32, 128)], "two tensors named 'x'"),
        ([("x" * 64, (32,), F32, 0)], "64 characters, 63 are the most"),
        ([("blk.2.x", (32,), F32, 0)], "claims to have 2 layers and holds 3"),
    ],
)
def test_tensors_that_cannot_be_are_refused(refusal, tensors, what):
    assert what in refusal(tiny(tensors=tensors))


@pytest.mark.parametrize(
    ("metadata", "what"),
    [
        ({"general.alignment": (UINT32, 0)}, "its alignment is 0"),
        ({"general.alignment": (UINT32, 48)}, "its alignment is 48"),
        ({"general.alignment": (UINT32, 2**31)}, "its alignment is 2147483648"),
        ({"general.alignment": (UINT64, 32)}, "of the type 10 instead of 4"),
        ({"": (UINT32, 0)}, "has no name"),
        ({"general.architecture": (STRING, "llama"), "llama.block_count": (UINT32, 513)}, "513 layers, 512"),
        (fact(expert_count=1025, expert_used_count=8), "1025 experts, 1024 are the most"),
        (fact(expert_count=8, expert_used_count=9), "to use 9 of 8 experts"),
        (fact(expert_count=8, expert_used_count=[2, 9]), "to use 9 of 8 experts"),
        (fact(expert_count=8, expert_used_count=0), "to use 0 of 8 experts"),
        (fact(expert_count=8), "to use 0 of 8 experts"),
        (fact(expert_count=8, expert_used_count=2, expert_group_count=8), "to use 0 of 8 groups of 8 experts"),
        (fact(expert_count=8, expert_used_count=2, expert_group_count=3, expert_group_used_count=1), "of 3 groups"),
        (fact(expert_count=8, expert_used_count=2, expert_group_count=4, expert_group_used_count=4), "use 4 of 4"),
        (fact(expert_group_count=1), "of 1 groups of 0 experts"),
        ({"a\0b": (UINT32, 0)}, r"'a\x00b', has a zero in it"),
        (fact(block_count=513) | {"general.architecture": (STRING, "llama\0x")}, "513 layers, 512 are the most"),
        (fact(embedding_length=64, attention__head_count=65), "65 heads for 64 numbers of a token"),
        (fact(embedding_length=64, attention__head_count=[1, 2**32 - 1]), "4294967295 heads for 64"),
    ],
)
def test_metadata_that_cannot_be_is_refused(refusal, metadata, what):
    assert what in refusal(tiny(metadata, [], data_bytes=0))


def test_an_entry_that_comes_twice_is_refused(refusal):
    entry = text("a") + struct.pack("<IB", BOOL, 1)
    assert "two entries named 'a'" in refusal(b"GGUF" + struct.pack("<IQQ", 3, 0, 2) + entry * 2)


def test_what_is_neither_true_nor_false_is_refused(refusal):
    assert "0 or 1 is 2" in refusal(raw_entry("a", BOOL, b"\2"))
    assert "0 or 1" in refusal(raw_entry("a", ARRAY, struct.pack("<IQ", BOOL, 3) + b"\0\1\2"))


def test_the_elements_of_all_arrays_are_bounded_together(refusal):
    metadata = {str(number): (ARRAY, (BOOL, [True] * 500_000)) for number in range(9)}
    assert "4500000 array elements" in refusal(tiny(metadata, [], data_bytes=0))


def test_all_text_that_is_kept_is_bounded(refusal):
    metadata = {str(number): (STRING, "x" * 9_000_000) for number in range(8)}
    assert "67,108,864 characters of text" in refusal(tiny(metadata, [], data_bytes=0))


def test_a_vocabulary_of_millions_is_read_in_seconds(inspect):
    many = struct.pack("<IQ", STRING, 3_999_999) + text("token") * 3_999_999
    assert inspect(raw_entry("general.name", ARRAY, many)).name == ""


@pytest.mark.parametrize(
    "metadata",
    [
        fact(expert_count=1, expert_used_count=0),
        fact(expert_count=64, expert_used_count=6, expert_group_count=1, expert_group_used_count=1),
        fact(expert_count=256, expert_used_count=8, expert_group_count=8, expert_group_used_count=4),
        fact(attention__head_count=[0, 0]),
    ],
)
def test_what_real_models_say_of_experts_and_heads_is_no_damage(inspect, metadata):
    assert inspect(tiny(metadata, [], data_bytes=0)).layers == 2


EXPERTS = fact(
    embedding_length=64, attention__head_count=8, expert_count=8, expert_used_count=2, expert_group_count=4,
    expert_group_used_count=2,
)  # fmt: skip


def rwkv(tokens: list[Any]) -> bytes:
    vocabulary = {"tokenizer.ggml.tokens": (ARRAY, (STRING, tokens)), "tokenizer.ggml.model": (STRING, "rwkv")}
    return tiny(fact() | vocabulary)


RWKV_BYTES = [repr(bytes([byte]))[2:-1] for byte in range(256)]  # as they are converted


def test_a_vocabulary_of_rwkv_holds_every_byte(inspect, refusal):
    assert inspect(rwkv(["<s>", *RWKV_BYTES, "the", "\\r\\n"])).layers == 2
    assert "has 255 of the 256 bytes" in refusal(rwkv([token for token in RWKV_BYTES if token != "\\n"] + ["\\n\\n"]))
    assert "has 0 of the 256 bytes" in refusal(rwkv([]))


@pytest.mark.parametrize("broken", ["\\xzz", "\\x", "\\", "", "\0a", "\\n\\n"])
def test_what_only_looks_like_a_byte_of_rwkv_is_none(refusal, broken):
    assert "has 255 of the 256 bytes" in refusal(rwkv([broken if token == "a" else token for token in RWKV_BYTES]))


def test_a_name_in_a_sentence_stays_on_its_line(refusal):
    assert "'x\\ny' is empty" in refusal(tiny(tensors=[("x\ny", (0,), F32, 0)]))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no such pipes")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.gguf")
    with pytest.raises(ModelLoadError, match="is a device or a pipe, not a file"):
        gguf.inspect(str(tmp_path / "pipe.gguf"))


def test_a_device_is_no_file():
    with pytest.raises(ModelLoadError, match="is a device or a pipe, not a file"):
        gguf.inspect(os.devnull)


@pytest.mark.parametrize(
    ("name", "own", "what"),
    [
        ("big-00001-of-99999.gguf", (0, 0), "promises 99999 parts"),
        ("big-00001-of-00000.gguf", (0, 0), "promises 0 parts"),
        ("big-00001-of-00002.gguf", (0, 3), "is part 1 of 3"),
        ("big-00001-of-00002.gguf", (1, 2), "is part 2 of 2"),
        ("renamed.gguf", (0, 2), "is part 1 of 2"),
    ],
)
def test_a_part_that_its_name_does_not_fit_is_refused(tmp_path, name, own, what):
    metadata = {"split.no": (UINT16, own[0]), "split.count": (UINT16, own[1])}
    (tmp_path / name).write_bytes(tiny(metadata))
    with pytest.raises(ModelLoadError, match=what):
        gguf.inspect(str(tmp_path / name))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_damage_to_the_header_raises_anything_but_a_sentence(data, tmp_path, starter_model):
    with starter_model.open("rb") as stream:
        started = stream.read(4096)
    contents = (started, tiny(), tiny(EXPERTS, [], data_bytes=0), rwkv(RWKV_BYTES))
    content = bytearray(data.draw(st.sampled_from(contents)))
    for position in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=6)):
        content[position] = data.draw(st.integers(0, 255))
    file = tmp_path / "damaged.gguf"
    file.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    began = time.perf_counter()
    with contextlib.suppress(ModelLoadError):
        gguf.inspect(str(file))
    assert time.perf_counter() - began < 2


NUMBERS = st.sampled_from((0, 1, 2, 8, 1024, 1025, 2**32 - 1))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.sampled_from(sorted(EXPERTS)), NUMBERS | st.lists(NUMBERS, max_size=3)))
def test_no_counts_that_contradict_each_other_raise_anything_but_a_sentence(tmp_path, counts):
    listed = {key: typed(value) for key, value in counts.items()}
    file = tmp_path / "odd.gguf"
    file.write_bytes(tiny(EXPERTS | listed, [], data_bytes=0))
    with contextlib.suppress(ModelLoadError):
        gguf.inspect(str(file))


def one_tensor(name: str, kind: int) -> bytes:
    return tiny(METADATA, [(name, (32,), kind, 0)], data_bytes=4 * 32)


@pytest.mark.parametrize(("name", "kind"), [("a_norm.weight", 1), ("a_norm.weight", 30), ("a.weight", 26)])
def test_a_weight_of_a_type_that_ends_llama_cpp_is_damage(refusal, name, kind):
    assert repr(name) in refusal(one_tensor(name, kind))


@pytest.mark.parametrize(("name", "kind"), [("output_norm.weight", F32), ("blk.0.ffn_gate_tid2eid.weight", 26)])
def test_a_norm_of_floats_and_a_table_of_experts_are_none(inspect, name, kind):
    assert inspect(one_tensor(name, kind)).name
