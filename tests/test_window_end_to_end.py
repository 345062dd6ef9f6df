"""The real window with the real controller, engine and model, on a virtual display."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from gui.memory import Memory
from gui.view.looks import Page
from server.api.app import create_app
from server.controller import Controller
from server.events import EngineState
from tests.conftest import PATIENCE, Server, read_to_end, settings_for_tests

pytest.importorskip("tkinter", reason="this Python was built without tkinter")

STREAM = "/api/extra/generate/stream"
ENDLESS: Any = {"prompt": "Once upon a time", "max_length": 150, "ban_eos_token": True}


@pytest.fixture
def app(starter_model: Path) -> Iterator[Any]:
    from gui.app import App

    app = App(Controller(), settings_for_tests(), appearance="dark", scale=1.0)
    mistakes: list[Any] = []
    app.root.report_callback_exception = lambda *mistake: mistakes.append(mistake)
    yield app
    app.close()
    pump(app, lambda: app.closed, "the window to close")
    assert not mistakes


def pump(app: Any, condition: Callable[[], Any], what: str) -> None:
    """Run the window until ``condition`` holds."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"still waiting for {what}; {app._controller.snapshot()}"
        app.root.update()
        time.sleep(0.002)


def text_of(label: Any) -> str:
    return str(label.cget("text"))


def press_start(app: Any) -> Server:
    pump(app, lambda: app.launch.start_button.cget("state") == "normal", "Start to be enabled")
    app.launch.start_button.invoke()
    server = Server(app._controller)
    pump(app, lambda: server.snapshot().state is EngineState.READY, "the model to load")
    pump(app, lambda: "Ready" in text_of(app.status.headline), "the window to say so")
    return server


def test_start_loads_the_starter_model_and_the_window_tells_where_to_connect(app: Any) -> None:
    server = press_start(app)
    assert server.base in text_of(app.status.headline) + app.status.openai.entry.get()
    assert app.status.openai.entry.get() == f"{server.base}/v1"
    assert "SmolLM2" in text_of(app.status.model)
    assert server.get("/health").status == 200


def test_a_key_that_the_window_made_is_asked_for_by_the_server(app: Any) -> None:
    app.launch.access.menu.choose("with_key")
    app.launch.access.new_key_button.invoke()
    key = app.launch.access.key_entry.get()
    server = press_start(app)
    assert server.get("/v1/models").status == 401
    assert server.get("/v1/models", Authorization="Bearer wrong").status == 401
    for header in ({"Authorization": f"Bearer {key}"}, {"X_Api_Key": key}, {"Api_Key": key}):
        assert server.get("/v1/models", **header).status == 200


def test_chosen_addresses_and_a_web_page_are_let_in_and_no_others(app: Any) -> None:
    app.launch.access.menu.choose("by_address")
    app.launch.access.addresses_entry.show("192.168.1.20")
    app.launch.options.fold_button.invoke()
    app.launch.options.fields["alloworigins"].ticks[0].toggle()
    server = press_start(app)
    assert server.controller.settings.host == "0.0.0.0"
    allowed = server.get("/v1/models", Origin="https://lite.koboldai.net")
    assert (allowed.status, allowed.headers["Access-Control-Allow-Origin"]) == (200, "https://lite.koboldai.net")
    refused = server.get("/v1/models", Origin="https://agnai.chat")
    assert (refused.status, refused.headers.get("Access-Control-Allow-Origin")) == (403, None)
    elsewhere = create_app(server.controller).test_client()
    for address, status in (("192.168.1.20", 200), ("192.168.1.21", 403)):
        reply = elsewhere.get("/v1/models", environ_overrides={"REMOTE_ADDR": address})
        assert reply.status_code == status


def test_the_window_stays_alive_and_counts_while_eight_streams_run(app: Any) -> None:
    server = press_start(app)
    ended = threading.Event()
    bodies: list[bytes] = []

    def ask() -> None:
        bodies.append(server.post(STREAM, ENDLESS).body)
        if len(bodies) == 8:
            ended.set()

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    pump(app, lambda: text_of(app.status.replies).startswith("8 running"), "eight running requests")
    pump(app, lambda: float(text_of(app.status.speed)) > 0, "a speed")
    pump(app, ended.is_set, "the streams to end")
    for thread in threads:
        thread.join()
    pump(app, lambda: text_of(app.status.replies).endswith("8 sent"), "eight replies")
    assert all(b'"finish_reason": "length"' in body for body in bodies)


def test_the_window_waits_for_a_running_reply_when_it_is_closed(app: Any) -> None:
    server = press_start(app)
    replies: list[Any] = []
    body = {"prompt": "Once upon a time", "max_length": 60, "ban_eos_token": True}
    asking = threading.Thread(target=lambda: replies.append(server.post("/api/v1/generate", body)))
    asking.start()
    pump(app, lambda: server.snapshot().requests, "the reply to begin")
    app.close()
    pump(app, lambda: app.closed, "the window to close")
    asking.join()
    assert replies[0].status == 200


def test_who_closes_the_window_twice_does_not_wait_for_replies(app: Any) -> None:
    server = press_start(app)
    stream = server.send_raw(STREAM, {**ENDLESS, "max_length": 1900}, "Connection: close")
    pump(app, lambda: server.snapshot().requests, "the reply to begin")
    app.close()
    pump(app, lambda: "Stopping" in text_of(app.status.headline), "the window to say so")
    app.close()
    pump(app, lambda: app.closed, "the window to close")
    assert b'"engine_died"' in read_to_end(stream)


def test_a_running_reply_is_listed_with_its_client_and_cancelled_by_its_button(app: Any) -> None:
    server = press_start(app)
    app.navigation.go(Page.LIVE)
    replies: list[Any] = []
    body = {"prompt": "Once upon a time", "max_length": 4000, "ban_eos_token": True}
    asking = threading.Thread(
        target=lambda: replies.append(server.post("/api/v1/generate", body, User_Agent="Mantella/1.0"))
    )
    asking.start()
    pump(app, lambda: app.live.table.rows and app.live.table.rows[0].texts[2:3] == ("writing",), "the reply's row")
    row = app.live.table.rows[0]
    assert row.texts[:2] == ("Mantella/1.0", "/api/v1/generate")
    pump(app, lambda: row.texts[6] != "—", "its speed")
    row.button.invoke()
    pump(app, lambda: not asking.is_alive(), "the reply to end")
    pump(app, lambda: row.texts == (), "its row to go")
    assert replies[0].status == 200
    assert len(replies[0].json["results"][0]["text"]) < 16_000
    pump(app, lambda: text_of(app.live.tiles["memory"].value).endswith("B"), "the memory in use")


def test_the_second_turn_shows_what_was_cached(app: Any) -> None:
    server = press_start(app)
    assert text_of(app.status.cached) == "—"
    body = {"prompt": "The innkeeper counts his coins and sighs.", "max_length": 1}
    for _ in range(2):
        asking = threading.Thread(target=server.post, args=("/api/v1/generate", body))
        asking.start()
        pump(app, lambda asking=asking: not asking.is_alive(), "the reply")
    pump(app, lambda: text_of(app.status.cached).startswith("4"), "nearly half of two prompts")
    assert text_of(app.status.kept).endswith(" tokens")


def test_the_live_page_counts_on_when_the_model_is_loaded_anew(app: Any) -> None:
    server = press_start(app)
    app.navigation.go(Page.LIVE)
    note = app.live.tiles["prompts"].note
    assert text_of(note) == "0 tokens asked for"
    asking = threading.Thread(target=server.post, args=("/api/v1/generate", {"prompt": "One two", "max_length": 1}))
    asking.start()
    pump(app, lambda: not asking.is_alive(), "the reply")
    pump(app, lambda: text_of(note) != "0 tokens asked for", "its prompt to be counted")
    counted = text_of(note)
    app.navigation.go(Page.LAUNCH)
    app.launch.start_button.invoke()
    pump(app, lambda: text_of(app.status.headline) == "Stopped", "the model to be unloaded")
    press_start(app)
    app.navigation.go(Page.LIVE)
    pump(app, lambda: text_of(app.live.tiles["context"].value) != "—", "the new model's figures")
    assert text_of(note) == counted


def test_the_template_is_shown_and_so_is_a_prompt_that_was_cut(app: Any) -> None:
    server = press_start(app)
    assert text_of(app.status.template) == "ChatML · the model's own"
    body = {"messages": [{"role": "user", "content": "The river ran on. " * 2000}], "max_tokens": 2}
    asking = threading.Thread(target=server.post, args=("/v1/chat/completions", body))
    asking.start()
    pump(app, lambda: not asking.is_alive(), "the reply")
    pump(app, lambda: text_of(app.status.trimmed).startswith("1 of 1"), "the count of cut prompts")


def test_a_killed_engine_is_told_in_words_and_comes_back_by_itself(app: Any) -> None:
    server = press_start(app)
    os.kill(app._controller._host.engine.pid, signal.SIGKILL)
    pump(app, lambda: "killed" in text_of(app.status.problem), "the sentence")
    pump(app, lambda: "Ready" in text_of(app.status.headline), "the model to be there again")
    assert "It was started again" in text_of(app.status.problem)
    assert server.get("/health").status == 200


def test_stop_closes_the_port(app: Any) -> None:
    server = press_start(app)
    app.launch.start_button.invoke()
    pump(app, lambda: not server.snapshot().address, "the port to close")
    assert server.snapshot().state is EngineState.IDLE
    pump(app, lambda: text_of(app.status.headline) == "Stopped", "the window to say so")


def test_a_file_that_is_no_model_is_told_in_words_and_nothing_starts(app: Any, tmp_path: Path) -> None:
    file = tmp_path / "diary.gguf"
    file.write_text("Dear diary")
    entry = app.launch.model_entry
    entry.delete(0, "end")
    entry.insert(0, str(file))
    pump(app, lambda: "not a GGUF file" in text_of(app.launch.model_line), "the sentence")
    assert app._controller.snapshot().state is EngineState.IDLE


def test_another_model_is_picked_in_the_library_and_changed_to_while_the_port_stays_open(
    app: Any, tmp_path: Path, starter_model: Path
) -> None:
    other = tmp_path / "Another-Model.gguf"
    other.symlink_to(starter_model)
    server = press_start(app)
    app.shelf.add(str(tmp_path))
    app.navigation.go(Page.LIBRARY)
    pump(app, lambda: str(other) in app.shelf.entries and app.shelf.entries[str(other)].forecast, "the file to be read")
    app.library.listing.choose(str(other))
    pump(app, lambda: app.library.use_button.cget("state") == "normal", "the file to fit")
    app.library.use_button.invoke()
    pump(app, app.launch.restart_button.winfo_manager, "the offer to restart")
    app.launch.restart_button.invoke()
    pump(app, lambda: server.get("/health").status in (200, 503), "an answer in between")
    pump(app, lambda: text_of(app.status.model) == "Another-Model", "the other model")
    assert server.get("/v1/models").json["data"][0]["id"] == "Another-Model"


def test_the_forecast_is_near_what_the_engine_takes(app: Any) -> None:
    pump(app, lambda: app.desk.inspection.forecast, "the forecast")
    forecast = app.desk.inspection.forecast.pools[-1].share
    press_start(app)
    took = psutil.Process(app._controller._host.engine.pid).memory_info().rss
    # The process needs some for itself, and the cache's pages are there only once they were written to.
    assert 0.3 * forecast.all < took < forecast.all + 500_000_000


def test_a_port_that_is_taken_is_told_in_words_and_another_one_works(app: Any) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        pump(app, lambda: app.launch.start_button.cget("state") == "normal", "Start to be enabled")
        app.launch.access.port_entry.show(str(taken.getsockname()[1]))
        app.launch.start_button.invoke()
        pump(app, lambda: text_of(app.status.problem), "the sentence")
        assert str(taken.getsockname()[1]) in text_of(app.status.problem)
        assert text_of(app.status.headline) == "Not started"
    app.launch.access.port_entry.show("0")
    press_start(app)


def test_settings_that_were_damaged_are_put_aside_and_the_model_is_served(starter_model: Path, tmp_path: Path) -> None:
    from gui.app import App

    file = tmp_path / "window.json"
    file.write_text('{"models": {"/a.gguf"')
    app = App(Controller(), settings_for_tests(), appearance="dark", scale=1.0, memory=Memory(file))
    server = press_start(app)
    assert server.get("/health").status == 200
    pump(app, file.exists, "the settings to be kept")
    aside = tmp_path / "window.json.corrupt"
    assert aside.exists()
    assert str(aside) in text_of(app.presence.sheet.sentence)
    app.close()
    pump(app, lambda: app.closed, "the window to close")
