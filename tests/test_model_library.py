"""The models on this PC, in real folders, and the devices of this machine, asked for in a real process."""

import sys

import pytest

from server.errors import ModelLoadError
from server.model import devices
from server.model.library import Library
from server.settings import Settings
from server.snapshot import DeviceKind, Fit
from tests.test_gguf import tiny


@pytest.fixture
def library():
    return Library()


def test_models_are_found_in_folders_and_below_them(library, tmp_path):
    for name in ("b.gguf", "deep/er/a.GGUF", "big-00001-of-00002.gguf", "big-00002-of-00002.gguf"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(tiny())
    for name in ("mmproj-b.gguf", "notes.txt", "b.gguf.part", "a/b/c/d/e/f/far.gguf"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = library.files([str(tmp_path), str(tmp_path / "deep"), "/nowhere"])
    names = [str(tmp_path / name) for name in ("b.gguf", "big-00001-of-00002.gguf", "deep/er/a.GGUF")]
    assert list(found) == names


def test_a_link_that_leads_round_in_a_circle_ends(library, tmp_path):
    (tmp_path / "a.gguf").write_bytes(tiny())
    (tmp_path / "round").symlink_to(tmp_path)
    assert len(library.files([str(tmp_path)])) == 1


def test_a_file_that_changed_is_read_again(library, tmp_path):
    file = tmp_path / "a.gguf"
    file.write_bytes(tiny())
    assert library.inspect(str(file)).name == "Tiny"
    assert library.inspect(str(file)) is library.inspect(str(file))
    file.write_bytes(b"GGUF")
    with pytest.raises(ModelLoadError):
        library.inspect(str(file))


@pytest.mark.parametrize("path", ["", "/nowhere.gguf", "a\0b.gguf"])
def test_a_file_that_is_not_there_is_said(library, path):
    with pytest.raises(ModelLoadError):
        library.inspect(path)


def test_the_starter_model_fits_this_machine(library, starter_model):
    assert library.starter() == str(starter_model)
    found = library.devices()
    assert DeviceKind.CPU in {device.kind for device in found}
    forecast = library.forecast(Settings(model=str(starter_model), contextsize=2048))
    assert forecast.fit is not Fit.TOO_LARGE
    assert 0 < forecast.pools[-1].share.all < forecast.pools[-1].total


@pytest.mark.parametrize(
    "program",
    ["import os; os.abort()", "print('{}')", "print('no JSON')", "raise SystemExit(3)", "print('{\"devices\": [3]}')"],
)
def test_a_driver_that_crashes_is_told_and_counts_as_no_gpu(program, caplog):
    assert devices.scan((sys.executable, "-c", program)) == ()
    assert "could not be found out" in caplog.text
