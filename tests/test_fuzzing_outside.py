"""What comes from outside but from no client of the server: the command line, the hub's answers, and whoever knocks at
the window's door. It is understood, or refused in a sentence, and the next one is heard."""

from __future__ import annotations

import json
import os
import queue
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gui.instance import LONGEST_MESSAGE, PATIENCE, Instance, claim
from gui.view.hub import file_lines, repository_lines
from server import command_line
from server.errors import DownloadError, ModelLoadError, SettingsError
from server.model import hub
from server.model.downloads import Downloads
from server.model.library import Library
from server.snapshot import DownloadPhase, Fit, HubFile, HubRepository
from tests.conftest import wait_until
from tests.hub_imitation import QuietHandler, serving
from tests.test_fuzzing import json_with, quickly, refusal
from tests.test_gguf import tiny

ODD_TEXTS = ("", "\0", "a\nb", "\ud800", "\udcff", "9" * 5000, "x" * 5000, "-", "--", "=", "%s", "nan", "1e999", "-1")
ODD_NAMES = (
    "../../x.gguf",
    "/x.gguf",
    "..\\x.gguf",
    "C:x.gguf",
    "a/../../x.gguf",
    "\0.gguf",
    "a\n.gguf",
    "\ud800.gguf",
    "NUL.gguf",
    "a/com1.x.gguf",
)


# --- the command line

FLAGS = st.sampled_from([flag for action in command_line._parser()._actions for flag in action.option_strings])
FILES = st.sampled_from(("/", ".", "\0.kcpps", "\ud800.kcpps", "/no/such.kcpps", "n" * 300 + ".kcpps", "a.gguf"))
ODD_VALUES = st.sampled_from((*ODD_TEXTS, "[" * 300, '{"a": NaN}', "0.0.0.0", "::1%" + "x" * 3000, "1,,2", "fe80::/10"))
VALUES = ODD_VALUES | FILES | st.text(max_size=10) | st.integers().map(str) | st.floats().map(str)
JOINED = st.tuples(FLAGS, st.sampled_from(("=", "")), VALUES).map("".join)


def ending(arguments: list[str]) -> str:
    """Why a command line is refused, "" if it is not."""
    try:
        return refusal(lambda: command_line.parse(arguments))
    except SystemExit as ended:  # --help and --version
        if ended.code:
            raise
        return ""


@settings(quickly, max_examples=300)
@given(st.lists(FLAGS | VALUES | JOINED, max_size=6))
@example(["--port", "5002"] * 1000)
@example(["--lora", *["a.gguf"] * 1000])
@example(["-" * 100_000])
@example(["--host", "a\nb"])
@example(["--gendefaults", "[" * 100_000])
def test_any_command_line_is_an_invocation_or_one_line_that_says_why_not(arguments: list[str]) -> None:
    said = ending(arguments)
    assert said.isprintable()
    assert said.endswith(".") or not said
    assert len(said) < 1000


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/", "Is a directory"),
        ("/no/such.kcpps", "No such file"),
        ("a\0.kcpps", r"a\x00.kcpps cannot be read: no file has such a name"),
        ("\ud800.kcpps", r"\ud800.kcpps cannot be read: no file has such a name"),
        ("n" * 300, "name too long"),
    ],
    ids=lambda text: ascii(text)[:20],
)
def test_a_configuration_at_an_odd_path_says_what_is_wrong_with_the_path(path: str, reason: str) -> None:
    for arguments in (["--config", path], [path]) if path.endswith(".kcpps") else (["--config", path],):
        with pytest.raises(SettingsError) as refused:
            command_line.parse(arguments)
        assert reason in str(refused.value)


@quickly
@given(st.text(max_size=10) | st.sampled_from(ODD_TEXTS))
def test_any_text_as_the_path_of_a_model_is_refused_in_a_sentence(path: str) -> None:
    with pytest.raises(ModelLoadError):
        Library().inspect(path + ".not-there")


# --- the hub's answers


class FuzzedHub:
    """A hub that answers every question with ``body`` and ``headers``, and files with ``content``."""

    def __init__(self) -> None:
        self.status = 200
        self.headers: dict[str, str] = {}
        self.body = b""
        self.content = tiny()
        self.endpoint = ""

    def say(self, answer: Any, status: int = 200, **headers: str) -> None:
        """Answer so from now on, with JSON unless it is bytes."""
        self.body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.status, self.headers = status, headers


@pytest.fixture(scope="module")
def fuzzed_hub() -> Iterator[FuzzedHub]:
    fuzzed = FuzzedHub()

    class Handler(QuietHandler):
        wbufsize = -1  # headers and body at once

        def do_GET(self) -> None:
            asked = self.path.startswith("/api/")
            body = fuzzed.body if asked else fuzzed.content
            headers = {"Content-Length": str(len(body)), **(fuzzed.headers if asked else {})}
            self.send_response(fuzzed.status if asked else 200)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            self.wfile.write(body)
            self.close_connection = int(headers["Content-Length"]) != len(body)

    with serving(Handler) as fuzzed.endpoint:
        yield fuzzed


def found_by(fuzzed: FuzzedHub) -> tuple[HubRepository, ...]:
    """What a search finds; the sentence of a refusal is looked at."""
    try:
        found = hub.search("dragon", endpoint=fuzzed.endpoint)
    except DownloadError as error:
        assert_sentence(error)
        return ()
    for each in found:
        assert [type(value) for value in (each.name, each.downloads, each.licence, each.gated)] == [str, int, str, bool]
        assert each.downloads >= 0
    assert len(repository_lines(found)) == len(found) <= hub.MOST_FOUND
    return found


def files_of(fuzzed: FuzzedHub) -> tuple[HubFile, ...]:
    """The files of a repository, likewise."""
    try:
        files = hub.files("tavern/dragon", endpoint=fuzzed.endpoint)
    except DownloadError as error:
        assert_sentence(error)
        return ()
    for file in files:
        assert type(file.revision) is str
        for part in file.parts:
            assert (type(part.path), type(part.size), type(part.sha256)) == (str, int, str)
            assert part.size >= 0
            assert part.path.isprintable()
            for path in (PurePosixPath(part.path), PureWindowsPath(part.path)):
                assert not path.anchor
                assert ".." not in path.parts
    assert len(file_lines(files, lambda _: Fit.GPU)) == len(files)
    return files


def assert_sentence(error: DownloadError) -> None:
    assert error.message.endswith(".")
    assert error.hint.endswith(".")
    assert len(str(error)) < 300


HUBS_NAMES = st.sampled_from(
    ("id", "downloads", "tags", "gated", "sha", "siblings", "rfilename", "size", "lfs", "sha256", "pointerSize")
)
ANYTHING = json_with(HUBS_NAMES | st.sampled_from(("a.gguf", *ODD_NAMES)))
SHA256 = st.sampled_from(("0" * 64, "../../../x", "", "\0", 7, None))
SIZES = st.sampled_from((0, 7, -1, 10**400, 1.5, True, "7", None, float("nan"))) | st.integers()
SIBLINGS = st.fixed_dictionaries(
    {},
    optional={
        "rfilename": st.sampled_from(("a.gguf", "b-00001-of-00002.gguf", "b-00002-of-00002.gguf", *ODD_NAMES))
        | ANYTHING,
        "size": SIZES,
        "lfs": st.fixed_dictionaries({"sha256": SHA256, "size": SIZES, "pointerSize": SIZES}) | ANYTHING,
    },
)
DESCRIBED = st.fixed_dictionaries(
    {},
    optional={
        "id": st.sampled_from(("tavern/dragon", "../..", "\0", "")) | ANYTHING,
        "downloads": SIZES,
        "tags": st.lists(st.sampled_from(("license:mit", "license:")) | ANYTHING, max_size=3) | ANYTHING,
        "gated": ANYTHING,
        "createdAt": ANYTHING,
        "sha": st.sampled_from(("../..", "0" * 40, "\ud800")) | ANYTHING,
        "siblings": st.lists(SIBLINGS, max_size=4) | ANYTHING,
    },
)


@settings(quickly, max_examples=200)
@given(st.lists(DESCRIBED, max_size=3) | ANYTHING)
@example([{"id": "tavern/dragon"}] * 5000)
@example([{"id": "tavern/dragon", "downloads": 10**400}])
def test_any_answer_to_a_search_is_repositories_or_a_sentence(fuzzed_hub: FuzzedHub, answer: Any) -> None:
    fuzzed_hub.say(answer)
    found_by(fuzzed_hub)


@settings(quickly, max_examples=300)
@given(DESCRIBED | ANYTHING)
@example({"siblings": [{"rfilename": name, "size": 7} for name in ODD_NAMES]})
@example({"siblings": [{"rfilename": f"{number}.gguf", "size": 1 << 59} for number in range(5000)]})
def test_any_answer_about_a_repository_is_files_or_a_sentence(fuzzed_hub: FuzzedHub, answer: Any) -> None:
    fuzzed_hub.say(answer)
    files_of(fuzzed_hub)


@settings(quickly, max_examples=100)
@given(st.binary(max_size=40))
@example(b"<html>Sign in to the network of this hotel</html>")
@example(b"[" * 1_000_000)
@example(b"")
def test_an_answer_that_is_no_json_is_said_not_to_be_the_hubs(fuzzed_hub: FuzzedHub, body: bytes) -> None:
    fuzzed_hub.say(b"\x01" + body, Content_Type="text/html")
    for ask in (hub.search, hub.files):
        with pytest.raises(DownloadError, match="What answered is not the hub"):
            ask("tavern/dragon", endpoint=fuzzed_hub.endpoint)


@pytest.mark.parametrize("status", [204, 301, 302, 304, 307, 400, 401, 404, 418, 429, 500, 503])
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Location": "file:///etc/passwd"},
        {"Location": "http://["},
        {"Location": "http://127.0.0.1:9/"},
        {"Location": "/api/models"},
        {"X_Error_Code": "GatedRepo"},
        {"Content_Length": "1000"},
    ],
    ids=str,
)
def test_a_hub_that_refuses_redirects_or_breaks_off_gives_a_sentence(
    fuzzed_hub: FuzzedHub, status: int, headers: dict[str, str]
) -> None:
    fuzzed_hub.say(b"" if status in (204, 304) else b"[", status, **headers)
    assert found_by(fuzzed_hub) == ()
    assert files_of(fuzzed_hub) == ()


def test_a_search_asks_for_one_page_however_many_are_announced(fuzzed_hub: FuzzedHub) -> None:
    fuzzed_hub.say([], Link=f'<{fuzzed_hub.endpoint}/api/models?cursor=x>; rel="next"')
    assert found_by(fuzzed_hub) == ()


def test_a_hub_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        for ask in (hub.search, hub.files):
            with pytest.raises(DownloadError, match="The hub did not answer"):
                ask("tavern/dragon", endpoint=f"http://127.0.0.1:{silent.getsockname()[1]}")


@contextmanager
def talkative(line: bytes, pause: float) -> Iterator[str]:
    """A hub that answers with ``line`` again and again, and never comes to an end; its address."""
    tired = threading.Event()

    def answer(caller: socket.socket) -> None:
        with caller, suppress(OSError):
            caller.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            while not tired.wait(pause):
                caller.sendall(line)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        speaking = threading.Thread(target=lambda: answer(listener.accept()[0]))
        speaking.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            tired.set()
            speaking.join()


@pytest.mark.parametrize("ask", [hub.search, hub.files])
def test_a_hub_that_talks_on_and_on_is_given_up(ask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with talkative(b"x" * 65536, 0) as endpoint, pytest.raises(DownloadError, match="What answered is not the hub"):
        ask("tavern/dragon", endpoint=endpoint)
    monkeypatch.setattr(hub, "TIMEOUT", 0.2)
    with talkative(b" ", 0.05) as endpoint, pytest.raises(DownloadError, match="answers too slowly"):
        ask("tavern/dragon", endpoint=endpoint)


def test_who_switched_the_hub_off_is_reminded_of_it(fuzzed_hub: FuzzedHub, monkeypatch: pytest.MonkeyPatch) -> None:
    fuzzed_hub.say([])
    assert found_by(fuzzed_hub) == ()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(DownloadError, match="HF_HUB_OFFLINE is set"):
        hub.search("dragon", endpoint=fuzzed_hub.endpoint)


@settings(quickly, max_examples=30)
@given(
    st.lists(st.sampled_from(("a.gguf", "b/c.gguf", *ODD_NAMES)), min_size=1, max_size=3), st.sampled_from((0, 7, -1))
)
@example(["a.gguf"], 0)
@example(list(ODD_NAMES), 0)
def test_no_download_writes_outside_its_folder(
    fuzzed_hub: FuzzedHub, tmp_path_factory: pytest.TempPathFactory, names: list[str], more: int
) -> None:
    around = tmp_path_factory.mktemp("around")
    size = len(fuzzed_hub.content) + more
    fuzzed_hub.say({"siblings": [{"rfilename": name, "size": size, "lfs": None} for name in names]})
    fetching = Downloads(fuzzed_hub.endpoint)
    offered = files_of(fuzzed_hub)
    for file in offered:
        fetching.start(file, str(around / "deep" / "models"))
    ends = (DownloadPhase.DONE, DownloadPhase.FAILED)
    wait_until(lambda: all(row.phase in ends for row in fetching.rows()), "the ends of the downloads")
    models = around / "deep" / "models" / "tavern" / "dragon"
    written = {path for path in around.rglob("*") if path.is_file()}
    assert all(models in path.parents for path in written)
    assert (more == 0 and bool(offered)) == any(path.suffix == ".gguf" for path in written)
    for row in fetching.rows():
        assert (row.phase is DownloadPhase.DONE) == (more == 0)
        assert row.sentence.endswith(".") or not row.sentence


# --- the window's door


@contextmanager
def door(folder: Path) -> Iterator[tuple[Instance, queue.SimpleQueue[Any]]]:
    heard: queue.SimpleQueue[Any] = queue.SimpleQueue()
    first = claim("", heard.put, folder)
    assert first
    try:
        yield first, heard
    finally:
        first.close()


def knock(folder: Path) -> socket.socket:
    where = json.loads((folder / "instance.json").read_text())
    return socket.create_connection(("127.0.0.1", where["port"]), timeout=PATIENCE)


def key_in(folder: Path) -> bytes:
    return bytes.fromhex(json.loads((folder / "instance.json").read_text())["key"])


def assert_an_honest_caller_is_heard(folder: Path, heard: queue.SimpleQueue[Any]) -> None:
    assert claim("/honest.gguf", print, folder) is None
    assert heard.get(timeout=PATIENCE) == "/honest.gguf"
    assert heard.empty()


def test_noise_at_the_door_is_not_heard_and_the_next_caller_is(tmp_path: Path) -> None:
    with door(tmp_path) as (_, heard):
        key = key_in(tmp_path)

        @settings(quickly, max_examples=100)
        @given(st.binary(max_size=80) | st.integers(0, 31).map(lambda count: key[:count]), st.booleans())
        @example(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", True)
        @example(b"\xff" * 100_000, False)
        @example(b"", False)
        def try_it(noise: bytes, waits: bool) -> None:
            try:
                with knock(tmp_path) as stranger:
                    stranger.sendall(noise)
                    stranger.shutdown(socket.SHUT_WR)
                    assert not waits or stranger.recv(100) == b""
            except TimeoutError:
                raise
            except OSError:  # it was shown the door
                pass

        try_it()
        assert_an_honest_caller_is_heard(tmp_path, heard)


def test_callers_that_say_nothing_or_only_half_hold_up_nobody(tmp_path: Path) -> None:
    with door(tmp_path) as (_, heard), ExitStack() as silent:
        for number in range(100):
            stranger = silent.enter_context(knock(tmp_path))
            stranger.sendall((b"", b"\0", key_in(tmp_path))[number % 3])
        assert_an_honest_caller_is_heard(tmp_path, heard)


def test_a_caller_that_says_nothing_is_shown_the_door(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with door(tmp_path):
        monkeypatch.setattr("gui.instance.PATIENCE", 0.2)
        with knock(tmp_path) as silent:
            assert silent.recv(100) == b""


def test_whatever_comes_with_the_right_key_is_heard_as_a_text_or_not_at_all(tmp_path: Path) -> None:
    with door(tmp_path) as (_, heard):

        @settings(quickly, max_examples=100)
        @given(st.binary(max_size=40) | st.text(max_size=10).map(lambda text: text.encode("utf-8", "replace")))
        @example(b"")
        @example(b"\xff\xfe")
        @example(b"\0\n\r")
        @example(b"x" * 100 * LONGEST_MESSAGE)
        def try_it(message: bytes) -> None:
            try:
                with knock(tmp_path) as caller:
                    caller.sendall(key_in(tmp_path))
                    assert len(caller.recv(100)) == 32
                    caller.sendall(message)
                    caller.shutdown(socket.SHUT_WR)
                    answer = caller.recv(100)
            except TimeoutError:
                raise
            except OSError:  # more than anybody wants to hear
                answer = b""
            if answer:
                assert message.startswith(os.fsencode(heard.get(timeout=PATIENCE)))
            while not heard.empty():
                assert type(heard.get()) is str

        try_it()
        assert_an_honest_caller_is_heard(tmp_path, heard)


@pytest.mark.parametrize("path", ["", "\0", "a\nb", "\udcff", "ä", "x" * 100_000], ids=lambda text: ascii(text[:9]))
def test_a_second_start_is_heard_whatever_it_was_given(tmp_path: Path, path: str) -> None:
    with door(tmp_path) as (_, heard):
        assert claim(path, print, tmp_path) is None
        assert heard.get(timeout=PATIENCE) == path[:LONGEST_MESSAGE]


def test_a_listener_lives_on_when_what_it_wakes_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    heard: queue.SimpleQueue[str] = queue.SimpleQueue()

    def woken(message: str) -> None:
        heard.put(message)
        assert message == "/honest.gguf"

    first = claim("", woken, tmp_path)
    assert first
    with knock(tmp_path) as caller:
        caller.sendall(key_in(tmp_path))
        assert len(caller.recv(100)) == 32
        caller.shutdown(socket.SHUT_WR)
        assert caller.recv(100) == b""
    assert heard.get(timeout=PATIENCE) == ""
    assert_an_honest_caller_is_heard(tmp_path, heard)
    first.close()


PORTS = st.sampled_from((-1, 0, 65536, 10**400, 1.5, True, "http", "", "\0", "\ud800", None)) | ANYTHING
KEYS = st.sampled_from(("", "00", "zz", "\ud800", 7, None, "00" * 32)) | ANYTHING


@settings(quickly, max_examples=150)
@given(st.fixed_dictionaries({}, optional={"port": PORTS, "key": KEYS, "answer": KEYS}).map(json.dumps) | st.text())
@example("[" * 100_000)
@example('{"port": 9, "key": "00", "answer": ""}')
def test_whatever_a_crashed_one_left_behind_the_next_is_the_first(
    tmp_path_factory: pytest.TempPathFactory, left: str
) -> None:
    folder = tmp_path_factory.mktemp("left")
    (folder / "instance.json").write_text(left, "utf-8", "surrogatepass")
    first = claim("", print, folder)
    assert isinstance(first, Instance)
    first.close()
