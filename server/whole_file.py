"""Files that are written whole or not at all: whatever happens meanwhile, the old one is there, or the new one.

Used wherever something of the user's is kept.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


@contextlib.contextmanager
def whole_file(path: str | Path, *, private: bool = False) -> Iterator[BinaryIO]:
    """A file that takes the place of ``path`` when it is closed without an error and lies on the disk.

    A ``private`` one can be read by its owner only; others keep the mode of the file that was there. One writer at a
    time. Raises :class:`OSError`; nothing is left of the new file then.
    """
    target = Path(os.path.realpath(path))  # a link stays one
    fresh = target.with_name(f"{target.name}.new")
    fresh.unlink(missing_ok=True)  # what a crash left behind may be readable for others
    try:
        with open(fresh, "xb", opener=_for_the_owner if private else None) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if not private and target.exists():
            shutil.copymode(target, fresh)
        os.replace(fresh, target)
    except BaseException:
        with contextlib.suppress(OSError):
            fresh.unlink(missing_ok=True)
        raise


def _for_the_owner(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
