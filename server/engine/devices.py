"""``python -m server.engine.devices``: llama.cpp's devices and their memory, as one line of JSON.

A process of its own, because a GPU's driver takes memory from whoever asks it, and may crash.
"""

from __future__ import annotations

import dataclasses
import json
import sys

from server.errors import TavernkeepError


def main() -> int:
    """Print the devices. Returns the exit status."""
    from server.engine.llama.library import NativeLog, load_backends

    native_log = NativeLog()  # what llama.cpp says goes to standard error
    try:
        devices = load_backends()
    except TavernkeepError as error:
        print(error, file=sys.stderr)
        return 1
    found = [{**dataclasses.asdict(device), "kind": device.kind.value} for device in devices]
    print(json.dumps({"devices": found, "cpu_variant": native_log.cpu_variant()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
