"""The sampler presets: each is read as it is written, and works as it is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from server.api.manual.fields import SAMPLING
from server.request.fields import Fields
from server.request.samplers import read_sampling
from server.sampler_presets import FOLDER, SamplerPreset, sampler_presets
from server.settings import Settings
from tests.conftest import Server, settings_for_tests

PRESETS = sampler_presets()
DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "samplers.md"
SWITCHED_OFF = {"temperature", "top_k", "top_p"}
each = pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.name)


def row_of(preset: SamplerPreset) -> str:
    lines = DOCUMENT.read_text("utf-8").splitlines()
    return next(line for line in lines if line.startswith(f"| {preset.name} |"))


def shown(value: Any) -> str:
    return f"`{json.dumps(value)}`" if isinstance(value, tuple) else str(value)


def test_files_are_numbered_and_come_in_that_order():
    numbers = {int(file.stem.split("_")[0]): file for file in FOLDER.iterdir()}
    names = [json.loads(numbers[number].read_text("utf-8"))["name"] for number in range(1, len(PRESETS) + 1)]
    assert names == [preset.name for preset in PRESETS]


def test_the_first_one_changes_nothing():
    assert PRESETS[0].name == "Server defaults"
    assert PRESETS[0].settings == ()


def test_no_two_have_the_same_name_or_the_same_settings():
    assert len({preset.name for preset in PRESETS}) == len(PRESETS)
    assert len({preset.settings for preset in PRESETS}) == len(PRESETS)


@pytest.mark.parametrize("file", sorted(FOLDER.iterdir()), ids=lambda file: file.stem)
def test_a_file_has_what_a_preset_has_and_nothing_else(file: Path):
    assert set(json.loads(file.read_text("utf-8"))) == {"name", "about", "source", "settings"}


@each
def test_one_sentence_says_for_whom_it_is_and_something_says_where_it_is_from(preset: SamplerPreset):
    assert preset.about.startswith("For ")
    assert preset.about.endswith(".")
    assert preset.source.startswith("https://") or preset.source.endswith(".")


@each
def test_every_setting_is_a_documented_sampler_and_is_read_as_it_is_written(preset: SamplerPreset):
    settings = dict(preset.settings)
    assert set(settings) <= set(SAMPLING)
    sampling = read_sampling(Fields(json.loads(json.dumps(settings)), strict=True))
    assert {name: getattr(sampling, name) for name in settings} == settings


@each
def test_it_can_be_made_the_default_of_the_server(preset: SamplerPreset):
    text = json.dumps(dict(preset.settings))
    assert Settings(gendefaults=text).generation_defaults() == json.loads(text)


@each
def test_it_leaves_no_sampler_of_the_server_on_by_oversight(preset: SamplerPreset):
    settings = dict(preset.settings)
    alone = not settings or settings["temperature"] == 0 or "mirostat" in settings  # these use none of them
    assert alone or set(settings) >= SWITCHED_OFF


@each
def test_the_table_of_the_docs_has_it_as_it_is(preset: SamplerPreset):
    row = row_of(preset)
    settings = ", ".join(f"`{name}` {shown(value)}" for name, value in preset.settings) or "none"
    assert f"| {preset.about} | {settings} |" in row
    assert preset.source in row


def test_the_table_of_the_docs_has_no_other():
    lines = DOCUMENT.read_text("utf-8").splitlines()
    begin = lines.index("| Name | For whom | Settings | Source |") + 2
    assert lines[begin + len(PRESETS)] == ""


def test_clients_are_told_all_of_them(server: Server):
    told = server.get("/api/extra/sampler_presets").json["presets"]
    assert told == [json.loads(file.read_text("utf-8")) for file in sorted(FOLDER.iterdir())]


@each
def test_a_chat_with_its_settings_is_answered_and_none_of_them_is_ignored(server: Server, preset: SamplerPreset):
    told = server.get("/api/extra/sampler_presets").json["presets"]
    settings = next(entry["settings"] for entry in told if entry["name"] == preset.name)
    messages = [{"role": "user", "content": "Well met, traveller!"}]
    reply = server.post("/v1/chat/completions", {"messages": messages, "max_tokens": 4, **settings})
    assert reply.status == 200, reply.body
    assert reply.json["choices"][0]["message"]["content"]
    assert "X-Tavernkeep-Ignored" not in reply.headers


def test_the_list_needs_the_key_where_there_is_one(own_server: Server):
    own_server.controller.start(settings_for_tests(password="secret"))
    assert own_server.get("/api/extra/sampler_presets").status == 401
    assert own_server.get("/api/extra/sampler_presets", Authorization="Bearer secret").status == 200
