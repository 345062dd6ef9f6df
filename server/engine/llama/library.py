"""The llama.cpp library itself: loaded with the right environment, its back ends registered, its log read.

The modules of this folder are the only ones that import ``llama_cpp``, and they take it from here. Every pointer is
checked: a call on a NULL model or context is a segmentation fault, not an exception.
"""

from __future__ import annotations

import ctypes
import functools
import os
import re
import sys
from collections import deque
from pathlib import Path
from typing import Any

from llama_cpp import llama_cpp as llama

from server.engine.llama.back_ends import back_ends
from server.errors import ModelLoadError
from server.snapshot import Device, DeviceKind

__all__ = ["NativeLog", "architecture", "cpu_buffer_type", "llama", "load_backends"]

VARIANT = "TAVERNKEEP_CPU_VARIANT"  # for support: the CPU back end to use instead of the one llama.cpp chooses
KEPT_LOG_LINES = 50
DEBUG, ERROR, CONTINUED = 1, 4, 5  # of llama.cpp's log levels
CPU_DEVICE = 0  # GGML_BACKEND_DEVICE_TYPE_CPU
DEVICE_KINDS = {CPU_DEVICE: DeviceKind.CPU, 1: DeviceKind.GPU, 2: DeviceKind.INTEGRATED}


@functools.cache
def _ggml() -> ctypes.CDLL:
    """The very library file that libllama links. The wheel holds copies of it, and a copy has a registry of its own:
    back ends loaded there are not seen by llama.cpp, which then crashes."""
    names = {"win32": "ggml.dll", "darwin": "libggml.0.dylib"}
    library = ctypes.CDLL(str(Path(llama.__file__).parent / "lib" / names.get(sys.platform, "libggml.so.0")))
    library.ggml_backend_load_all_from_path.argtypes = [ctypes.c_char_p]
    library.ggml_backend_load.argtypes = [ctypes.c_char_p]
    library.ggml_backend_load.restype = ctypes.c_void_p
    library.ggml_backend_dev_count.restype = ctypes.c_size_t
    library.ggml_backend_dev_get.argtypes = [ctypes.c_size_t]
    library.ggml_backend_dev_get.restype = ctypes.c_void_p
    library.ggml_backend_dev_description.argtypes = [ctypes.c_void_p]
    library.ggml_backend_dev_description.restype = ctypes.c_char_p
    library.ggml_backend_dev_name.argtypes = [ctypes.c_void_p]
    library.ggml_backend_dev_name.restype = ctypes.c_char_p
    library.ggml_backend_dev_type.argtypes = [ctypes.c_void_p]
    library.ggml_backend_dev_type.restype = ctypes.c_int
    library.ggml_backend_dev_memory.argtypes = [ctypes.c_void_p, *[ctypes.POINTER(ctypes.c_size_t)] * 2]
    library.ggml_backend_dev_memory.restype = None
    library.ggml_backend_dev_by_type.argtypes = [ctypes.c_int]
    library.ggml_backend_dev_by_type.restype = ctypes.c_void_p
    library.ggml_backend_dev_buffer_type.argtypes = [ctypes.c_void_p]
    library.ggml_backend_dev_buffer_type.restype = ctypes.c_void_p
    return library


def load_backends() -> tuple[Device, ...]:
    """Register the CPU variant that suits this machine and every GPU back end that was built; returns the devices."""
    ggml = _ggml()
    folder = Path(llama.__file__).parent.parent / "bin"
    variant = _wanted_variant(folder)
    if ggml.ggml_backend_dev_count() == 0:
        if variant:
            _load_with_variant(ggml, folder, variant)
        else:
            ggml.ggml_backend_load_all_from_path(str(folder).encode())
    if ggml.ggml_backend_dev_count() == 0:
        raise ModelLoadError(
            "llama.cpp found no back end that runs on this machine's processor.",
            "Run bootstrap.py again; it rebuilds the library.",
        )
    return tuple(_describe(ggml, ggml.ggml_backend_dev_get(index)) for index in range(ggml.ggml_backend_dev_count()))


def _wanted_variant(folder: Path) -> str:
    """The variant of the CPU back end that the environment asks for, "" if it leaves the choice to llama.cpp."""
    wanted = os.environ.get(VARIANT, "")
    variants = [name.removeprefix("cpu-") for name in back_ends(folder) if name.startswith("cpu-")]
    if wanted and wanted not in variants:
        known = ", ".join(variants) or "none, because it was built for one kind of processor"
        raise ModelLoadError(f"{VARIANT} asks for {wanted!r}, which this build does not have.", f"There are: {known}.")
    return wanted


def _load_with_variant(ggml: ctypes.CDLL, folder: Path, variant: str) -> None:
    """As llama.cpp does it, the CPU last, but for its choice of the CPU's variant."""
    found = back_ends(folder)
    for name in [name for name in found if not name.startswith("cpu-")]:
        ggml.ggml_backend_load(str(found[name]).encode())
    if not ggml.ggml_backend_load(str(found[f"cpu-{variant}"]).encode()):
        raise ModelLoadError(
            f"This processor cannot run the variant {variant} that {VARIANT} asks for.", f"Unset {VARIANT}."
        )


def _describe(ggml: ctypes.CDLL, device: int) -> Device:
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    ggml.ggml_backend_dev_memory(device, ctypes.byref(free), ctypes.byref(total))
    return Device(
        name=ggml.ggml_backend_dev_name(device).decode("utf-8", "replace"),
        description=ggml.ggml_backend_dev_description(device).decode("utf-8", "replace"),
        kind=DEVICE_KINDS.get(ggml.ggml_backend_dev_type(device), DeviceKind.OTHER),
        total=total.value,
        free=free.value,
    )


def cpu_buffer_type() -> int:
    """llama.cpp's handle of ordinary memory, for tensors that shall stay there. The back ends must be registered."""
    ggml = _ggml()
    handle: int = ggml.ggml_backend_dev_buffer_type(ggml.ggml_backend_dev_by_type(CPU_DEVICE))
    return handle


def architecture(model: Any) -> str:
    """What kind of model it is, as its file names it: ``llama``, ``gemma3`` and so on."""
    name = ctypes.create_string_buffer(256)
    size = llama.llama_model_meta_val_str(model, b"general.architecture", name, len(name))
    return name.value.decode("utf-8", "replace") if size >= 0 else ""


class NativeLog:
    """Passes llama.cpp's log on to standard error and remembers the last lines, and the errors, for sentences."""

    def __init__(self) -> None:
        self.lines: deque[str] = deque(maxlen=KEPT_LOG_LINES)
        self.errors: deque[str] = deque(maxlen=KEPT_LOG_LINES)
        self._level = 0
        self._partial = ""
        self._callback = llama.llama_log_callback(self._write)  # kept alive: llama.cpp holds only a pointer
        llama.llama_log_set(self._callback, None)

    def cpu_variant(self) -> str:
        """Which build of the CPU back end was chosen, such as ``zen4``; "" in a native build, which has only one."""
        chosen = [re.search(r"loaded CPU backend from .*ggml-cpu-(\w+)", line) for line in self.lines]
        return next((match.group(1) for match in chosen if match), "")

    def reason(self, what: str) -> str:
        """``what`` failed, and the first error llama.cpp wrote about it."""
        cause = next(iter(self.errors), "").split(": ", 1)[-1].strip()
        return f"{what}: {cause}." if cause else f"{what}."

    def _write(self, level: int, text: bytes, _data: object) -> None:
        self._level = self._level if level == CONTINUED else level
        if self._level == DEBUG:  # thousands of lines for each model
            return
        *whole, self._partial = (self._partial + text.decode("utf-8", "replace")).split("\n")
        for line in whole:
            self.lines.append(line)
            if self._level == ERROR:
                self.errors.append(line)
            print(line, file=sys.stderr, flush=True)
