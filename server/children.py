"""The processes that the launcher starts, each a module with a main of its own. Used by those that start one.

The packaged program has no Python beside it; there the program itself becomes the child, when it is called as Python
would be: ``Tavernkeep -m server.engine.worker``.
"""

from __future__ import annotations

import runpy
import subprocess
import sys
from collections.abc import Sequence as ReadOnly
from pathlib import Path
from typing import Any, Final

MODULES: Final = (
    "server.engine.worker",
    "server.engine.devices",
    "server.engine.self_test",
    "server.prompt.jinja_worker",
)
# Where Python looks for the module, and not for a server.py of the user's own; and no console on Windows.
SURROUNDINGS: Final[dict[str, Any]] = {
    "cwd": Path(__file__).resolve().parent.parent,
    "creationflags": getattr(subprocess, "CREATE_NO_WINDOW", 0),
}


def command(module: str, *arguments: str) -> list[str]:
    """What starts a child; to be started in :data:`SURROUNDINGS`."""
    return [sys.executable, "-m", module, *arguments]


def become(arguments: ReadOnly[str]) -> bool:
    """Run the child that the command line ``arguments`` name, to its end. False if they name none."""
    if len(arguments) < 2 or arguments[0] != "-m" or arguments[1] not in MODULES:
        return False
    sys.argv[1:] = arguments[2:]
    runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    return True
