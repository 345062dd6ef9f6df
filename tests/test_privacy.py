"""What leaves this PC, and what of requests gets into the logs: nothing, unless the user wants it.

The launcher runs as a user starts it, with processes of its own.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from server import privacy
from server.controller import Controller
from server.errors import BadRequest, Forbidden
from tests.conftest import PATIENCE, Server, wait_until

ROOT = Path(__file__).resolve().parent.parent
SECRET = "velvet-anvil-7431"
CHAT, GENERATE = "/v1/chat/completions", "/api/v1/generate"
TEMPLATE = (
    "{% for message in messages %}{% if 'unspeakable' in message.content %}{{ raise_exception(message.content) }}"
    "{% endif %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}<|im_start|>assistant\n"
)
LOOKUPS = ("socket.getaddrinfo", "socket.getnameinfo")
# Told by every Python process before anything else: what it opens to others, and what it imports.
WATCHER = """
import os, sys
_told = os.open(os.environ["TOLD"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
def _watch(event, arguments):
    network = event in ("socket.connect", "socket.sendto", "socket.sendmsg", "socket.getaddrinfo",
                        "socket.gethostbyname", "socket.gethostbyaddr", "socket.getnameinfo")
    if network or (event == "import" and arguments[0] == "huggingface_hub"):
        what = arguments[1] if event.startswith(("socket.connect", "socket.send")) else arguments[0]
        what = what[0] if event == "socket.getnameinfo" else what
        os.write(_told, f"{event} {what!r}\\n".encode())
os.write(_told, f"watching {sys.orig_argv}\\n".encode())
sys.addaudithook(_watch)
"""


class Launched(Server):
    """A launcher's process as a server under test, and whatever it wrote."""

    def __init__(self, process: subprocess.Popen[bytes], folder: Path) -> None:
        self.process = process
        self.folder = folder

    @property
    def base(self) -> str:
        found = re.search(r"Serving on (http://\S+)\.", self.written())
        return found[1] if found else ""

    @property
    def launcher(self) -> psutil.Process:
        """The launcher itself, which may be the child of the one that traces it."""
        started = psutil.Process(self.process.pid)
        return started if "python" in started.name() else started.children()[0]

    @property
    def engine(self) -> psutil.Process:
        return next(each for each in self.launcher.children() if "server.engine.worker" in each.cmdline())

    def written(self) -> str:
        """Standard output and error, logs and crash reports."""
        return "".join(file.read_text("utf-8", "replace") for file in self.folder.rglob("*") if file.is_file())

    def log(self) -> list[dict[str, Any]]:
        (file,) = self.folder.rglob("*.log")
        return [json.loads(line) for line in file.read_text("utf-8").splitlines()]

    def wait_for_line(self, words: str, count: int = 1) -> None:
        wait_until(lambda: sum(words in line["message"] for line in self.log()) >= count, f"{count} lines with {words}")

    def end(self, how: signal.Signals = signal.SIGTERM) -> None:
        self.launcher.send_signal(how)
        self.process.wait(PATIENCE)


Launch = Callable[..., Launched]


@pytest.fixture
def launch(starter_model: Path, tmp_path: Path) -> Iterator[Launch]:
    """Starts the launcher without a window, with a model that answers; what it writes lies in a folder of its own."""
    started: list[subprocess.Popen[bytes]] = []
    template = tmp_path / "template.jinja"
    template.write_text(TEMPLATE)

    def start(*flags: str, prefix: tuple[str, ...] = (), **environment: str) -> Launched:
        folder = tmp_path / "written"
        folder.mkdir()
        command = [*prefix, sys.executable, str(ROOT / "launcher.py"), "--skiplauncher", "--port", "0", "--threads"]
        command += ["2", "--contextsize", "1024", "--chatcompletionsadapter", str(template), *flags]
        surroundings = {**os.environ, "XDG_STATE_HOME": str(folder / "state"), **environment}
        with (folder / "console.txt").open("wb") as output:
            process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=surroundings, cwd=tmp_path)
        started.append(process)
        launched = Launched(process, folder)
        wait_until(lambda: launched.base or process.poll() is not None, "the server")
        wait_until(lambda: process.poll() is not None or launched.get("/health").status == 200, "the model")
        assert process.poll() is None, launched.written()
        return launched

    yield start
    for process in started:
        with contextlib.suppress(psutil.Error):
            for child in psutil.Process(process.pid).children(recursive=True):
                child.kill()
        process.kill()
        process.wait()


def saying(words: str, **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": words}], "max_tokens": 4, **more}


# --- nothing leaves this PC ---


def other_hosts(told: str) -> list[str]:
    """What the watched processes connected to or looked up; the address of an address is no lookup."""
    found = re.findall(r"^(socket\.\S+) (.*)$", told, re.MULTILINE)
    return [f"{event} {what}" for event, what in found if event not in LOOKUPS or not _is_address(what)]


def _is_address(what: str) -> bool:
    """None stands for this PC; the HTTP server asks for its own address in numbers."""
    try:
        return what == "None" or bool(ipaddress.ip_address(what.strip("b'\"")))
    except ValueError:
        return False


def test_no_process_of_the_launcher_connects_to_anything_or_looks_up_a_name(launch: Launch, tmp_path: Path):
    """Python's own audit hooks see every process; where there is strace, it sees what native code does as well."""
    (tmp_path / "sitecustomize.py").write_text(WATCHER)
    told, traced = tmp_path / "told.txt", tmp_path / "traced.txt"
    tracer = working_tracer(traced)
    running = launch(prefix=tracer, PYTHONPATH=str(tmp_path), TOLD=str(told))
    for path, body in ((CHAT, saying("Who are you?")), (GENERATE, {"prompt": "Once", "max_length": 4})):
        assert running.post(path, body).status == 200
    assert running.get("/metrics").status == running.get("/docs").status == 200
    running.end()
    seen = told.read_text()
    for part in ("launcher.py", "server.engine.worker", "server.prompt.jinja_worker"):
        assert re.search(rf"^watching .*{part}", seen, re.MULTILINE)
    assert other_hosts(seen) == []
    assert "import" not in seen
    if tracer:
        assert "sendto(" in traced.read_text()
        assert "AF_INET" not in traced.read_text()


def working_tracer(into: Path) -> tuple[str, ...]:
    """What writes down the calls of a program that reach out, native code's too; () where that is not possible."""
    calls = ("-e", "trace=connect,sendto,sendmsg,sendmmsg")
    command = ("strace", "-f", "--seccomp-bpf", "-qq", "-s", "0", *calls, "-o", str(into))
    works = shutil.which("strace") and subprocess.run([*command, sys.executable, "-c", ""], check=False).returncode == 0
    return command if works else ()


def test_the_hub_hears_nothing_but_questions():
    code = """
from server.model import hub
hub.told(lambda: None, "ale")
import huggingface_hub.constants
print(huggingface_hub.constants.HF_HUB_DISABLE_TELEMETRY)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


# --- prompts and replies ---


def talk(server: Launched) -> None:
    """Requests that hold the secret wherever a request can hold one, and a reply that says it."""
    tool = {"type": "function", "function": {"name": "look", "description": SECRET, "parameters": {"type": "object"}}}
    call = {"id": "1", "type": "function", "function": {"name": "look", "arguments": json.dumps({"at": SECRET})}}
    asked = [
        {"role": "system", "content": SECRET},
        {"role": "user", "content": SECRET},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": SECRET},
    ]
    says = f'root ::= "{SECRET}"'
    for stream in (False, True):
        body = {"messages": asked, "tools": [tool], "max_tokens": 4, "stop": [SECRET], "stream": stream}
        assert server.post(CHAT, body).status == 200
    assert server.post("/v1/completions", {"prompt": SECRET, "max_tokens": 4, "logprobs": 1}).status == 200
    assert (
        SECRET
        in server.post(GENERATE, {"prompt": SECRET, "grammar": says, "max_length": 40}).json["results"][0]["text"]
    )
    assert server.post("/v1/messages", {**saying(SECRET), "system": SECRET}).status == 200
    assert (
        server.post("/api/generate", {"prompt": SECRET, "options": {"num_predict": 2}, "stream": False}).status == 200
    )
    assert server.post("/api/extra/tokencount", {"prompt": SECRET}).status == 200


def talk_nonsense(server: Launched) -> None:
    """Requests that are refused, or served in another way than asked for, because of what they hold."""
    assert server.post(CHAT, saying(f"unspeakable {SECRET}")).status == 200
    assert server.post(GENERATE, {"prompt": "a", "grammar": f'root ::= "a" ! {SECRET}', "max_length": 2}).status == 200
    for more in (
        {"grammar": f'failed error: {SECRET} root ::= "'},
        {"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": SECRET}}}},
        {"response_format": {"type": SECRET}},
        {"max_tokens": SECRET},
        {"stop": {SECRET: SECRET}},
        {"messages": [{"role": SECRET, "content": {SECRET: 1}}]},
        {"tools": [{SECRET: 1}]},
    ):
        assert server.post(CHAT, {**saying("Well met"), **more}).status == 400, more
    assert server.post(CHAT, f'{{"messages": {SECRET}'.encode()).status == 400
    assert server.post("/v1/completions", SECRET).status == 400
    assert server.get(f"/v1/models/{SECRET}").status == server.get(f"/{SECRET}").status == 404
    assert server.post("/api/show", {"model": SECRET}).status in (200, 404)
    assert server.post("/api/extra/json_to_grammar", {"schema": SECRET}).status in (200, 400)


def crash(server: Launched) -> None:
    """The engine ends in the middle of a reply."""
    with server.send_raw(GENERATE, {"prompt": SECRET, "max_length": 500, "ban_eos_token": True}):
        wait_until(lambda: server.get("/health").json.get("running"), "the reply to begin")
        server.engine.send_signal(signal.SIGABRT)
        server.wait_for_line("engine process crashed")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals to send")
def test_no_log_quotes_a_prompt_or_a_reply_on_any_way(launch: Launch):
    server = launch()
    talk(server)
    talk_nonsense(server)
    crash(server)
    server.end()
    assert SECRET not in server.written()
    assert "unspeakable" not in server.written()
    refused = [line for line in server.log() if line.get("status") == 400]
    assert {line["route"] for line in refused} >= {CHAT, "/v1/completions"}
    assert all(privacy.HIDDEN in line["message"] for line in refused)


def test_prompts_and_replies_are_logged_where_that_is_switched_on_and_the_log_says_so(launch: Launch):
    server = launch("--logprompts", "--quiet")
    talk(server)
    assert server.post(CHAT, saying(f"unspeakable {SECRET}")).status == 200
    server.wait_for_line("was told", 3)
    server.end()
    console, log = (server.folder / "console.txt").read_text(), server.log()
    assert {"level": "WARNING", "message": privacy.ON} in [
        {key: line[key] for key in ("level", "message")} for line in log
    ]
    assert privacy.ON in console
    for words in (f'sends: {{"messages": [{{"role": "system", "content": "{SECRET}"', f"was told: {SECRET}"):
        assert any(words in line["message"] for line in log)
        assert words in console
    assert any(line["message"].startswith("The model reads: <|im_start|>system") for line in log)
    assert f"The chat template failed (unspeakable {SECRET})" in console


def test_the_window_hears_that_prompts_are_logged(caplog: pytest.LogCaptureFixture):
    controller = Controller()
    window, log = controller.window_log(), logging.getLogger("tavernkeep")
    log.addHandler(window)
    try:
        privacy.allow_texts(True)
        privacy.warn()
        assert [line.text for line in controller.poll_log()] == [privacy.ON]
    finally:
        privacy.allow_texts(False)
        log.removeHandler(window)


def test_a_reply_is_one_line_of_the_log_with_its_figures(launch: Launch):
    server = launch()
    usage = server.post(CHAT, saying("Who are you?", ignore_eos=True), User_Agent="Mantella/1 x").json["usage"]
    server.wait_for_line(CHAT)
    (line,) = [line for line in server.log() if line.get("route") == CHAT]
    assert line["client"] == "127.0.0.1 Mantella/1"
    assert line["finish"] == "length"
    assert (line["prompt_tokens"], line["completion_tokens"]) == (usage["prompt_tokens"], 4)
    assert line["trimmed_tokens"] == 0
    assert line["prompt_seconds"] > 0 < line["decode_seconds"]
    assert f"127.0.0.1 Mantella/1 {CHAT}: {usage['prompt_tokens']} tokens (" in line["message"]


# --- keys ---

KEY, ADMIN_KEY, WRONG_KEY = "brass-lantern-5512", "copper-kettle-9902", "tin-whistle-3345"
HEADERS = (
    lambda key: {"Authorization": f"Bearer {key}"},
    lambda key: {"Authorization": f"Basic {key}"},
    lambda key: {"Authorization": key},
    lambda key: {"X_Api_Key": key},
    lambda key: {"api_key": key},
    lambda key: {"apikey": key},
    lambda key: {"genkey": key},
    lambda key: {"Cookie": f"key={key}"},
    lambda key: {"Referer": f"http://localhost/?key={key}"},
)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals to send")
def test_no_key_is_written_anywhere(launch: Launch):
    server = launch("--password", KEY, "--admin", "--adminpassword", ADMIN_KEY)
    answers = b""
    for key in (KEY, ADMIN_KEY, WRONG_KEY):
        for header in HEADERS:
            for path in ("/v1/models", "/api/admin/list_options", "/tavern", f"/v1/models?key={key}"):
                answers += server.get(path, **header(key)).body
            answers += server.post(GENERATE, {"prompt": "a", "max_length": 1}, **header(key)).body
            answers += server.post("/api/admin/reload_config", {"filename": "x"}, **header(key)).body
        answers += server.get(f"/{key}").body + server.get(f"/{key}/v1/models?api_key={key}").body
    answers += server.get("/health").body + server.get("/metrics", Authorization=f"Bearer {KEY}").body
    assert b"tavernkeep_guard_refusals_total" in answers
    server.wait_for_line("401", 10)
    server.end(signal.SIGSEGV)
    assert "Segmentation fault" in server.written()
    for key in (KEY, ADMIN_KEY, WRONG_KEY):
        assert key not in server.written()
        assert key.encode() not in answers


# --- errors ---


def test_an_error_that_may_quote_a_request_is_told_by_its_kind_alone():
    assert privacy.sentence(Forbidden("Not here.", "Go.")) == "Not here. Go."
    told = privacy.sentence(BadRequest(f"{SECRET} is no number.", param="max_tokens"))
    assert told == f"invalid_request_error in max_tokens ({privacy.HIDDEN})"


def test_a_mistake_of_ours_is_told_by_where_it_happened_and_what_it_came_from():
    def fail() -> None:
        try:
            int(SECRET)
        except ValueError as error:
            raise KeyError(SECRET) from error

    with pytest.raises(KeyError) as caught:
        fail()
    told = privacy.stack(caught.value)
    assert SECRET not in told
    assert "KeyError (" in told
    assert "which came from" in told
    assert "ValueError (" in told
    assert told.count("in fail") == 2


def test_the_page_on_security_names_walls_that_are_there():
    walls = re.findall(r"\]\(([\w/.]+)\)", (ROOT / "SECURITY.md").read_text("utf-8"))
    assert len(walls) > 8
    assert [wall for wall in walls if not (ROOT / wall).is_file()] == []
