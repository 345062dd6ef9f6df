"""The packaged program as its users meet it: unpacked from its archive, and started by somebody who owns nothing.

It is built once, by the command that the docs name. Where the tests run as root the program runs as nobody, because
root may write everywhere.
"""

from __future__ import annotations

import configparser
import contextlib
import hashlib
import json
import os
import plistlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import psutil
import pytest
from playwright.sync_api import expect

from bench.startup import windows
from gui import theme
from gui.view.looks import ButtonRole
from package import components, facts
from server import VERSION
from server.engine.llama.back_ends import back_ends
from tests.browser import Tab, browser, context, tab
from tests.conftest import wait_until

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="written for Linux; docs/packaging.md says what was tried"),
    pytest.mark.timeout(900),
]

PLACE = "Schöne Spiele 遊戲"
PATIENCE = 120.0
# A display without a desktop has light colours.
START_BLUE = bytes.fromhex(theme.BUTTONS[ButtonRole.START].fill[0].lstrip("#"))
NOBODY = 65534  # the user and the group, on every Linux
AS_ROOT = sys.platform == "linux" and os.geteuid() == 0


@dataclass
class Package:
    """The unpacked program in a folder that nobody may write to, and somebody's own folders."""

    build: str
    archive: Path
    folder: Path
    yard: Path
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def room(self, name: str) -> Path:
        """A folder of the user's own."""
        made = self.yard / name
        made.mkdir()
        if AS_ROOT:
            os.chown(made, NOBODY, NOBODY)
        return made

    def start(self, *arguments: str, program: str = facts.CLI, home: Path | None = None, **more: str) -> Any:
        """Start the program with an environment that has no Python on its PATH, and nothing but what is given."""
        environment = {
            "HOME": str(home or self.room(f"home{len(self.started)}")),
            "PATH": "/nowhere",
            "TMPDIR": str(self.yard / "tmp"),
            **more,
        }
        who: dict[str, Any] = {}
        if AS_ROOT:
            who = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
        process = subprocess.Popen(
            [self.folder / program, *arguments],
            env=environment,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            **who,
        )
        self.started.append(process)
        return process

    def run(self, *arguments: str, **more: Any) -> str:
        """What the program says until it ends well."""
        process = self.start(*arguments, **more)
        output: str = process.communicate(timeout=PATIENCE)[0]
        assert process.returncode == 0, output
        return output


@pytest.fixture(scope="module")
def package() -> Iterator[Package]:
    command = [sys.executable, str(facts.ROOT / "bootstrap.py"), "package"]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    archive = facts.ROOT / "dist" / re.search(r"Archive: dist/(\S+),", built.stdout)[1]
    with tempfile.TemporaryDirectory() as yard:
        os.chmod(yard, 0o755)
        target = Path(yard, PLACE)
        with tarfile.open(archive) as tar:
            tar.extractall(target, filter="data")
        made = Package(built.stdout, archive, target / facts.NAME, Path(yard))
        made.room("tmp")
        for file in [*target.rglob("*"), target]:
            if not file.is_symlink():
                file.chmod(file.stat().st_mode & ~0o222)
        yield made
        for process in made.started:
            process.kill()
            process.communicate()
        for file in target.rglob("*"):
            if file.is_dir():
                file.chmod(0o755)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def health(port: int) -> str:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=PATIENCE) as answer:
            return str(json.load(answer)["status"])
    except OSError:
        return ""


def ask(port: int, path: str, body: dict[str, Any] | None = None) -> Any:
    data = json.dumps(body).encode() if body else None
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data)
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        return json.load(answer)


def wait_until_it_serves(port: int) -> None:
    wait_until(lambda: health(port) == "ready", f"a server on port {port}", PATIENCE)


@contextlib.contextmanager
def serving(package: Package, *flags: str, **more: Any) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """The program without its window, and its port. It ends well, and with it all that it started."""
    port = free_port()
    always = ("--skiplauncher", "--port", str(port), "--contextsize", "1024", "--threads", "1")
    process = package.start(*always, *flags, **more)
    wait_until_it_serves(port)
    helpers = psutil.Process(process.pid).children()
    assert helpers
    yield process, port
    process.terminate()
    assert process.wait(PATIENCE) == 0
    wait_until(lambda: not any(map(psutil.Process.is_running, helpers)), "its children to end")


# --- what was built


def test_the_build_ends_with_its_figures(package: Package) -> None:
    last = package.build.splitlines()[-4:]
    assert re.fullmatch(r"Archive: dist/\S+, \d+ MB, [0-9a-f]{64}", last[0])
    assert re.fullmatch(r"Folder: dist/Tavernkeep, \d+ MB", last[1])
    assert re.fullmatch(r"Self-test: \d+\.\d s", last[2])
    assert re.fullmatch(r"Window: \d+\.\d\d s \(median of 5 starts\)", last[3])


def test_the_checksum_beside_the_archive_is_right(package: Package) -> None:
    told, name = Path(f"{package.archive}.sha256").read_text().split()
    assert name == package.archive.name
    assert told == hashlib.sha256(package.archive.read_bytes()).hexdigest()


def test_what_the_tests_alone_need_is_not_inside(package: Package) -> None:
    inside = {file.name for file in (package.folder / "_internal").iterdir()}
    assert not inside & {"PIL", "pillow.libs", "pydantic_core", "tokenizers", "Xlib", "libreadline.so.8"}


def test_every_distribution_inside_is_listed_with_its_licence_and_its_text(package: Package) -> None:
    internal = package.folder / "_internal"
    rows = re.findall(r"^\| (.+?) \| (.+) \|$", (internal / "assets" / facts.COMPONENTS.name).read_text("utf-8"), re.M)
    listed = {facts.normal(name): licence for name, licence in rows[1:]}
    inside = {facts.normal(folder.name.partition("-")[0]) for folder in internal.glob("*.dist-info")}
    assert inside <= set(listed)
    assert {"python", "smollm2-135m-instruct", "tcl", "openssl"} <= set(listed)
    assert all(listed.values())
    texts = (package.folder / "LICENCES.txt").read_text("utf-8")
    for words in (
        "PYTHON SOFTWARE FOUNDATION LICENSE",
        "Copyright (c) 2023-2026 The ggml authors",
        "George Petasis",
        "GNU GENERAL PUBLIC LICENSE\n                       Version 3",
        "Keith Packard",  # of one of X.Org's libraries
    ):
        assert words in texts


def test_libraries_that_nobody_knows_stop_the_build_and_are_all_named() -> None:
    with pytest.raises(ValueError, match=r"libmystery\.so\.1, .*libxml2\.so\.2"):
        components.write(["/usr/lib/libmystery.so.1", "/usr/lib/libz.so.1", "/usr/lib/libxml2.so.2"])


def test_what_a_linux_desktop_wants_is_there(package: Package) -> None:
    share = package.folder / "share"
    assert (share / "applications/tavernkeep.desktop").is_file()
    assert (share / "mime/packages/tavernkeep.xml").is_file()
    assert (share / f"metainfo/{facts.IDENTIFIER}.metainfo.xml").is_file()
    assert (share / "icons/hicolor/256x256/apps/tavernkeep.png").is_file()


# --- how it runs


def test_it_tells_its_version(package: Package) -> None:
    assert package.run("--version") == f"{VERSION}\n"


def test_its_self_test_passes_and_leaves_a_log_and_nothing_else(package: Package) -> None:
    home = package.room("empty home")
    output = package.run("--self-test", home=home)
    for dialect in ("KoboldCpp", "OpenAI chat", "OpenAI completions", "OpenAI responses", "Anthropic", "Ollama"):
        assert f"  ok  {dialect}: " in output
    assert "Self-test passed" in output
    assert [file.parent.name for file in home.rglob("*") if file.is_file()] == ["log"]
    assert not any((package.yard / "tmp").iterdir())


def test_its_self_test_passes_where_the_home_cannot_be_written(package: Package) -> None:
    output = package.run("--self-test", home=Path("/nowhere/at all"))
    assert "No log is kept of this run" in output
    assert "Self-test passed" in output
    assert "Traceback" not in output


def test_every_cpu_variant_that_this_processor_can_run_says_the_same(package: Package) -> None:
    model = package.folder / "_internal" / "assets" / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"
    heard = {}
    for name in back_ends(package.folder / "_internal" / "bin"):
        variant = name.removeprefix("cpu-")
        if variant == name:
            continue  # a GPU's
        process = package.start("-m", "server.engine.self_test", str(model), TAVERNKEEP_CPU_VARIANT=variant)
        output = process.communicate(timeout=PATIENCE)[0]
        if process.returncode:
            assert f"This processor cannot run the variant {variant}" in output
        else:
            told = json.loads(output.splitlines()[-1])
            assert told["cpu_variant"] == variant
            heard[variant] = told["text"]
    assert len(heard) >= 3, heard
    assert len(set(heard.values())) == 1, heard


def test_a_variant_that_does_not_exist_is_told_with_those_that_do(package: Package) -> None:
    process = package.start("--self-test", TAVERNKEEP_CPU_VARIANT="386")
    output = process.communicate(timeout=PATIENCE)[0]
    assert process.returncode == 1
    assert "asks for '386', which this build does not have. There are: " in output
    assert "haswell" in output


def test_two_copies_serve_side_by_side(package: Package) -> None:
    with serving(package) as (_, one), serving(package) as (_, two):
        for port in (one, two):
            body = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4}
            assert ask(port, "/v1/chat/completions", body)["choices"][0]["message"]["content"]


def test_the_chat_page_is_inside_and_talks_to_the_model(package: Package, tab: Tab) -> None:
    with serving(package) as (_, port):
        tab.open(f"http://127.0.0.1:{port}")
        tab.wait_until_ready()
        tab.talkative(4)
        tab.say("Hello!")
        assert tab.last_text()
        tab.button("Settings").click()
        expect(tab.page.get_by_label("Preset")).to_contain_text("Role-play")
        tab.page.close()


@pytest.mark.skipif(sys.platform != "linux", reason="xdg-open is Linux's")
def test_the_users_browser_gets_the_page_but_not_the_programs_libraries(package: Package) -> None:
    desktop = package.room("desktop")
    opener, told = desktop / "xdg-open", desktop / "told"
    opener.write_text(f'#!/bin/sh\n(echo "$1"; env) > "{told}.part"; mv "{told}.part" "{told}"\n')
    opener.chmod(0o755)
    with serving(package, "--launch", PATH=f"{desktop}:/usr/bin:/bin") as (_, port):
        wait_until(told.exists, "the browser")
    address, *environment = told.read_text().splitlines()
    assert address == f"http://127.0.0.1:{port}"
    assert not any(line.startswith("LD_LIBRARY_PATH=") for line in environment)


def test_a_template_may_use_what_python_imports_late(package: Package) -> None:
    template = "{{ strftime_now('%Y') }} {{ messages[-1].content | title }} {{ 'é'.encode('cp850') | length }}"
    with serving(package, "--chatcompletionsadapter", template) as (_, port):
        heard = ask(port, "/api/extra/preview_prompt", {"messages": [{"role": "user", "content": "hello"}]})
    assert re.fullmatch(r"20\d\d Hello 1", heard["prompt"]), heard


def test_without_standard_streams_it_serves_and_its_log_tells_of_it(package: Package) -> None:
    home, port = package.room("windowed"), free_port()
    flags = f"--skiplauncher --port {port} --contextsize 1024 --threads 1"
    program = package.folder / facts.NAME
    shell = ["/bin/sh", "-c", f'exec "$0" {flags} <&- >&- 2>&-', str(program)]
    process = subprocess.Popen(shell, env={"HOME": str(home), "PATH": "/nowhere"})
    try:
        wait_until_it_serves(port)
        (log,) = home.rglob("*.log")
        assert "is ready." in log.read_text("utf-8")
    finally:
        process.terminate()
        assert process.wait(PATIENCE) == 0


def test_a_crash_leaves_a_report_and_the_next_start_tells_of_it(package: Package) -> None:
    home, port = package.room("crashing"), free_port()
    process = package.start("--skiplauncher", "--port", str(port), "--contextsize", "1024", "--threads", "1", home=home)
    wait_until_it_serves(port)
    process.send_signal(signal.SIGSEGV)
    process.wait(PATIENCE)
    (report,) = home.rglob("*_crash.txt")
    assert "Segmentation fault" in report.read_text("utf-8")
    assert f"The last run crashed. Its report is {report}" in package.run("--self-test", home=home)


# --- its window


@pytest.fixture
def screen() -> Iterator[Any]:
    if not shutil.which("Xvfb"):
        pytest.fail("Xvfb is missing; `python3 bootstrap.py test` installs it.")
    from Xlib import X
    from Xlib.display import Display
    from Xlib.ext import xtest

    display = Display()
    display.set_access_control(X.DisableAccess)  # nobody may draw here too
    size = display.screen()
    corner = {"x": size.width_in_pixels - 1, "y": size.height_in_pixels - 1}
    xtest.fake_input(display, X.MotionNotify, **corner)  # a button under the mouse has another colour
    display.sync()
    yield display
    display.close()


def start_button(screen: Any) -> tuple[int, int] | None:
    """The middle of the large blue button on the screen, as soon as it is drawn."""
    from PIL import Image, ImageChops
    from Xlib import X

    for window in windows(screen):
        size = window.get_geometry()
        raw = window.get_image(0, 0, size.width, size.height, X.ZPixmap, 0xFFFFFFFF).data
        image = Image.frombytes("RGB", (size.width, size.height), raw, "raw", "BGRX")
        blue = ImageChops.difference(image, Image.new("RGB", image.size, tuple(START_BLUE))).convert("L")
        lines = [y for y in range(size.height) if blue.crop((0, y, size.width, y + 1)).histogram()[0] > 300]
        if len(lines) > theme.START_HEIGHT // 2:
            y = lines[len(lines) // 2]
            columns = [x for x in range(size.width) if not blue.getpixel((x, y))]
            return size.x + columns[len(columns) // 4], size.y + y  # beside the word
    return None


def resting_start_button(screen: Any) -> tuple[int, int]:
    """Where the button is once it stays there."""
    seen: list[tuple[int, int] | None] = [None]

    def rests() -> bool:
        seen.append(start_button(screen))
        return seen[-1] is not None and seen[-1] == seen[-2]

    wait_until(rests, "the Start button")
    assert seen[-1]
    return seen[-1]


def click(screen: Any, place: tuple[int, int]) -> None:
    from Xlib import X
    from Xlib.ext import xtest

    xtest.fake_input(screen, X.MotionNotify, x=place[0], y=place[1])
    xtest.fake_input(screen, X.ButtonPress, 1)
    xtest.fake_input(screen, X.ButtonRelease, 1)
    screen.sync()


def open_window(package: Package, *arguments: str, **more: Any) -> subprocess.Popen[str]:
    return package.start(*arguments, program=facts.NAME, DISPLAY=os.environ["DISPLAY"], **more)


def test_one_click_serves_the_starter_model_and_a_second_start_wakes_the_window(package: Package, screen: Any) -> None:
    home, port = package.room("one click"), free_port()
    process = open_window(package, "--port", str(port), home=home)
    click(screen, resting_start_button(screen))
    wait_until_it_serves(port)
    heard = ask(port, "/api/v1/generate", {"prompt": "Once upon a time", "max_length": 4})
    assert heard["results"][0]["text"]
    second = open_window(package, home=home)
    assert second.wait(PATIENCE) == 0
    assert "It runs already; its window was brought to the front." in second.stdout.read()
    process.terminate()
    assert process.wait(PATIENCE) == 0
    assert len(list(home.rglob("*.log"))) == 1
    assert not any((package.yard / "tmp").iterdir())


def test_a_configuration_that_is_opened_with_it_is_started(package: Package, screen: Any) -> None:
    model = package.folder / "_internal" / "assets" / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"
    port = free_port()
    file = package.room("downloads") / "Mein Spiel.kcpps"
    file.write_text(json.dumps({"model_param": str(model), "port_param": port, "contextsize": 1024}), "utf-8")
    process = open_window(package, str(file))
    wait_until_it_serves(port)
    assert windows(screen)
    assert ask(port, "/api/extra/true_max_context_length")["value"] == 1024
    process.terminate()
    assert process.wait(PATIENCE) == 0


def test_a_configuration_that_cannot_be_read_is_told_in_a_box_where_it_was_opened(
    package: Package, screen: Any
) -> None:
    file = package.room("damaged") / "torn.kcpps"
    file.write_text('{"model_param": ', "utf-8")
    process = open_window(package, str(file))
    wait_until(lambda: windows(screen), "a box that says so")
    assert process.poll() is None
    process.terminate()
    assert process.wait(PATIENCE)
    assert "torn.kcpps" in process.stdout.read()


def test_a_wrong_flag_ends_at_once_even_where_there_is_a_display(package: Package) -> None:
    process = package.start("--nonsense", DISPLAY=os.environ["DISPLAY"])
    assert process.wait(PATIENCE) == 2
    assert "--help lists the flags" in process.stdout.read()


def test_the_window_opens_where_the_home_cannot_be_written(package: Package, screen: Any) -> None:
    process = open_window(package, home=Path("/nowhere/at all"))
    wait_until(lambda: start_button(screen), "the Start button")
    process.terminate()
    assert process.wait(PATIENCE) == 0
    assert "Traceback" not in process.stdout.read()


# --- what other systems are told


def test_a_mac_may_open_models_and_configurations_with_it() -> None:
    keys = facts.mac_keys()
    endings = {ending for kind in keys["CFBundleDocumentTypes"] for ending in kind["CFBundleTypeExtensions"]}
    assert endings == {"gguf", "kcpps", "kcppt"}
    assert keys["NSHighResolutionCapable"]
    assert not keys["LSBackgroundOnly"]
    assert plistlib.dumps(keys)


def test_linux_desktops_are_told_the_same_version_and_kinds_of_files() -> None:
    linux = facts.ROOT / "assets" / "linux"
    entry = configparser.ConfigParser(interpolation=None)
    entry.read(linux / "tavernkeep.desktop", "utf-8")
    opens = {kind for kind in entry["Desktop Entry"]["MimeType"].split(";") if kind}
    described = ElementTree.parse(linux / "tavernkeep-mime.xml").getroot()
    assert opens == {kind.get("type") for kind in described}
    about = ElementTree.parse(linux / f"{facts.IDENTIFIER}.metainfo.xml").getroot()
    assert opens == {kind.text for kind in about.findall("provides/mediatype")}
    assert about.find("releases/release").get("version") == VERSION
    assert about.findtext("id") == facts.IDENTIFIER
