"""What a GGUF file, in one or several parts, says of itself, checked before llama.cpp sees it. Called by the controller
and the engines."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from server.errors import ModelLoadError
from server.model import gguf_header
from server.model.gguf_facts import FILE_TYPES
from server.model.gguf_header import Header
from server.model.gguf_sense import check
from server.model.shape import shape_of, text_in, whole_in
from server.snapshot import ModelFile

PART = re.compile(r"-(\d{5})-of-(\d{5})\.gguf$", re.IGNORECASE)
MOST_PARTS: Final = 1000


def inspect(path: str) -> ModelFile:
    """What the file says of itself, and of its further parts if it is split. Raises :class:`ModelLoadError` if it is
    missing, no GGUF, cut off or damaged."""
    if not path or "\0" in path:
        raise ModelLoadError("No model file is named.", "Choose a .gguf file.")
    headers = _parts(Path(path))
    metadata, tensors = headers[0].metadata, [tensor for header in headers for tensor in header.tensors]
    check(Path(path).name, metadata, tensors)
    architecture = text_in(metadata, "general.architecture")
    return ModelFile(
        path=path,
        size=sum(header.size for header in headers),
        architecture=architecture,
        name=text_in(metadata, "general.name"),
        quantisation=FILE_TYPES.get(whole_in(metadata, "general.file_type", -1), ""),
        layers=whole_in(metadata, f"{architecture}.block_count"),
        trained_context=whole_in(metadata, f"{architecture}.context_length"),
        chat_template=text_in(metadata, "tokenizer.chat_template"),
        embeds=whole_in(metadata, f"{architecture}.pooling_type") > 0,
        shape=shape_of(metadata, tensors),
    )


def is_further_part(name: str) -> bool:
    """Whether a file's name says that it is a part of a split model, but not the first one, which stands for all."""
    part = PART.search(name)
    return part is not None and int(part.group(1)) != 1


def _parts(file: Path) -> Sequence[Header]:
    """The file, and the further parts that its name promises."""
    if is_further_part(file.name):
        first = PART.sub(r"-00001-of-\2.gguf", file.name)
        raise ModelLoadError(f"{file.name} is a later part of a model.", f"Choose the first part, {first}.")
    part = PART.search(file.name)
    count = int(part.group(2)) if part else 1
    if not 0 < count <= MOST_PARTS:
        raise ModelLoadError(
            f"The name of {file.name} promises {count} parts; a model has between 1 and {MOST_PARTS}.",
            "Give it the name back that it was downloaded with.",
        )
    headers = [_part(file, 1, count)]
    for number in range(2, count + 1):
        further = file.with_name(f"{PART.sub('', file.name)}-{number:05}-of-{count:05}.gguf")
        if not further.exists():
            raise ModelLoadError(
                f"{file.name} is incomplete: {further.name} is missing.", "Download that file as well."
            )
        headers.append(_part(further, number, count))
    return headers


def _part(file: Path, number: int, count: int) -> Header:
    """Part ``number`` of ``count`` by its name; what the file itself says of that is what llama.cpp goes by."""
    header = gguf_header.read(file)
    own_count = max(whole_in(header.metadata, "split.count", count), 1)
    own_number = whole_in(header.metadata, "split.no", number - 1) + 1
    if (own_number, own_count) != (number, count):
        raise ModelLoadError(
            f"{file.name} is part {own_number} of {own_count} of a model, which its name does not say.",
            "Give it the name back that it was downloaded with.",
        )
    return header
