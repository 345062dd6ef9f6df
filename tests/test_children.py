"""The processes that the launcher starts, and the launcher becoming one of them, as the packaged program does."""

import subprocess
import sys
from pathlib import Path

import pytest

from server import children

ROOT = Path(__file__).resolve().parent.parent


def launcher(*arguments):
    command = [sys.executable, str(ROOT / "launcher.py"), *arguments]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("module", children.MODULES)
def test_every_child_is_there_and_has_a_main(module):
    source = (ROOT / f"{module.replace('.', '/')}.py").read_text("utf-8")
    assert 'if __name__ == "__main__":' in source


def test_every_module_that_is_started_is_a_child():
    started = {
        line.split('command("')[1].split('"')[0]
        for file in (ROOT / "server").rglob("*.py")
        for line in file.read_text("utf-8").splitlines()
        if 'children.command("' in line
    }
    assert started
    assert started <= set(children.MODULES)


def test_the_launcher_becomes_a_child_when_it_is_called_as_python_would_be(starter_model):
    as_python = subprocess.run(
        children.command("server.engine.self_test", str(starter_model)),
        capture_output=True,
        text=True,
        check=True,
        **children.SURROUNDINGS,
    )
    as_launcher = launcher("-m", "server.engine.self_test", str(starter_model))
    assert as_launcher.returncode == 0
    assert as_launcher.stdout == as_python.stdout


@pytest.mark.parametrize("module", ["http.server", "server.controller", "timeit"])
def test_no_other_module_is_run(module):
    done = launcher("-m", module, "--skiplauncher", "--port", "-1")  # a model's file by that name
    assert done.returncode == 2
    assert "port: -1 is too small" in done.stderr
