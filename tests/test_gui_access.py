"""Who may connect, in the window: the choice and its fields, networks by name, web pages with a switch each."""

from __future__ import annotations

import dataclasses

import pytest

from gui.memory import Memory
from gui.view.access import Access, access_of, access_view, host_for, lets_in, others_than, with_subnet
from gui.view.form import form_of, settings_of
from server.errors import SettingsError
from server.settings import Settings
from server.snapshot import WebPage
from tests.fake_controller import LAN, WSL
from tests.window import app, controller, open_window, shown, type_into, wait_until

PAGES = (WebPage("One", ("https://one.example", "https://beta.one.example"), "A page."),)
NETWORKS = (WSL, LAN)


def view_of(access: Access, password: str = "", allowclients: str = ""):
    return access_view(access, password, allowclients, "5001", NETWORKS)


# --- the choice, without a window


@pytest.mark.parametrize(
    ("settings", "access"),
    [
        (Settings(), Access.THIS_PC),
        (Settings(host="::1", password="x"), Access.THIS_PC),
        (Settings(host="0.0.0.0", password="x"), Access.WITH_KEY),
        (Settings(host="192.168.1.5", allowclients="10.0.0.1"), Access.BY_ADDRESS),
        (Settings(host="0.0.0.0", allowclients="10.0.0.1", password="x"), Access.WITH_KEY),
    ],
)
def test_settings_come_back_as_they_were(settings, access):
    settings = dataclasses.replace(settings, model="/a.gguf")
    assert access_of(settings) is access
    assert settings_of(form_of(settings, ""), Settings()) == settings


@pytest.mark.parametrize(
    ("access", "host", "listens"),
    [
        (Access.THIS_PC, "::1", "::1"),
        (Access.THIS_PC, "0.0.0.0", "127.0.0.1"),
        (Access.WITH_KEY, "127.0.0.1", "0.0.0.0"),
        (Access.BY_ADDRESS, "192.168.1.5", "192.168.1.5"),
    ],
)
def test_the_choice_says_where_to_listen_and_keeps_an_address_that_goes_with_it(access, host, listens):
    assert host_for(access, host) == listens


@pytest.mark.parametrize(
    ("access", "password", "allowclients", "missing"),
    [
        (Access.WITH_KEY, "", "10.0.0.1", "no key yet"),
        (Access.BY_ADDRESS, "x", " , ", "none is chosen"),
    ],
)
def test_nothing_opens_without_what_protects_it(access, password, allowclients, missing):
    form = dataclasses.replace(
        form_of(Settings(), "/a.gguf"), access=access.value, password=password, allowclients=allowclients
    )
    with pytest.raises(SettingsError, match=missing):
        settings_of(form, Settings())


def test_an_address_that_is_none_is_said_with_the_name_of_the_field():
    form = dataclasses.replace(form_of(Settings(), "/a.gguf"), access="by_address", allowclients="my-pc")
    with pytest.raises(SettingsError, match=r"^Addresses: 'my-pc' is not an IP address"):
        settings_of(form, Settings())


def test_a_key_is_asked_for_where_it_protects_and_shown_wherever_there_is_one():
    assert not view_of(Access.THIS_PC).asks_key
    assert view_of(Access.THIS_PC, "x").asks_key
    assert "key" in view_of(Access.THIS_PC, "x").hint
    assert view_of(Access.WITH_KEY).asks_key
    assert not view_of(Access.BY_ADDRESS).asks_key


def test_networks_are_offered_by_name_and_say_where_this_pc_is_from_there():
    view = view_of(Access.BY_ADDRESS, allowclients="172.16.0.0/12")
    assert [(each.label.split()[0], each.chosen) for each in view.networks] == [("WSL", True), ("Wi-Fi", False)]
    assert "http://172.28.96.1:5001 (WSL)" in view.hint
    assert "192.168.1.5" not in view.hint
    assert view_of(Access.WITH_KEY).networks == ()
    assert "http://192.168.1.5:5001 (Wi-Fi)" in view_of(Access.WITH_KEY).hint


def test_addresses_and_a_key_are_both_asked_for_where_both_are_there():
    assert view_of(Access.WITH_KEY, "x", "10.0.0.1").asks_addresses
    assert "with the key" in view_of(Access.BY_ADDRESS, "x", "10.0.0.1").hint


def test_a_subnet_is_added_and_taken_away_and_the_others_stay():
    both = with_subnet("10.0.0.1", "172.16.0.0/12", chosen=True)
    assert both == "10.0.0.1, 172.16.0.0/12"
    assert with_subnet(both, "172.16.0.0/12", chosen=True) == both
    assert with_subnet(both, "172.16.0.0/12", chosen=False) == "10.0.0.1"


def test_a_page_is_let_in_under_all_its_addresses_or_counts_as_another():
    allowed = "https://one.example, https://beta.one.example, https://two.example"
    assert lets_in(PAGES[0], allowed)
    assert others_than(PAGES, allowed) == "https://two.example"
    assert not lets_in(PAGES[0], "https://one.example")
    assert others_than(PAGES, "https://one.example") == "https://one.example"


# --- in the window


def choose(app, access: Access) -> None:
    app.launch.access.menu.choose(access.value)
    app.launch._actions.changed()


def started(app, controller) -> Settings:
    app.launch.start_button.invoke()
    wait_until(app, lambda: controller.started)
    return controller.started[0]


def test_at_first_only_this_pc_may_connect_and_nothing_else_is_asked(app, controller):
    access = app.launch.access
    assert access.menu.choice == "this_pc"
    assert not access.key_box.winfo_manager()
    assert not access.networks_box.winfo_manager()
    assert started(app, controller).host == "127.0.0.1"


def test_other_pcs_need_a_key_which_a_button_makes(app, controller):
    access = app.launch.access
    choose(app, Access.WITH_KEY)
    wait_until(app, access.key_box.winfo_manager)
    app.launch.start_button.invoke()
    assert "no key yet" in shown(app.status.problem)
    assert controller.started == []
    access.new_key_button.invoke()
    key = access.key_entry.get()
    access.copy_button.invoke()
    assert app.root.clipboard_get() == key
    used = started(app, controller)
    assert (used.host, used.password, used.allowclients) == ("0.0.0.0", key, "")
    assert len(key) >= 22


def test_a_network_is_ticked_by_its_name(app, controller):
    access = app.launch.access
    choose(app, Access.BY_ADDRESS)
    wait_until(app, access.networks_box.winfo_manager)
    wait_until(app, lambda: shown(access.ticks[0]).startswith("WSL"))
    access.ticks[0].toggle()
    assert access.addresses_entry.get() == "172.16.0.0/12"
    type_into(access.addresses_entry, "172.16.0.0/12, 192.168.1.0/24")
    wait_until(app, lambda: access.ticks[1].ticked)
    access.ticks[0].toggle()
    used = started(app, controller)
    assert (used.host, used.password, used.allowclients) == ("0.0.0.0", "", "192.168.1.0/24")


def test_web_pages_have_a_tick_each_which_says_what_it_means(app, controller):
    app.launch.options.fold_button.invoke()
    pages = app.launch.options.fields["alloworigins"]
    assert [shown(tick) for tick in pages.ticks] == [page.name for page in controller.web_pages()]
    pages.ticks[0].toggle()
    type_into(pages.others, "https://example.org")
    wait_until(app, lambda: "1 changed" in shown(app.launch.options.fold_button))
    assert started(app, controller).alloworigins == (
        "https://lite.koboldai.net, https://lite-beta.koboldai.net, https://example.org"
    )


def test_another_model_changes_nothing_of_who_may_connect(open_window, tmp_path):
    memory = Memory(tmp_path / "window.json")
    memory.keep(Settings(model="/models/other.gguf"))
    app = open_window(memory=memory)
    choose(app, Access.WITH_KEY)
    app.launch.access.new_key_button.invoke()
    key = app.launch.access.key_entry.get()
    type_into(app.launch.model_entry, "/models/other.gguf")
    wait_until(app, lambda: app._filled_for == "/models/other.gguf")
    assert (app.launch.form.access, app.launch.form.password) == ("with_key", key)


def test_all_of_it_is_locked_while_it_starts(app, controller):
    choose(app, Access.WITH_KEY)
    app.launch.access.new_key_button.invoke()
    app.launch.options.fold_button.invoke()
    controller.gate.clear()
    app.launch.start_button.invoke()
    fields = (
        app.launch.access.menu,
        app.launch.access.new_key_button,
        app.launch.options.fields["alloworigins"].ticks[0],
    )
    wait_until(app, lambda: all(field.cget("state") == "disabled" for field in fields))
    controller.gate.set()
    wait_until(app, lambda: all(field.cget("state") == "normal" for field in fields))
