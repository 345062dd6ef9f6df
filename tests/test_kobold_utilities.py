"""What clients ask besides replies: addresses in every form, tokens, grammars, saved stories, and what there is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from server.api.saves import story_of
from server.engine.llama.schema_grammar import grammar_of
from server.errors import BadRequest
from server.saves import SLOTS, Saves, SavesBroken
from tests.conftest import Server, settings_for_tests, small_disk, wait_until

NAME = "SmolLM2-135M-Instruct.Q4_1"
LONG: dict[str, Any] = {"max_length": 400, "ban_eos_token": True}


def started(server: Server, **settings: Any) -> Server:
    """The server, listening; what these tests ask it needs no model."""
    server.controller.start(settings_for_tests(**settings))
    return server


# --- addresses ---


@pytest.mark.parametrize("path", ["/api/v1/model", "/api/v1/model///", "/foo/api/v1/model", "/lcpp/api/latest/model/"])
def test_a_route_answers_behind_any_beginning(server: Server, path: str):
    assert server.get(path).json == {"result": f"koboldcpp/{NAME}"}


def test_a_question_mark_ends_the_path(server: Server):
    assert server.get("/foo/api/v1/model?x=/nothing").status == 200


def test_posts_answer_there_as_well(server: Server):
    reply = server.post("/any/thing/api/v1/generate/", {"prompt": "Hi", "max_length": 2})
    assert reply.json["results"][0]["completion_tokens"] <= 2


def test_a_beginning_does_not_lead_around_the_key(own_server: Server):
    server = started(own_server, password="secret")
    for path in ("/api/v1/generate", "/foo/api/v1/generate", "/api/extra/version/api/v1/generate", "/health/v1/models"):
        assert server.post(path, {"prompt": "Hi"}).status in (401, 404), path
    assert server.get("/health/../v1/models").status == 401


def test_head_tells_that_somebody_listens(server: Server):
    for path in ("/", "/nothing/here", "/api/v1/generate", "/api/v1/model"):
        reply = server.request("HEAD", path)
        assert (reply.status, reply.body) == (200, b"")


def test_an_address_that_is_none_is_named(server: Server):
    reply = server.get("/foo/bar")
    assert reply.status == 404
    assert "/foo/bar" in reply.json["detail"]["msg"]


# --- who is there ---


def test_it_tells_who_it_is(server: Server):
    assert server.get("/ping").json == {"status": "healthy"}
    about = server.get("/.well-known/serviceinfo").json
    assert about["software"]["name"] == "Tavernkeep"
    assert about["software"]["version"] == server.get("/version").json["version"]
    assert about["api"]["koboldai"]["rel_url"] == "/api"


def test_slots_tell_what_runs_and_nothing_of_its_text(server: Server):
    idle = server.get("/slots").json
    assert len(idle) == server.get("/props").json["total_slots"]
    assert not any(slot["is_processing"] for slot in idle)
    stream = server.send_raw("/api/extra/generate/stream", {"prompt": "Once upon a time", "temperature": 0.5, **LONG})
    with stream:

        def busy() -> list[dict[str, Any]]:
            found = [slot for slot in server.get("/slots").json if slot["is_processing"]]
            return found if found and found[0]["next_token"]["n_decoded"] else []

        slots = wait_until(busy, "a busy slot")
    assert len(slots) == 1
    assert slots[0]["params"]["temperature"] == 0.5
    assert slots[0]["next_token"]["n_decoded"] + slots[0]["next_token"]["n_remain"] == LONG["max_length"]
    assert "Once upon" not in json.dumps(slots)
    server.wait_until_quiet()
    rest = wait_until(lambda: server.get("/slots").json, "slots")
    assert max(slot["n_past"] for slot in rest) > 0  # kept for the next prompt that begins so


# --- tokens ---


def test_tokens_are_counted_in_three_dialects(server: Server):
    text = "Well met, traveller! 日本語🙂"
    ours = server.post("/api/extra/tokencount", {"prompt": text}).json
    assert ours["value"] == len(ours["ids"]) > 5
    assert server.post("/api/extra/tokenize", {"prompt": text}).json == ours
    assert server.post("/tokenize", {"content": text}).json == {"tokens": ours["ids"]}
    assert server.post("/v1/internal/encode", {"text": text}).json == {"tokens": ours["ids"], "length": ours["value"]}
    assert server.post("/v1/internal/token-count", {"text": text}).json == {"length": ours["value"]}
    assert server.post("/api/extra/detokenize", {"ids": ours["ids"]}).json == {"result": text, "success": True}
    assert server.post("/detokenize", {"tokens": ours["ids"]}).json == {"content": text}
    assert server.post("/v1/internal/decode", {"tokens": ours["ids"]}).json == {"text": text}


def test_tokens_can_come_with_their_text(server: Server):
    pieces = server.post("/tokenize", {"content": "Well met", "with_pieces": True}).json["tokens"]
    assert "".join(piece["piece"] for piece in pieces) == "Well met"


def test_a_long_text_is_counted_in_full(server: Server):
    assert server.post("/api/extra/tokencount", {"prompt": "word " * 60_000}).json["value"] >= 60_000


def test_a_count_of_nothing_is_none_and_not_an_error(server: Server):
    assert server.post("/api/extra/tokencount", {"prompt": ""}).json == {"value": 0, "ids": []}
    assert server.post("/api/extra/detokenize", {}).json == {"result": "", "success": True}


@pytest.mark.parametrize("prompt", [5, ["a"], {"a": 1}, True])
def test_what_is_no_text_is_refused_as_koboldcpp_does(server: Server, prompt: Any):
    reply = server.post("/api/extra/tokencount", {"prompt": prompt})
    assert (reply.status, reply.json["value"]) == (400, -1)
    assert reply.json["error"]["message"] == reply.json["detail"]["msg"] == "prompt must be text."


@pytest.mark.parametrize("ids", [["x"], "5", [-1], [2**40], [None], [1e400]])
def test_what_are_no_tokens_is_refused(server: Server, ids: Any):
    reply = server.post("/api/extra/detokenize", {"ids": ids})
    assert (reply.status, reply.json["result"], reply.json["success"]) == (400, "", False)


def test_tokens_that_do_not_exist_add_nothing(server: Server):
    assert server.post("/api/extra/detokenize", {"ids": [2_000_000_000]}).json == {"result": "", "success": True}


def test_it_is_known_by_name_where_text_generation_webui_is_expected(server: Server):
    assert server.get("/v1/internal/model/info").json == {"model_name": NAME, "lora_names": []}


# --- grammars ---


def test_a_schema_becomes_a_grammar_that_holds_replies(server: Server):
    schema = {"type": "object", "properties": {"mood": {"enum": ["calm", "angry"]}}, "required": ["mood"]}
    for body in ({"schema": schema}, schema):
        made = server.post("/api/extra/json_to_grammar", body).json
        assert made["success"] is True
    asked = {"prompt": "How is he?", "grammar": made["result"], "max_length": 40}
    reply = server.post("/api/v1/generate", asked).json["results"][0]
    assert json.loads(reply["text"])["mood"] in ("calm", "angry")


def test_definitions_beside_a_reference_are_found():
    node = {"type": "object", "properties": {"next": {"$ref": "#/$defs/Node"}}}
    grammar, problem = grammar_of(json.dumps({"$defs": {"Node": node}, "$ref": "#/$defs/Node"}))
    assert problem == ""
    assert "Node" in grammar


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "maxLength": 10**9},
        {"type": "array", "items": {"type": "string"}, "minItems": 10**6},
        {"type": "string", "pattern": "^a{100000000}$"},
        {"type": "string", "pattern": "("},
        {"$ref": "https://example.com/schema.json"},
        {"$ref": "#/nowhere"},
        {"type": "colour"},
        {"type": "object", "properties": {f"p{index}": {"type": "string"} for index in range(3000)}},
        [1, 2],
        "text",
    ],
)
def test_a_schema_that_makes_no_grammar_is_refused_with_a_reason(server: Server, schema: Any):
    reply = server.post("/api/extra/json_to_grammar", {"schema": schema})
    assert (reply.status, reply.json["result"], reply.json["success"]) == (400, "", False)
    assert reply.json["error"]["message"].endswith(".")


# --- saved stories ---


def test_stories_are_kept_over_a_restart(own_server: Server, tmp_path: Path):
    file = tmp_path / "stories.jsondb"
    story = {"title": "The old mill", "format": "kobold", "data": "eyJhIjogMX0="}
    first = started(own_server, savedatafile=str(file))
    assert first.get("/api/extra/version").json["savedata"] is True
    assert first.post("/api/extra/data/list").json == [""] * SLOTS
    assert first.post("/api/extra/data/save", {"slot": 2, **story}).json == {"success": True, "error": ""}
    first.controller.stop()
    again = started(own_server, savedatafile=str(file))
    assert again.post("/api/extra/data/list").json[2] == "The old mill"
    assert again.post("/api/extra/data/load", {"slot": 2}).json == {"success": True, "data": story}
    assert again.post("/api/extra/data/load", {"slot": 3}).json == {"success": False, "data": None}
    assert again.post("/api/extra/data/save", {"slot": 2, "data": ""}).json["success"] is True
    assert again.post("/api/extra/data/list").json == [""] * SLOTS


def test_a_slot_that_there_is_not_is_refused(own_server: Server, tmp_path: Path):
    server = started(own_server, savedatafile=str(tmp_path / "stories.jsondb"))
    for slot in (-1, SLOTS, "x", 1.5, None):
        reply = server.post("/api/extra/data/save", {"slot": slot, "title": "t", "data": "d"})
        assert (reply.status, reply.json["success"]) == (400, False)
        assert isinstance(reply.json["error"], str)
    assert not (tmp_path / "stories.jsondb").exists()


def test_where_saving_is_off_clients_are_told(server: Server):
    assert server.get("/api/extra/version").json["savedata"] is False
    assert server.post("/api/extra/data/list").json == [""] * SLOTS
    assert server.post("/api/extra/data/load", {"slot": 0}).json["success"] is False
    reply = server.post("/api/extra/data/save", {"slot": 0, "data": "x"})
    assert reply.status == 400
    assert "--savedatafile" in reply.json["error"]


def test_a_full_disk_leaves_the_stories_that_were_kept(tmp_path: Path):
    saves = Saves(lambda: str(tmp_path / "stories.jsondb"))
    saves.save(0, "Old", "f", "d")
    with small_disk(10_000), pytest.raises(SavesBroken, match="cannot be written"):
        saves.save(1, "New", "f", "x" * 20_000)
    assert saves.titles() == ["Old"] + [""] * (SLOTS - 1)


@pytest.mark.parametrize("content", ["[1]", "{", "\ud800 story", ""])
def test_a_file_of_another_kind_is_never_written_over(tmp_path: Path, content: str):
    file = tmp_path / "novel.txt"
    file.write_bytes(content.encode("utf-8", "surrogatepass"))
    before = file.read_bytes()
    saves = Saves(lambda: str(file))
    with pytest.raises(SavesBroken, match="left as it is"):
        saves.save(0, "t", "f", "d")
    with pytest.raises(SavesBroken):
        saves.load(0)
    assert file.read_bytes() == before


def test_koboldcpps_files_are_read(tmp_path: Path):
    file = tmp_path / "stories.jsondb"
    story = {"title": "Old", "format": "kobold", "data": "abc"}
    file.write_text(json.dumps({"0": story, "1": {"title": "", "format": "", "data": ""}}))
    saves = Saves(lambda: str(file))
    assert saves.titles() == ["Old"] + [""] * (SLOTS - 1)
    assert saves.load(0) == story
    assert saves.load(1) is None


def test_a_story_that_is_too_long_is_refused(tmp_path: Path):
    saves = Saves(lambda: str(tmp_path / "stories.jsondb"))
    with pytest.raises(BadRequest, match="10 MB"):
        saves.save(0, "t", "f", "x" * (10 * 1024 * 1024 + 1))


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path: Path):
    with pytest.raises(SavesBroken, match="cannot be written"):
        Saves(lambda: str(tmp_path / "nowhere" / "stories.jsondb")).save(0, "t", "f", "d")


def test_a_story_to_begin_with_comes_from_a_file_or_out_of_a_configuration(own_server: Server, tmp_path: Path):
    file = tmp_path / "story.json"
    file.write_text('{"gamestarted": true}', "utf-8")
    server = started(own_server, preloadstory=str(file))
    assert server.get("/api/extra/preloadstory").json == {"gamestarted": True}
    assert story_of('{"gamestarted": true}') == {"gamestarted": True}


@pytest.mark.parametrize("setting", ["", "/no/such/story.json", "{broken", "{}"])
def test_without_a_story_that_can_be_read_there_is_none(setting: str):
    assert story_of(setting) == {}


# --- what there is not ---


@pytest.mark.parametrize("path", ["/sdapi/v1/sd-models", "/sdapi/v1/samplers", "/api/extra/speakers_list"])
def test_lists_of_what_there_is_not_are_empty(server: Server, path: str):
    assert server.get(path).json == []


def test_a_web_search_finds_nothing(server: Server):
    assert server.post("/api/extra/websearch", {"q": "dragons"}).json == []


@pytest.mark.parametrize("path", ["/sdapi/v1/txt2img", "/api/extra/tts", "/v1/audio/transcriptions"])
def test_what_the_server_does_not_do_it_says_so(server: Server, path: str):
    reply = server.post(path, {"prompt": "a dragon"})
    assert reply.status == 501
    assert reply.json["error"]["message"].startswith("This server does not")


def test_there_are_no_soft_prompts(server: Server):
    assert server.get("/api/latest/config/soft_prompts_list").json == {"values": []}
    assert server.get("/api/v1/config/soft_prompt").json == {"value": ""}
    assert server.request("PUT", "/api/v1/config/soft_prompt", b'{"value": "x"}').json == {"value": ""}
