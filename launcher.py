"""Tavernkeep's entry point: read the flags, then open the window or serve without one; nothing else."""

from __future__ import annotations

import dataclasses
import logging
import os
import signal
import sys
import threading

from server import command_line
from server.controller import Controller
from server.errors import SettingsError, TavernkeepError
from server.settings import Settings

WAKE_SECONDS = 0.5


def main(arguments: list[str]) -> int:
    """Run Tavernkeep; returns the exit status."""
    try:
        invocation = command_line.parse(arguments)
    except SettingsError as error:
        return command_line.complain(error)
    for warning in invocation.warnings:
        print(f"tavernkeep: {warning}", file=sys.stderr)
    controller = Controller(invocation.settings)
    _start_logging(controller, invocation.settings.quiet)
    if not invocation.headless:
        problem = _window_problem()
        if not problem:
            from gui.mainloop import run

            signal.signal(signal.SIGTERM, signal.default_int_handler)  # end as on Ctrl-C: stop the engine, then leave
            # As in KoboldCpp, whoever names a model wants it served without a further click.
            return run(controller, invocation.settings, start=bool(invocation.settings.model))
        print(f"tavernkeep: {problem}, so there is no window; serving without one.")
    return serve(controller, with_model(controller, invocation.settings))


def with_model(controller: Controller, settings: Settings) -> Settings:
    """The settings, with the starter model where none was chosen."""
    return settings if settings.model else dataclasses.replace(settings, model=controller.models.starter())


def serve(controller: Controller, settings: Settings) -> int:
    """Serve without a window until the process is told to end. Returns 2 when it cannot start."""
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
    controller.stop()
    print("tavernkeep: Stopped.", flush=True)
    return 0


def _start_logging(controller: Controller, quiet: bool) -> None:
    """Log lines go to standard error and to the window."""
    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("tavernkeep").setLevel(logging.WARNING if quiet else logging.INFO)
    logging.getLogger("tavernkeep").addHandler(controller.window_log())


def _window_problem() -> str:
    """Why no window can be opened, or ""."""
    if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return "There is no display"
    try:
        import tkinter

        tkinter.Tk().destroy()
    except ImportError:
        return "Python has no tkinter (on Debian: apt-get install python3-tk)"
    except tkinter.TclError:
        return "There is no display"
    return ""


def _addresses(base: str) -> str:
    return f"""tavernkeep: Serving on {base}. Paste into
  Mantella            {base}/v1   (LLM service, as the URL; any key)
  CHIM / Herika       {base}      (connector koboldcpp)
  SillyTavern         {base}      (Text Completion, KoboldCpp)
  any OpenAI client   {base}/v1"""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
