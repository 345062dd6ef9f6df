"""What build.spec, the archive and the tests must agree on."""

from __future__ import annotations

import importlib.metadata
import platform
import re
import sys
import sysconfig
from collections.abc import Collection
from pathlib import Path
from typing import Any, Final

from packaging.requirements import Requirement

from server import VERSION
from server.engine.llama.back_ends import back_ends

ROOT: Final = Path(__file__).resolve().parent.parent
NAME: Final = "Tavernkeep"
CLI: Final = "tavernkeep-cli"
IDENTIFIER: Final = "io.github.tavernkeep.Tavernkeep"
FOLDER: Final = ROOT / "dist" / NAME
ICON: Final = {"win32": "tavernkeep.ico", "darwin": "tavernkeep.icns"}.get(sys.platform, "tavernkeep-256.png")
SYSTEM: Final = (
    f"{ {'win32': 'windows', 'darwin': 'macos'}.get(sys.platform, sys.platform) }-{platform.machine().lower()}"
)
COMPONENTS: Final = ROOT / "assets" / "components" / f"{SYSTEM}.md"
LICENCES: Final = ROOT / "build" / "LICENCES.txt"
# These must be those of the PC that the program runs on: drivers, ROCm, and the C++ runtime, because a driver may want
# a newer one than the build's.
LEFT_TO_THE_SYSTEM: Final = (
    *("libcuda.", "nvcuda.", "libnvidia-"),
    *("libamd", "libhip", "libhsa-", "libroc", "amdhip", "hipblas", "rocblas"),
    *("libstdc++.", "libgcc_s."),
)


def normal(name: str) -> str:
    """A distribution's name as it is compared: https://packaging.python.org/specifications/name-normalization/"""
    return re.sub(r"[-_.]+", "-", name).lower()


def locked_distributions() -> set[str]:
    """The distributions that the program needs on this system, by the lock file, and llama-cpp-python."""
    lines = (ROOT / "requirements" / "app.txt").read_text("utf-8").splitlines()
    pinned = [Requirement(line.rstrip(" \\")) for line in lines if re.match(r"\w", line)]
    return {normal(each.name) for each in pinned if not each.marker or each.marker.evaluate()} | {"llama-cpp-python"}


def modules(distributions: Collection[str] | None = None) -> set[str]:
    """The modules and packages that are installed, of some ``distributions`` or of all."""
    found = set()
    for distribution in importlib.metadata.distributions():
        if distributions is None or normal(distribution.name) in distributions:
            parts = (file.parts[0] for file in distribution.files or () if file.suffix in (".py", ".so", ".pyd"))
            found |= {part.partition(".")[0] for part in parts}
    return {name for name in found if name.isidentifier()}


def site_packages() -> Path:
    """Where the environment's packages lie."""
    return Path(sysconfig.get_path("purelib"))


def gpu_suffix(folder: Path) -> str:
    """What the archive's name says of the GPU back ends, such as ``-vulkan``; "" for none."""
    return "".join(f"-{name}" for name in back_ends(folder) if not name.startswith("cpu"))


def windows_version() -> Any:
    """The version resource that Windows shows in a file's properties. Runs on Windows only."""
    from PyInstaller.utils.win32 import versioninfo as info  # type: ignore[import-untyped]

    numbers = (*map(int, VERSION.split(".")), 0)
    texts = {
        "CompanyName": NAME,
        "FileDescription": NAME,
        "FileVersion": VERSION,
        "InternalName": NAME,
        "LegalCopyright": "MIT licence",
        "OriginalFilename": f"{NAME}.exe",
        "ProductName": NAME,
        "ProductVersion": VERSION,
    }
    english = info.StringTable("040904B0", [info.StringStruct(*text) for text in texts.items()])
    return info.VSVersionInfo(
        ffi=info.FixedFileInfo(filevers=numbers, prodvers=numbers),
        kids=[info.StringFileInfo([english]), info.VarFileInfo([info.VarStruct("Translation", [0x409, 1200])])],
    )


def mac_keys() -> dict[str, Any]:
    """The macOS bundle's Info.plist: it may use all pixels and dark colours, and opens models and configurations."""
    kinds = (("GGUF model", ["gguf"]), ("KoboldCpp configuration", ["kcpps", "kcppt"]))
    return {
        "CFBundleDisplayName": NAME,
        "CFBundleShortVersionString": VERSION,
        "CFBundleVersion": VERSION,
        "LSApplicationCategoryType": "public.app-category.utilities",
        "LSMinimumSystemVersion": "12.0",
        "LSBackgroundOnly": False,
        "NSHighResolutionCapable": True,
        "NSRequiresAquaSystemAppearance": False,
        "NSHumanReadableCopyright": "MIT licence",
        "CFBundleDocumentTypes": [
            {
                "CFBundleTypeName": name,
                "CFBundleTypeExtensions": endings,
                "CFBundleTypeRole": "Viewer",
                "LSHandlerRank": "Alternate",
            }
            for name, endings in kinds
        ],
    }
