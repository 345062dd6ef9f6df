"""One window for each user: a second start wakes the first one, hands it the file it was given, and ends.

The first one listens on a free port of this PC; where, and by what both know each other, lies in a file that only this
user can read.
"""

from __future__ import annotations

import contextlib
import hmac
import json
import os
import secrets
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

import platformdirs
from filelock import FileLock

from server import json_text
from server.whole_file import whole_file

LOOPBACK: Final = "127.0.0.1"
LONGEST_MESSAGE: Final = 8192  # characters, more than any path has
KEY_BYTES: Final = 32  # which arrive in one piece, or come from a stranger
HEARD: Final = b"ok"
PAUSE: Final = 0.1
PATIENCE: Final = 5.0  # with each step of a call
MOST_CALLERS: Final = 500  # at a time
# What happens where the file holds something else: a number that is no port is an OverflowError.
NOBODY_THERE: Final = (OSError, ValueError, KeyError, TypeError, OverflowError)


def default_folder() -> Path:
    """Where the instances of this user meet."""
    return Path(platformdirs.user_config_dir("tavernkeep", appauthor=False))


class Instance:
    """The first one. ``woken`` is called with the other's message, on a thread of its own, until :meth:`close`."""

    def __init__(self, file: Path, woken: Callable[[str], None]) -> None:
        self._file = file
        self._woken = woken
        self._key, self._answer = secrets.token_bytes(KEY_BYTES), secrets.token_bytes(KEY_BYTES)
        self._door = socket.create_server((LOOPBACK, 0))
        self._closing = threading.Event()
        self._room = threading.Semaphore(MOST_CALLERS)
        where = {"port": self._door.getsockname()[1], "key": self._key.hex(), "answer": self._answer.hex()}
        with whole_file(file, private=True) as writing:
            writing.write(json.dumps(where).encode())
        threading.Thread(target=self._listen, name="instances", daemon=True).start()

    def close(self) -> None:
        """Let the next start be the first. Called twice is called once."""
        if self._closing.is_set():
            return
        self._file.unlink(missing_ok=True)
        self._closing.set()
        with contextlib.suppress(OSError), socket.create_connection(self._door.getsockname(), PATIENCE):
            pass  # a thread that waits for callers is not woken by closing the socket
        self._door.close()

    def _listen(self) -> None:
        while not self._closing.is_set():
            self._room.acquire()
            try:
                caller, _ = self._door.accept()
                threading.Thread(target=self._hear, args=(caller,), name="caller", daemon=True).start()
            except (OSError, RuntimeError):  # there are no more file handles, or threads
                self._room.release()
                self._closing.wait(PAUSE)

    def _hear(self, caller: socket.socket) -> None:
        """What stands in the file proves both to each other. Whoever is silent or does not know it holds up nobody."""
        try:
            self._answer_to(caller)
        finally:
            self._room.release()

    def _answer_to(self, caller: socket.socket) -> None:
        with caller, contextlib.suppress(OSError, UnicodeDecodeError):
            caller.settimeout(PATIENCE)
            if self._closing.is_set() or not hmac.compare_digest(caller.recv(KEY_BYTES), self._key):
                return
            caller.sendall(self._answer)
            with caller.makefile("rb") as words:
                message = os.fsdecode(words.read(4 * LONGEST_MESSAGE))
            self._woken(message)
            caller.sendall(HEARD)


def claim(message: str, woken: Callable[[str], None], folder: Path | None = None) -> Instance | None:
    """Be the first one, or tell the first one ``message`` and get None. Raises :class:`OSError` without a folder."""
    folder = folder or default_folder()
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "instance.json"
    with FileLock(folder / "instance.lock", timeout=4 * PATIENCE):  # each step of the one before has that time
        if _tell(file, message):
            return None
        return Instance(file, woken)


def _tell(file: Path, message: str) -> bool:
    """Whether there is a first one that heard the message. What a crashed one left behind does not count, nor one that
    does not answer, nor another program that has the port by now."""
    with contextlib.suppress(*NOBODY_THERE):
        where = json_text.loads(file.read_text("utf-8"))
        key, answer = bytes.fromhex(where["key"]), bytes.fromhex(where["answer"])
        with socket.create_connection((LOOPBACK, where["port"]), PATIENCE) as first:
            first.sendall(key)
            if hmac.compare_digest(first.recv(KEY_BYTES), answer):
                first.sendall(os.fsencode(message[:LONGEST_MESSAGE]))
                first.shutdown(socket.SHUT_WR)
                return first.recv(len(HEARD)) == HEARD
    return False
