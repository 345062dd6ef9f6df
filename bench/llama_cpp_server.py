"""Starts ``llama_cpp.server`` with its CPU variants registered; run by the peer's Python, arguments go to the server.

A wheel built as ``bootstrap.py`` builds it keeps the variants in ``site-packages/bin``, where llama_cpp.server does not
look. They must go through the library file that libllama links; a build without variants needs and gets nothing.
"""

from __future__ import annotations

import ctypes
import runpy
import sys
from pathlib import Path


def main() -> None:
    """Load the back ends, then be the server."""
    from llama_cpp import llama_cpp as llama

    package = Path(llama.__file__).parent
    linked = package / "lib" / {"win32": "ggml.dll", "darwin": "libggml.0.dylib"}.get(sys.platform, "libggml.so.0")
    if linked.exists():
        ggml = ctypes.CDLL(str(linked))
        ggml.ggml_backend_load_all_from_path.argtypes = [ctypes.c_char_p]
        ggml.ggml_backend_load_all_from_path(str(package.parent / "bin").encode())
    runpy.run_module("llama_cpp.server", run_name="__main__")


if __name__ == "__main__":
    main()
