"""Tavernkeep's entry point: read the flags, then open the window or serve without one; nothing else.

What takes long to import stands inside the functions: the packaged program also becomes its own children here, and the
window is to be there at once.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import multiprocessing
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING

from server import children

if TYPE_CHECKING:
    from server.command_line import Invocation
    from server.controller import Controller
    from server.records import Records
    from server.settings import Settings

WAKE_SECONDS = 0.5


def main(arguments: list[str]) -> int:
    """Run Tavernkeep; returns the exit status."""
    from server import command_line
    from server.errors import OpenToAll, SettingsError

    try:
        invocation = command_line.parse(arguments)
    except SettingsError as error:
        print(f"tavernkeep: {error}", file=sys.stderr)
        if isinstance(error, OpenToAll):
            print(ways_to_open(), file=sys.stderr)
        if len(arguments) == 1 and not arguments[0].startswith("-"):  # a file was opened, and nobody sees a terminal
            show_box(str(error))
        return 2
    from server import privacy
    from server.controller import Controller
    from server.records import Records, default_folder

    for warning in invocation.warnings:
        print(f"tavernkeep: {warning}", file=sys.stderr)
    controller = Controller(invocation.settings)
    console = logging.StreamHandler()
    console.setFormatter(privacy.LineFormatter("%(asctime)s %(message)s", datefmt="%H:%M:%S"))
    logging.basicConfig(handlers=[console])
    logging.getLogger("tavernkeep").setLevel(logging.WARNING if invocation.settings.quiet else logging.INFO)
    logging.getLogger("tavernkeep").addHandler(controller.window_log())
    records = Records(default_folder())
    status = run(controller, invocation, records)
    records.close()
    return status


def run(controller: Controller, invocation: Invocation, records: Records) -> int:
    """Test, show the window, or serve without one; returns the exit status."""
    if invocation.self_test:
        from server.self_test import self_test

        return self_test(controller)
    if invocation.launch:
        from gui.browser import show_when_ready

        show_when_ready(controller)
    if not invocation.headless:
        try:
            if not show_window(controller, invocation):
                records.discard()  # the window that was woken goes on, and so do its records
            return 0
        except NoWindow as reason:
            print(f"tavernkeep: {reason}, so there is no window; serving without one.")
    return serve(controller, with_model(controller, invocation.settings))


def ways_to_open() -> str:
    """A key that nobody knows yet, and the networks of this PC."""
    from server.access import new_key
    from server.networks import networks

    subnets = "".join(f"\n  --allowclients {each.subnet}   ({each.name})" for each in networks())
    return f"tavernkeep: For example:\n  --password {new_key()}{subnets}"


class NoWindow(Exception):
    """Why there cannot be a window."""


def show_window(controller: Controller, invocation: Invocation) -> bool:
    """Show the window until it is closed. False if there was one already. Raises :class:`NoWindow`."""
    if sys.platform == "linux" and not os.environ.get("DISPLAY"):  # which Tk wants on Wayland too
        raise NoWindow("There is no display")
    try:
        from gui.mainloop import NoDisplay, run
    except ImportError as error:
        if error.name not in ("tkinter", "_tkinter"):
            raise
        raise NoWindow("Python has no tkinter (on Debian: apt-get install python3-tk)") from error
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # end as on Ctrl-C: stop the engine, then leave
    # As in KoboldCpp, whoever names a model wants it served without a further click.
    try:
        return run(controller, invocation.settings, invocation.opened, start=bool(invocation.settings.model))
    except NoDisplay as error:
        raise NoWindow("There is no display") from error


def show_box(sentence: str) -> None:
    """Say it in a box of its own, where that is possible."""
    with contextlib.suppress(ImportError):  # a Python without tkinter
        from gui.alert import tell

        tell(sentence)


def with_model(controller: Controller, settings: Settings) -> Settings:
    """The settings, with the starter model where none was chosen."""
    return settings if settings.model else dataclasses.replace(settings, model=controller.models.starter())


def serve(controller: Controller, settings: Settings) -> int:
    """Serve without a window until the process is told to end. Returns 2 when it cannot start."""
    from server.errors import TavernkeepError

    if not settings.model:
        print(
            "tavernkeep: No model was chosen. Name a GGUF file: launcher.py --model FILE.gguf",
            file=sys.stderr,
        )
        return 2
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    try:
        controller.start(settings)
    except TavernkeepError as error:
        print(f"tavernkeep: {error}", file=sys.stderr)
        return 2
    print(_addresses(controller.snapshot().address), flush=True)
    while not ended.wait(WAKE_SECONDS):  # on Windows a wait without end would not see Ctrl-C
        pass
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)  # whoever asks twice does not want to wait
    controller.close()
    print("tavernkeep: Stopped.", flush=True)
    return 0


def _addresses(base: str) -> str:
    return f"""tavernkeep: Serving on {base}. Paste into
  Mantella            {base}/v1   (LLM Service, as the URL)
  CHIM / Herika       {base}      (connector koboldcppjson)
  SillyTavern         {base}      (Text Completion, KoboldCpp)
  any OpenAI client   {base}/v1
  a browser           {base}      (the chat page)"""


def _open_standard_streams() -> None:
    """Windows starts a program without a console without standard streams; writing to them must still work."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)
            setattr(sys, name, None)
        if getattr(sys, name) is None:
            mode = "w" if number else "r"
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", errors="replace", closefd=False))


if __name__ == "__main__":
    multiprocessing.freeze_support()
    _open_standard_streams()
    if not children.become(sys.argv[1:]):
        sys.exit(main(sys.argv[1:]))
