"""llama.cpp's devices, asked in a process of its own. Used by the library; takes a moment."""

from __future__ import annotations

import json
import logging
import subprocess

from server import children
from server.snapshot import Device, DeviceKind

COMMAND = tuple(children.command("server.engine.devices"))
TIMEOUT = 60.0  # a driver that wakes up may be slow

log = logging.getLogger("tavernkeep")


def scan(command: tuple[str, ...] = COMMAND) -> tuple[Device, ...]:
    """The devices and their memory now. None are found where the process fails, and the log says why."""
    try:
        asked = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TIMEOUT,
            **children.SURROUNDINGS,
            check=True,
        )
        found = json.loads(asked.stdout)["devices"]
        return tuple(Device(**{**device, "kind": DeviceKind(device["kind"])}) for device in found)
    except subprocess.CalledProcessError as error:
        last = error.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
        log.warning(
            "Which GPUs there are could not be found out (status %d): %s", error.returncode, last or "no reason"
        )
    except (OSError, subprocess.SubprocessError, ValueError, KeyError, TypeError) as error:
        log.warning("Which GPUs there are could not be found out: %s", error)
    return ()
