"""A scripted stand-in for the controller, for tests of the window: every answer is set by the test."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any

from server import clients
from server.events import EngineState, EngineStats, LogLine, ModelInfo
from server.loading import load_command
from server.model.fit import forecast, likely
from server.settings import Settings
from server.snapshot import (
    CatalogueEntry,
    ClientGuide,
    Device,
    DownloadRow,
    Fit,
    Forecast,
    HubFile,
    HubPart,
    HubRepository,
    LayerShape,
    ModelFile,
    ModelShape,
    Network,
    Preview,
    RequestRow,
    Snapshot,
    TemplateInfo,
    Trial,
    Trimmed,
    WebPage,
)
from server.web_pages import web_pages

STARTER = "/models/starter.gguf"
ADDRESS = "http://127.0.0.1:5001"
LONGEST_START = 20  # seconds
WSL = Network("WSL", "172.16.0.0/12", "172.28.96.1")
LAN = Network("Wi-Fi", "192.168.1.0/24", "192.168.1.5")
IDLE = Snapshot()
LOADING = Snapshot(EngineState.LOADING, progress=0.42, address=ADDRESS)
LOADED = ModelInfo(
    name="Mistral-Nemo-Instruct-2407-Q4_K_M",
    path="/models/nemo.gguf",
    architecture="llama",
    parameters=12_200_000_000,
    size=7_480_000_000,
    quantisation="Q4_K - Medium",
    layers=40,
    trained_context=131072,
    context=8192,
    chat_template="",
    bos_text="",
    eos_text="",
    devices=("NVIDIA GeForce RTX 4070 Laptop GPU", "13th Gen Intel(R) Core(TM) i7-13700HX"),
    cpu_variant="alderlake",
)
READY = Snapshot(EngineState.READY, progress=1.0, address=ADDRESS, stats=EngineStats(cells_total=8192))
OWN_TEMPLATE = TemplateInfo("ChatML", "the model's own", "The model file carries it.")
DOUBTFUL_TEMPLATE = TemplateInfo(
    "a-template-of-somebody-for-Mistral-Nemo.jinja",
    "your choice",
    "It was chosen in the settings.",
    "The model's own template, which looks like Mistral-V3-Tekken, writes turns differently: replies may suffer.",
)
BUSY = Snapshot(
    EngineState.READY,
    address=ADDRESS,
    model=LOADED,
    template=DOUBTFUL_TEMPLATE,
    threads=12,
    stats=EngineStats(
        running=16,
        waiting=48,
        decode_speed=1163.7,
        prompt_speed=12345,
        cells_used=100_000,
        cells_cached=31_072,
        cells_total=131_072,
        ram_used=1_240_000_000,
        threads=11,
        drafted=1_234_567,
        accepted=812_345,
        prompt_tokens=12_345_678,
        cached_tokens=10_740_730,
    ),
    requests=(RequestRow(1, "SkyrimNet", "/v1/chat/completions", 8000, 12, Trimmed(messages=123, tokens=123_456)),),
    replies=123_456,
    trimmed=12_345,
    asked=12_345_678,
    cached=10_740_730,
)

TINY_FILE = HubFile("tavern/Tiny-GGUF", "main", (HubPart("tiny-Q4_K_M.gguf", 2 * 10**9, ""),))


def model_file(path: str, **facts: Any) -> ModelFile:
    known = {
        "size": 98_000_000,
        "architecture": "llama",
        "name": "A model",
        "quantisation": "Q4_1",
        "layers": 30,
        "trained_context": 8192,
        "chat_template": "{{ messages }}",
        "shape": ModelShape((LayerShape(weights=2_200_000, keys=192, values=192),) * 30, inputs=30_000_000, tied=True),
    }
    return ModelFile(path=path, **{**known, **facts})


class FakeLibrary:
    """The models of a PC that has none, but knows what every file says."""

    def __init__(self, threads: set[str]) -> None:
        self.found: dict[str, ModelFile | Exception] = {}
        self.in_folders: dict[str, tuple[str, ...]] = {}
        self.machine: tuple[Device, ...] = ()
        self.forecasts: list[Settings] = []
        self._threads = threads

    def inspect(self, path: str) -> ModelFile:
        self._threads.add(threading.current_thread().name)
        found = self.found.get(path, model_file(path))
        if isinstance(found, Exception):
            raise found
        return found

    def starter(self) -> str:
        return STARTER

    def files(self, folders: Iterable[str]) -> tuple[str, ...]:
        return tuple(path for folder in folders for path in self.in_folders.get(folder, ()))

    def devices(self) -> tuple[Device, ...]:
        self._threads.add(threading.current_thread().name)
        return self.machine

    def likely_fit(self, size: int) -> Fit:
        return likely(size, self.machine)

    def forecast(self, settings: Settings) -> Forecast:
        self.forecasts.append(settings)
        return forecast(self.inspect(settings.model), load_command(settings), self.machine)


class FakeDownloads:
    """A hub with one repository of one file; nothing is fetched."""

    def __init__(self, threads: set[str]) -> None:
        self.found: tuple[HubRepository, ...] = (HubRepository("tavern/Tiny-GGUF", 7, "mit", True),)
        self.in_repository: tuple[HubFile, ...] | Exception = (TINY_FILE,)
        self.now: tuple[DownloadRow, ...] = ()
        self.calls: list[tuple[Any, ...]] = []
        self._threads = threads

    def catalogue(self) -> tuple[CatalogueEntry, ...]:
        return (CatalogueEntry("Tiny", "Tests", "MIT", 2 * 10**9, "tavern/Tiny-GGUF", "tiny-Q4_K_M.gguf"),)

    def search(self, text: str, token: str = "") -> tuple[HubRepository, ...]:
        self._note("search", text, token)
        return self.found

    def files(self, repository: str, token: str = "") -> tuple[HubFile, ...]:
        self._note("files", repository, token)
        if isinstance(self.in_repository, Exception):
            raise self.in_repository
        return self.in_repository

    def recommended(self, entry: CatalogueEntry, token: str = "") -> HubFile:
        return self.files(entry.repository, token)[0]

    def folder(self) -> str:
        return "/downloads"

    def start(self, file: HubFile, folder: str, token: str = "") -> None:
        self._note("start", file.path, folder, token)

    def pause(self, key: int) -> None:
        self._note("pause", key)

    def resume(self, key: int, token: str = "") -> None:
        self._note("resume", key, token)

    def cancel(self, key: int) -> None:
        self._note("cancel", key)

    def rows(self) -> tuple[DownloadRow, ...]:
        return self.now

    def close(self) -> None:
        self._note("close")

    def _note(self, *call: Any) -> None:
        self.calls.append(call)
        self._threads.add(threading.current_thread().name)


class FakeController:
    """A controller whose every answer is set by the test. ``gate`` holds a start until the test opens it."""

    def __init__(self) -> None:
        self.state = IDLE
        self.settings = Settings()
        self.after_start = READY
        self.start_error: Exception | None = None
        self.gate = threading.Event()
        self.gate.set()
        self.lines: list[LogLine] = []
        self.calls: list[str] = []
        self.cancelled: list[int] = []
        self.trial: Trial | Exception = Trial("Well met.", 0.25, 31.4)
        self.chat: Preview | Exception = Preview(OWN_TEMPLATE, "<|im_start|>user")
        self.imported = Settings()
        self.exported: Settings | None = None
        self.started: list[Settings] = []
        self.threads: set[str] = set()
        self.models = FakeLibrary(self.threads)
        self.downloads = FakeDownloads(self.threads)
        self.polls = 0
        self.in_networks: tuple[Network, ...] = (WSL, LAN)

    def start(self, settings: Settings) -> None:
        self._note("start")
        self.started.append(settings)
        assert self.gate.wait(LONGEST_START)
        if self.start_error is not None:
            raise self.start_error
        self.settings = settings
        self.state = self.after_start

    def stop(self) -> None:
        self._note("stop")
        self.state = IDLE

    def close(self) -> None:
        self._note("close")
        self.state = IDLE

    def cancel(self, request_id: int) -> None:
        self._note("cancel")
        self.cancelled.append(request_id)

    def snapshot(self) -> Snapshot:
        self.polls += 1
        return self.state

    def poll_log(self, limit: int = 100) -> list[LogLine]:
        lines, self.lines = self.lines[:limit], self.lines[limit:]
        return lines

    def clients(self) -> tuple[ClientGuide, ...]:
        return clients.guides()

    def networks(self) -> tuple[Network, ...]:
        return self.in_networks

    def web_pages(self) -> tuple[WebPage, ...]:
        return web_pages()

    def try_client(self, key: str) -> Trial:
        self._note(f"try {key}")
        if isinstance(self.trial, Exception):
            raise self.trial
        return self.trial

    def write_mantella_config(self, folder: str) -> str:
        self._note(f"write {folder}")
        return "config_before_tavernkeep_0.ini"

    def preview(self, settings: Settings) -> Preview:
        if isinstance(self.chat, Exception):
            raise self.chat
        return self.chat

    def import_settings(self, path: str) -> Settings:
        self._note(f"import {path}")
        return self.imported

    def export_settings(self, path: str, settings: Settings) -> None:
        self._note(f"export {path}")
        self.exported = settings

    def templates(self) -> tuple[str, ...]:
        return ("AutoGuess", "Alpaca", "ChatML")

    def _note(self, call: str) -> None:
        self.calls.append(call)
        self.threads.add(threading.current_thread().name)
