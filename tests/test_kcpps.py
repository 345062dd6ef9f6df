"""KoboldCpp's configuration files, as its window and ``--exportconfig`` write them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from server import kcpps
from server.errors import SettingsError
from server.settings import Settings, from_mapping

# What KoboldCpp's window saves, shortened to one key of each kind.
SAVED: dict[str, Any] = {
    "model": [],
    "model_param": "/models/a.gguf",
    "port": 5001,
    "port_param": 5005,
    "host": "",
    "threads": 7,
    "usecuda": ["normal", "0", "mmq"],
    "usevulkan": None,
    "contextsize": 16384,
    "gpulayers": 0,
    "tensor_split": None,
    "maingpu": -1,
    "moecpu": 0,
    "blasthreads": None,
    "ropeconfig": [0.0, 10000.0],
    "overridenativecontext": 0,
    "batchsize": 1024,
    "lora": None,
    "loramult": 1.0,
    "draftmodel": "",
    "draftamount": 8,
    "draftgpulayers": 999,
    "noshift": False,
    "nofastforward": False,
    "useswa": False,
    "lowvram": False,
    "usemmap": True,
    "usemlock": False,
    "quantkv": 1,
    "multiuser": 1,
    "password": None,
    "quiet": False,
    "chatcompletionsadapter": "AutoGuess",
    "defaultgenamt": 512,
    "flashattention": True,
}
# One other value of each kind of setting.
CHANGED: dict[str, Any] = {
    "model": "/models/a.gguf",
    "port": 6000,
    "usemmap": False,
    "noshift": True,
    "flashattention": "off",
    "tensor_split": (3.0, 1.0),
    "lora": ("a,b.gguf", "c.gguf"),
    "loramult": -0.5,
    "chatcompletionsadapter": '{"user_start": "Q: "}',
    "thinking": "hide",
    "thinkingbudget": 0,
    "strictcontext": True,
}


@pytest.fixture
def write(tmp_path: Path):
    def write(content: Any, encoding: str = "utf-8") -> str:
        file = tmp_path / "mine.kcpps"
        file.write_text(content if isinstance(content, str) else json.dumps(content), encoding)
        return str(file)

    return write


def refusal(path: str) -> str:
    with pytest.raises(SettingsError) as caught:
        kcpps.load(path)
    return str(caught.value)


def test_a_file_that_koboldcpp_saved_becomes_settings(write):
    assert from_mapping(kcpps.load(write(SAVED))) == Settings(
        model="/models/a.gguf",
        port=5005,
        threads=7,
        contextsize=16384,
        gpulayers=0,
        ropeconfig=(0.0, 10000.0),
        blasbatchsize=1024,
        draftgpulayers=999,
        flashattention="on",
        quantkv=1,
        defaultgenamt=512,
    )


@pytest.mark.parametrize(
    ("saved", "read"),
    [
        ({"tensor_split": [3, 1.5]}, {"tensor_split": (3.0, 1.5)}),
        ({"tensor_split": "3,1"}, {"tensor_split": (3.0, 1.0)}),
        ({"maingpu": 1}, {"maingpu": 1}),
        ({"moecpu": 999}, {"moecpu": 999}),
        ({"blasthreads": -1}, {"blasthreads": 0}),
        ({"usemmap": False}, {"usemmap": False}),
        ({"nommap": True}, {"usemmap": False}),
        ({"nommap": False}, {"usemmap": True}),
        ({"usemlock": True}, {"usemlock": True}),
        ({"flashattention": True}, {"flashattention": "on"}),
        ({"flashattention": False}, {"flashattention": "auto"}),
        ({"flashattention": "off"}, {"flashattention": "off"}),
        ({"quantkv": 2}, {"quantkv": 2}),
        ({"lowvram": True}, {"lowvram": True}),
        ({"useswa": True}, {"useswa": True}),
        ({"noshift": True}, {"noshift": True}),
        ({"nofastforward": True}, {"nofastforward": True}),
        ({"ropeconfig": [0.5, 20000]}, {"ropeconfig": (0.5, 20000.0)}),
        ({"overridenativecontext": 4096}, {"overridenativecontext": 4096}),
        ({"lora": ["a.gguf"], "loramult": 2}, {"lora": ("a.gguf",), "loramult": 2.0}),
        ({"lora": ["a.gguf", "b.gguf"]}, {"lora": ("a.gguf", "b.gguf")}),
        ({"lora": "a.gguf"}, {"lora": ("a.gguf",)}),
        ({"draftmodel": "a.gguf", "draftamount": 4}, {"draftmodel": "a.gguf", "draftamount": 4}),
        (
            {"ubatchsize": 64, "cacheram": 0, "promptlookup": True},
            {"ubatchsize": 64, "cacheram": 0, "promptlookup": True},
        ),
        ({"gamemode": True, "lowpriority": True}, {"gamemode": True, "lowpriority": True}),
        ({"thinking": "off", "strictcontext": True}, {"thinking": "off", "strictcontext": True}),
        ({"thinkingbudget": 512}, {"thinkingbudget": 512}),
        ({"chatcompletionsadapter": "ChatML.json"}, {"chatcompletionsadapter": "ChatML.json"}),
        ({"chatcompletionsadapter": {"user_start": "Q:"}}, {"chatcompletionsadapter": '{"user_start": "Q:"}'}),
    ],
    ids=str,
)
def test_an_option_is_read_as_koboldcpp_writes_it(write, saved, read):
    assert from_mapping(kcpps.load(write(saved))) == Settings(**read)


@pytest.mark.parametrize(
    "settings", [Settings(), Settings(**{**dataclasses.asdict(Settings()), **CHANGED})], ids=["defaults", "changed"]
)
def test_settings_that_are_written_under_their_own_names_are_read_back(write, settings):
    assert from_mapping(kcpps.load(write(dataclasses.asdict(settings)))) == settings


@pytest.mark.parametrize(
    ("saved", "sentence"),
    [
        ({"noshift": "yes"}, "noshift: 'yes' is not true or false."),
        ({"tensor_split": [3, None]}, "tensor_split: None is not a number."),
        ({"tensor_split": [True, 1]}, "tensor_split: True is not a number."),
        ({"tensor_split": {"0": 3}}, "tensor_split: '{\"0\": 3}' is not a number."),
        ({"lora": [["a.gguf"]]}, "lora: ['a.gguf'] is not text."),
        ({"quantkv": 1.5}, "quantkv: 1.5 is not a whole number."),
        ({"thinking": True}, "thinking: True is not text."),
        ({"thinkingbudget": -2}, "thinkingbudget: -2 is too small; the least is -1."),
        ({"loramult": 10**400}, f"loramult: 1{'0' * 79}... is not a number."),
    ],
    ids=lambda value: "" if isinstance(value, dict) else value[:40],
)
def test_an_option_that_cannot_be_used_gives_one_sentence(write, saved, sentence):
    with pytest.raises(SettingsError) as caught:
        from_mapping(kcpps.load(write(saved)))
    assert str(caught.value) == sentence


def test_no_gpu_layers_survive(write):
    assert kcpps.load(write({"gpulayers": 0}))["gpulayers"] == 0


def test_false_survives(write):
    assert kcpps.load(write({"quiet": False}))["quiet"] is False


@pytest.mark.parametrize("nothing", [None, "", []])
def test_what_the_file_leaves_empty_is_left_out(write, nothing):
    assert kcpps.load(write({"host": nothing, "password": nothing, "model": nothing})) == {}


def test_features_that_tavernkeep_does_not_have_are_left_out(write):
    assert kcpps.load(write({"sdmodel": "x", "usecuda": ["normal"], "hordekey": "y"})) == {}


@pytest.mark.parametrize(
    ("saved", "model"),
    [
        ({"model": "a.gguf"}, "a.gguf"),
        ({"model": ["a.gguf"]}, "a.gguf"),
        ({"model": ["a.gguf", "b.gguf"]}, "a.gguf"),
        ({"model": ["a.gguf"], "model_param": "b.gguf"}, "b.gguf"),
        ({"model": ["a.gguf"], "model_param": None}, "a.gguf"),
        ({"model": [], "model_param": ""}, None),
    ],
)
def test_the_model_is_found_wherever_koboldcpp_writes_it(write, saved, model):
    assert kcpps.load(write(saved)).get("model") == model


@pytest.mark.parametrize(
    ("saved", "port"),
    [({"port": 6000}, 6000), ({"port_param": 6000}, 6000), ({"port": 5001, "port_param": 6000}, 6000)],
)
def test_the_port_is_found_wherever_koboldcpp_writes_it(write, saved, port):
    assert kcpps.load(write(saved))["port"] == port


def test_a_port_given_by_flag_survives_beside_the_untouched_positional_one(write):
    assert kcpps.load(write({"port": 6000, "port_param": 5001}))["port"] == 6000


def test_the_old_name_of_the_batch_size_is_understood(write):
    assert kcpps.load(write({"blasbatchsize": 256}))["blasbatchsize"] == 256


def test_a_template_that_leaves_threads_to_the_program_can_be_used(write):
    assert from_mapping(kcpps.load(write({"threads": -1, "gpulayers": -1, "istemplate": True}))) == Settings()


def test_a_byte_order_mark_is_no_error(write):
    assert kcpps.load(write({"port": 6000}, "utf-8-sig")) == {"port": 6000}


def test_a_missing_file_is_named(tmp_path):
    path = str(tmp_path / "none.kcpps")
    assert refusal(path) == f"The configuration {path} cannot be read: No such file or directory."


def test_a_folder_is_no_configuration(tmp_path):
    assert str(tmp_path) in refusal(str(tmp_path))


@pytest.mark.parametrize("content", ["", "{", "port = 5001", "[" * 3])
def test_what_is_not_json_is_refused(write, content):
    assert "is not valid JSON" in refusal(write(content))


def test_bytes_that_are_no_text_are_refused(tmp_path):
    file = tmp_path / "model.kcpps"
    file.write_bytes(b"GGUF\xff\xfe")
    assert "is not valid JSON" in refusal(str(file))


@pytest.mark.parametrize("content", [[], 5, "text", None])
def test_json_that_is_no_object_is_refused(write, content):
    assert "JSON object" in refusal(write(json.dumps(content)))


# --- written


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"port": 5005, "host": "localhost", "contextsize": 4096, "gpulayers": 12},
        {"flashattention": "off"},
        {"flashattention": "auto", "threads": 0, "blasbatchsize": 256},
        {"usemmap": False, "tensor_split": (3.0, 1.0), "ropeconfig": (0.5, 10000.0), "lora": ("/a,b.gguf", "/c.gguf")},
        {"multiuser": 0, "moecpu": 3, "thinking": "off", "reservevram": 2.5},
        {"chatcompletionsadapter": '{"user_start": "a"}', "gendefaults": '{"temperature": 0.5}'},
    ],
)
def test_what_is_written_is_read_back_the_same(tmp_path: Path, changes: dict[str, Any]) -> None:
    settings = Settings(model="/models/a.gguf", **changes)
    file = tmp_path / "mine.kcpps"
    kcpps.save(str(file), settings)
    assert from_mapping(kcpps.load(str(file))) == settings
    assert list(tmp_path.iterdir()) == [file]


def test_koboldcpp_finds_its_own_names_and_kinds(tmp_path: Path) -> None:
    file = tmp_path / "mine.kcpps"
    kcpps.save(str(file), Settings(model="/a.gguf", port=5005, flashattention="on", blasbatchsize=256, password="x"))
    written = json.loads(file.read_text())
    assert (written["model_param"], written["port_param"], written["batchsize"]) == ("/a.gguf", 5005, 256)
    assert (written["flashattention"], written["threads"], written["tensor_split"]) == (True, -1, None)
    assert "password" not in written


def test_a_file_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be written"):
        kcpps.save(str(tmp_path / "no" / "a.kcpps"), Settings())
