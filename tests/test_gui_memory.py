"""What the window remembers, in real files."""

import json
import os
import sys
from dataclasses import replace

import pytest

from gui.memory import MODELS_KEPT, Look, Memory
from gui.view.access import Access
from gui.view.form import settings_of
from server.settings import Settings
from tests.conftest import small_disk

MODEL = "/models/a.gguf"


@pytest.fixture
def file(tmp_path):
    return tmp_path / "config" / "window.json"


def test_each_model_has_its_settings_and_all_share_the_address(file):
    memory = Memory(file)
    memory.keep(Settings(model=MODEL, contextsize=4096, gpulayers=7, port=5005))
    memory.keep(Settings(model="/models/b.gguf", contextsize=2048, thinking="off", port=5006))
    again = Memory(file)
    first, second = again.recall(Settings(), MODEL), again.recall(Settings(), "/models/b.gguf")
    assert (first.contextsize, first.gpulayers, first.thinking, first.port) == (4096, 7, "show", 5006)
    assert (second.contextsize, second.gpulayers, second.thinking, second.port) == (2048, -1, "off", 5006)
    assert again.recall(Settings(), "/models/new.gguf").contextsize == Settings().contextsize


def test_a_flag_wins_over_what_is_remembered(file):
    memory = Memory(file)
    memory.keep(Settings(model=MODEL, contextsize=4096, port=5005))
    assert memory.recall(Settings(contextsize=1024), MODEL).contextsize == 1024
    assert memory.recall(Settings(port=5009), MODEL).port == 5009


def test_the_form_opens_with_the_last_model_while_its_file_is_there(file, tmp_path):
    model = tmp_path / "last.gguf"
    model.touch()
    memory = Memory(file)
    memory.keep(Settings(model=MODEL))
    memory.keep(Settings(model=str(model), contextsize=1024))
    assert (memory.form(Settings(), "/starter").model, memory.form(Settings(), "").contextsize) == (str(model), "1024")
    assert memory.form(Settings(model=MODEL), "/starter").model == MODEL
    model.unlink()
    assert memory.form(Settings(), "/starter").model == "/starter"


def test_who_lets_others_in_again_opens_no_more_than_before(file):
    given = Settings(model=MODEL, password="x")
    memory = Memory(file)
    memory.keep(replace(given, host="192.168.1.5"))
    memory.keep(given)
    form = Memory(file).form(given, "")
    assert settings_of(form, Settings()).host == "127.0.0.1"
    assert settings_of(replace(form, access=Access.WITH_KEY.value), Settings()).host == "192.168.1.5"
    assert Memory(file).form(replace(given, host="::1"), "").host == "::1"
    assert Memory(file).form_of(given, "").host == "192.168.1.5"  # settings from a file, which name no address


def test_the_look_is_remembered(file):
    Memory(file).keep_look(Look("light", 1.5))
    assert Memory(file).look == Look("light", 1.5)


@pytest.mark.parametrize("text", ["", "{", "[1]", "null", '{"models": ', "\x00\x01", "[" * 100_000])
def test_a_damaged_file_is_put_aside_and_told(file, caplog, text):
    file.parent.mkdir()
    file.write_text(text)
    memory = Memory(file)
    assert memory.recall(Settings(), MODEL) == Settings(model=MODEL)
    assert "damaged" in caplog.text
    assert file.with_name("window.json.corrupt").read_text() == text
    memory.keep(Settings(model=MODEL, contextsize=4096))
    assert Memory(file).recall(Settings(), MODEL).contextsize == 4096


@pytest.mark.parametrize(
    "kept",
    [
        {"models": 3, "all": [], "appearance": 1, "scale": "x"},
        {"models": {MODEL: 3}, "scale": 900},
        {"models": {MODEL: {"contextsize": "many", "unknown": 1}}, "all": {"port": -1}},
    ],
)
def test_values_that_fit_nothing_are_left_out(file, kept):
    file.parent.mkdir()
    file.write_text(json.dumps(kept))
    memory = Memory(file)
    assert memory.recall(Settings(), MODEL) == Settings(model=MODEL)
    assert memory.look == Look()
    assert memory.last_model == ""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such modes")
def test_only_the_user_can_read_the_password(file):
    Memory(file).keep(Settings(model=MODEL, password="x"))
    assert os.stat(file).st_mode & 0o777 == 0o600


def test_a_folder_that_cannot_be_written_is_told_and_nothing_breaks(tmp_path, caplog):
    (tmp_path / "config").touch()
    Memory(tmp_path / "config" / "window.json").keep(Settings(model=MODEL))
    assert "could not be kept" in caplog.text


def test_a_full_disk_is_told_and_leaves_what_was_remembered(file, caplog):
    memory = Memory(file)
    memory.keep(Settings(model=MODEL, contextsize=4096))
    with small_disk(500):
        memory.keep(Settings(model="/other.gguf", gendefaults='{"memo": "%s"}' % ("x" * 1000)))
    assert "could not be kept" in caplog.text
    assert Memory(file).recall(Settings(), MODEL).contextsize == 4096


def test_the_oldest_models_are_forgotten(file):
    memory = Memory(file)
    for number in range(MODELS_KEPT + 2):
        memory.keep(Settings(model=f"/{number}.gguf"))
    assert not memory.knows("/1.gguf")
    assert memory.knows("/2.gguf")
    assert memory.knows(f"/{MODELS_KEPT + 1}.gguf")


def test_without_a_file_it_lasts_as_long_as_the_window():
    memory = Memory()
    memory.keep(Settings(model=MODEL, contextsize=4096))
    assert memory.recall(Settings(), MODEL).contextsize == 4096
