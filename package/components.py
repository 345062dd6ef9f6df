"""Every component in the package with its licence, and the licences' texts. build.spec calls :func:`write`.

What comes along is known only once PyInstaller has followed all imports and libraries; so the list is made from that.
"""

from __future__ import annotations

import functools
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution
from pathlib import Path
from typing import Final

from package import facts

HEAD: Final = f"""# What is in the package for {facts.SYSTEM}

Made by `bootstrap.py package` from what the package holds. The licences' texts are in its LICENCES.txt.

| Component | Licence |
|---|---|
"""
TEXTS: Final = facts.COMPONENTS.parent / "texts"  # of components that come without theirs
NAMES_OF_TEXTS: Final = re.compile(r"(licen[cs]e|copying|notice|copyright)", re.IGNORECASE)
LONGEST_NAME: Final = 80
# Who states it in words that do not name a licence.
SAID_OTHERWISE: Final = {
    "customtkinter": "MIT",
    "numpy": "BSD-3-Clause; with OpenBLAS (BSD-3-Clause) and GCC's libraries (GPL-3.0 WITH GCC-exception-3.1)",
}
GCC: Final = ("GCC's libraries", "GPL-3.0 WITH GCC-exception-3.1")
X11: Final = ("X.Org's client libraries", "MIT")
CUDA: Final = ("NVIDIA's CUDA runtime", "NVIDIA's CUDA EULA, as a redistributable")
MICROSOFT: Final = ("Microsoft's C++ runtime", "Microsoft's terms for Visual Studio's redistributables")
# Libraries of the system that come along, by how their files' names begin: whose they are, under which licence.
SYSTEM_LIBRARIES: Final = {
    "cublas": CUDA,
    "cudart": CUDA,
    "libcublas": CUDA,
    "libcudart": CUDA,
    "msvcp": MICROSOFT,
    "ucrtbase": MICROSOFT,
    "vcomp": MICROSOFT,
    "vcruntime": MICROSOFT,
    "libX": X11,
    "libxcb": X11,
    "libbrotli": ("Brotli", "MIT"),
    "libbsd": ("libbsd", "BSD-3-Clause"),
    "libbz2": ("bzip2", "bzip2-1.0.6"),
    "libcrypt.": ("libxcrypt", "LGPL-2.1-or-later"),
    "libcrypto": ("OpenSSL", "Apache-2.0"),
    "libexpat": ("Expat", "MIT"),
    "libffi": ("libffi", "MIT"),
    "libfontconfig": ("Fontconfig", "MIT"),
    "libfreetype": ("FreeType", "FTL"),
    "libglib-2": ("GLib", "LGPL-2.1-or-later"),
    "libgomp": GCC,
    "libgraphite2": ("Graphite2", "MPL-2.0"),
    "libharfbuzz": ("HarfBuzz", "MIT"),
    "liblzma": ("XZ Utils' liblzma", "0BSD"),
    "libmd.": ("libmd", "BSD-3-Clause"),
    "libmpdec": ("mpdecimal", "BSD-2-Clause"),
    "libncurses": ("ncurses", "X11-distribute-modifications-variant"),
    "libpcre2": ("PCRE2", "BSD-3-Clause"),
    "libpng": ("libpng", "libpng-2.0"),
    "libsqlite3": ("SQLite", "blessing (public domain)"),
    "libssl": ("OpenSSL", "Apache-2.0"),
    "libtcl": ("Tcl", "TCL"),
    "libtinfo": ("ncurses", "X11-distribute-modifications-variant"),
    "libtk": ("Tk", "TCL"),
    "libuuid": ("util-linux's libuuid", "BSD-3-Clause"),
    "libvulkan": ("Vulkan loader", "Apache-2.0"),
    "libz.": ("zlib", "Zlib"),
    "libzstd": ("Zstandard", "BSD-3-Clause"),
}


@dataclass(frozen=True)
class Component:
    """Something that others made: its name, the licence in short, and the licence's text as far as it is stated."""

    name: str
    licence: str
    text: str


def write(sources: Iterable[str]) -> None:
    """Write the list and the texts to :data:`facts.COMPONENTS` and :data:`facts.LICENCES`.

    ``sources`` are the files that the package is made of. Raises :class:`ValueError` with those that nobody can name.
    """
    found, unknown = set(_always_there()), []
    for source in map(os.path.realpath, sources):
        try:
            found.update(_of(source))
        except LookupError:
            unknown.append(source)
    if unknown:
        raise ValueError(f"whose these are, and under which licence, is to be said in {__file__}: {', '.join(unknown)}")
    by_name: dict[tuple[str, str], list[str]] = {}
    for each in sorted(found, key=lambda component: (component.name.lower(), component.text)):
        by_name.setdefault((each.name, each.licence), []).append(each.text.strip())
    rows = "".join(f"| {name} | {licence} |\n" for name, licence in by_name)
    texts = [f"{name}: {licence}\n\n" + "\n\n".join(stated) for (name, licence), stated in by_name.items()]
    texts += _referred_to("".join(texts))
    for file, content in ((facts.COMPONENTS, HEAD + rows), (facts.LICENCES, f"\n\n{'=' * 78}\n".join(texts) + "\n")):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content, encoding="utf-8")


def _always_there() -> Iterator[Component]:
    yield _python()
    bootloader = _text(importlib.metadata.distribution("pyinstaller"))
    yield Component("PyInstaller's bootloader", "GPL-2.0-or-later WITH Bootloader-exception", bootloader)
    # The same licence as that of a distribution that has its text.
    apache = _text(importlib.metadata.distribution("huggingface_hub"))
    yield Component("SmolLM2-135M-Instruct", "Apache-2.0", f"Copyright Hugging Face\n\n{apache}")
    yield Component("llama.cpp and ggml", "MIT", (TEXTS / "llama.cpp.txt").read_text("utf-8"))
    yield Component("TkDND", "TCL", (TEXTS / "TkDND.txt").read_text("utf-8"))


def _referred_to(texts: str) -> Iterator[str]:
    """The long licences that Debian's texts do not repeat."""
    for file in sorted(set(re.findall(r"/usr/share/common-licenses/[\w.-]*[\w]", texts))):
        if os.path.isfile(file):
            yield f"{file}\n\n{Path(file).read_text('utf-8', 'replace')}"


def _of(source: str) -> Iterator[Component]:
    distribution = _owners().get(source)
    if distribution:
        yield _distribution(distribution.name)
    elif re.search(r"\.(so[.\d]*|dll|dylib)$", source, re.IGNORECASE) and not _is_ours_or_pythons(source):
        yield _system_library(source)


def _is_ours_or_pythons(source: str) -> bool:
    python = os.path.dirname(os.path.realpath(os.__file__)) if sys.platform == "linux" else sys.base_prefix
    folders = (str(facts.ROOT), str(facts.site_packages()), os.path.realpath(python))
    return source.startswith(folders) or os.path.basename(source).startswith("libpython")


@functools.cache
def _owners() -> dict[str, Distribution]:
    """Which distribution each installed file is of."""
    found = {}
    for distribution in importlib.metadata.distributions():
        for file in distribution.files or ():
            found[os.path.realpath(str(distribution.locate_file(file)))] = distribution
    return found


@functools.cache
def _distribution(name: str) -> Component:
    distribution = importlib.metadata.distribution(name)
    told = distribution.metadata
    classifiers = [each.rpartition(":: ")[2] for each in told.get_all("Classifier", []) if each.startswith("License")]
    stated = (*told.get_all("License-Expression", []), *classifiers, *told.get_all("License", []))
    licence = SAID_OTHERWISE.get(facts.normal(name)) or next(filter(_is_name, stated), "")
    if not licence:
        raise LookupError(name)
    return Component(name, licence, _text(distribution))


def _is_name(licence: str) -> bool:
    return 0 < len(licence) <= LONGEST_NAME and "\n" not in licence and licence != "OSI Approved"


def _text(distribution: Distribution) -> str:
    files = [
        file for file in distribution.files or () if ".dist-info" in str(file) and NAMES_OF_TEXTS.search(file.name)
    ]
    return "\n\n".join(Path(str(distribution.locate_file(file))).read_text("utf-8", "replace") for file in files)


@functools.cache
def _python() -> Component:
    places = (Path(os.path.realpath(sys.base_prefix)), Path(os.__file__).parent, Path("/usr/share/doc/python3"))
    files = [place / name for place in places for name in ("LICENSE.txt", "LICENSE", "copyright")]
    text = next(
        (file.read_text("utf-8", "replace") for file in files if file.is_file()),
        "https://docs.python.org/3/license.html",
    )
    return Component("Python", "PSF-2.0", text)


def _system_library(source: str) -> Component:
    """A library of the system; its text is what Debian's package says, where the system is Debian.

    Raises :class:`LookupError` for one that nobody knows.
    """
    file = Path(source).name
    file = file.lower() if file.lower().endswith(".dll") else file
    known = next((told for start, told in SYSTEM_LIBRARIES.items() if file.startswith(start)), None)
    if not known:
        raise LookupError(source)
    copyright_file = Path("/usr/share/doc", _debian_package(source) or "-", "copyright")
    text = copyright_file.read_text("utf-8", "replace") if copyright_file.is_file() else ""
    return Component(*known, text)


@functools.cache
def _debian_package(source: str) -> str:
    if not shutil.which("dpkg"):
        return ""
    for name in (source, source.removeprefix("/usr")):  # where /lib is a link to /usr/lib, packages know one of both
        done = subprocess.run(["dpkg", "-S", name], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return done.stdout.partition(":")[0]
    return ""
