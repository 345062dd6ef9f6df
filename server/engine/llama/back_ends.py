"""llama.cpp's back ends as they lie in a folder, by the names of their files. Does not load llama.cpp."""

from __future__ import annotations

import re
from pathlib import Path

BACK_END = re.compile(r"(?:lib)?ggml-(?!base\.)(.+)\.(?:so|dll|dylib)")


def back_ends(folder: Path) -> dict[str, Path]:
    """The files in a folder by the back ends' names, such as ``cpu-haswell`` and ``vulkan``, in order."""
    found = ((BACK_END.fullmatch(file.name), file) for file in sorted(folder.glob("*")))
    return {match[1]: file for match, file in found if match}
