"""Files that are written whole or not at all: full disks, crashes, modes, links."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from server.whole_file import whole_file
from tests.conftest import small_disk

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="modes, links and limits are POSIX's")
KIB = 1024


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "kept.json").write_bytes(b"old")
    return tmp_path / "kept.json"


def put(file: Path, content: bytes, *, private: bool = False) -> None:
    with whole_file(file, private=private) as writing:
        writing.write(content)


def only(file: Path) -> bool:
    return [each.name for each in file.parent.iterdir()] == [file.name]


def test_a_new_file_takes_the_old_ones_place(file: Path) -> None:
    put(file, b"new")
    assert file.read_bytes() == b"new"
    assert only(file)


def test_a_file_that_does_not_fit_on_the_disk_leaves_the_old_one(file: Path) -> None:
    with small_disk(64 * KIB), pytest.raises(OSError, match="too large"):
        put(file, b"x" * 65 * KIB)
    assert file.read_bytes() == b"old"
    assert only(file)


def test_an_error_while_it_is_written_leaves_the_old_one(file: Path) -> None:
    def half() -> None:
        with whole_file(file) as writing:
            writing.write(b"ne")
            raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        half()
    assert file.read_bytes() == b"old"
    assert only(file)


def test_a_process_that_is_killed_while_it_writes_leaves_the_old_one(file: Path) -> None:
    code = f"""
import os, signal
from server.whole_file import whole_file
with whole_file({str(file)!r}) as writing:
    writing.write(b"n" * 100_000)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == -signal.SIGKILL
    assert file.read_bytes() == b"old"
    put(file, b"new")
    assert file.read_bytes() == b"new"
    assert only(file)


def test_a_folder_that_cannot_be_written_is_an_error_and_nothing_more(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        put(tmp_path / "nowhere" / "kept.json", b"new")


def test_what_is_private_is_readable_for_its_owner_only_whatever_lay_there(file: Path) -> None:
    leftover = file.with_name("kept.json.new")
    leftover.write_bytes(b"of a crash")
    leftover.chmod(0o666)
    file.chmod(0o644)
    put(file, b"secret", private=True)
    assert file.stat().st_mode & 0o777 == 0o600


def test_what_is_not_private_keeps_its_mode(file: Path) -> None:
    file.chmod(0o640)
    put(file, b"new")
    assert file.stat().st_mode & 0o777 == 0o640


def test_a_link_stays_a_link(file: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "elsewhere" / "link.json"
    link.symlink_to(file)
    put(link, b"new")
    assert link.is_symlink()
    assert file.read_bytes() == b"new"
