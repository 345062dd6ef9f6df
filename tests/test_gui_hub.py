"""The page to get models: against a scripted hub, and once from the search to the served file over real HTTP."""

from __future__ import annotations

import dataclasses
import gettext
import json
from pathlib import Path

import pytest

from gui.memory import Memory
from gui.view.hub import catalogue_lines, download_lines, file_lines, repository_lines
from gui.view.looks import Page, Tone
from server.errors import DownloadError
from server.model import hub
from server.model.downloads import Downloads
from server.snapshot import DownloadPhase, DownloadRow, Fit, HubFile, HubPart, HubRepository
from tests.fake_controller import TINY_FILE
from tests.hub_imitation import running_hub
from tests.test_gguf import tiny
from tests.window import app, controller, enabled, open_window, shown, type_into, wait_until

ROW = DownloadRow(1, TINY_FILE, "/downloads/tiny-Q4_K_M.gguf", DownloadPhase.RUNNING, 10**9, 2 * 10**9, 5e6)


@pytest.fixture
def page(app):
    app.navigation.go(Page.HUB)
    return app


def names(app):
    return [line.cells[0] for line in app.hub.listing.lines]


# --- what is decided without a display


def test_what_is_recommended_says_whether_it_fits():
    lines = catalogue_lines(hub.catalogue(), lambda size: Fit.RAM if size < 5e9 else Fit.TOO_LARGE)
    assert lines[0].cells[-1] == "fits RAM"
    assert (lines[-1].cells[-1], lines[-1].tone) == ("too large", Tone.BAD)


def test_a_gated_repository_is_marked():
    (line,) = repository_lines((HubRepository("a/b", 1234, "", True),))
    assert line.cells == ("a/b", "1,234 downloads · asks to accept its licence", "", "—", "")


@pytest.mark.parametrize(
    ("name", "about"),
    [
        ("Model-7B.Q4_K_M.gguf", "Q4_K_M"),
        ("model-iq2_xxs.gguf", "IQ2_XXS"),
        ("big-Q8_0-00001-of-00002.gguf", "Q8_0 · 2 parts"),
        ("model.gguf", ""),
    ],
)
def test_a_file_is_described_by_its_name(name, about):
    parts = (HubPart(name, 10**9, ""),) * (2 if "of" in name else 1)
    (line,) = file_lines((HubFile("a/b", "main", parts),), lambda _: Fit.GPU)
    assert line.cells[:3] == (name, about, f"{len(parts)}.0 GB")


@pytest.mark.parametrize(
    ("changes", "words", "buttons"),
    [
        ({}, "1.0 GB of 2.0 GB · 5.0 MB/s · 3 min left", ("Pause", "Cancel")),
        ({"speed": 0.0}, "1.0 GB of 2.0 GB · waiting for the hub…", ("Pause", "Cancel")),
        ({"speed": 5e7}, "1.0 GB of 2.0 GB · 50 MB/s · 20 s left", ("Pause", "Cancel")),
        ({"phase": DownloadPhase.CHECKING}, "Checking that it arrived whole…", ("", "Cancel")),
        ({"phase": DownloadPhase.PAUSED}, "Paused at 1.0 GB of 2.0 GB", ("Resume", "Cancel")),
        (
            {"phase": DownloadPhase.FAILED, "sentence": "The disk is full."},
            "The disk is full.",
            ("Try again", "Cancel"),
        ),
        ({"phase": DownloadPhase.DONE}, "Done, 2.0 GB", ("Use", "Clear")),
    ],
)
def test_a_download_is_said_in_words(changes, words, buttons):
    (line,) = download_lines((dataclasses.replace(ROW, **changes),))
    assert (line.words, (line.toggle, line.end), line.fraction) == (words, buttons, 0.5)


# --- the page


def test_opening_the_page_asks_nothing_of_the_network(page, controller):
    wait_until(page, lambda: names(page) == ["Tiny"])
    assert controller.downloads.calls == []
    assert not enabled(page.hub.fetch_button)


def test_a_recommended_model_is_downloaded_to_the_folder_that_is_shown(page, controller):
    page.hub.listing.choose("Tiny")
    wait_until(page, lambda: enabled(page.hub.fetch_button))
    assert shown(page.hub.folder_button) == "To /downloads"
    page.hub.fetch_button.invoke()
    wait_until(page, lambda: ("start", "tiny-Q4_K_M.gguf", "/downloads", "") in controller.downloads.calls)
    assert "window-hub" in controller.threads


def test_a_search_leads_to_repositories_their_files_and_back(page, controller):
    controller.downloads.found = (HubRepository("a/one", 5, "mit", False), HubRepository("a/two", 4, "", True))
    type_into(page.hub.search_entry, "tiny")
    page.root.update()
    page.hub.search_entry._entry.event_generate("<Return>")
    wait_until(page, lambda: names(page) == ["a/one", "a/two"])
    assert not enabled(page.hub.fetch_button)
    page.hub.listing.choose("a/two")
    wait_until(page, lambda: enabled(page.hub.files_button))
    page.hub.files_button.invoke()
    wait_until(page, lambda: names(page) == ["tiny-Q4_K_M.gguf"])
    assert ("files", "a/two", "") in controller.downloads.calls
    page.hub.listing.choose("tiny-Q4_K_M.gguf")
    wait_until(page, lambda: enabled(page.hub.fetch_button))
    page.hub._open()
    wait_until(page, lambda: controller.downloads.calls[-1][0] == "start")
    page.hub.back_button.invoke()
    assert names(page) == ["a/one", "a/two"]
    page.hub.back_button.invoke()
    assert names(page) == ["Tiny"]
    assert page.hub.back_button.winfo_manager() == ""


def test_one_repository_that_is_found_is_opened_at_once(page):
    type_into(page.hub.search_entry, "tavern/Tiny-GGUF")
    page.hub.search_button.invoke()
    wait_until(page, lambda: names(page) == ["tiny-Q4_K_M.gguf"])


def test_nothing_found_and_a_refusal_are_said(page, controller):
    controller.downloads.found = ()
    type_into(page.hub.search_entry, "dragon")
    page.hub.search_button.invoke()
    wait_until(page, lambda: shown(page.hub.problem).startswith("Nothing was found."))
    page.hub.back_button.invoke()
    assert shown(page.hub.problem) == ""
    controller.downloads.in_repository = DownloadError("The hub did not answer.", "Check the internet connection.")
    page.hub.listing.choose("Tiny")
    wait_until(page, lambda: enabled(page.hub.fetch_button))
    page.hub.fetch_button.invoke()
    wait_until(page, lambda: shown(page.hub.problem) == "The hub did not answer. Check the internet connection.")


def test_the_token_goes_along_and_is_kept_by_nobody(open_window, controller, tmp_path):
    app = open_window(memory=Memory(tmp_path / "window.json"))
    app.navigation.go(Page.HUB)
    type_into(app.hub.token_entry, " hf_secret ")
    type_into(app.hub.search_entry, "tiny")
    app.hub.search_button.invoke()
    wait_until(app, lambda: ("search", "tiny", "hf_secret") in controller.downloads.calls)
    app.hub._actions.choose_folder(str(tmp_path))
    wait_until(app, lambda: shown(app.hub.folder_button).endswith(str(tmp_path)[-23:]))
    assert "hf_secret" not in (tmp_path / "window.json").read_text()


def test_a_download_is_paused_resumed_cancelled_and_its_model_used(page, controller):
    controller.downloads.now = (ROW,)
    wait_until(page, lambda: page.hub.rows and page.hub.rows[0].line)
    row = page.hub.rows[0]
    row.toggle.invoke()
    assert controller.downloads.calls[-1] == ("pause", 1)
    controller.downloads.now = (dataclasses.replace(ROW, phase=DownloadPhase.PAUSED),)
    wait_until(page, lambda: shown(row.toggle) == "Resume")
    row.toggle.invoke()
    assert controller.downloads.calls[-1] == ("resume", 1, "")
    row.end.invoke()
    assert controller.downloads.calls[-1] == ("cancel", 1)
    controller.downloads.now = (dataclasses.replace(ROW, phase=DownloadPhase.DONE),)
    wait_until(page, lambda: shown(row.toggle) == "Use")
    row.toggle.invoke()
    assert page.launch.model_entry.get() == ROW.path
    page.navigation.go(Page.HUB)
    controller.downloads.now = ()
    wait_until(page, lambda: row.line is None and page.hub.downloads.winfo_manager() == "")


def test_buttons_do_the_same_in_every_language(page, controller, monkeypatch):
    foreign = gettext.NullTranslations()
    monkeypatch.setattr(foreign, "gettext", "«{}»".format)
    monkeypatch.setattr("gui.language._catalogue", lambda: foreign)
    controller.downloads.now = (ROW,)
    wait_until(page, lambda: page.hub.rows and shown(page.hub.rows[0].toggle) == "«Pause»")
    page.hub.rows[0].toggle.invoke()
    assert controller.downloads.calls[-1] == ("pause", 1)
    controller.downloads.now = (dataclasses.replace(ROW, phase=DownloadPhase.DONE),)
    wait_until(page, lambda: shown(page.hub.rows[0].toggle) == "«Use»")
    page.hub.rows[0].toggle.invoke()
    assert page.launch.model_entry.get() == ROW.path


def test_another_folder_is_chosen_and_remembered(open_window, monkeypatch, tmp_path):
    app = open_window(memory=Memory(tmp_path / "window.json"))
    app.navigation.go(Page.HUB)
    monkeypatch.setattr("tkinter.filedialog.askdirectory", lambda **_: "/large/disk")
    app.hub.folder_button.invoke()
    wait_until(app, lambda: shown(app.hub.folder_button) == "To /large/disk")
    assert json.loads((tmp_path / "window.json").read_text())["download_folder"] == "/large/disk"


def test_from_a_search_to_a_chosen_model_over_real_http(open_window, controller, tmp_path):
    with running_hub() as imitation:
        imitation.files["tavern/Tiny-GGUF"] = {"tiny-Q4_K_M.gguf": tiny()}
        controller.downloads = Downloads(imitation.endpoint)
        memory = Memory(tmp_path / "window.json")
        memory.keep_download_folder(str(tmp_path / "models"))
        app = open_window(memory=memory)
        app.navigation.go(Page.HUB)
        type_into(app.hub.search_entry, "tiny")
        app.hub.search_button.invoke()
        wait_until(app, lambda: names(app) == ["tiny-Q4_K_M.gguf"])
        app.hub.listing.choose("tiny-Q4_K_M.gguf")
        wait_until(app, lambda: enabled(app.hub.fetch_button))
        app.hub.fetch_button.invoke()
        wait_until(app, lambda: app.hub.rows and shown(app.hub.rows[0].toggle) == "Use")
        app.hub.rows[0].toggle.invoke()
    path = Path(app.launch.model_entry.get())
    assert path == tmp_path / "models" / "tavern" / "Tiny-GGUF" / "tiny-Q4_K_M.gguf"
    assert path.read_bytes() == tiny()
