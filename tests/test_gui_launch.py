"""The launch page beyond the first fields: memory, preview, further options, restart, import and export."""

from __future__ import annotations

import dataclasses

from gui.memory import Memory
from gui.view.forecast import Part
from server.errors import SettingsError
from server.events import EngineState
from server.settings import Settings
from server.snapshot import Device, DeviceKind, Preview, Snapshot
from tests.fake_controller import OWN_TEMPLATE, READY, STARTER, model_file
from tests.window import app, controller, enabled, open_window, shown, type_into, wait_for_ticks, wait_until

GB = 10**9
CARD = Device("CUDA0", "A card", DeviceKind.GPU, 12 * GB, 8 * GB)


def running(app, controller):
    app.launch.start_button.invoke()
    wait_until(app, lambda: shown(app.launch.start_button) == "Stop")


# --- memory


def test_the_devices_are_asked_for_when_the_window_opens_and_again_after_a_stop(open_window, controller):
    controller.models.machine = (CARD,)
    app = open_window()
    wait_until(app, lambda: shown(app.launch.memory_line).startswith("A card: "))
    assert [part for part, _ in app.launch.memory_bar.parts] == list(Part)
    running(app, controller)
    controller.models.machine = ()
    app.launch.start_button.invoke()
    wait_until(app, lambda: shown(app.launch.memory_line).startswith("RAM: "))


def test_automatic_layers_follow_the_context_and_what_is_left_for_the_game(open_window, controller):
    shape = model_file(STARTER).shape
    layer = dataclasses.replace(shape.layers[0], weights=300_000_000, keys=4096, values=4096)
    controller.models.found[STARTER] = model_file(STARTER, shape=dataclasses.replace(shape, layers=(layer,) * 30))
    controller.models.machine = (CARD,)
    app = open_window()

    def layers():
        text = shown(app.launch.layers_value)
        return int(text.split()[1]) if text.startswith("Auto: ") and " of " in text else 0

    wait_until(app, layers)
    before = layers()
    app.launch.reserve_slider._on_move(8)
    assert shown(app.launch.reserve_value) == "4 GB"
    wait_until(app, lambda: 0 < layers() < before)
    with_less = layers()
    type_into(app.launch.context_entry, "2048")
    wait_until(app, lambda: layers() > with_less)
    app.launch.start_button.invoke()
    wait_until(app, lambda: controller.started)
    assert (controller.started[0].reservevram, controller.started[0].gpulayers) == (4.0, -1)


def test_a_bad_file_has_no_forecast(app, controller):
    type_into(app.launch.context_entry, "")
    wait_for_ticks(app, controller)
    wait_until(app, lambda: app.launch.memory_bar.parts)
    controller.models.found["/bad.gguf"] = SettingsError("No.")
    type_into(app.launch.model_entry, "/bad.gguf")
    wait_until(app, lambda: not app.launch.memory_bar.winfo_manager())
    assert shown(app.launch.memory_line) == ""


# --- the template


def test_the_template_is_explained_and_previewed_before_the_start(app):
    wait_until(app, lambda: shown(app.launch.template_line).startswith("ChatML, the model's own."))
    app.launch.preview_button.invoke()
    assert app.sheet.open
    assert app.sheet.text.get("1.0", "end").strip() == "<|im_start|>user"
    app.sheet.buttons[0].invoke()
    assert not app.sheet.open
    app.launch.preview_button.invoke()
    app.root.event_generate("<Escape>")
    wait_until(app, lambda: not app.sheet.open)


def test_a_template_that_cannot_be_used_is_said_and_there_is_no_preview(app, controller):
    wait_until(app, lambda: enabled(app.launch.preview_button))
    controller.chat = SettingsError("x.json cannot be used.")
    app.launch.template_menu.choose("/x.json", "x.json")
    app.launch._actions.changed()
    wait_until(app, lambda: shown(app.launch.template_line) == "x.json cannot be used.")
    assert not enabled(app.launch.preview_button)
    controller.chat = Preview(OWN_TEMPLATE, "", "It cannot render a chat.")
    app.launch.template_menu.choose("Alpaca", "Alpaca")
    app.launch._actions.changed()
    wait_until(app, lambda: enabled(app.launch.preview_button))
    app.launch.preview_button.invoke()
    assert "It cannot render a chat." in app.sheet.text.get("1.0", "end")


# --- further options


def test_further_options_are_folded_away_and_used_once_they_are_changed(app, controller):
    options = app.launch.options
    assert not options.open
    options.fold_button.invoke()
    assert options.open
    type_into(options.fields["threads"], "3")
    options.fields["lowvram"].toggle()
    options.fields["quantkv"].choose("1")
    type_into(options.fields["tensor_split"], "3, 1")
    wait_until(app, lambda: "4 changed" in shown(options.fold_button))
    options.fold_button.invoke()
    assert not options.open
    app.launch.start_button.invoke()
    wait_until(app, lambda: controller.started)
    used = controller.started[0]
    assert (used.threads, used.lowvram, used.quantkv, used.tensor_split) == (3, True, 1, (3.0, 1.0))


def test_every_further_option_has_a_tip(app):
    app.launch.options.fold_button.invoke()
    assert len(app.launch.options.tips) >= len(app.launch.options.fields) > 30
    assert all(shown(tip.label) for tip in app.launch.options.tips)


def test_an_option_that_cannot_be_used_is_named_on_start(app, controller):
    app.launch.options.fold_button.invoke()
    type_into(app.launch.options.fields["threads"], "many")
    app.launch.start_button.invoke()
    wait_until(app, lambda: shown(app.status.problem).startswith("Threads: 'many' is not a whole number"))
    assert controller.started == []


def test_a_new_model_begins_without_the_last_ones_further_options(open_window, tmp_path):
    app = open_window(memory=Memory(tmp_path / "window.json"))
    wait_until(app, lambda: "30 layers" in shown(app.launch.model_line))
    app.launch.options.fold_button.invoke()
    type_into(app.launch.options.fields["lora"], "/a.gguf")
    wait_until(app, lambda: "1 changed" in shown(app.launch.options.fold_button))
    type_into(app.launch.model_entry, "/models/other.gguf")
    wait_until(app, lambda: app.launch.options.fields["lora"].get() == "")
    type_into(app.launch.model_entry, STARTER)
    wait_until(app, lambda: app.launch.options.fields["lora"].get() == "/a.gguf")


def test_the_keyboard_brings_what_it_reaches_in_sight(app):
    app.root.update()
    app.launch.options.fold_button.invoke()
    app.root.update()
    last = app.launch.options.fields["preloadstory"]
    last._entry.focus_force()
    wait_until(app, lambda: last.winfo_rooty() + last.winfo_height() <= app.launch.start_button.winfo_rooty())


# --- restart


def test_a_change_while_the_server_runs_offers_a_restart_that_keeps_it_running(app, controller):
    running(app, controller)
    assert app.launch.restart_button.winfo_manager() == ""
    app.launch.reserve_slider._on_move(8)
    wait_until(app, lambda: app.launch.restart_button.winfo_manager() == "grid")
    app.launch.restart_button.invoke()
    wait_until(app, lambda: len(controller.started) == 2)
    wait_until(app, lambda: app.launch.restart_button.winfo_manager() == "")
    assert "stop" not in controller.calls
    assert controller.started[1].reservevram == 4.0


def test_a_change_that_is_taken_back_offers_none(app, controller):
    running(app, controller)
    app.launch.gamemode_tick.toggle()
    wait_until(app, lambda: app.launch.restart_button.winfo_manager() == "grid")
    app.launch.gamemode_tick.toggle()
    wait_until(app, lambda: app.launch.restart_button.winfo_manager() == "")


def test_a_model_is_changed_while_another_runs(app, controller):
    running(app, controller)
    type_into(app.launch.model_entry, "/models/other.gguf")
    wait_until(app, lambda: "30 layers" in shown(app.launch.model_line))
    app.launch.restart_button.invoke()
    wait_until(app, lambda: controller.started[-1].model == "/models/other.gguf")


def test_a_restart_that_is_refused_says_why_and_the_old_model_stays(app, controller):
    running(app, controller)
    controller.start_error = SettingsError("No room for that.")
    app.launch.reserve_slider._on_move(8)
    wait_until(app, lambda: app.launch.restart_button.winfo_manager() == "grid")
    app.launch.restart_button.invoke()
    wait_until(app, lambda: shown(app.status.problem) == "No room for that.")
    assert controller.state == READY
    assert app.launch.restart_button.winfo_manager() == "grid"


# --- files


def test_imported_settings_fill_the_form_and_keep_the_model_where_they_name_none(app, controller, monkeypatch):
    controller.imported = Settings(contextsize=2048, threads=3, port=5009)
    monkeypatch.setattr("tkinter.filedialog.askopenfilename", lambda **_: "/a.kcpps")
    app.launch.import_button.invoke()
    wait_until(app, lambda: app.launch.context_entry.get() == "2048")
    form = app.launch.form
    assert (form.model, form.port, dict(form.options)["threads"]) == (STARTER, "5009", "3")
    controller.imported = Settings(model="/models/other.gguf")
    app.launch.import_button.invoke()
    wait_until(app, lambda: app.launch.model_entry.get() == "/models/other.gguf")


def test_the_forms_settings_are_exported(app, controller, monkeypatch):
    monkeypatch.setattr("tkinter.filedialog.asksaveasfilename", lambda **_: "/b.kcpps")
    app.launch.gamemode_tick.toggle()
    app.launch.export_button.invoke()
    wait_until(app, lambda: controller.exported)
    assert controller.exported.gamemode
    assert "export /b.kcpps" in controller.calls


def test_a_form_that_means_nothing_is_not_exported(app, controller, monkeypatch):
    monkeypatch.setattr("tkinter.filedialog.asksaveasfilename", lambda **_: "/b.kcpps")
    type_into(app.launch.access.port_entry, "many")
    app.launch.export_button.invoke()
    wait_until(app, lambda: shown(app.status.problem).startswith("Port: 'many'"))
    assert controller.exported is None


def test_a_dismissed_dialog_does_nothing(app, controller, monkeypatch):
    monkeypatch.setattr("tkinter.filedialog.askopenfilename", lambda **_: "")
    monkeypatch.setattr("tkinter.filedialog.asksaveasfilename", lambda **_: "")
    app.launch.import_button.invoke()
    app.launch.export_button.invoke()
    wait_for_ticks(app, controller)
    assert controller.calls == []


def test_without_room_the_sentence_is_there_before_the_start(open_window, controller):
    shape = model_file(STARTER).shape
    huge = dataclasses.replace(shape, inputs=10**15)
    controller.models.found[STARTER] = model_file(STARTER, shape=huge)
    app = open_window()
    wait_until(app, lambda: "too little" in shown(app.launch.memory_line))
    assert Snapshot().state is EngineState.IDLE
