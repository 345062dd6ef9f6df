"""``python -m bench.startup``: how long from the start of the program until its window is there, from outside."""

from __future__ import annotations

import contextlib
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence as ReadOnly
from pathlib import Path
from typing import Any

from bench.peers import ROOT
from bench.processes import display, home
from package import facts

FROM_SOURCE = (sys.executable, str(ROOT / "launcher.py"))
PACKAGED = (str(facts.FOLDER / facts.NAME),)
RUNS = 5
PATIENCE = 60.0
LOOK_SECONDS = 0.002


def main() -> None:
    """Print a table: seconds until the window is drawn, and until the program has printed its version."""
    print("| program | window, median | lowest | highest | --version, median |")
    print("|---|---|---|---|---|")
    with display():
        for name, command in (("from source", FROM_SOURCE), ("packaged", PACKAGED)):
            if Path(command[-1]).is_file():
                windows = sorted(seconds_to_window(command) for _ in range(RUNS))
                versions = [seconds_to_version(command) for _ in range(RUNS)]
                print(
                    f"| {name} | {statistics.median(windows):.2f} s | {windows[0]:.2f} s | {windows[-1]:.2f} s "
                    f"| {statistics.median(versions):.2f} s |",
                    flush=True,
                )


def seconds_to_window(command: ReadOnly[str]) -> float:
    """Seconds until a window is in sight with something drawn in its middle; it is ended then."""
    from Xlib.display import Display

    with home() as environment, contextlib.closing(Display()) as screen:
        begun = time.perf_counter()
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            while not _drawn(screen):
                if time.perf_counter() > begun + PATIENCE or process.poll() is not None:
                    raise TimeoutError(f"{command[-1]} shows no window.")
                time.sleep(LOOK_SECONDS)
            return time.perf_counter() - begun
        finally:
            process.terminate()
            process.wait()


def seconds_to_version(command: ReadOnly[str]) -> float:
    """Seconds until the program has printed its version and ended."""
    begun = time.perf_counter()
    subprocess.run([*command, "--version"], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - begun


def windows(screen: Any) -> list[Any]:
    """The program's windows that are in sight on an Xlib display."""
    from Xlib import X, error

    found = []
    for window in screen.screen().root.query_tree().children:
        with contextlib.suppress(error.XError):  # it has just gone
            if window.get_wm_name() == facts.NAME and window.get_attributes().map_state == X.IsViewable:
                found.append(window)
    return found


def _drawn(screen: Any) -> bool:
    """Whether the window is in sight and its middle line has more than two colours."""
    from Xlib import X, error

    for window in windows(screen):
        with contextlib.suppress(error.XError):  # it has just gone, or is not all on the screen
            size = window.get_geometry()
            line = window.get_image(0, size.height // 2, size.width, 1, X.ZPixmap, 0xFFFFFFFF).data
            return len({line[place : place + 4] for place in range(0, len(line), 4)}) > 2
    return False


if __name__ == "__main__":
    main()
