"""Hundreds of broken and hostile model files, loaded by the real launcher into real engine processes: each ends in a
sentence or in a model that works, and the port stays open."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from server.controller import Controller
from server.errors import ModelLoadError
from server.events import EngineState
from server.model import gguf
from server.model.library import STARTER
from server.snapshot import ModelFile
from tests import tiny_models
from tests.conftest import Server, settings_for_tests, wait_until
from tests.hostile_models import Case, cases, taken_apart
from tests.test_gguf import STRING
from tests.test_hostile_templates import often

ALL = list(cases(STARTER)) if STARTER.is_file() else []
GROUPS = 8
# Of these the check is the only wall: llama.cpp's tokenizer finds no end, and takes all memory before it is ended.
ENDLESS = ("a tokenizer rwkv", "rwkv that never ends a line", "rwkv with a zero behind it")
PATIENCE = 30.0
HEAD = 4_000_000  # bytes that are looked at of files as large as the starter model


Servers = tuple[Server, Server]


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Two servers, to make haste, in a home and a folder of their own."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as monkeypatch:
        for name in ("HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "TMPDIR"):
            monkeypatch.setenv(name, str(home))
        monkeypatch.chdir(home)
        both = Server(Controller()), Server(Controller())
        for server in both:
            server.controller.start(settings_for_tests(model="/no/such.gguf"))
        yield both
        for server in both:
            server.controller.stop()
        assert list(home.rglob("*")) == []


def on_both(
    servers: Servers, cases: Sequence[Case], folder: Path, try_it: Callable[[Server, Case, Path], None]
) -> None:
    """Try each case on one of the servers, in a folder of its own."""

    def try_half(half: int) -> None:
        for case in cases[half::2]:
            with tempfile.TemporaryDirectory(dir=folder) as own:
                try_it(servers[half], case, Path(own))

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(try_half, range(2)))


def fingerprint(folder: Path, most: int) -> dict[str, tuple[int, int, str]]:
    """What lies in a folder: the length of each file, when it was written to, and what its first bytes are, at most so
    many; all of them with -1."""
    found = {}
    for file in folder.rglob("*"):
        with file.open("rb") as stream:
            digest = hashlib.blake2b(stream.read(most)).hexdigest()
        found[str(file.relative_to(folder))] = (file.stat().st_size, file.stat().st_mtime_ns, digest)
    return found


def load(server: Server, model: Path) -> str:
    """Try to load a model, and to use it if that works; returns why one of both does not, or ""."""
    try:
        server.controller.start(
            settings_for_tests(model=str(model), contextsize=256, threads=1, port=server.port, hangtimeout=4)
        )
    except ModelLoadError as error:  # the one before it works, and stays
        return str(error)
    ended = (EngineState.READY, EngineState.FAILED)
    wait_until(lambda: server.snapshot().state in ended, f"the end of loading {model}", PATIENCE)
    said = ""
    if server.snapshot().state is EngineState.READY:
        reply = server.post("/v1/completions", {"prompt": "a", "max_tokens": 1})
        if reply.status != 200:
            assert reply.status in (400, 503)
            said = str(reply.json["error"]["message"])
        wait_until(lambda: server.snapshot().state in ended, f"the end of a restart with {model}", PATIENCE)
    told = server.get("/health").json
    if told["status"] != "ready":
        said = str(told["message"])
    return said


def assert_it_is_a_sentence(case: Case, said: str) -> None:
    assert said.endswith((".", "!", "?")) or "last words" in said, (case.name, said)
    assert "#0" not in said, (case.name, said)
    assert "ggml_abort" not in said, (case.name, said)
    assert "Traceback" not in said, (case.name, said)
    assert "/llama.cpp/" not in said, (case.name, said)


def test_there_are_hundreds_of_different_ones() -> None:
    assert len(ALL) >= 200
    assert len({case.name for case in ALL}) == len(ALL)


@pytest.mark.parametrize("group", range(GROUPS))
def test_each_ends_in_a_sentence_or_in_a_model_that_works(servers: Servers, tmp_path: Path, group: int) -> None:
    def try_it(server: Server, case: Case, folder: Path) -> None:
        address, model = server.base, case.write(folder)
        most = HEAD if case.length >= HEAD else -1
        before = fingerprint(folder, most)
        said = load(server, model)
        if said:
            assert_it_is_a_sentence(case, said)
        assert server.base == address
        assert fingerprint(folder, most) == before, case.name
        assert os.listdir() == [], case.name  # home, and the place for temporary files

    on_both(servers, ALL[group::GROUPS], tmp_path, try_it)


def test_what_the_check_of_headers_refuses_harms_only_the_engine(
    servers: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if there were no check: the process is the second wall."""
    refused = []
    for case in (case for case in ALL if not case.length and len(case.files) == 1):
        try:
            gguf.inspect(str(case.write(tmp_path)))
        except ModelLoadError:
            refused.append(case)
    refused = [case for case in refused if case.name not in ENDLESS]
    unchecked = refused[:: max(len(refused) // 60, 1)]
    assert len(unchecked) >= 60
    for server in servers:
        monkeypatch.setattr(
            server.controller.models, "inspect", lambda path: ModelFile(path, 0, "", "", "", 0, 0, chat_template="")
        )

    def try_it(server: Server, case: Case, folder: Path) -> None:
        said = load(server, case.write(folder))
        if said:
            assert_it_is_a_sentence(case, said)

    on_both(servers, unchecked, tmp_path, try_it)
    monkeypatch.undo()
    for server in servers:
        assert load(server, STARTER) == ""


BAD_TEMPLATES = {
    "without end": often(often(often(""))),
    "that wants all memory": "{{ 'x' * 10 ** 10 }}",
    "that wants out": "{{ messages.__class__.__mro__ }}{{ cycler.__init__.__globals__.os.remove('kept') }}",
    "of ten megabytes": "{{ 'a' }}" + "x" * 10_000_000,
    "too deep": "{% if true %}" * 5000 + "{% endif %}" * 5000,
    "of no grammar": "{% for %}{{",
}


@pytest.mark.parametrize("template", BAD_TEMPLATES.values(), ids=BAD_TEMPLATES)
def test_a_model_whose_template_is_hostile_still_answers_or_says_why(
    servers: Servers, tmp_path: Path, template: str
) -> None:
    hostile = servers[0]
    kept = Path(os.getcwd()) / "kept"
    kept.write_text("a file that is none of its business")
    ingredients = taken_apart(tiny_models.plain()).having(tokenizer__chat_template=(STRING, template))
    model = Case("hostile template", {"model.gguf": ingredients.file()}).write(tmp_path)
    assert load(hostile, model) == ""
    assert hostile.snapshot().state is EngineState.READY
    reply = hostile.post("/v1/chat/completions", {"messages": [{"role": "user", "content": "a"}], "max_tokens": 1})
    assert reply.status == 200 or reply.json["error"]["message"]
    assert reply.status in (200, 400)
    assert hostile.post("/v1/completions", {"prompt": "a", "max_tokens": 1}).status == 200
    assert kept.read_text() == "a file that is none of its business"
    kept.unlink()
