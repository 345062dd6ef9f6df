"""``python -m package``: the program's folder and its archive in dist/, tried out. Run by ``bootstrap.py package``."""

from __future__ import annotations

import os
import re
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from bootstrap import digest
from package import facts
from server import VERSION

PASSED: Final = re.compile(r"Self-test passed in ([\d.]+) s")


def main() -> int:
    """Build, pack, try. Returns the exit status."""
    print("Building the program ...", flush=True)
    build = [sys.executable, "-m", "PyInstaller", "--noconfirm", "--log-level=ERROR", "build.spec"]
    if subprocess.run(build, cwd=facts.ROOT, check=False).returncode:
        return 1
    finish()
    print("Packing it ...", flush=True)
    archive = pack()
    print("Trying it ...", flush=True)
    tested = self_test()
    print(f"Archive: {archive.relative_to(facts.ROOT)}, {archive.stat().st_size / 1e6:.0f} MB, {digest(archive)}")
    print(f"Folder: {facts.FOLDER.relative_to(facts.ROOT)}, {sum(map(size, facts.FOLDER.rglob('*'))) / 1e6:.0f} MB")
    print(f"Self-test: {tested:.1f} s")
    print(f"Window: {window()}", flush=True)
    return 0


def finish() -> None:
    """Put beside the programs what people look for there, and leave out what debuggers alone need."""
    for text in (facts.ROOT / "LICENSE", facts.LICENCES):
        shutil.copy(text, facts.FOLDER)
    if sys.platform == "linux":
        for place, source in shared_files():
            target = facts.FOLDER / "share" / place
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
        # Of this one library alone: numpy's do not survive it.
        for library in (facts.FOLDER / "_internal").glob("libpython*.so*"):
            if shutil.which("strip"):
                subprocess.run(["strip", "--strip-unneeded", library], check=True)


def shared_files() -> Iterator[tuple[str, Path]]:
    """What a Linux desktop wants in /usr/share or ~/.local/share: its place there, and where it is from."""
    assets = facts.ROOT / "assets"
    yield "applications/tavernkeep.desktop", assets / "linux" / "tavernkeep.desktop"
    yield "mime/packages/tavernkeep.xml", assets / "linux" / "tavernkeep-mime.xml"
    yield f"metainfo/{facts.IDENTIFIER}.metainfo.xml", assets / "linux" / f"{facts.IDENTIFIER}.metainfo.xml"
    for icon in (assets / "icons").glob("tavernkeep-*[0-9].png"):
        pixels = icon.stem.rpartition("-")[2]
        yield f"icons/hicolor/{pixels}x{pixels}/apps/tavernkeep.png", icon


def pack() -> Path:
    """The archive, and beside it a file with its SHA-256, as ``sha256sum --check`` reads it."""
    ending = "tar.gz" if sys.platform == "linux" else "zip"
    stem = f"{facts.NAME}-{VERSION}-{facts.SYSTEM}{facts.gpu_suffix(facts.FOLDER / '_internal' / 'bin')}"
    archive = facts.ROOT / "dist" / f"{stem}.{ending}"
    if sys.platform == "linux":
        with tarfile.open(archive, "w:gz", compresslevel=6) as tar:
            tar.add(facts.FOLDER, facts.NAME, filter=_of_nobody)
    elif sys.platform == "darwin":  # a bundle holds links, which zip files made by others do not keep
        bundle = facts.FOLDER.with_suffix(".app")
        subprocess.run(["ditto", "-c", "-k", "--keepParent", bundle, archive], check=True)
    else:
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as zipped:
            for file in filter(Path.is_file, sorted(facts.FOLDER.rglob("*"))):
                zipped.write(file, Path(facts.NAME) / file.relative_to(facts.FOLDER))
    Path(f"{archive}.sha256").write_text(f"{digest(archive)}  {archive.name}\n", encoding="ascii", newline="\n")
    return archive


def self_test() -> float:
    """Seconds that the packaged program's own test takes. It runs without this environment, and in an empty home."""
    with tempfile.TemporaryDirectory() as home:
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "XDG_"))}
        done = subprocess.run(
            [facts.FOLDER / facts.CLI, "--self-test"],
            env={**environment, **dict.fromkeys(("HOME", "APPDATA", "LOCALAPPDATA"), home)},
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
    passed = PASSED.search(done.stdout)
    if done.returncode or not passed:
        sys.exit(f"{done.stdout}{done.stderr}The packaged program failed its self-test.")
    return float(passed[1])


def window() -> str:
    """How long the packaged program takes to show its window, in words."""
    if sys.platform != "linux" or not shutil.which("Xvfb"):
        return "not measured, which needs Linux and Xvfb, a display of its own"
    from bench.processes import display
    from bench.startup import PACKAGED, RUNS, seconds_to_window

    with display():
        try:
            seconds = [seconds_to_window(PACKAGED) for _ in range(RUNS)]
        except TimeoutError as error:
            sys.exit(f"The packaged program was built, and failed: {error}")
    return f"{statistics.median(seconds):.2f} s (median of {RUNS} starts)"


def size(file: Path) -> int:
    """A file's bytes; links and folders have none."""
    return 0 if file.is_symlink() or file.is_dir() else file.stat().st_size


def _of_nobody(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry


if __name__ == "__main__":
    sys.exit(main())
