"""The admin routes over real HTTP: the model changes while the port stays open, and only for whoever may change it."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from server.api.app import create_app
from server.controller import Controller
from server.events import EngineState
from server.settings import Settings
from tests import tiny_models
from tests.conftest import Server, settings_for_tests, wait_until

LIST, RELOAD, VERSION = "/api/admin/list_options", "/api/admin/reload_config", "/api/extra/version"
STATES = ("check_state", "save_state", "load_state", "clear_state")
GENERATE = {"prompt": "Once upon a time", "max_length": 4, "temperature": 0}


@pytest.fixture
def folder(tmp_path: Path, starter_model: Path) -> Path:
    folder = tmp_path / "offered"
    folder.mkdir()
    for name in ("first.gguf", "second.gguf"):
        (folder / name).symlink_to(starter_model)
    (folder / "broken.gguf").write_bytes(b"no model")
    (folder / "odd.gguf").write_bytes(tiny_models.plain("no-such-architecture"))
    config = {"model_param": str(folder / "second.gguf"), "contextsize": 512, "threads": 2, "port_param": 1}
    (folder / "small.kcpps").write_text(json.dumps({**config, "admin": False, "password": "theirs"}))
    return folder


@pytest.fixture
def admin(own_server: Server, folder: Path) -> Server:
    """A server whose model may be changed."""
    start(own_server, model=str(folder / "first.gguf"), admindir=str(folder))
    return own_server


def start(server: Server, **changes: Any) -> None:
    server.controller.start(settings_for_tests(**{"contextsize": 1024, "admin": True, **changes}))
    server.wait_for(EngineState.READY)


def reload(server: Server, name: Any, **more: Any) -> bool:
    reply = server.post(RELOAD, {"filename": name, **more})
    assert reply.status == 200
    success: bool = reply.json["success"]
    assert success or reply.json["error"]
    return success


def wait_for_model(server: Server, name: str) -> None:
    def is_there() -> bool:
        now = server.snapshot()
        return now.state is EngineState.READY and now.model is not None and now.model.name == name

    wait_until(is_there, f"the model {name}")


def wait_for_message(server: Server, *words: str) -> str:
    """What /health says of a model that was not taken, once another answers again."""
    told = wait_until(
        lambda: server.get("/health").status == 200 and server.get("/health").json.get("message"), "a message"
    )
    assert all(word in told for word in words)
    return str(told)


# --- the swap ---


def test_the_files_of_the_folder_are_offered(admin: Server) -> None:
    names = ["broken.gguf", "first.gguf", "odd.gguf", "second.gguf", "small.kcpps", "initial_model", "unload_model"]
    assert admin.get(LIST).json == names
    assert admin.get(VERSION).json["admin"] == 1


def test_another_model_is_loaded_while_the_port_stays_open(admin: Server) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", admin.port, timeout=60)

    def health() -> tuple[int, dict[str, Any]]:
        connection.request("GET", "/health")
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())

    health()
    socket = connection.sock
    assert reload(admin, "second.gguf")
    seen = []
    while (now := health())[1].get("model") != "second":  # each answers, because nothing is ever refused or cut off
        seen.append(now)
    assert connection.sock is socket, "the connection was kept"
    assert {status for status, body in seen if body["status"] != "ready"} <= {503}
    assert admin.post("/api/v1/generate", GENERATE).status == 200
    assert admin.get("/api/v1/model").json == {"result": "koboldcpp/second"}
    connection.close()


def test_a_configuration_is_taken_but_not_who_may_connect(admin: Server) -> None:
    port = admin.port
    assert reload(admin, "small.kcpps")
    wait_for_model(admin, "second")
    assert admin.port == port
    assert admin.get("/api/extra/true_max_context_length").json == {"value": 512}
    assert admin.get(VERSION).json["protected"] is False
    assert reload(admin, "initial_model")
    wait_for_model(admin, "first")
    assert admin.get("/api/extra/true_max_context_length").json == {"value": 1024}


def test_a_model_can_have_the_settings_of_a_configuration(admin: Server) -> None:
    assert reload(admin, "first.gguf", overrideconfig="small.kcpps")
    wait_until(lambda: admin.controller.settings.contextsize == 512, "the settings of the configuration")
    wait_for_model(admin, "first")
    assert admin.get("/api/extra/true_max_context_length").json == {"value": 512}


@pytest.mark.parametrize("name", ["../second.gguf", "/etc/passwd", "small", "", None, 5, ["first.gguf"], {}])
def test_names_that_are_not_offered_change_nothing(server: Server, tmp_path: Path, name: Any) -> None:
    # The shared server has no admin, so that this one's fixture is not loaded for each name.
    controller = Controller(Settings(admin=True, admindir=str(tmp_path)))
    client = create_app(controller).test_client()
    answer = client.post(RELOAD, json={"filename": name})
    assert answer.status_code == 200
    assert answer.json
    assert answer.json["success"] is False
    assert "list_options" in answer.json["error"]


def test_a_file_that_is_no_model_never_takes_the_place_of_one_that_answers(admin: Server) -> None:
    model = admin.snapshot().model
    assert reload(admin, "broken.gguf")
    wait_for_message(admin, "broken.gguf was not loaded", "GGUF")
    assert admin.snapshot().model is model, "it was not even unloaded"
    assert admin.post("/api/v1/generate", GENERATE).status == 200


def test_a_model_that_cannot_be_loaded_gives_way_to_the_one_before(admin: Server) -> None:
    before = admin.snapshot().model
    assert reload(admin, "odd.gguf")
    wait_for_message(admin, "odd.gguf was not loaded", "no-such-architecture")
    assert admin.snapshot().model is not before, "it was loaded again"
    assert admin.get("/api/v1/model").json == {"result": "koboldcpp/first"}
    assert admin.post("/api/v1/generate", GENERATE).status == 200
    assert reload(admin, "second.gguf")
    wait_for_model(admin, "second")
    assert "message" not in admin.get("/health").json


def test_the_model_can_be_freed_and_come_back(admin: Server) -> None:
    assert reload(admin, "unload_model")
    wait_until(lambda: admin.snapshot().state is EngineState.IDLE, "no model")
    assert admin.get("/api/v1/model").json == {"result": "inactive"}
    refused = admin.post("/api/v1/generate", GENERATE)
    assert refused.status == 503
    assert "No model is loaded" in refused.json["detail"]["msg"]
    assert admin.post("/api/admin/save_state", {"slot": 0}).json["success"] is False
    assert "initial_model" in admin.get(LIST).json
    assert reload(admin, "initial_model")
    wait_for_model(admin, "first")
    assert admin.post("/api/v1/generate", GENERATE).status == 200


def test_what_is_being_said_ends_in_words_when_the_model_changes(admin: Server) -> None:
    story = {"prompt": "Once upon a time", "max_length": 900, "temperature": 0, "ban_eos_token": True}
    with admin.send_raw("/api/extra/generate/stream", story, "Connection: close") as connection:
        received = b""
        while b"token" not in received:
            received += connection.recv(4096)
        assert reload(admin, "second.gguf")
        while piece := connection.recv(4096):
            received += piece
    assert b"The model was unloaded." in received
    wait_for_model(admin, "second")


def test_of_two_wishes_the_last_counts(admin: Server) -> None:
    assert reload(admin, "second.gguf")
    wait_until(lambda: admin.controller.settings.model.endswith("second.gguf"), "the first wish")
    assert reload(admin, "small.kcpps")
    wait_until(lambda: admin.controller.settings.contextsize == 512, "the last wish")
    wait_for_model(admin, "second")
    assert admin.get("/api/extra/true_max_context_length").json == {"value": 512}


def test_without_a_model_before_it_a_bad_one_is_told_of(admin: Server) -> None:
    assert reload(admin, "unload_model")
    wait_until(lambda: admin.snapshot().state is EngineState.IDLE, "no model")
    for name in ("odd.gguf", "broken.gguf"):
        assert reload(admin, name)
        wait_until(lambda name=name: name in admin.get("/health").json.get("message", ""), "the reason")
        admin.wait_for(EngineState.FAILED)
    assert reload(admin, "second.gguf")
    wait_for_model(admin, "second")


def test_what_was_stopped_meanwhile_stays_closed(admin: Server) -> None:
    with admin.controller._operating:  # the change waits here
        assert reload(admin, "second.gguf")
        (change,) = (thread for thread in threading.enumerate() if thread.name == "swap")
        admin.controller._host.unload()
        admin.controller._close_port()
    change.join()
    assert admin.snapshot().state is EngineState.IDLE
    assert admin.base == ""


# --- who may ---


def test_without_admin_nothing_is_offered_and_nothing_done(server: Server) -> None:
    assert server.get(LIST).json == []
    assert server.get(LIST).status == 200
    for route in ("reload_config", *STATES):
        reply = server.post(f"/api/admin/{route}", {"filename": "unload_model", "slot": 0})
        assert (reply.status, reply.json["success"]) == (200, False)
        assert "--admin" in reply.json["error"]
    assert server.get(VERSION).json["admin"] == 0
    assert server.get("/health").status == 200


@pytest.fixture(scope="module")
def locked(starter_model: Path) -> Iterator[Server]:
    """A server with a key for its model and another one for admin."""
    server = Server(Controller())
    start(server, password="text", adminpassword="change")
    yield server
    server.controller.stop()


def test_the_admin_routes_ask_for_their_own_key_alone(locked: Server) -> None:
    assert locked.get(VERSION).json["admin"] == 2
    assert "initial_model" in locked.get(LIST, Authorization="Bearer change").json
    for key in ("", "Bearer text", "Bearer wrong", "Bearer chang", "Basic change"):
        assert locked.get(LIST, Authorization=key).json == []
        for route in ("reload_config", *STATES):
            reply = locked.post(f"/api/admin/{route}", {"filename": "unload_model"}, Authorization=key)
            assert (reply.status, reply.json["success"]) == (200, False)
            assert "admin key" in reply.json["error"]
    assert locked.snapshot().state is EngineState.READY


def test_the_admin_key_opens_nothing_else(locked: Server) -> None:
    assert locked.post("/api/v1/generate", GENERATE, Authorization="Bearer change").status == 401
    assert locked.post("/api/v1/generate", GENERATE, Authorization="Bearer text").status == 200


@pytest.mark.parametrize(("keyed", "level", "offers"), [(False, 0, False), (True, 2, True)])
def test_other_pcs_need_a_key(keyed: bool, level: int, offers: bool) -> None:
    settings = Settings(admin=True, adminpassword="change" if keyed else "")
    client = create_app(Controller(settings)).test_client()
    elsewhere = {"REMOTE_ADDR": "192.168.1.9"}
    how: Any = {"environ_overrides": elsewhere, "headers": {"Authorization": "Bearer change"}}
    assert bool(client.get(LIST, **how).json) is offers
    version = client.get(VERSION, **how).json
    assert version
    assert version["admin"] == level
    refused = client.post(RELOAD, json={"filename": "no.gguf"}, **how).json
    assert refused
    assert ("--adminpassword" in refused["error"]) is not offers


def test_a_page_from_elsewhere_may_not_change_the_model(server: Server) -> None:
    reply = server.post(RELOAD, {"filename": "unload_model"}, Origin="https://evil.example")
    assert reply.status == 403


@pytest.mark.parametrize("route", ["reload_config", *STATES[1:]])
def test_a_body_that_is_no_json_object_is_refused_in_words(server: Server, route: str) -> None:
    for body in (b"{", b"[]", b"\xff"):
        reply = server.post(f"/api/admin/{route}", body)
        assert reply.status == 400
        assert "JSON" in reply.json["detail"]["msg"]
