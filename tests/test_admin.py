"""What clients may change to, and which settings that means: no name leads out of the folder or opens the server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from server import admin
from server.errors import BadRequest, SettingsError
from server.settings import Settings

OURS: dict[str, Any] = {
    "port": 6001,
    "password": "ours",
    "admin": True,
    "adminpassword": "admin",
    "statedir": "/states",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "offered"
    folder.mkdir()
    for name in ("b.gguf", "A.GGUF", "notes.txt", "gguf"):
        (folder / name).touch()
    (folder / "deep.gguf").mkdir()
    (tmp_path / "outside.gguf").touch()
    (tmp_path / "outside.kcpps").write_text("{}")
    return folder


@pytest.fixture
def initial(folder: Path) -> Settings:
    return Settings(model="/models/first.gguf", admindir=str(folder), threads=3, **OURS)


def save(folder: Path, name: str, **values: Any) -> str:
    (folder / name).write_text(json.dumps(values))
    return name


def chosen(initial: Settings, name: str, *, base: str = "", over: str = "", **now: Any) -> Settings:
    current = Settings(**{**OURS, "model": "/models/first.gguf", "admindir": initial.admindir, "threads": 3, **now})
    settings = admin.settings_for(name, base, over, current=current, initial=initial)
    assert settings
    return settings


def test_models_and_configurations_are_offered_in_order_and_nothing_else(initial: Settings, folder: Path) -> None:
    save(folder, "c.kcpps")
    save(folder, "d.kcppt")
    assert admin.options(initial) == ["A.GGUF", "b.gguf", "c.kcpps", "d.kcppt", "initial_model", "unload_model"]


def test_without_a_folder_the_models_own_is_offered(folder: Path) -> None:
    assert "b.gguf" in admin.options(Settings(model=str(folder / "a.gguf")))


@pytest.mark.parametrize("nowhere", [Settings(), Settings(admindir="/no/such/folder")])
def test_where_there_is_no_folder_only_the_model_can_be_freed_or_come_back(nowhere: Settings) -> None:
    assert admin.options(nowhere) == ["initial_model", "unload_model"]


@pytest.mark.parametrize(
    "name", ["", "../outside.gguf", "notes.txt", "deep.gguf", "B.gguf", "./b.gguf", "b.gguf\0", "no.gguf", "gguf"]
)
def test_only_names_of_the_list_are_taken(initial: Settings, name: str) -> None:
    with pytest.raises(BadRequest):
        chosen(initial, name)


def test_an_absolute_path_is_not_taken(initial: Settings, folder: Path) -> None:
    with pytest.raises(BadRequest):
        chosen(initial, str(folder / "b.gguf"))


@pytest.mark.parametrize("other", ["../outside.kcpps", "A.GGUF", "notes.txt", "no.kcpps"])
def test_what_lies_over_or_under_must_be_a_configuration_of_the_list(initial: Settings, other: str) -> None:
    for place in ({"base": other}, {"over": other}):
        with pytest.raises(BadRequest):
            chosen(initial, "b.gguf", **place)


def test_a_model_keeps_the_settings_that_are_in_force(initial: Settings, folder: Path) -> None:
    settings = chosen(initial, "b.gguf", contextsize=4096)
    assert settings.model == str(folder / "b.gguf")
    assert (settings.contextsize, settings.threads) == (4096, 3)


def test_a_configuration_gives_its_settings_over_the_defaults(initial: Settings, folder: Path) -> None:
    settings = chosen(initial, save(folder, "c.kcpps", model_param="/m.gguf", contextsize=2048), contextsize=4096)
    assert settings == Settings(model="/m.gguf", contextsize=2048, admindir=str(folder), **OURS)


def test_a_configuration_changes_nothing_of_who_may_connect(initial: Settings, folder: Path) -> None:
    theirs = {
        "host": "0.0.0.0",
        "port": 7,
        "port_param": 8,
        "password": "",
        "allowclients": "10.0.0.0/8",
        "alloworigins": "https://evil.example",
    }
    theirs |= {"admin": False, "adminpassword": "theirs", "admindir": "/", "statedir": "/etc"}
    settings = chosen(initial, save(folder, "c.kcpps", model_param="/m.gguf", **theirs))
    assert settings == Settings(model="/m.gguf", admindir=str(folder), **OURS)


@pytest.mark.parametrize("place", ["base", "over"])
def test_a_model_has_the_settings_of_a_configuration_beside_it(initial: Settings, folder: Path, place: str) -> None:
    settings = chosen(initial, "b.gguf", **{place: save(folder, "c.kcpps", model_param="/m.gguf", contextsize=2048)})
    assert settings == Settings(model=str(folder / "b.gguf"), contextsize=2048, admindir=str(folder), **OURS)


def test_of_two_configurations_one_lies_over_the_other(initial: Settings, folder: Path) -> None:
    save(folder, "c.kcpps", model_param="/c.gguf", contextsize=2048)
    save(folder, "d.kcpps", contextsize=1024, gpulayers=7)
    over, under = chosen(initial, "c.kcpps", over="d.kcpps"), chosen(initial, "c.kcpps", base="d.kcpps")
    assert (over.model, over.contextsize, over.gpulayers) == ("/c.gguf", 1024, 7)
    assert (under.model, under.contextsize, under.gpulayers) == ("/c.gguf", 2048, 7)


def test_a_configuration_that_cannot_be_used_is_refused_in_words(initial: Settings, folder: Path) -> None:
    for name in (save(folder, "c.kcpps", contextsize=1), "d.kcpps"):
        (folder / "d.kcpps").write_text("no json")
        with pytest.raises(SettingsError):
            chosen(initial, name)


def test_the_model_of_the_start_comes_back_and_none_means_to_free_it(initial: Settings) -> None:
    assert chosen(initial, "initial_model", contextsize=4096) == initial
    assert admin.settings_for("unload_model", "", "", current=initial, initial=initial) is None
