"""The icon in the tray: what it shows and what its menu does, on a real message bus."""

import queue
import sys
from typing import ClassVar

import pytest

from gui.memory import OnClose
from gui.theme import ICONS
from gui.tray.icon import TrayEvents, icon_name
from gui.view.looks import Page, Pending, Tone
from gui.view.status import status_view
from gui.view.tray import TrayAction, TrayEntry, TrayView, tray_view
from server.events import EngineState
from server.snapshot import Snapshot
from tests.window import app, controller, open_window, shown, wait_until

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="other systems have no message bus")


@pytest.fixture
def bus(tmp_path, monkeypatch):
    from tests.tray_host import message_bus

    with message_bus(tmp_path) as address:
        monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", address)
        yield address


@pytest.fixture
def panel(bus):
    from tests.tray_host import Panel

    panel = Panel(bus)
    yield panel
    panel.close()


@pytest.fixture
def in_tray(app, panel):
    """A window whose icon is in the tray."""
    app.presence.join_tray()
    wait_until(app, lambda: app.presence._in_tray)
    return app


# --- what it says


def test_the_icon_says_the_state_and_offers_what_makes_sense():
    def view(**snapshot):
        seen = Snapshot(**snapshot)
        return tray_view(status_view(seen, Pending.NONE, ""), seen.state, Pending.NONE)

    stopped = view()
    assert (stopped.tone, stopped.title) == (Tone.QUIET, "Tavernkeep: Stopped")
    assert [entry.text for entry in stopped.entries] == [
        "Open the window",
        "Start",
        "Copy the address",
        "Stop and quit",
    ]
    assert not stopped.entries[2].enabled
    ready = view(state=EngineState.READY, address="http://127.0.0.1:5001")
    assert ready.tone is Tone.GOOD
    assert [entry.action for entry in ready.entries][1] is TrayAction.STOP
    assert ready.entries[2].enabled
    failed = view(state=EngineState.FAILED, sentence="The file is damaged.")
    assert (failed.tone, failed.title) == (Tone.BAD, "Tavernkeep: Failed · The file is damaged.")


def test_while_something_is_awaited_nothing_can_be_started_twice():
    snapshot = Snapshot()
    view = tray_view(status_view(snapshot, Pending.STARTING, ""), snapshot.state, Pending.STARTING)
    assert not view.entries[1].enabled


@pytest.mark.parametrize("tone", Tone)
@pytest.mark.parametrize("ending", [".png", ".ico"])
def test_every_state_has_its_icon(tone, ending):
    assert (ICONS / f"{icon_name(tone)}{ending}").is_file()


# --- the panel of a Linux desktop


@on_linux
def test_a_panel_shows_the_icon_and_its_tip(in_tray, panel):
    wait_until(in_tray, lambda: panel.look("ToolTip")[2] == "Tavernkeep: Stopped")
    assert panel.look("IconName") == "tavernkeep-tray-quiet"
    assert panel.look("IconThemePath") == str(ICONS)
    assert panel.look("Status") == "Active"
    assert set(panel.entries()) == {"Open the window", "Start", "Copy the address", "Stop and quit"}


@on_linux
def test_the_menu_starts_and_stops_the_server(in_tray, panel, controller):
    wait_until(in_tray, lambda: "Start" in panel.entries())
    panel.click("Start")
    wait_until(in_tray, lambda: panel.look("IconName") == "tavernkeep-tray-good")
    assert controller.settings.model == in_tray.launch.model_entry.get()
    in_tray.root.clipboard_append("something else")
    panel.click("Copy the address")
    wait_until(in_tray, lambda: in_tray.root.clipboard_get() == controller.snapshot().address)
    panel.click("Stop")
    wait_until(in_tray, lambda: "Start" in panel.entries())
    assert controller.calls[-1] == "stop"


@on_linux
def test_an_entry_that_is_off_does_nothing(in_tray, panel):
    wait_until(in_tray, lambda: "Copy the address" in panel.entries())
    assert panel.entries()["Copy the address"][1] is False
    in_tray.root.clipboard_clear()
    in_tray.root.clipboard_append("kept")
    panel.click("Copy the address")
    panel.click("Open the window")
    wait_until(in_tray, lambda: in_tray.root.focus_get() is not None)
    assert in_tray.root.clipboard_get() == "kept"


@on_linux
def test_a_click_on_the_icon_brings_the_window_back(in_tray, panel):
    in_tray.presence.hide()
    wait_until(in_tray, lambda: in_tray.root.state() == "withdrawn")
    from tests.tray_host import ITEM, ITEM_PATH

    panel.call(ITEM_PATH, ITEM, "Activate", "ii", 0, 0)
    wait_until(in_tray, lambda: in_tray.root.state() == "normal")


@on_linux
def test_a_window_in_the_tray_is_not_drawn_until_it_comes_back(in_tray, panel):
    in_tray.presence.hide()
    wait_until(in_tray, lambda: in_tray.presence.out_of_sight)
    panel.click("Start")
    wait_until(in_tray, lambda: "Stop" in panel.entries())
    assert shown(in_tray.status.headline) == "Stopped"
    panel.click("Open the window")
    wait_until(in_tray, lambda: shown(in_tray.status.headline).startswith("Ready"))


@on_linux
def test_closing_keeps_serving_in_the_tray_and_quitting_from_there_ends_all(in_tray, panel, controller):
    in_tray.start()
    wait_until(in_tray, lambda: in_tray._snapshot.address)
    in_tray.presence.ask_to_close(serving=True)
    keep, _ = in_tray.sheet.buttons
    assert shown(keep) == "Keep serving in the tray"
    keep.invoke()
    assert in_tray.root.state() == "withdrawn"
    assert "stop" not in controller.calls
    panel.click("Stop and quit")
    wait_until(in_tray, lambda: in_tray.closed)
    assert "close" in controller.calls


@on_linux
def test_the_options_page_names_the_tray_while_there_is_one(in_tray):
    in_tray.navigation.go(Page.OPTIONS)
    in_tray.options.close_menu.choose(OnClose.KEEP.value)
    assert in_tray.options.close_menu.get() == "Keep serving in the tray"


@on_linux
def test_a_window_in_the_tray_comes_within_reach_when_the_panel_ends(app, bus):
    from tests.tray_host import Panel

    panel = Panel(bus)
    minimised = []
    app.root.iconify = lambda: minimised.append(True)
    app.presence.join_tray()
    wait_until(app, lambda: app.presence._in_tray)
    app.presence.hide()
    panel.close()
    wait_until(app, lambda: minimised)
    panel = Panel(bus)
    wait_until(app, lambda: app.presence._in_tray)
    assert app.root.state() == "withdrawn"
    assert len(panel.items) == 1
    panel.close()


@on_linux
def test_a_panel_that_starts_later_gets_the_icon_too(app, bus):
    from tests.tray_host import Panel

    app.presence.join_tray()
    wait_until(app, lambda: app.presence._tray)
    panel = Panel(bus, host=False)
    wait_until(app, lambda: panel.items)
    assert not app.presence._in_tray
    panel.show_tray()
    wait_until(app, lambda: app.presence._in_tray)
    assert len(panel.items) == 1
    panel.close()


@on_linux
@pytest.mark.parametrize("address", ["", "unix:path=/nowhere/at/all", "nonsense"])
def test_without_a_bus_there_is_no_tray_and_no_harm(app, monkeypatch, address):
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", address)
    app.presence.join_tray()
    wait_until(app, lambda: app.presence._tray and not app.presence._tray._thread.is_alive())
    assert not app.presence._in_tray


@on_linux
def test_strange_questions_about_the_menu_are_answered(in_tray, panel):
    from tests.tray_host import MENU, Variant

    wait_until(in_tray, panel.entries)
    menu = panel.look("Menu")
    assert panel.call(menu, MENU, "AboutToShow", "i", 0) == [False]
    assert panel.call(menu, MENU, "AboutToShowGroup", "ai", [0, 99]) == [[], [99]]
    assert panel.call(menu, MENU, "GetProperty", "is", 99, "label")[0].value == ""
    assert [number for number, _ in panel.call(menu, MENU, "GetGroupProperties", "aias", [], [])[0]] == [0, 1, 2, 3, 4]
    assert panel.call(menu, MENU, "GetLayout", "iias", 99, 1, [])[1] == (99, {}, [])
    assert panel.call(menu, MENU, "EventGroup", "a(isvu)", [[99, "clicked", Variant("i", 0), 0]]) == [[99]]


# --- Windows


@pytest.fixture
def windows_icon(monkeypatch):
    """pystray with a back end that only remembers what Windows would be told."""
    monkeypatch.setenv("PYSTRAY_BACKEND", "dummy")
    import pystray

    class Icon(pystray.Icon):
        made: ClassVar[list] = []

        def __init__(self, *arguments):
            super().__init__(*arguments)
            self.running = False
            self.made.append(self)

        def run_detached(self):
            self.running, self.visible = True, True

        def stop(self):
            self.running = False

        def _nothing(self):
            pass

        _show = _hide = _update_icon = _update_title = _update_menu = _nothing

    monkeypatch.setattr(pystray, "Icon", Icon)
    return Icon


def test_on_windows_pystray_draws_the_icon_and_the_menu(windows_icon, tmp_path):
    from gui.tray.windows import LONGEST_TITLE, WindowsTray

    heard: queue.SimpleQueue = queue.SimpleQueue()
    tray = WindowsTray(TrayEvents(heard.put, heard.put))
    assert heard.get(timeout=1) is True
    entries = (TrayEntry(TrayAction.OPEN, "Open"), TrayEntry(TrayAction.COPY, "Copy", enabled=False))
    tray.show(TrayView(Tone.GOOD, "x" * 300, entries))
    icon = windows_icon.made[-1]
    assert len(icon.title) == LONGEST_TITLE
    items = list(icon.menu)
    assert [(item.text, item.enabled, item.default) for item in items] == [("Open", True, True), ("Copy", False, False)]
    items[0](icon)
    assert heard.get(timeout=1) is TrayAction.OPEN
    with (tmp_path / "icon.ico").open("wb") as file:
        icon.icon.save(file, "ICO")
    assert (tmp_path / "icon.ico").read_bytes() == (ICONS / "tavernkeep-tray-good.ico").read_bytes()
    tray.close()
    assert not icon.running
