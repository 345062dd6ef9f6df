"""The rules that keep the parts apart, read from the source: who may import what, and that the map is true."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SERVER = sorted((ROOT / "server").rglob("*.py"))
GUI = sorted((ROOT / "gui").rglob("*.py"))
LAUNCHER = ROOT / "launcher.py"
MODULES = [LAUNCHER, ROOT / "bootstrap.py", *SERVER, *GUI]
LONGEST_MODULE = 500

everywhere = pytest.mark.parametrize("module", MODULES, ids=lambda module: str(module.relative_to(ROOT)))
in_server = pytest.mark.parametrize("module", SERVER, ids=lambda module: str(module.relative_to(ROOT)))
in_gui = pytest.mark.parametrize("module", GUI, ids=lambda module: str(module.relative_to(ROOT)))


def tree_of(module: Path) -> ast.Module:
    return ast.parse(module.read_text("utf-8"))


def imports_in(node: ast.AST) -> Iterator[str]:
    """Full names of all that is imported below ``node``, inside functions as well."""
    for found in ast.walk(node):
        if isinstance(found, ast.Import):
            yield from (name.name for name in found.names)
        elif isinstance(found, ast.ImportFrom):
            assert found.level == 0, "relative imports hide what is imported"
            yield from (f"{found.module}.{name.name}" for name in found.names)


def imports_of(module: Path) -> set[str]:
    return set(imports_in(tree_of(module)))


def imports_for_typing(module: Path) -> set[str]:
    """What is imported only where a type checker reads it."""
    blocks = [node for node in ast.walk(tree_of(module)) if isinstance(node, ast.If)]
    guarded = [node for node in blocks if ast.unparse(node.test) == "TYPE_CHECKING"]
    return {name for node in guarded for part in node.body for name in imports_in(part)}


def packages(names: set[str]) -> set[str]:
    return {name.split(".")[0] for name in names}


@everywhere
def test_only_the_llama_folder_touches_llama_cpp(module):
    allowed = module.is_relative_to(ROOT / "server/engine/llama") or module == ROOT / "bootstrap.py"
    assert allowed or "llama_cpp" not in packages(imports_of(module))


TELLS_THE_TIME = {  # to people, or in the fields that clients expect
    "server/records.py",
    "server/model_host.py",
    "server/api/openai.py",
    "server/api/responses.py",
    "server/api/ollama.py",
    "server/prompt/jinja_worker.py",
}


@everywhere
def test_nothing_waits_by_a_clock_that_can_jump(module):
    calls = {ast.unparse(node.func) for node in ast.walk(tree_of(module)) if isinstance(node, ast.Call)}
    wall_clock = any(call in ("time.time", "time.localtime") or call.endswith((".now", ".utcnow")) for call in calls)
    assert not wall_clock or str(module.relative_to(ROOT)) in TELLS_THE_TIME


@everywhere
def test_only_the_window_touches_tk(module):
    assert module in GUI or not packages(imports_of(module)) & {"tkinter", "customtkinter"}


@everywhere
def test_only_the_api_touches_flask_and_waitress(module):
    in_api = module.is_relative_to(ROOT / "server/api")
    assert in_api or not packages(imports_of(module)) & {"flask", "waitress", "werkzeug"}


@in_server
def test_the_server_knows_nothing_of_the_window(module):
    assert "gui" not in packages(imports_of(module))


@in_gui
def test_the_window_knows_only_events_settings_and_errors_of_the_server(module):
    ours = {name for name in imports_of(module) if name.split(".")[0] == "server"}
    assert {".".join(name.split(".")[:2]) for name in ours} <= {
        "server.VERSION",
        "server.events",
        "server.snapshot",
        "server.settings",
        "server.errors",
        "server.json_text",
        "server.controller",
        "server.access",
        "server.whole_file",  # how anything is kept
    }
    through_the_door = {name for name in ours if name.startswith("server.controller")}
    assert through_the_door <= imports_for_typing(module)


@pytest.mark.parametrize("part", ["engine", "model", "prompt", "request"])
def test_inner_parts_know_nothing_of_http(part):
    for module in (ROOT / "server" / part).rglob("*.py"):
        assert not any(name.startswith("server.api") for name in imports_of(module)), module


def test_the_engine_knows_nothing_of_requests_and_prompts():
    for module in (ROOT / "server/engine").rglob("*.py"):
        assert not any(name.startswith(("server.request", "server.prompt")) for name in imports_of(module)), module


@in_server
def test_modules_stay_short(module):
    assert len(module.read_text("utf-8").splitlines()) <= LONGEST_MODULE


@everywhere
def test_every_module_says_what_it_is(module):
    tree = tree_of(module)
    assert not tree.body or ast.get_docstring(tree)


@everywhere
def test_nothing_is_a_drawer_for_everything(module):
    assert module.stem not in {"utils", "util", "common", "misc", "helpers", "manager"}


def test_the_map_names_every_module_of_the_server():
    map_ = ast.get_docstring(tree_of(ROOT / "server/__init__.py")) or ""
    modules = [module for module in SERVER if module.name != "__init__.py"]
    missing = [str(module.relative_to(ROOT)) for module in modules if module.name not in map_]
    assert not missing


def test_the_map_names_no_module_that_is_gone():
    map_ = ast.get_docstring(tree_of(ROOT / "server/__init__.py")) or ""
    named = {word.strip("`,;:()").split("/")[-1] for word in map_.split() if word.strip("`,;:()").endswith(".py")}
    assert named <= {module.name for module in [*SERVER, *GUI, LAUNCHER, ROOT / "bootstrap.py"]}
