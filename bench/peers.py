"""The servers that are compared: how each is found, started and asked. What is odd about one stands in its class only.

All get the same model, threads and context; for the rest each has its own defaults, unless a comment says why not.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import bootstrap

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Setup:
    """What all servers are started with. ``slots``: how many requests must run at once, 0 for a server's own choice."""

    model: Path
    threads: int
    context: int
    slots: int = 0


class Peer(Protocol):
    """A kind of server. ``health`` answers 200 when it is ready; ``fields`` go into every request's body."""

    @property
    def name(self) -> str: ...
    @property
    def health(self) -> str: ...
    @property
    def fields(self) -> dict[str, Any]: ...
    def command(self, setup: Setup, port: int) -> list[str]: ...
    def version(self) -> str: ...


@dataclass(frozen=True)
class Tavernkeep:
    """This repository's server, started as a user starts it."""

    name: str = "tavernkeep"
    health: str = "/health"
    fields: dict[str, Any] = field(default_factory=lambda: {"ignore_eos": True})

    def command(self, setup: Setup, port: int) -> list[str]:
        flags = ["--skiplauncher", "--model", str(setup.model), "--port", str(port)]
        flags += ["--threads", str(setup.threads), "--contextsize", str(setup.context)]
        return [sys.executable, str(ROOT / "launcher.py"), *flags]

    def version(self) -> str:
        return _output("git", "-C", str(ROOT), "describe", "--always", "--dirty")


@dataclass(frozen=True)
class LlamaServer:
    """llama.cpp's own server.

    Without ``-np`` it has four slots over one pool of cells. With it, the context is divided into as many equal parts,
    so that is used only where more than four streams run, all of which fit their part.
    """

    binary: Path
    name: str = "llama-server"
    health: str = "/health"
    fields: dict[str, Any] = field(default_factory=lambda: {"ignore_eos": True})

    def command(self, setup: Setup, port: int) -> list[str]:
        flags = ["-m", str(setup.model), "--port", str(port), "-t", str(setup.threads), "-c", str(setup.context)]
        return [str(self.binary), *flags, *(["-np", str(setup.slots)] if setup.slots else [])]

    def version(self) -> str:
        return _output(str(self.binary), "--version")


@dataclass(frozen=True)
class LlamaCppServer:
    """The server of llama-cpp-python. It runs one request at a time, and cannot be told to go on past the model's end.

    By default a request that comes in cuts off the one that runs, the logits of every prompt token are copied and kept,
    and a GPU is left alone: what is compared is the server without these.
    """

    python: Path
    name: str = "llama_cpp.server"
    health: str = "/v1/models"
    fields: dict[str, Any] = field(default_factory=dict)

    def command(self, setup: Setup, port: int) -> list[str]:
        flags = ["--model", str(setup.model), "--port", str(port), "--n_ctx", str(setup.context)]
        flags += ["--n_threads", str(setup.threads), "--n_threads_batch", str(setup.threads)]
        flags += ["--interrupt_requests", "False", "--logits_all", "False", "--n_gpu_layers", "-1"]
        return [str(self.python), "-m", "bench.llama_cpp_server", "--host", "127.0.0.1", *flags]

    def version(self) -> str:
        return _output(str(self.python), "-c", "import llama_cpp; print(llama_cpp.__version__)")


@dataclass(frozen=True)
class KoboldCpp:
    """KoboldCpp, which runs one request at a time. It refuses an eighth one unless its queue is made longer."""

    binary: Path
    name: str = "koboldcpp"
    health: str = "/api/extra/version"
    fields: dict[str, Any] = field(default_factory=lambda: {"ban_eos_token": True})

    def command(self, setup: Setup, port: int) -> list[str]:
        flags = ["--skiplauncher", "--quiet", "--model", str(setup.model), "--port", str(port), "--multiuser", "16"]
        flags += ["--threads", str(setup.threads), "--contextsize", str(setup.context)]
        return [str(self.binary), *flags]

    def version(self) -> str:
        return _output(str(self.binary), "--version")


def peers_folder() -> Path:
    """Where ``bench.get_peers`` puts them."""
    return bootstrap.cache_folder() / "peers"


def default_llama_server() -> Path:
    return peers_folder() / "llama-server" / ("llama-server.exe" if sys.platform == "win32" else "llama-server")


def default_python() -> Path:
    return peers_folder() / "venv" / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def find(llama_server: str, llama_cpp_python: str, koboldcpp: str) -> list[Peer]:
    """Tavernkeep and the peers that are there. A path that was named but does not work ends the program."""
    peers: list[Peer] = [Tavernkeep()]
    if (
        binary := _program(llama_server)
        or shutil.which("llama-server")
        or _program(default_llama_server(), named=False)
    ):
        peers.append(LlamaServer(Path(binary)))
    if python := _program(llama_cpp_python) or _program(default_python(), named=False):
        peers.append(LlamaCppServer(Path(python)))
    if binary := _program(koboldcpp):
        peers.append(KoboldCpp(Path(binary)))
    return peers


def _program(path: str | Path, *, named: bool = True) -> str | None:
    if not str(path):
        return None
    found = shutil.which(path)
    if named and not found:
        sys.exit(f"{path} is no program that can be run.")
    return found


def _output(*command: str) -> str:
    """The first line a program prints, wherever it prints it."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return next(iter((done.stdout + done.stderr).strip().splitlines()), "unknown")
