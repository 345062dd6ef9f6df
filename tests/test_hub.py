"""Looking for models and fetching them, over real HTTP from an imitation of the hub on this PC."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from server.errors import DownloadError
from server.model import downloads, gguf, hub
from server.model.downloads import Downloads
from server.snapshot import DownloadPhase, DownloadRow, HubFile
from tests.conftest import small_disk
from tests.hub_imitation import REVISION, Hub, running_hub
from tests.test_gguf import tiny

REPOSITORY = "tavern/Tiny-GGUF"
MIB = 1 << 20
WHOLE = tiny()
LARGE = tiny() + b"\7" * (24 * MIB)  # several of the pieces that huggingface_hub writes at once
DEADLINE_SECONDS = 60


@pytest.fixture
def imitation() -> Iterator[Hub]:
    with running_hub() as running:
        running.files[REPOSITORY] = {"tiny-Q4.gguf": WHOLE, "README.md": b"hello", "mmproj-tiny.gguf": b"picture"}
        yield running


@pytest.fixture
def fetching(imitation: Hub) -> Iterator[Downloads]:
    fetching = Downloads(imitation.endpoint)
    yield fetching
    imitation.gate.set()
    fetching.close()


def only_file(imitation: Hub) -> HubFile:
    (file,) = hub.files(REPOSITORY, endpoint=imitation.endpoint)
    return file


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def row_of(fetching: Downloads) -> DownloadRow:
    (row,) = fetching.rows()
    return row


def ended(fetching: Downloads) -> DownloadRow:
    until(lambda: row_of(fetching).phase in (DownloadPhase.DONE, DownloadPhase.FAILED))
    return row_of(fetching)


# --- looking


def test_repositories_are_found_by_name(imitation):
    (found,) = hub.search(" tiny ", endpoint=imitation.endpoint)
    assert (found.name, found.downloads, found.licence, found.gated) == (REPOSITORY, 7, "apache-2.0", False)
    assert hub.search("dragon", endpoint=imitation.endpoint) == ()


def test_a_repositorys_models_are_listed_with_split_ones_as_one(imitation):
    parts = {f"big-{number:05}-of-00002.gguf": LARGE for number in (1, 2)}
    imitation.files[REPOSITORY] |= {**parts, "half-00001-of-00002.gguf": WHOLE}
    small, big = hub.files(REPOSITORY, endpoint=imitation.endpoint)
    assert (small.path, small.size, small.revision) == ("tiny-Q4.gguf", len(WHOLE), REVISION)
    assert small.parts[0].sha256 == hashlib.sha256(WHOLE).hexdigest()
    assert ([part.path for part in big.parts], big.size) == (list(parts), 2 * len(LARGE))


def test_a_repository_that_is_not_there_is_said(imitation):
    with pytest.raises(DownloadError, match="There is no repository no/such"):
        hub.files("no/such", endpoint=imitation.endpoint)
    with pytest.raises(DownloadError, match="is not the name of a repository"):
        hub.files("a//b", endpoint=imitation.endpoint)
    imitation.files["a/b"] = {"README.md": b""}
    with pytest.raises(DownloadError, match="has no GGUF files"):
        hub.files("a/b", endpoint=imitation.endpoint)


@pytest.mark.parametrize(("status", "words"), [(500, "answered with an error"), (403, "Check the token")])
def test_an_error_of_the_hub_is_said(imitation, status, words):
    imitation.status = status
    with pytest.raises(DownloadError, match=words):
        hub.files(REPOSITORY, endpoint=imitation.endpoint)


def test_without_a_connection_it_is_said():
    with pytest.raises(DownloadError, match="Check the internet connection"):
        hub.files(REPOSITORY, endpoint="http://127.0.0.1:9")


@pytest.mark.parametrize(
    ("typed", "repository"),
    [
        ("owner/name-GGUF", "owner/name-GGUF"),
        (" https://huggingface.co/owner/name.v1/ ", "owner/name.v1"),
        ("https://huggingface.co/owner/name/tree/main", "owner/name"),
        ("https://huggingface.co/owner/name/blob/main/a.gguf", "owner/name"),
        ("mistral nemo", ""),
        ("mistral", ""),
    ],
)
def test_a_page_or_a_name_is_a_repository_and_other_words_are_searched(typed, repository):
    assert hub.repository_in(typed) == repository


def test_every_recommendation_says_all_there_is_to_say():
    entries = hub.catalogue()
    assert len(entries) >= 8
    assert [entry.size for entry in entries] == sorted(entry.size for entry in entries)
    for entry in entries:
        assert hub.repository_in(entry.repository) == entry.repository
        assert entry.file.endswith(".gguf")
        assert all((entry.name, entry.good_for, entry.licence, entry.size))


# --- fetching


def test_a_model_is_fetched_checked_and_lies_under_its_repository(imitation, fetching, tmp_path):
    fetching.start(only_file(imitation), str(tmp_path))
    row = ended(fetching)
    assert (row.phase, row.done, row.total) == (DownloadPhase.DONE, len(WHOLE), len(WHOLE))
    assert row.path == str(tmp_path / "tavern" / "Tiny-GGUF" / "tiny-Q4.gguf")
    assert Path(row.path).read_bytes() == WHOLE
    assert gguf.inspect(row.path).name == "Tiny"
    assert [path.name for path in Path(row.path).parent.iterdir()] == ["tiny-Q4.gguf"]


def test_all_parts_of_a_split_model_are_fetched(imitation, fetching, tmp_path):
    imitation.files[REPOSITORY] = {f"big-{number:05}-of-00002.gguf": WHOLE for number in (1, 2)}
    fetching.start(only_file(imitation), str(tmp_path))
    row = ended(fetching)
    assert row.phase is DownloadPhase.DONE
    assert gguf.inspect(row.path).size == 2 * len(WHOLE)


def test_a_connection_that_breaks_is_taken_up_where_it_broke(imitation, fetching, tmp_path):
    imitation.files[REPOSITORY] = {"tiny-Q4.gguf": LARGE}
    imitation.cut_after, imitation.cuts = 12 * MIB, 1
    fetching.start(only_file(imitation), str(tmp_path))
    row = ended(fetching)
    assert row.phase is DownloadPhase.DONE
    assert Path(row.path).read_bytes() == LARGE
    (_, first), (_, second) = imitation.asked
    assert first == 0 < second


def test_a_wrong_checksum_is_said_and_the_file_removed(imitation, fetching, tmp_path):
    imitation.wrong_checksums.add("tiny-Q4.gguf")
    fetching.start(only_file(imitation), str(tmp_path))
    row = ended(fetching)
    assert row.phase is DownloadPhase.FAILED
    assert row.sentence == "tiny-Q4.gguf arrived damaged and was removed. Try again."
    assert list((tmp_path / "tavern" / "Tiny-GGUF").iterdir()) == []


def test_a_download_is_paused_and_goes_on_where_it_stopped(imitation, fetching, tmp_path):
    imitation.files[REPOSITORY] = {"tiny-Q4.gguf": LARGE}
    imitation.gate.clear()
    fetching.start(only_file(imitation), str(tmp_path))
    until(lambda: row_of(fetching).done > 0)
    assert row_of(fetching).speed > 0
    fetching.pause(row_of(fetching).key)
    assert (row_of(fetching).phase, row_of(fetching).speed) == (DownloadPhase.PAUSED, 0.0)
    imitation.gate.set()
    fetching.resume(row_of(fetching).key)
    row = ended(fetching)
    assert row.phase is DownloadPhase.DONE
    assert Path(row.path).read_bytes() == LARGE
    assert imitation.asked[-1][1] > 0


def test_another_start_of_the_program_goes_on_where_the_last_one_stopped(imitation, fetching, tmp_path):
    imitation.files[REPOSITORY] = {"tiny-Q4.gguf": LARGE}
    imitation.gate.clear()
    file = only_file(imitation)
    fetching.start(file, str(tmp_path))
    until(lambda: row_of(fetching).done > 0)
    fetching.close()
    imitation.gate.set()
    until(lambda: not fetching._downloads[1]._thread.is_alive())
    again = Downloads(imitation.endpoint)
    again.start(file, str(tmp_path))
    assert ended(again).phase is DownloadPhase.DONE
    assert imitation.asked[-1][1] > 0


def test_a_cancelled_download_leaves_nothing_behind(imitation, fetching, tmp_path):
    imitation.files[REPOSITORY] = {"tiny-Q4.gguf": LARGE}
    imitation.gate.clear()
    fetching.start(only_file(imitation), str(tmp_path))
    until(lambda: row_of(fetching).done > 0)
    folder = Path(row_of(fetching).path).parent
    fetching.cancel(row_of(fetching).key)
    assert fetching.rows() == ()
    imitation.gate.set()
    until(lambda: list(folder.iterdir()) == [])


def test_a_whole_model_stays_when_its_line_is_cleared(imitation, fetching, tmp_path):
    fetching.start(only_file(imitation), str(tmp_path))
    row = ended(fetching)
    fetching.cancel(row.key)
    assert fetching.rows() == ()
    assert Path(row.path).exists()


def test_the_same_model_is_not_fetched_twice_at_once(imitation, fetching, tmp_path):
    imitation.gate.clear()
    for _ in range(2):
        fetching.start(only_file(imitation), str(tmp_path))
    assert len(fetching.rows()) == 1
    imitation.gate.set()
    ended(fetching)
    again = Downloads(imitation.endpoint)
    again.start(only_file(imitation), str(tmp_path))
    assert ended(again).phase is DownloadPhase.DONE
    assert len(imitation.asked) == 1


def test_a_gated_repository_needs_a_token_and_says_where_to_get_it(imitation, fetching, tmp_path):
    imitation.gated.add(REPOSITORY)
    fetching.start(only_file(imitation), str(tmp_path))
    row = ended(fetching)
    assert row.phase is DownloadPhase.FAILED
    assert f"https://huggingface.co/{REPOSITORY}" in row.sentence
    fetching.resume(row.key, imitation.token)
    assert ended(fetching).phase is DownloadPhase.DONE


def test_a_full_disk_is_said_before_anything_is_fetched(imitation, fetching, tmp_path, monkeypatch):
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(downloads.shutil, "disk_usage", lambda _: usage)
    fetching.start(only_file(imitation), str(tmp_path))
    assert "The disk has 0.0 GB free" in ended(fetching).sentence
    assert imitation.asked == []


def test_a_disk_that_fills_up_meanwhile_is_said_and_it_goes_on_when_there_is_room(imitation, fetching, tmp_path):
    imitation.files[REPOSITORY] = {"tiny-Q4.gguf": LARGE}
    with small_disk(15 * MIB):
        fetching.start(only_file(imitation), str(tmp_path))
        assert "cannot be written: File too large" in ended(fetching).sentence
    assert not Path(row_of(fetching).path).exists()
    fetching.resume(row_of(fetching).key)
    row = ended(fetching)
    assert row.phase is DownloadPhase.DONE
    assert Path(row.path).read_bytes() == LARGE
    assert imitation.asked[-1][1] > 0


def test_a_folder_that_cannot_be_written_is_said(imitation, fetching, tmp_path):
    (tmp_path / "file").touch()
    fetching.start(only_file(imitation), str(tmp_path / "file"))
    assert "cannot be written" in ended(fetching).sentence
    fetching.cancel(row_of(fetching).key)
    until(lambda: all(thread.name != "discard" for thread in threading.enumerate()))


def test_a_file_that_is_gone_is_said(imitation, fetching, tmp_path):
    file = only_file(imitation)
    del imitation.files[REPOSITORY]["tiny-Q4.gguf"]
    fetching.start(file, str(tmp_path))
    assert "is not there any more" in ended(fetching).sentence


def test_a_file_that_is_no_model_is_said(imitation, fetching, tmp_path):
    imitation.files[REPOSITORY]["tiny-Q4.gguf"] = b"an error page"
    fetching.start(only_file(imitation), str(tmp_path))
    assert "is not a GGUF file" in ended(fetching).sentence


@pytest.mark.parametrize(
    "path",
    [
        "Q4/../../../t.gguf",
        "/etc/t.gguf",
        "..\\..\\t.gguf",
        "C:t.gguf",
        "a/NUL.gguf",
        "com1.gguf",
        "a\0.gguf",
        "a\n.gguf",
        "\ud800.gguf",
    ],
    ids=ascii,
)
def test_a_file_whose_name_would_lead_to_another_folder_is_not_offered(imitation, path):
    imitation.files[REPOSITORY][path] = WHOLE
    assert only_file(imitation).path == "tiny-Q4.gguf"


def test_a_file_in_a_folder_of_the_repository_lies_under_its_name(imitation, fetching, tmp_path):
    imitation.files[REPOSITORY] = {"Q4/tiny.gguf": WHOLE}
    fetching.start(only_file(imitation), str(tmp_path))
    assert Path(ended(fetching).path) == tmp_path / "tavern" / "Tiny-GGUF" / "Q4" / "tiny.gguf"


def test_files_of_one_name_in_two_folders_are_two(imitation, fetching, tmp_path):
    imitation.files[REPOSITORY] = {"8B/tiny.gguf": WHOLE, "70B/tiny.gguf": LARGE}
    for file in fetching.files(REPOSITORY):
        fetching.start(file, str(tmp_path))
    until(lambda: all(row.phase is DownloadPhase.DONE for row in fetching.rows()))
    assert {path.parent.name: path.stat().st_size for path in tmp_path.rglob("*.gguf")} == {
        "8B": len(WHOLE),
        "70B": len(LARGE),
    }


def test_a_file_that_only_the_hubs_own_tools_can_fetch_is_said_to_be_one(imitation, fetching, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.MAX_HTTP_DOWNLOAD_SIZE", len(WHOLE) - 1)
    fetching.start(only_file(imitation), str(tmp_path))
    assert "is sent to the hub's own tools only" in ended(fetching).sentence


def test_a_file_longer_than_the_hub_said_is_given_up_before_it_fills_the_disk(imitation, fetching, tmp_path):
    file = only_file(imitation)
    imitation.files[REPOSITORY]["tiny-Q4.gguf"] = LARGE
    fetching.start(file, str(tmp_path))
    assert "tiny-Q4.gguf is longer than the hub said" in ended(fetching).sentence
    assert all(path.stat().st_size <= file.size for path in tmp_path.rglob("*.gguf*"))
