"""The real window on a virtual display, driven as a person would, against a scripted controller."""

from __future__ import annotations

import dataclasses
import inspect
import itertools
import os
import shutil
import threading
import time
import webbrowser
from types import SimpleNamespace

import pytest

from gui.appearance import SCALES
from gui.memory import Memory
from gui.theme import TEXT, WARNING
from gui.view.form import help_of
from gui.view.looks import Page
from server.controller import Controller
from server.errors import ModelLoadError, PortInUse, TavernkeepError
from server.events import EngineState, EngineStats, LogLine
from server.model.downloads import Downloads
from server.model.library import Library
from server.settings import Settings
from server.snapshot import MachineUse, Phase, RequestRow, Snapshot, Trimmed
from tests.fake_controller import (
    ADDRESS,
    BUSY,
    DOUBTFUL_TEMPLATE,
    IDLE,
    LOADING,
    OWN_TEMPLATE,
    READY,
    STARTER,
    FakeController,
    FakeDownloads,
    FakeLibrary,
    model_file,
)
from tests.window import app, controller, enabled, open_window, shown, type_into, wait_for_ticks, wait_until

tkinter = pytest.importorskip("tkinter", reason="this Python was built without tkinter")


@pytest.mark.parametrize(
    ("fake", "real"), [(FakeController, Controller), (FakeLibrary, Library), (FakeDownloads, Downloads)]
)
def test_the_fakes_have_the_doors_of_the_real_ones(fake, real):
    for name, method in inspect.getmembers(fake, inspect.isfunction):
        if not name.startswith("_"):
            real_one = inspect.signature(getattr(real, name))
            assert list(inspect.signature(method).parameters) == list(real_one.parameters)


# --- before the start


def test_the_starter_model_is_chosen_and_described(app):
    assert app.launch.model_entry.get() == STARTER
    assert shown(app.launch.model_line) == "llama · Q4_1 · 98 MB · 30 layers · trained for 8,192 tokens"
    assert shown(app.status.headline) == "Stopped"
    assert enabled(app.launch.start_button)


def test_a_chosen_file_is_described(app, monkeypatch):
    monkeypatch.setattr("tkinter.filedialog.askopenfilename", lambda **_: "/models/other.gguf")
    app.launch.browse_button.invoke()
    assert app.launch.model_entry.get() == "/models/other.gguf"
    assert shown(app.launch.model_line) == "Reading the file…"
    wait_until(app, lambda: "30 layers" in shown(app.launch.model_line))


def test_a_dismissed_file_dialog_changes_nothing(app, monkeypatch):
    monkeypatch.setattr("tkinter.filedialog.askopenfilename", lambda **_: "")
    app.launch.browse_button.invoke()
    assert app.launch.model_entry.get() == STARTER


def test_a_file_that_is_no_model_is_said_in_words(app, controller):
    controller.models.found["/notes.txt"] = ModelLoadError("notes.txt is not a GGUF file.", "Choose another.")
    type_into(app.launch.model_entry, "/notes.txt")
    wait_until(app, lambda: shown(app.launch.model_line) == "notes.txt is not a GGUF file. Choose another.")


def test_without_a_model_start_is_switched_off(app):
    type_into(app.launch.model_entry, "")
    wait_until(app, lambda: not enabled(app.launch.start_button))
    assert shown(app.launch.model_line) == "Choose a GGUF model file to start."


def test_the_context_slider_ends_at_the_trained_context(app):
    app.launch.context_slider._canvas.event_generate("<Right>")
    last = app.launch.context_slider.cget("to")
    app.launch.context_slider._on_move(last)
    assert app.launch.context_entry.get() == "8192"


def test_a_model_with_less_context_lowers_a_size_nobody_chose(app, controller):
    controller.models.found["/small.gguf"] = model_file("/small.gguf", trained_context=2048)
    type_into(app.launch.model_entry, "/small.gguf")
    wait_until(app, lambda: app.launch.context_entry.get() == "2048")


def test_a_size_from_the_command_line_is_kept(open_window, controller):
    controller.models.found[STARTER] = model_file(STARTER, trained_context=2048)
    app = open_window(Settings(contextsize=4096))
    wait_until(app, lambda: "2,048" in shown(app.launch.context_hint))
    assert app.launch.context_entry.get() == "4096"


def test_a_model_without_layers_switches_the_slider_off(open_window, controller):
    controller.models.found[STARTER] = model_file(STARTER, layers=0)
    app = open_window()
    wait_until(app, lambda: "98 MB" in shown(app.launch.model_line))
    assert app.launch.layers_slider.cget("state") == "disabled"
    wait_until(app, lambda: shown(app.launch.layers_value) == "Auto: no GPU")


def test_the_mouse_wheel_moves_no_slider(app):
    app.launch.layers_slider._on_move(12)
    wait_until(app, lambda: shown(app.launch.layers_value) == "12 of 30")
    for wheel in ("<Button-4>", "<Button-5>"):
        app.launch.layers_slider._canvas.event_generate(wheel, x=5, y=5)
    wait_until(app, lambda: app.launch.layers_slider.get() == 12)


def test_arrow_keys_move_a_slider(app):
    app.root.update()
    app.launch.layers_slider._canvas.focus_force()
    app.launch.layers_slider._canvas.event_generate("<Right>")
    wait_until(app, lambda: shown(app.launch.layers_value) == "CPU only")


# --- game mode


def test_game_mode_is_ticked_next_to_start(app, controller):
    app.launch.gamemode_tick.toggle()
    app.launch.start_button.invoke()
    wait_until(app, lambda: [settings.gamemode for settings in controller.started] == [True])


def test_game_mode_from_the_command_line_is_ticked_and_can_be_cleared(open_window, controller):
    app = open_window(Settings(gamemode=True))
    assert app.launch.gamemode_tick.ticked
    app.launch.gamemode_tick.toggle()
    app.launch.start_button.invoke()
    wait_until(app, lambda: [settings.gamemode for settings in controller.started] == [False])


def test_game_mode_is_ticked_with_the_keyboard(app):
    app.root.update()
    canvas = app.launch.gamemode_tick._canvas
    canvas.focus_force()
    canvas.event_generate("<space>")
    assert app.launch.form.gamemode


def test_game_mode_cannot_be_changed_while_the_server_starts(app, controller):
    controller.gate.clear()
    app.launch.start_button.invoke()
    wait_until(app, lambda: shown(app.launch.start_button) == "Starting…")
    app.launch.gamemode_tick.toggle()
    assert not app.launch.form.gamemode


@pytest.mark.parametrize(("arrives", "leaves"), [("<Enter>", "<Leave>"), ("<FocusIn>", "<FocusOut>")])
def test_a_tip_explains_game_mode_to_mouse_and_keyboard(app, arrives, leaves):
    tip, box = app.launch.gamemode_tip, app.launch.gamemode_tick._canvas
    app.root.update()
    box.event_generate(arrives)
    assert not tip.card.winfo_ismapped()
    wait_until(app, tip.card.winfo_ismapped)
    assert shown(tip.label) == help_of("gamemode")
    assert tip.card.winfo_rootx() + tip.card.winfo_width() <= app.root.winfo_rootx() + app.root.winfo_width()
    box.event_generate(leaves)
    wait_until(app, lambda: not tip.card.winfo_ismapped())


def test_a_mouse_that_passes_by_calls_no_tip(app, controller):
    box = app.launch.gamemode_tick._canvas
    box.event_generate("<Enter>")
    box.event_generate("<Leave>")
    wait_for_ticks(app, controller, 7)
    assert not app.launch.gamemode_tip.card.winfo_ismapped()


# --- template and thinking


def pick(menu, label):
    """Choose an entry of a drop-down list as the mouse would."""
    menu._dropdown_menu.invoke(menu.cget("values").index(label))


def test_a_template_file_is_chosen_from_the_menu(app, controller, monkeypatch):
    asked = []
    monkeypatch.setattr("tkinter.filedialog.askopenfilename", lambda **how: asked.append(how) or "/mine/nemo.jinja")
    pick(app.launch.template_menu, "Choose a file…")
    assert "*.jinja" in asked[0]["filetypes"][0][1]
    assert app.launch.template_menu.get() == "nemo.jinja"
    assert app.launch.form.template == "/mine/nemo.jinja"
    app.launch.start_button.invoke()
    wait_until(app, lambda: [each.chatcompletionsadapter for each in controller.started] == ["/mine/nemo.jinja"])


def test_a_dismissed_template_dialog_keeps_the_template(app, monkeypatch):
    pick(app.launch.template_menu, "ChatML")
    monkeypatch.setattr("tkinter.filedialog.askopenfilename", lambda **_: "")
    pick(app.launch.template_menu, "Choose a file…")
    assert app.launch.template_menu.get() == app.launch.form.template == "ChatML"


def test_only_the_last_template_file_stays_in_the_menu(app, monkeypatch):
    for path in ("/one/nemo.jinja", "/two/nemo.jinja"):
        monkeypatch.setattr("tkinter.filedialog.askopenfilename", lambda path=path, **_: path)
        pick(app.launch.template_menu, "Choose a file…")
    assert app.launch.template_menu.cget("values").count("nemo.jinja") == 1
    assert app.launch.form.template == "/two/nemo.jinja"


def test_a_template_file_from_the_command_line_is_shown_by_its_name(open_window):
    app = open_window(Settings(chatcompletionsadapter="/mine/nemo.json"))
    assert app.launch.template_menu.get() == "nemo.json"
    assert app.launch.form.template == "/mine/nemo.json"


def test_automatic_stands_once_in_the_menu_however_it_is_written(open_window):
    menu = open_window(Settings(chatcompletionsadapter="autoguess")).launch.template_menu
    assert menu.cget("values").count(menu.get()) == 1


def test_forty_templates_stand_in_columns_that_fit_the_screen(open_window, controller, monkeypatch):
    monkeypatch.setattr(controller, "templates", lambda: tuple(f"Template {number}" for number in range(40)))
    menu = open_window().launch.template_menu._dropdown_menu
    menu.update_idletasks()
    assert menu.winfo_reqheight() < 16 * 30


def test_thinking_is_chosen_and_passed(app, controller):
    assert app.launch.thinking_menu.get() == "Sent apart (reasoning_content)"
    pick(app.launch.thinking_menu, "Dropped")
    app.launch.start_button.invoke()
    wait_until(app, lambda: [settings.thinking for settings in controller.started] == ["hide"])


def test_thinking_from_the_command_line_is_shown(open_window):
    assert open_window(Settings(thinking="off")).launch.thinking_menu.get() == "Off"


def test_template_and_thinking_cannot_be_changed_while_the_server_starts(app, controller):
    menus = (app.launch.template_menu, app.launch.thinking_menu)
    controller.gate.clear()
    app.launch.start_button.invoke()
    wait_until(app, lambda: all(menu.cget("state") == "disabled" for menu in menus))
    controller.gate.set()
    wait_until(app, lambda: all(menu.cget("state") == "normal" for menu in menus))


@pytest.mark.parametrize(("field", "setting"), [("template", "chatcompletionsadapter"), ("thinking", "thinking")])
def test_a_tip_explains_template_and_thinking(app, field, setting):
    tip = getattr(app.launch, f"{field}_tip")
    app.root.update()
    getattr(app.launch, f"{field}_menu")._canvas.event_generate("<Enter>")
    wait_until(app, tip.card.winfo_ismapped)
    assert shown(tip.label) == help_of(setting)


# --- start and stop


def test_start_passes_what_the_form_says(app, controller):
    app.launch.layers_slider._on_move(12)
    type_into(app.launch.context_entry, "4k")
    app.launch.template_menu._dropdown_callback("ChatML")
    type_into(app.launch.access.port_entry, "5002")
    app.launch.start_button.invoke()
    wait_until(app, lambda: shown(app.status.headline) == f"Ready on {ADDRESS}")
    wanted = Settings(model=STARTER, gpulayers=12, contextsize=4096, chatcompletionsadapter="ChatML", port=5002)
    assert controller.started == [wanted]


def test_slow_calls_never_run_on_the_windows_thread(app, controller):
    app.launch.start_button.invoke()
    wait_until(app, lambda: shown(app.launch.start_button) == "Stop")
    app.launch.start_button.invoke()
    wait_until(app, lambda: "stop" in controller.calls)
    assert threading.current_thread().name not in controller.threads


def test_a_field_that_cannot_be_used_is_said_and_nothing_starts(app, controller):
    type_into(app.launch.access.port_entry, "http")
    app.launch.start_button.invoke()
    wait_until(app, lambda: shown(app.status.problem) == "Port: 'http' is not a whole number.")
    assert controller.started == []
    assert enabled(app.launch.start_button)


def test_a_button_is_pressed_with_the_keyboard(app, controller):
    app.root.update()
    app.launch.start_button.focus_set()
    app.launch.start_button._canvas.focus_force()
    app.launch.start_button._canvas.event_generate("<space>")
    wait_until(app, lambda: len(controller.started) == 1)


def test_a_button_is_pressed_with_the_mouse(app, controller):
    canvas = app.launch.start_button._canvas
    for event in ("<Enter>", "<ButtonPress-1>", "<ButtonRelease-1>"):
        canvas.event_generate(event, x=4, y=4)
    wait_until(app, lambda: len(controller.started) == 1)


def test_load_progress_is_shown_and_the_form_is_locked_while_it_starts(app, controller):
    controller.after_start = LOADING
    controller.gate.clear()
    app.launch.start_button.invoke()
    assert app.launch.model_entry.cget("state") == "readonly"
    controller.gate.set()
    wait_until(app, lambda: shown(app.status.headline) == "Loading… 42 %")
    assert app.status.progress.get() == pytest.approx(0.42)
    assert app.status.progress.winfo_manager() == "grid"
    controller.state = READY
    wait_until(app, lambda: shown(app.status.headline) == f"Ready on {ADDRESS}")
    assert app.status.progress.winfo_manager() == ""


def test_a_failed_load_stays_visible_and_can_be_tried_again(app, controller):
    controller.after_start = Snapshot(EngineState.FAILED, sentence="The file is truncated.", address=ADDRESS)
    app.launch.start_button.invoke()
    wait_until(app, lambda: shown(app.status.headline) == "Failed")
    wait_for_ticks(app, controller)
    assert shown(app.status.problem) == "The file is truncated."
    assert shown(app.launch.start_button) == "Start"
    assert enabled(app.launch.start_button)
    assert app.launch.model_entry.cget("state") == "normal"
    controller.after_start = READY
    app.launch.start_button.invoke()
    wait_until(app, lambda: shown(app.status.headline) == f"Ready on {ADDRESS}")
    assert app.status.problem_box.winfo_manager() == ""


def test_after_a_failed_load_the_server_can_be_stopped(app, controller):
    controller.state = Snapshot(EngineState.FAILED, sentence="No.", address=ADDRESS)
    wait_until(app, lambda: app.launch.stop_server_button.winfo_manager() == "grid")
    app.launch.stop_server_button.invoke()
    wait_until(app, lambda: shown(app.status.headline) == "Stopped")


def test_a_refused_start_is_explained(app, controller):
    controller.start_error = PortInUse("Port 5001 is in use by skyrim.exe.", "Choose another port.")
    app.launch.start_button.invoke()
    wait_until(app, lambda: shown(app.status.headline) == "Not started")
    assert shown(app.status.problem) == "Port 5001 is in use by skyrim.exe. Choose another port."
    assert enabled(app.launch.start_button)


def test_a_mistake_of_ours_gives_a_sentence_not_a_traceback(app, controller, caplog):
    controller.start_error = ZeroDivisionError("division by zero")
    app.launch.start_button.invoke()
    wait_until(app, lambda: "ZeroDivisionError" in shown(app.status.problem))
    assert "Traceback" not in shown(app.status.problem)
    assert "ZeroDivisionError" in caplog.text


def test_the_window_lives_while_a_start_takes_its_time(app, controller):
    controller.gate.clear()
    app.launch.start_button.invoke()
    assert shown(app.launch.start_button) == "Starting…"
    assert not enabled(app.launch.start_button)
    controller.state = dataclasses.replace(LOADING, progress=0.1)
    wait_for_ticks(app, controller)
    assert shown(app.status.headline) == "Loading… 10 %"
    controller.gate.set()
    wait_until(app, lambda: shown(app.launch.start_button) == "Stop")
    assert controller.calls == ["start"]


def test_stop_brings_start_back(app, controller):
    app.launch.start_button.invoke()
    wait_until(app, lambda: shown(app.launch.start_button) == "Stop")
    app.launch.start_button.invoke()
    assert shown(app.status.headline) == "Stopping…"
    wait_until(app, lambda: shown(app.status.headline) == "Stopped")
    assert controller.calls == ["start", "stop"]
    assert enabled(app.launch.start_button)


# --- while it runs


def test_speeds_follow_eight_streams(app, controller):
    for running in range(1, 9):
        stats = EngineStats(
            running=running, decode_speed=20.5 * running, prompt_speed=300.0, cells_used=100 * running, cells_total=8192
        )
        controller.state = dataclasses.replace(READY, stats=stats, replies=running)
        wait_until(app, lambda running=running: shown(app.status.replies).startswith(f"{running} running"))
        assert shown(app.status.speed) == f"{20.5 * running:.1f}"
        assert shown(app.status.context) == f"{100 * running} of 8,192"
    assert shown(app.status.prompt_speed) == "prompts 300 tokens/s"


def test_the_cache_the_guesses_and_the_threads_are_shown(app, controller):
    stats = EngineStats(threads=2, prompt_tokens=1000, cached_tokens=870, cells_cached=512, ram_used=120_000_000)
    controller.state = dataclasses.replace(READY, stats=stats, threads=6)
    wait_until(app, lambda: shown(app.status.cached) == "87 % of 1,000 tokens")
    assert shown(app.status.kept) == "512 tokens · 120 MB in RAM"
    assert shown(app.status.speed_unit) == "tokens/s · 2 of 6 threads"
    assert not app.status.drafts.winfo_manager()
    controller.state = dataclasses.replace(READY, stats=dataclasses.replace(stats, drafted=80, accepted=60))
    wait_until(app, lambda: shown(app.status.drafts) == "75 % of 80 tokens")
    assert app.status.drafts.winfo_manager()


def test_the_template_of_the_loaded_model_is_shown_and_explained(app, controller):
    assert not app.status.template.winfo_manager()
    controller.state = dataclasses.replace(READY, template=OWN_TEMPLATE)
    wait_until(app, lambda: shown(app.status.template) == "ChatML · the model's own")
    assert app.status.template.winfo_manager()
    assert not app.status.template_warning.winfo_manager()
    app.root.update()
    app.status.template._canvas.event_generate("<Enter>")
    wait_until(app, app.status.template_tip.card.winfo_ismapped)
    assert shown(app.status.template_tip.label) == "ChatML: The model file carries it."
    controller.state = IDLE
    wait_until(app, lambda: not app.status.template_tip.card.winfo_ismapped())


def test_what_speaks_against_the_template_is_seen_without_a_mouse(app, controller):
    controller.state = dataclasses.replace(READY, template=DOUBTFUL_TEMPLATE)
    wait_until(app, app.status.template_warning.winfo_ismapped)
    assert shown(app.status.template_warning) == DOUBTFUL_TEMPLATE.warning
    assert app.status.template_warning.cget("text_color") == WARNING
    controller.state = IDLE
    wait_until(app, lambda: not app.status.template_warning.winfo_ismapped())
    assert not app.status.template.winfo_ismapped()


def test_a_prompt_that_is_cut_is_said_while_its_reply_runs_and_counted_after(app, controller):
    assert not app.status.trimmed.winfo_manager()
    cut = RequestRow(1, "SkyrimNet", "/v1/chat/completions", 8000, 12, Trimmed(messages=3, tokens=512))
    controller.state = dataclasses.replace(READY, requests=(cut,), replies=16, trimmed=2)
    wait_until(app, lambda: shown(app.status.trimmed) == "512 tokens (3 messages)")
    assert shown(app.status.trimmed_name) == "Cut from prompts"
    assert app.status.trimmed.cget("text_color") == WARNING
    controller.state = dataclasses.replace(READY, replies=17, trimmed=3)
    wait_until(app, lambda: shown(app.status.trimmed) == "3 of 17 replies")
    assert shown(app.status.trimmed_name) == "Prompts cut"
    assert app.status.trimmed.cget("text_color") == TEXT


def test_a_tick_without_news_touches_no_widget(app, controller, monkeypatch):
    controller.state = READY
    wait_until(app, lambda: shown(app.launch.start_button) == "Stop")
    touched = []
    monkeypatch.setattr("customtkinter.CTkLabel.configure", lambda widget, **changes: touched.append(changes))
    wait_for_ticks(app, controller)
    assert touched == []


# --- the live page


def row(request_id, client="Mantella", **facts):
    return RequestRow(request_id, client, "/v1/chat/completions", 1200, 34, **facts)


def test_running_requests_are_listed_with_their_clients_and_numbers(app, controller):
    writing = row(7, phase=Phase.WRITING, cached_tokens=1100, speed=21.46)
    waiting = row(8, client="CHIM")
    controller.state = dataclasses.replace(READY, requests=(writing, waiting))
    app.navigation.go(Page.LIVE)
    wait_until(app, lambda: len(app.live.table.rows) == 2)
    first, second = app.live.table.rows
    assert first.texts == ("Mantella", "/v1/chat/completions", "writing", "1,200", "1,100", "34", "21.5")
    assert second.texts == ("CHIM", "/v1/chat/completions", "waiting", "1,200", "—", "34", "—")
    assert not app.live.quiet.winfo_ismapped()


def test_a_long_name_stays_in_its_column(app, controller):
    controller.state = dataclasses.replace(READY, requests=(row(7, client="Mozilla/5.0 (X11; Linux x86_64) " * 9),))
    app.navigation.go(Page.LIVE)
    wait_until(app, lambda: app.live.table.rows and app.live.table.rows[0].cells[1].winfo_width() > 1)
    client, route = app.live.table.rows[0].cells[:2]
    assert client.winfo_x() + client.winfo_width() <= route.winfo_x()


def test_a_request_is_cancelled_by_its_button(app, controller):
    controller.state = dataclasses.replace(READY, requests=(row(7), row(8)))
    app.navigation.go(Page.LIVE)
    wait_until(app, lambda: len(app.live.table.rows) == 2)
    button = app.live.table.rows[1].button
    button.invoke()
    wait_until(app, lambda: controller.cancelled == [8])
    assert shown(button) == "Cancelling"
    assert not enabled(button)
    assert "MainThread" not in controller.threads
    controller.state = dataclasses.replace(READY, requests=(row(7), row(9)))
    wait_until(app, lambda: enabled(button))


def test_requests_that_ended_leave_the_list(app, controller):
    controller.state = dataclasses.replace(READY, requests=(row(7),))
    app.navigation.go(Page.LIVE)
    wait_until(app, lambda: app.live.table.rows)
    controller.state = READY
    wait_until(app, lambda: app.live.table.rows[0].texts == ())
    app.root.update()
    assert not app.live.table.rows[0].button.winfo_ismapped()
    assert "Nobody is asking" in shown(app.live.quiet)


def test_the_figures_follow_what_happens(app, controller):
    machine = MachineUse(processor=0.42, memory=8_000_000_000, memory_total=16_000_000_000, own=1_500_000_000)
    controller.state = dataclasses.replace(BUSY, machine=machine, first_token=0.25, written=98765)
    app.navigation.go(Page.LIVE)
    figures = {
        "speed": ("1,163.7", "at best 1,163.7"),
        "prompts": ("12,345", "12,345,678 tokens asked for"),
        "first_token": ("250 ms", "of the last reply"),
        "replies": ("16 + 48", "123,456 replies, 98,765 tokens"),
        "context": ("76 %", "100,000 of 131,072 tokens"),
        "cached": ("86 %", "10,740,730 tokens not read again"),
        "processor": ("42 %", "11 of 12 threads for replies"),
        "memory": ("1.5 GB", "ours; the PC: 8.0 GB of 16.0 GB"),
    }
    wait_until(app, lambda: shown(app.live.tiles["memory"].value) == "1.5 GB")
    assert {key: (shown(tile.value), shown(tile.note)) for key, tile in app.live.tiles.items()} == figures
    assert app.live.tiles["processor"].bar.get() == 0.42


def test_the_chart_shows_the_speed_of_the_last_minutes(app, controller):
    controller.state = dataclasses.replace(READY, stats=EngineStats(decode_speed=80.0, cells_total=8192))
    app.navigation.go(Page.LIVE)

    def words():
        plot = app.live.chart.plot
        return [plot.itemcget(item, "text") for item in plot.find_all() if plot.type(item) == "text"]

    wait_until(app, lambda: "100 tokens/s" in words())
    assert "the last 3 minutes" in words()


def test_the_keyboard_leads_to_every_page(app):
    app.root.update()
    app.root.focus_force()
    for key, page in (*enumerate(Page, 1), (1, Page.LAUNCH)):
        app.root.event_generate(f"<Control-Key-{key}>")
        assert app.navigation.page is page


def test_one_page_is_in_sight_at_a_time(app):
    frames = {Page.LAUNCH: app.launch.frame, Page.LIVE: app.live.frame, Page.LOG: app.log.frame}
    for page in (Page.LAUNCH, Page.LIVE, Page.LOG, Page.LAUNCH):
        app.navigation.buttons[page].invoke()
        app.root.update()
        assert [name for name, frame in frames.items() if frame.winfo_viewable()] == [page]


def test_the_state_is_seen_on_every_page(app, controller):
    controller.state = LOADING
    app.navigation.go(Page.LOG)
    wait_until(app, lambda: shown(app.state) == "● Loading… 42 %")
    app.navigation.go(Page.LAUNCH)
    assert shown(app.state) == ""


# --- the connect page


def test_each_program_has_its_fields_with_copy_buttons(app, controller):
    app.navigation.go(Page.CONNECT)
    assert [shown(app.connect.fields[0].name), app.connect.fields[0].entry.get()] == ["LLM Service", f"{ADDRESS}/v1"]
    app.connect.buttons["skyrimnet"].invoke()
    assert app.connect.fields[0].entry.get() == f"{ADDRESS}/v1/chat/completions"
    app.connect.fields[0].copy_button.invoke()
    assert app.root.clipboard_get() == f"{ADDRESS}/v1/chat/completions"
    controller.state = dataclasses.replace(READY, address="http://127.0.0.1:5009")
    wait_until(app, lambda: app.connect.fields[0].entry.get() == "http://127.0.0.1:5009/v1/chat/completions")


def test_there_is_room_for_the_fields_and_the_advice_of_every_program(app, controller):
    app.navigation.go(Page.CONNECT)
    for guide in controller.clients():
        assert len(guide.fields) <= len(app.connect.fields)
        assert len(guide.advice) <= len(app.connect.advice)


def test_a_program_can_be_tried_once_a_model_is_ready(app, controller):
    app.navigation.go(Page.CONNECT)
    assert not enabled(app.connect.test_button)
    assert "launch page" in shown(app.connect.hint)
    controller.state = READY
    wait_until(app, lambda: enabled(app.connect.test_button))
    app.connect.buttons["chim"].invoke()
    app.connect.test_button.invoke()
    wait_until(app, lambda: shown(app.connect.reply) == "Well met.")
    assert shown(app.connect.figures) == "It works · first words after 0.25 s · 31.4 tokens/s"
    assert "try chim" in controller.calls
    assert "MainThread" not in controller.threads


def test_a_program_that_hears_nothing_is_told_why(app, controller):
    controller.trial = TavernkeepError("The reply was empty.", "Try again.")
    controller.state = READY
    app.navigation.go(Page.CONNECT)
    wait_until(app, lambda: enabled(app.connect.test_button))
    app.connect.test_button.invoke()
    wait_until(app, lambda: shown(app.connect.reply) == "The reply was empty. Try again.")
    assert shown(app.connect.figures) == "It did not work"


def test_mantellas_settings_are_written_for_the_folder_that_is_picked(app, controller, monkeypatch):
    monkeypatch.setattr("tkinter.filedialog.askdirectory", lambda **_: "/games/Mantella")
    app.navigation.go(Page.CONNECT)
    app.root.update()
    app.connect.config_button.invoke()
    wait_until(app, lambda: "config_before_tavernkeep_0.ini" in shown(app.connect.reply))
    assert "write /games/Mantella" in controller.calls
    app.connect.buttons["skyrimnet"].invoke()
    app.root.update()
    assert not app.connect.config_button.winfo_ismapped()
    assert shown(app.connect.reply) == ""


def test_an_address_is_copied(app, controller):
    assert not enabled(app.status.openai.copy_button)
    controller.state = READY
    wait_until(app, lambda: enabled(app.status.openai.copy_button))
    app.status.openai.copy_button.invoke()
    assert app.root.clipboard_get() == f"{ADDRESS}/v1"
    assert shown(app.status.openai.copy_button) == "Copied"


def test_a_button_shows_the_chat_page_in_the_browser(app, controller, monkeypatch):
    opened = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    assert not enabled(app.status.chat_button)
    controller.state = READY
    wait_until(app, lambda: enabled(app.status.chat_button))
    app.status.chat_button.invoke()
    wait_until(app, lambda: opened == [ADDRESS])


def test_pages_are_built_when_they_are_needed_or_in_advance(app):
    assert not set(Page) - {Page.LAUNCH} & set(app.navigation._frames)
    app.navigation.go(Page.CONNECT)
    assert set(app.navigation._frames) == {Page.LAUNCH, Page.CONNECT}
    app.build_in_advance()
    wait_until(app, lambda: set(app.navigation._frames) == set(Page))
    app.root.update()
    assert [page for page, frame in app.navigation._frames.items() if frame.winfo_ismapped()] == [Page.CONNECT]


def test_the_log_shows_the_last_lines_and_stays_bounded(app, controller):
    app.navigation.go(Page.LOG)
    controller.lines = [LogLine(20, f"line {number}") for number in range(1500)] + [LogLine(40, "x" * 100_000)]
    wait_until(app, lambda: "line 1499" in app.log.text.get("1.0", "end"))
    wait_until(app, lambda: "xxx" in app.log.text.get("1.0", "end"))
    lines = app.log.text.get("1.0", "end-1c").split("\n")
    assert len(lines) == 1000
    assert [line.split(" ", 1)[1] for line in lines[-2:]] == ["line 1499", "x" * 2000]
    assert app.log.text.tag_ranges("error")


def test_the_log_follows_its_end_while_another_page_is_in_sight(app, controller):
    app.navigation.go(Page.LOG)
    app.root.update()
    app.navigation.go(Page.LAUNCH)
    controller.lines = [LogLine(20, f"line {number}") for number in range(200)]
    wait_until(app, lambda: not controller.lines)
    app.navigation.go(Page.LOG)
    app.root.update()
    assert "line 199" in app.log.text.get("1.0", "end")
    assert app.log.text.yview()[1] == 1.0


def test_the_log_stays_where_the_user_scrolled_to(app, controller):
    app.navigation.go(Page.LOG)
    app.root.update()
    controller.lines = [LogLine(20, f"line {number}") for number in range(200)]
    wait_until(app, lambda: "line 199" in app.log.text.get("1.0", "end"))
    app.log.text.yview("10.0")
    controller.state = BUSY
    controller.lines = [LogLine(20, "line 200")]
    wait_until(app, lambda: "line 200" in app.log.text.get("1.0", "end"))
    wait_for_ticks(app, controller)
    assert app.log.text.index("@0,0") == "10.0"


def test_the_log_is_filtered_by_words_and_by_problems(app, controller):
    app.navigation.go(Page.LOG)
    controller.lines = [LogLine(20, "Mantella asked"), LogLine(30, "Mantella waits long"), LogLine(20, "CHIM asked")]

    def lines():
        return [line.split(" ", 1)[1] for line in app.log.text.get("1.0", "end-1c").split("\n") if line]

    wait_until(app, lambda: len(lines()) == 3)
    type_into(app.log.filter_entry, "asked mantella")
    wait_until(app, lambda: lines() == ["Mantella asked"])
    controller.lines = [LogLine(20, "Mantella asked again"), LogLine(20, "CHIM asked again")]
    wait_until(app, lambda: lines() == ["Mantella asked", "Mantella asked again"])
    type_into(app.log.filter_entry, "")
    app.log.problems_tick.toggle()
    wait_until(app, lambda: lines() == ["Mantella waits long"])
    app.log.copy_button.invoke()
    assert app.root.clipboard_get().endswith("Mantella waits long\n")
    app.log.problems_tick.toggle()
    wait_until(app, lambda: len(lines()) == 5)


def test_a_report_for_a_bug_is_copied(app, controller):
    controller.settings = Settings(password="taverna", contextsize=4096)
    controller.lines = [LogLine(40, "the engine broke")]
    app.navigation.go(Page.LOG)
    wait_until(app, lambda: "broke" in app.log.text.get("1.0", "end"))
    app.log.report_button.invoke()
    report = app.root.clipboard_get()
    assert "the engine broke" in report
    assert "contextsize: 4096" in report
    assert "taverna" not in report
    assert shown(app.log.report_button) == "Copied"


def test_the_colours_can_be_switched(app):
    app.navigation.go(Page.OPTIONS)
    assert shown(app.appearance.mode_button) == "Light colours"
    app.appearance.mode_button.invoke()
    assert shown(app.appearance.mode_button) == "Dark colours"


# --- what is remembered


def test_an_edit_is_kept_at_once_and_comes_back_with_its_model(open_window, controller, tmp_path):
    model = tmp_path / "mine.gguf"
    model.touch()
    file = tmp_path / "window.json"
    app = open_window(memory=Memory(file))
    type_into(app.launch.model_entry, str(model))
    wait_until(app, lambda: "30 layers" in shown(app.launch.model_line))
    type_into(app.launch.context_entry, "2048")
    wait_until(app, lambda: file.exists() and "2048" in file.read_text())
    type_into(app.launch.model_entry, "/other.gguf")
    type_into(app.launch.context_entry, "4096")
    wait_until(app, lambda: "/other.gguf" in file.read_text())
    type_into(app.launch.model_entry, str(model))
    wait_until(app, lambda: app.launch.context_entry.get() == "2048")
    app.close()
    again = open_window(memory=Memory(file))
    assert (again.launch.model_entry.get(), again.launch.context_entry.get()) == (str(model), "2048")


def test_the_look_comes_back(open_window, tmp_path):
    file = tmp_path / "window.json"
    app = open_window(memory=Memory(file))
    app.navigation.go(Page.OPTIONS)
    app.appearance.mode_button.invoke()
    app.appearance.scale_slider._on_move(SCALES.index(1.25))
    assert shown(app.appearance.scale_value) == "125 %"
    wait_until(app, lambda: file.exists() and "1.25" in file.read_text())
    app.close()
    again = open_window(memory=Memory(file), appearance=None, scale=None)
    again.navigation.go(Page.OPTIONS)
    assert shown(again.appearance.mode_button) == "Dark colours"
    assert shown(again.appearance.scale_value) == "125 %"
    assert again.launch.start_button._get_widget_scaling() == 1.25


def test_a_damaged_memory_is_told_and_the_window_opens(open_window, tmp_path, caplog):
    file = tmp_path / "window.json"
    file.write_text("{{{")
    app = open_window(memory=Memory(file))
    assert app.launch.model_entry.get() == STARTER
    assert "put aside" in caplog.text


# --- size


@pytest.mark.parametrize("scale", [1.0, 1.5])
@pytest.mark.parametrize(
    "state",
    [IDLE, LOADING, BUSY, Snapshot(EngineState.FAILED, sentence="word " * 60, address=ADDRESS)],
    ids=lambda state: state.state.value,
)
def test_everything_fits_into_the_smallest_window(open_window, controller, state, scale):
    controller.state = state
    controller.models.found[STARTER] = ModelLoadError("starter.gguf is cut off: " + "words " * 20)
    app = open_window(Settings(host="0.0.0.0", password="x"), scale=scale)
    app.root.geometry("900x600")
    app.root.update()
    wait_for_ticks(app, controller)
    for card in (app.launch.frame, app.status.frame):
        assert card.winfo_reqheight() <= card.winfo_height()
        assert card.winfo_reqwidth() <= card.winfo_width()
    for box in filter(tkinter.Misc.winfo_ismapped, (app.status.rows, app.status.model_box)):
        for row in range(box.grid_size()[1]):
            left_to_right = sorted(box.grid_slaves(row=row), key=lambda label: label.winfo_x())
            for name, value in itertools.pairwise(left_to_right):
                assert name.winfo_x() + name.winfo_width() < value.winfo_x()


@pytest.mark.parametrize("scale", [1.0, 1.5])
def test_every_page_fits_into_the_smallest_window(open_window, controller, scale):
    controller.state = BUSY
    app = open_window(scale=scale)
    app.root.geometry("900x600")
    for page in Page:
        app.navigation.go(page)
        app.root.update()
        wait_for_ticks(app, controller)
        assert app.root.winfo_reqwidth() <= app.root.winfo_width()
        assert app.root.winfo_reqheight() <= app.root.winfo_height()


@pytest.mark.parametrize(
    ("dots_per_inch", "screen", "scale"),
    [(100, (1920, 1080), 1.0), (144, (2560, 1440), 1.5), (192, (3840, 2160), 2.0), (192, (1366, 768), 1.25)],
)
def test_the_scale_follows_the_display_but_fits_the_screen(dots_per_inch, screen, scale, monkeypatch):
    from gui.appearance import display_scale

    monkeypatch.setattr("sys.platform", "linux")
    display = SimpleNamespace(
        winfo_fpixels=lambda _: dots_per_inch,
        winfo_screenwidth=lambda: screen[0],
        winfo_screenheight=lambda: screen[1],
    )
    assert display_scale(display) == scale


# --- the end


def test_closing_stops_the_server_and_leaves_no_noise(app, controller, capfd):
    app.launch.start_button.invoke()
    wait_until(app, lambda: shown(app.launch.start_button) == "Stop")
    app.root.tk.eval(app.root.protocol("WM_DELETE_WINDOW"))
    app.sheet.buttons[-1].invoke()
    assert shown(app.status.headline) == "Stopping…"
    wait_until(app, lambda: app.closed)
    assert controller.calls == ["start", "close"]
    assert capfd.readouterr().err == ""


def test_closing_during_a_start_stops_after_it(app, controller):
    controller.gate.clear()
    app.launch.start_button.invoke()
    wait_until(app, lambda: controller.calls == ["start"])
    app.close()
    wait_for_ticks(app, controller)
    assert not app.closed
    controller.gate.set()
    wait_until(app, lambda: app.closed)
    assert controller.calls == ["start", "close"]


def test_ctrl_c_in_the_terminal_closes_the_window(app, controller):
    app._report(KeyboardInterrupt, KeyboardInterrupt(), None)
    wait_until(app, lambda: app.closed)
    assert controller.calls == ["close"]


def test_run_shows_the_window_until_it_is_closed(open_window, controller, monkeypatch):
    from gui import mainloop

    class ShortLived(mainloop.App):
        def __init__(self, *arguments, **look):
            super().__init__(*arguments, **look)
            self.root.after(150, self.close)

    monkeypatch.setattr(mainloop, "App", ShortLived)
    assert mainloop.run(controller, Settings(), start=False)
    assert controller.calls == ["close"]


def test_without_a_display_the_launcher_is_told(controller, monkeypatch):
    from gui.mainloop import NoDisplay, run

    monkeypatch.setenv("DISPLAY", "")
    with pytest.raises(NoDisplay):
        run(controller, Settings(), start=False)


def test_a_model_named_on_the_command_line_is_started_without_a_click(open_window, controller):
    app = open_window(Settings(model=STARTER))
    app.start()
    wait_until(app, lambda: controller.started)
    assert controller.started[0].model == STARTER
