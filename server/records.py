"""What a run leaves in the user's log folder: its log, and a report if it crashed. Used by the launcher.

The log is JSON, one object a line, so that people can read it and programs can count in it.
"""

from __future__ import annotations

import contextlib
import faulthandler
import logging
import os
import platform
import sys
import threading
import traceback
from datetime import datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final

import platformdirs
from pythonjsonlogger.json import JsonFormatter

from server import VERSION, privacy

LARGEST_LOG: Final = 2 << 20  # bytes; a run that writes more keeps its last two files of this size
KEPT_RUNS: Final = 10

log = logging.getLogger("tavernkeep")


def default_folder() -> Path:
    """Where the logs of this user lie."""
    return Path(platformdirs.user_log_dir("tavernkeep", appauthor=False))


def _open_own(file: str | Path, mode: str) -> IO[str]:
    """A file of text that nobody but the user can read."""
    return open(
        file, mode, encoding="utf-8", errors="backslashreplace", opener=lambda path, flags: os.open(path, flags, 0o600)
    )


class _OwnFile(RotatingFileHandler):
    def _open(self) -> Any:
        return _open_own(self.baseFilename, self.mode)


class _JsonLines(JsonFormatter):
    """A line is an object: time, level and message first, then whatever fields belong to it."""

    def __init__(self) -> None:
        super().__init__(
            ["asctime", "levelname", "message"],
            datefmt="%Y-%m-%dT%H:%M:%S%z",  # with the time zone, because reports come from anywhere
            rename_fields={"asctime": "time", "levelname": "level", "exc_info": "stack"},
            json_ensure_ascii=False,
        )

    def formatException(self, ei: privacy.ExceptionInfo) -> str:
        """As the console has it."""
        return privacy.stack(ei[1]) if ei[1] else ""


class Records:
    """The log and the crash report of this run, in ``folder``; where that cannot be written there are none.

    Each run has files of its own, because several may run at once, and those of the last ten runs stay.
    """

    def __init__(self, folder: Path) -> None:
        self._log_file = folder / f"{datetime.now().strftime('%Y-%m-%d_%H%M%S_%f')}.log"
        self._crash_file = _crash_file(self._log_file)
        self._crash: IO[str] | None = None
        self._handler: logging.Handler | None = None
        self._hooks = (sys.excepthook, threading.excepthook)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            earlier = sorted(folder.glob("*.log"))
            handler = _OwnFile(self._log_file, maxBytes=LARGEST_LOG, backupCount=1)
            self._crash = _open_own(self._crash_file, "w")
        except OSError as error:
            log.warning("No log is kept of this run, because %s cannot be written: %s.", folder, error.strerror)
            return
        handler.setFormatter(_JsonLines())
        log.addHandler(handler)
        self._handler = handler
        self._native = not faulthandler.is_enabled()  # else somebody wants to read it elsewhere
        if self._native:
            faulthandler.enable(self._crash)
        sys.excepthook, threading.excepthook = self._crashed, _thread_crashed
        log.info("Tavernkeep %s, Python %s, %s.", VERSION, platform.python_version(), platform.platform())
        _tell_of_crash(earlier)
        _forget(earlier[: -KEPT_RUNS + 1])

    def close(self) -> None:
        """The run ended well: no crash report of it stays, whatever Windows has called fatal meanwhile."""
        if not self._crash or not self._handler:
            return
        if self._native:
            faulthandler.disable()
        sys.excepthook, threading.excepthook = self._hooks
        self._crash.close()
        log.removeHandler(self._handler)
        self._handler.close()
        self._crash, self._handler = None, None
        _remove(self._crash_file)

    def discard(self) -> None:
        """The run was none that anybody will ask about."""
        self.close()
        _remove(self._log_file)

    def _crashed(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if self._crash and not issubclass(kind, KeyboardInterrupt):
            log.critical("Tavernkeep crashed: %s: %s. The report is %s.", kind.__name__, error, self._crash_file)
            traceback.print_exception(kind, error, trace, file=self._crash)
            self._crash.flush()
        sys.__excepthook__(kind, error, trace)


def _thread_crashed(crashed: threading.ExceptHookArgs) -> None:
    """A thread that ends is no end of the program, but somebody has to know."""
    if crashed.exc_value and not isinstance(crashed.exc_value, SystemExit):
        log.error("The thread %s went wrong.", crashed.thread and crashed.thread.name, exc_info=crashed.exc_value)


def _crash_file(log_file: Path) -> Path:
    return log_file.with_name(f"{log_file.stem}_crash.txt")


def _tell_of_crash(earlier: list[Path]) -> None:
    """The window of a program that crashed could not say so itself."""
    for last in earlier[-1:]:
        with contextlib.suppress(OSError):
            if _crash_file(last).stat().st_size:
                log.warning("The last run crashed. Its report is %s, its log %s.", _crash_file(last), last)


def _forget(logs: list[Path]) -> None:
    for log_file in logs:
        _remove(log_file)
        _remove(log_file.with_name(f"{log_file.name}.1"))
        _remove(_crash_file(log_file))


def _remove(file: Path) -> None:
    with contextlib.suppress(OSError):  # another run may have been faster, or still have it open
        file.unlink(missing_ok=True)
