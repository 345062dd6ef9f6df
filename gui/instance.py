"""One window for each user: a second start wakes the first one, hands it the file it was given, and ends.

The first one listens on a free port of this PC; where, and the key that a caller must know, lies in a file that only
this user can read.
"""

from __future__ import annotations

import contextlib
import json
import queue
import secrets
import threading
from collections.abc import Callable
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Listener
from pathlib import Path
from typing import Final

import platformdirs
from filelock import FileLock

from server import json_text
from server.whole_file import whole_file

LOOPBACK: Final = "127.0.0.1"
LONGEST_MESSAGE: Final = 8192
PAUSE: Final = 0.1
PATIENCE: Final = 5.0  # multiprocessing's connections know no limit of time
# What happens where the file holds something else, or another program has the port by now. A number that is no port is
# an OverflowError, and a greeting that is not multiprocessing's an AssertionError.
NOBODY_THERE: Final = (
    OSError, ValueError, KeyError, TypeError, OverflowError, EOFError, AssertionError, AuthenticationError,
)  # fmt: skip


def default_folder() -> Path:
    """Where the instances of this user meet."""
    return Path(platformdirs.user_config_dir("tavernkeep", appauthor=False))


class Instance:
    """The first one. ``woken`` is called with the other's message, on a thread of its own, until :meth:`close`."""

    def __init__(self, file: Path, woken: Callable[[str], None]) -> None:
        self._file = file
        self._woken = woken
        self._key = secrets.token_bytes(32)
        self._listener = Listener((LOOPBACK, 0), authkey=self._key)
        self._closing = threading.Event()
        where = json.dumps({"port": self._listener.address[1], "key": self._key.hex()})
        with whole_file(file, private=True) as writing:
            writing.write(where.encode())
        threading.Thread(target=self._listen, name="instances", daemon=True).start()

    def close(self) -> None:
        """Let the next start be the first. Called twice is called once."""
        if self._closing.is_set():
            return
        self._file.unlink(missing_ok=True)
        self._closing.set()
        with contextlib.suppress(OSError, EOFError), Client(self._listener.address, authkey=self._key):
            pass  # a thread that waits for callers is not woken by closing the socket
        self._listener.close()

    def _listen(self) -> None:
        while not self._closing.is_set():
            try:
                with self._listener.accept() as caller:
                    if self._closing.is_set():
                        return
                    self._woken(caller.recv_bytes(LONGEST_MESSAGE).decode("utf-8", "surrogateescape"))
                    caller.send_bytes(b"ok")
            except (AuthenticationError, EOFError):
                continue  # whoever it was does not know the key, or has gone
            except OSError:  # somebody who speaks otherwise, such as a browser; or there are no more file handles
                self._closing.wait(PAUSE)


def claim(message: str, woken: Callable[[str], None], folder: Path | None = None) -> Instance | None:
    """Be the first one, or tell the first one ``message`` and get None. Raises :class:`OSError` without a folder."""
    folder = folder or default_folder()
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "instance.json"
    with FileLock(folder / "instance.lock", timeout=2 * PATIENCE):
        if _wake(file, message):
            return None
        return Instance(file, woken)


def _wake(file: Path, message: str) -> bool:
    """Whether there is a first one that heard the message. What a crashed one left behind does not count, nor one that
    does not answer."""
    answers: queue.SimpleQueue[bool] = queue.SimpleQueue()
    threading.Thread(target=lambda: answers.put(_tell(file, message)), name="wake", daemon=True).start()
    try:
        return answers.get(timeout=PATIENCE)
    except queue.Empty:
        return False


def _tell(file: Path, message: str) -> bool:
    with contextlib.suppress(*NOBODY_THERE):
        where = json_text.loads(file.read_text("utf-8"))
        with Client((LOOPBACK, where["port"]), authkey=bytes.fromhex(where["key"])) as first:
            first.send_bytes(message.encode("utf-8", "surrogateescape")[:LONGEST_MESSAGE])
            return first.recv_bytes(LONGEST_MESSAGE) == b"ok"
    return False
