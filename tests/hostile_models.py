"""Broken and hostile GGUF files, the same ones each time: made by hand, and by changing one thing of a real header.

Most start from a model of 300 kB of :mod:`tests.tiny_models`, so that what is not refused is loaded within a moment;
some from the header of the starter model, with zeros for its weights.
"""

from __future__ import annotations

import math
import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tests import tiny_models
from tests.test_gguf import (
    ARRAY,
    BOOL,
    F32,
    FLOAT32,
    INT32,
    LAYOUTS,
    RWKV_BYTES,
    STRING,
    UINT16,
    UINT32,
    UINT64,
    tensor,
    text,
    value_of,
)

F16, Q4_0, Q8_0, Q4_K, I32 = 1, 2, 8, 12, 26
BYTES = {F32: 4, I32: 4, F16: 2, Q8_0: 34 / 32, Q4_0: 18 / 32}  # of one element
ALIGNMENT = 32
LARGEST = 2**32 - 1

Metadata = dict[str, tuple[int, Any]]
Tensors = list[tuple[str, tuple[int, ...], int, int]]


@dataclass(frozen=True)
class Case:
    """A folder with a model in it, which is the first of the ``files``; each is filled up with zeros to ``length``."""

    name: str
    files: dict[str, bytes]
    length: int = 0

    def write(self, folder: Path) -> Path:
        for name, content in self.files.items():
            with (folder / name).open("wb") as stream:
                stream.write(content)
                stream.truncate(max(self.length, len(content)))
        return folder / next(iter(self.files))


@dataclass(frozen=True)
class Ingredients:
    """What a model's file is made of."""

    metadata: Metadata
    tensors: Tensors
    data: bytes = field(repr=False)

    def file(self) -> bytes:
        entries = b"".join(
            text(key) + struct.pack("<I", kind) + value_of(kind, value) for key, (kind, value) in self.metadata.items()
        )
        head = b"GGUF" + struct.pack("<IQQ", 3, len(self.tensors), len(self.metadata)) + entries
        head += b"".join(tensor(*each) for each in self.tensors)
        return head + bytes(-len(head) % ALIGNMENT) + self.data

    def having(self, **entries: tuple[int, Any]) -> Ingredients:
        """With other metadata; names have two underscores for a dot."""
        return replace(self, metadata=self.metadata | {key.replace("__", "."): value for key, value in entries.items()})

    def without(self, key: str) -> Ingredients:
        return replace(self, metadata={name: value for name, value in self.metadata.items() if name != key})

    def laid_out(self, tensors: list[tuple[str, tuple[int, ...], int]]) -> Ingredients:
        """With other tensors, one behind the other, and zeros for their data where the old ones end."""
        placed: Tensors = []
        end = 0
        for name, sizes, kind in tensors:
            placed.append((name, sizes, kind, end))
            end += -(-math.ceil(math.prod(sizes) * BYTES.get(kind, 4)) // ALIGNMENT) * ALIGNMENT
        return replace(self, tensors=placed, data=self.data.ljust(end, b"\0"))


def taken_apart(content: bytes) -> Ingredients:
    """A whole and honest file's ingredients."""
    at = 8

    def number(layout: str) -> Any:
        nonlocal at
        (found,) = struct.unpack_from(layout, content, at)
        at += struct.calcsize(layout)
        return found

    def string() -> bytes:
        nonlocal at
        length = number("<Q")
        at += length
        return content[at - length : at]

    def value(kind: int) -> Any:
        if kind == STRING:
            return string()
        if kind == ARRAY:
            inner, length = number("<I"), number("<Q")
            return inner, [value(inner) for _ in range(length)]
        return number(LAYOUTS[kind])

    count, entries = number("<Q"), number("<Q")
    metadata: Metadata = {}
    for _ in range(entries):
        key, kind = string().decode(), number("<I")
        metadata[key] = (kind, value(kind))
    tensors: Tensors = []
    for _ in range(count):
        name = string().decode()
        sizes = tuple(number("<Q") for _ in range(number("<I")))
        tensors.append((name, sizes, number("<I"), number("<Q")))
    return Ingredients(metadata, tensors, content[-(-at // ALIGNMENT) * ALIGNMENT :])


def cases(starter: Path) -> Iterator[Case]:
    """All of them; no two have the same name."""
    whole = tiny_models.plain()
    base = taken_apart(whole)
    for name, content in {**no_models(whole), **cut_and_flipped(whole)}.items():
        yield Case(name, {"model.gguf": content})
    made = {**odd_metadata(base), **odd_vocabularies(base), **odd_tensors(base), **odd_architectures()}
    for name, ingredients in made.items():
        yield Case(name, {"model.gguf": ingredients.file()})
    for name, content in {**odd_bytes(base), **bombs()}.items():
        yield Case(name, {"model.gguf": content})
    yield from split(base)
    yield from starters(starter)


def header(tensors: int, entries: int, rest: bytes = b"", version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, entries) + rest


def entry(key: str | bytes, kind: int, value: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + value


def no_models(whole: bytes) -> dict[str, bytes]:
    """Other files, and beginnings of headers."""
    return {
        "nothing": b"",
        "two bytes": b"GG",
        "a page that says not found": b"<!doctype html><title>404</title>" * 20,
        "a zip": b"PK\3\4" + bytes(1000),
        "a pickle": b"\x80\4\x95\0\0\0\0\0\0\0\0cos\nsystem\n(S'touch pwned'\ntR.",
        "a program": b"\x7fELF\2\1\1" + bytes(1000),
        "safetensors": struct.pack("<Q", 2) + b"{}",
        "an old ggml file": b"lmgg" + bytes(1000),
        "a pointer of git lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
        "zeros": bytes(5000),
        "ones": b"\xff" * 5000,
        "noise": random.Random(1).randbytes(50_000),
        "magic alone": b"GGUF",
        "magic and noise": b"GGUF" + random.Random(2).randbytes(50_000),
        "magic in lower case": b"gguf" + whole[4:],
        **{f"version {version}": b"GGUF" + struct.pack("<I", version) + whole[8:] for version in (0, 1, 4, 3 << 24)},
        "version 2": b"GGUF" + struct.pack("<I", 2) + whole[8:],
        "no tensors, no metadata": header(0, 0, bytes(64)),
        **{f"{count} tensors": header(count, 0, bytes(1000)) for count in (1, 20_001, 2**31, 2**63, 2**64 - 1)},
        **{f"{count} entries": header(0, count, bytes(1000)) for count in (1, 10_001, 2**31, 2**63, 2**64 - 1)},
    }  # fmt: skip


def cut_and_flipped(whole: bytes) -> dict[str, bytes]:
    """The file ends early, or some bytes of its header are others."""
    start = len(whole) - len(taken_apart(whole).data)
    ends = [24, 25, 40, 100, start // 2, start - 100, start, start + 1, len(whole) - 40_000, len(whole) - 1]
    made = {f"cut at {end}": whole[:end] for end in ends}
    made["with something behind"] = whole + b"x" * 1000
    for position in range(24, start, start // 40):
        made[f"flipped at {position}"] = whole[:position] + bytes([whole[position] ^ 0xFF]) + whole[position + 1 :]
    dice = random.Random(3)
    for number in range(20):
        noisy = bytearray(whole)
        for _ in range(5):
            noisy[dice.randrange(24, start)] = dice.randrange(256)
        made[f"noise in the header {number}"] = bytes(noisy)
    noisy = bytearray(whole)
    noisy[start:] = dice.randbytes(len(whole) - start)
    made["noise for weights"] = bytes(noisy)
    return made


def odd_metadata(base: Ingredients) -> dict[str, Ingredients]:
    """Each entry is missing, of another kind, or has a value that no model has."""
    made: dict[str, Ingredients] = {}
    for key, (kind, value) in base.metadata.items():
        made[f"without {key}"] = base.without(key)
        other = (UINT32, 1) if kind in (STRING, ARRAY) else (STRING, b"many")
        made[f"{key} of another kind"] = base.having(**{key: other})
        if kind in (UINT32, FLOAT32):
            for odd in (0, 1, 3, 513, 2**31) if kind == UINT32 else (0.0, -1.0, math.inf, math.nan):
                made[f"{key} is {odd}"] = base.having(**{key: (kind, odd)})
            made[f"{key} as a list"] = base.having(**{key: (ARRAY, (kind, [value] * 2))})
            made[f"{key} as a long list"] = base.having(**{key: (ARRAY, (kind, [value] * 5000))})
            made[f"{key} as a list of nothing"] = base.having(**{key: (ARRAY, (kind, []))})
    for name, value in {
        "of the far future": b"llama99", "without letters": b"", "that climbs": b"../../etc/passwd",
        "of another": b"gpt2", "with a percent": b"%s%n%s%n",
        "that is no UTF-8": b"\xff\xfe", "that is long": b"l" * 1_000_000,
    }.items():  # fmt: skip
        made[f"an architecture {name}"] = base.having(general__architecture=(STRING, value))
    odd = {
        "vocab_size": (UINT32, LARGEST), "rope.dimension_count": (UINT32, 7), "rope.freq_base": (FLOAT32, 0.0),
        "rope.scaling.type": (STRING, b"yarn"), "rope.scaling.factor": (FLOAT32, math.nan),
        "expert_count": (UINT32, LARGEST), "expert_used_count": (UINT32, LARGEST),
        "attention.sliding_window": (UINT32, LARGEST), "pooling_type": (UINT32, 99), "attention.causal": (BOOL, False),
    }  # fmt: skip
    for key, entry in odd.items():
        made[f"an odd {key}"] = base.having(**{f"llama.{key}": entry})
    made["a name of many lines"] = base.having(general__name=(STRING, b"a\nb\r\n\0c\x1b[2J" * 100))
    made["a name of a megabyte"] = base.having(general__name=(STRING, b"x" * 1_000_000))
    made["a file type of the future"] = base.having(general__file_type=(UINT32, LARGEST))
    made["5000 entries more"] = base.having(**{f"more.{number}": (UINT32, number) for number in range(5000)})
    return made


def odd_vocabularies(base: Ingredients) -> dict[str, Ingredients]:
    """Tokenizers whose lists do not fit each other, or whose tokens are not there."""
    tokens = base.metadata["tokenizer.ggml.tokens"][1][1]
    size = len(tokens)

    def listed(name: str, kind: int, values: list[Any]) -> Ingredients:
        return base.having(**{f"tokenizer.ggml.{name}": (ARRAY, (kind, values))})

    made = {
        "no tokens": listed("tokens", STRING, []),
        "one token fewer": listed("tokens", STRING, tokens[:-1]),
        "one token more": listed("tokens", STRING, [*tokens, b"x"]),
        "all tokens the same": listed("tokens", STRING, [b"x"] * size),
        "all tokens empty": listed("tokens", STRING, [b""] * size),
        "tokens that are no UTF-8": listed("tokens", STRING, [b"\xff\xfe" + bytes([n % 256]) for n in range(size)]),
        "a token of a megabyte": listed("tokens", STRING, [*tokens[:-1], b"x" * 1_000_000]),
        "tokens that are numbers": listed("tokens", UINT32, list(range(size))),
        "byte tokens that are none": listed("tokens", STRING, [b"<0xZZ>"] * size),
        "no scores": listed("scores", FLOAT32, []),
        "too few scores": listed("scores", FLOAT32, [0.0] * 3),
        "scores of another kind": listed("scores", 0, [0] * size),
        "scores that are texts": listed("scores", STRING, [b"x"] * size),
        "scores that are no numbers": listed("scores", FLOAT32, [math.nan] * size),
        "no token types": listed("token_type", INT32, []),
        "too few token types": listed("token_type", INT32, [1] * 3),
        "token types of another kind": listed("token_type", 0, [1] * size),
        "token types that are texts": listed("token_type", STRING, [b"x"] * size),
        "token types of the future": listed("token_type", INT32, [2**31 - 1] * size),
        "merges that are none": listed("merges", STRING, [b"x", b"", b" ", b"a b c"]),
        "merges that are numbers": listed("merges", UINT32, [1, 2, 3]),
    }
    for model in (b"gpt2", b"bert", b"t5", b"rwkv", b"plamo2", b"none", b"no_vocab", b"replit", b"%n", b"x" * 100_000):
        made[f"a tokenizer {model[:9].decode()}"] = base.having(tokenizer__ggml__model=(STRING, model))
    rwkv = base.having(tokenizer__ggml__model=(STRING, b"rwkv"))
    for name, texts in {"with all bytes": RWKV_BYTES, "that never ends a line": ["\\n\\n"] * 256}.items():
        made[f"rwkv {name}"] = rwkv.having(tokenizer__ggml__tokens=(ARRAY, (STRING, ["<s>", "<a>", "<b>", *texts])))
    endless = made["rwkv that never ends a line"]
    made["rwkv with a zero behind it"] = endless.having(tokenizer__ggml__model=(STRING, b"rwkv\0x"))
    bpe = base.having(tokenizer__ggml__model=(STRING, b"gpt2"))
    merges = (ARRAY, (STRING, [b"a b", b"", b"x", b" " * 1000]))
    made["gpt2 with merges that are none"] = bpe.having(tokenizer__ggml__merges=merges)
    made["gpt2 with numbers for merges"] = bpe.having(tokenizer__ggml__merges=(ARRAY, (UINT32, [1, 2])))
    made["gpt2 of an unknown kind"] = bpe.having(tokenizer__ggml__merges=merges, tokenizer__ggml__pre=(STRING, b"%n"))
    unigram = base.having(tokenizer__ggml__model=(STRING, b"t5"))
    for name, charsmap in {
        "empty": [], "of one byte": [1], "that points away": [255, 255, 255, 127, *[0] * 100],
        "of noise": list(random.Random(4).randbytes(3000)), "of large steps": [0, 4, 0, 0, *[255] * 1024],
    }.items():  # fmt: skip
        made[f"t5 with a map {name}"] = unigram.having(tokenizer__ggml__precompiled_charsmap=(ARRAY, (0, charsmap)))
    for key in ("bos", "eos", "eot", "unknown", "padding", "fim_pre", "seperator"):
        made[f"{key} token that is not there"] = base.having(**{f"tokenizer.ggml.{key}_token_id": (UINT32, LARGEST)})
    made["bos token just behind the last"] = base.having(**{"tokenizer.ggml.bos_token_id": (UINT32, size)})
    return made


def odd_tensors(base: Ingredients) -> dict[str, Ingredients]:
    """Tensors that are missing, of other sizes or types, misplaced or twice there."""
    made: dict[str, Ingredients] = {}
    listed = [(name, sizes, kind) for name, sizes, kind, _ in base.tensors]

    def changed(index: int, *instead: Any) -> Ingredients:
        return base.laid_out(listed[:index] + list(instead) + listed[index + 1 :])

    def misplaced(index: int, offset: int) -> Ingredients:
        tensors = list(base.tensors)
        tensors[index] = (*tensors[index][:3], offset)
        return replace(base, tensors=tensors)

    for index, (name, sizes, _) in enumerate(listed[:11]):
        made[f"without {name}"] = changed(index)
        made[f"{name} is smaller"] = changed(index, (name, (*sizes[:-1], sizes[-1] - 1), F32))
        made[f"{name} is larger"] = changed(index, (name, (*sizes[:-1], sizes[-1] + 1), F32))
    for index in (0, 1, 2, 3):
        name, sizes, _ = listed[index]
        made[f"{name} has a side of 0"] = changed(index, (name, (0, *sizes[1:]), F32))
        made[f"{name} has one side more"] = changed(index, (name, (*sizes, 1), F32))
        made[f"{name} has a third side of 2"] = changed(index, (name, (*sizes, *(1,) * (2 - len(sizes)), 2), F32))
        made[f"{name} has no sides"] = changed(index, (name, (), F32))
        for kind in (F16, Q4_0, Q8_0, I32):
            made[f"{name} of type {kind}"] = changed(index, (name, sizes, kind))
        for kind in (4, 31, 38, 43, 2**31, LARGEST):
            made[f"{name} of type {kind}"] = changed(index, (name, sizes, kind))
    name, sizes, _ = listed[3]
    for wrong in ((2**63, 1), (2**62, 4), (2**32, 2**32), (2**40, 2**20), (2**64 - 1,), (2**20,) * 4, (64, 2**56)):
        made[f"{name} is {' x '.join(map(str, wrong))}"] = replace(
            base, tensors=[*base.tensors[:3], (name, wrong, F32, base.tensors[3][3]), *base.tensors[4:]]
        )
    made["a row that is no whole block"] = changed(3, (name, (33, 64), Q8_0))
    made["a row that is no whole superblock"] = changed(3, (name, sizes, Q4_K))
    for offset in (0, 1, 31, 64, 2**31, 2**63 - 32, 2**63, 2**64 - 32, 2**64 - 1):
        made[f"the fourth tensor at {offset}"] = misplaced(3, offset)
    made["tensors in another order"] = replace(base, tensors=base.tensors[::-1])
    made["all tensors twice"] = base.laid_out(listed * 2)
    made["one tensor twice"] = base.laid_out([*listed, listed[4]])
    made["a tensor more"] = base.laid_out([*listed, ("more", (32,), F32)])
    made["a third layer's tensor"] = base.laid_out([*listed, ("blk.2.attn_norm.weight", (64,), F32)])
    made["a layer far away"] = base.laid_out([*listed, (f"blk.{10**30}.x", (64,), F32)])
    made["a name of 64 bytes"] = base.laid_out([*listed, ("x" * 64, (32,), F32)])
    made["a name of a megabyte"] = base.laid_out([*listed, ("x" * 1_000_000, (32,), F32)])
    made["a name of nothing"] = base.laid_out([*listed, ("", (32,), F32)])
    made["a name with a zero in it"] = base.laid_out([*listed, ("token_embd.weight\0x", (32,), F32)])
    made["a name with a percent"] = base.laid_out([*listed, ("%s%n" * 10, (32,), F32)])
    made["3000 tensors more"] = base.laid_out([*listed, *((f"more.{n}", (1,), F32) for n in range(3000))])
    made["no tensors at all"] = base.laid_out([])
    for name, number in {"no numbers": math.nan, "endless": math.inf, "huge": 3e38, "nothing": 0.0}.items():
        made[f"weights that are {name}"] = replace(base, data=struct.pack("<f", number) * (len(base.data) // 4))
    for alignment in (0, 1, 3, 16, 64, 4096, 2**31, LARGEST):
        made[f"an alignment of {alignment}"] = base.having(general__alignment=(UINT32, alignment))
    made["an alignment of 64 bits"] = base.having(general__alignment=(UINT64, 32))
    made["an alignment in words"] = base.having(general__alignment=(STRING, b"32"))
    return made


def odd_architectures() -> dict[str, Ingredients]:
    """What only some kinds of models have is 0 or huge."""
    made = {}
    bases = {
        "mamba": tiny_models.recurrent(), "jamba": tiny_models.hybrid(), "gemma2": tiny_models.sliding_window(8),
        "llama4": tiny_models.jumping_window(), "bert": tiny_models.reader(1),
    }  # fmt: skip
    special = ("ssm.", "expert_", "sliding", "interleave", "causal", "pooling", "context_length", "head_count_kv")
    for architecture, content in bases.items():
        base = taken_apart(content)
        for key, (kind, _) in base.metadata.items():
            if (
                kind == UINT32
                and key.startswith(architecture)
                and key.split(".", 1)[1].startswith((*special, "attention.head_count"))
            ):
                for odd in (0, LARGEST):
                    made[f"{key} is {odd}"] = base.having(**{key: (kind, odd)})
        for other in bases:
            if other != architecture:
                renamed = {key.replace(f"{architecture}.", f"{other}."): value for key, value in base.metadata.items()}
                made[f"{architecture} that says {other}"] = replace(base, metadata=renamed).having(
                    general__architecture=(STRING, other)
                )
    return made


def odd_bytes(base: Ingredients) -> dict[str, bytes]:
    """What the ingredients cannot say: headers byte by byte."""
    llama = entry("general.architecture", STRING, text("llama"))

    def after(rest: bytes) -> bytes:
        return header(0, 2, llama + rest)

    def array(kind: int, length: int, rest: bytes = b"") -> bytes:
        return after(entry("a", ARRAY, struct.pack("<IQ", kind, length) + rest + bytes(64)))

    nested = b"".join(struct.pack("<IQ", ARRAY, 1) for _ in range(10_000))
    return {
        "the same key twice": header(0, 2, llama * 2),
        "a key of nothing": after(entry("", UINT32, bytes(4))),
        "a key of a megabyte": after(entry("k" * 1_000_000, UINT32, bytes(4))),
        "a key that is no UTF-8": after(entry(b"\xff\xfe", UINT32, bytes(4))),
        "a key without end": after(struct.pack("<Q", 2**40)),
        "a key of 2**64 - 1": after(struct.pack("<Q", 2**64 - 1)),
        **{f"a value of type {kind}": after(entry("a", kind, bytes(64))) for kind in (13, 255, 2**31, LARGEST)},
        **{f"an array of type {kind}": array(kind, 1) for kind in (13, 255, LARGEST)},
        **{f"an array of {count} numbers": array(UINT32, count) for count in (100, 2**31, 2**62, 2**64 - 1)},
        **{f"an array of {count} texts": array(STRING, count) for count in (100, 2**31, 2**61, 2**64 - 1)},
        "an array of bytes that are neither 0 nor 1": array(BOOL, 3, b"\2\3\4"),
        "a truth value of 7": after(entry("a", BOOL, b"\7")),
        "an array in arrays": array(ARRAY, 1, nested),
        "a text of 2**63": after(entry("a", STRING, struct.pack("<Q", 2**63))),
        "a text of 2**64 - 1": after(entry("a", STRING, struct.pack("<Q", 2**64 - 1))),
        "a text past the end": after(entry("a", STRING, struct.pack("<Q", 1_000_000))),
        "a tensor of 5 sides": header(1, 1, llama + text("x") + struct.pack("<I", 5) + bytes(100)),
        "a tensor of 2**32 - 1 sides": header(1, 1, llama + text("x") + struct.pack("<I", LARGEST) + bytes(100)),
        "a name past the end": header(1, 1, llama + struct.pack("<Q", 2**20) + bytes(10)),
    }  # fmt: skip


def bombs() -> dict[str, bytes]:
    """Small or plain files that want much time or memory."""
    many = b"".join(entry(f"k{number}", 0, b"\0") for number in range(9_999))
    floods = b"".join(tensor(f"t{number}", (1,), F32, number * ALIGNMENT) for number in range(19_999))
    return {
        **{
            f"{count} texts": header(0, 1, entry("a", ARRAY, struct.pack("<IQ", STRING, count) + bytes(8 * count)))
            for count in (3_900_000, 5_000_000)
        },
        "too much text": header(0, 5, b"".join(entry(f"k{n}", STRING, text(b"x" * 16_000_000)) for n in range(5))),
        "the most entries": header(0, 9_999, many),
        "the most tensors": header(19_999, 0, floods) + bytes(19_999 * ALIGNMENT + ALIGNMENT),
    }  # fmt: skip


def split(base: Ingredients) -> Iterator[Case]:
    """Models in parts whose files do not fit each other."""
    listed = [(name, sizes, kind) for name, sizes, kind, _ in base.tensors]

    def part(number: int, count: int, *, own: tuple[int, int] | None = None, metadata: Metadata | None = None) -> bytes:
        mine = base.laid_out(listed[number - 1 :: 2])
        no, of = own or (number - 1, count)
        said: Metadata = {
            "split.no": (UINT16, no),
            "split.count": (UINT16, of),
            "split.tensors.count": (INT32, len(listed)),
        }
        return replace(mine, metadata={**(base.metadata if number == 1 else {}), **said, **(metadata or {})}).file()

    first, second = "model-00001-of-00002.gguf", "model-00002-of-00002.gguf"
    whole = {first: part(1, 2), second: part(2, 2)}
    yield Case("two parts", whole)
    yield Case("the second part chosen", {second: whole[second], first: whole[first]})
    yield Case("the second part missing", {first: whole[first]})
    yield Case("the second part cut off", {**whole, second: whole[second][:-1]})
    yield Case("the second part is noise", {**whole, second: random.Random(5).randbytes(9999)})
    yield Case("the second part is the first", {**whole, second: whole[first]})
    yield Case("parts of another number", {**whole, second: part(2, 2, own=(5, 2))})
    yield Case("parts of another count", {**whole, second: part(2, 2, own=(1, 9))})
    yield Case("a first part that says it is the second", {**whole, first: part(1, 2, own=(1, 2))})
    yield Case("a part that was renamed", {"model.gguf": whole[first]})
    yield Case("a count of 65535", {"model.gguf": part(1, 2, own=(0, 65535))})
    yield Case("a count in words", {**whole, first: part(1, 2, metadata={"split.count": (STRING, b"two")})})
    yield Case("of 99999", {"model-00001-of-99999.gguf": whole[first]})
    yield Case("of 00000", {"model-00001-of-00000.gguf": whole[first]})
    yield Case("part 00000", {"model-00000-of-00002.gguf": whole[first]})


def starters(starter: Path) -> Iterator[Case]:
    """The real header, changed in one place, before weights of zeros."""
    size = starter.stat().st_size
    with starter.open("rb") as stream:
        content = stream.read(4_000_000)
    start = len(content) - len(taken_apart(content).data)
    head = content[:start]
    name = {"model.gguf": head}
    yield Case("starter of zeros", name, size)
    for end in (1000, 4096, start // 2, start - 4096, start - 1):
        yield Case(f"starter cut at {end}", {"model.gguf": head[:end]})
    yield Case("starter cut in its weights", name, size // 2)
    yield Case("starter one byte short", name, size - 1)
    dice = random.Random(6)
    entries = [*range(24, 1400, 60), *(start - dice.randrange(1, 16_000) for _ in range(20))]
    for position in entries:
        damaged = head[:position] + bytes([head[position] ^ (1 << dice.randrange(8))]) + head[position + 1 :]
        yield Case(f"starter flipped at {position}", {"model.gguf": damaged}, size)
