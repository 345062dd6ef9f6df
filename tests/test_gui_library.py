"""The library page: folders, recent models, what cannot be read, dropped files."""

from __future__ import annotations

import tkinter
from pathlib import Path

import pytest

from gui.memory import Memory
from gui.view.library import ShelfEntry, library_lines, nothing_found
from gui.view.looks import Page, Tone
from server.errors import ModelLoadError
from server.settings import Settings
from tests.fake_controller import STARTER, model_file
from tests.window import app, controller, enabled, open_window, shown, type_into, wait_until

FOLDER = "/models"


@pytest.fixture
def library(open_window, controller, tmp_path):
    """A window whose library has a folder with three files, of which one is broken, and its memory."""
    controller.models.in_folders[FOLDER] = ("/models/b.gguf", "/models/a.gguf", "/models/broken.gguf")
    controller.models.found["/models/broken.gguf"] = ModelLoadError("broken.gguf is incomplete.", "Download it again.")
    memory = Memory(tmp_path / "window.json")
    memory.keep_folders((FOLDER,))
    app = open_window(memory=memory)
    app.navigation.go(Page.LIBRARY)
    wait_until(app, lambda: len(app.library.listing.lines) == 4 and not app.shelf.searching)
    return app


def names(app):
    return [line.cells[0] for line in app.library.listing.lines]


# --- what is decided without a display


def entry(path, **facts):
    return ShelfEntry(path, model_file(path, **facts))


def test_recent_models_come_first_and_the_others_by_name():
    entries = {path: entry(path) for path in ("/m/c.gguf", "/m/B.gguf", "/m/a.gguf", "/m/d.gguf")}
    lines = library_lines(entries, ["/m/d.gguf", "/m/c.gguf"], "")
    assert [line.cells[0] for line in lines] == ["★ d", "★ c", "a", "B"]


def test_a_line_says_what_the_file_says():
    (line,) = library_lines({"/m/a.gguf": entry("/m/a.gguf", chat_template="", quantisation="")}, [], "")
    assert line.cells == ("a", "llama", "98 MB", "—", "8,192", "none", "")


def test_the_filter_looks_at_the_whole_path():
    entries = {path: entry(path) for path in ("/m/Nemo/a.gguf", "/m/b.gguf")}
    assert [line.key for line in library_lines(entries, [], " nemo ")] == ["/m/Nemo/a.gguf"]
    assert nothing_found(entries, (), searching=False) == "No model's name has that in it."
    assert nothing_found({}, (), searching=False).startswith("No models yet.")


# --- the page


def test_the_models_of_the_folders_are_listed_with_what_they_are_and_whether_they_fit(library):
    assert names(library) == ["a", "b", "broken", "starter"]
    first, _, broken, _ = library.library.listing.lines
    assert first.cells[1:] == ("llama", "98 MB", "Q4_1", "8,192", "its own", "fits RAM")
    assert (broken.cells[1], broken.tone) == ("cannot be used", Tone.BAD)


def test_a_chosen_model_is_used_by_button_and_by_return(library):
    assert not enabled(library.library.use_button)
    library.library.listing.choose("/models/b.gguf")
    wait_until(library, lambda: enabled(library.library.use_button))
    assert "/models/b.gguf — RAM:" in shown(library.library.detail)
    library.library.use_button.invoke()
    assert library.navigation.page is Page.LAUNCH
    assert library.launch.model_entry.get() == "/models/b.gguf"
    library.navigation.go(Page.LIBRARY)
    library.library.listing.choose("/models/a.gguf")
    library.root.update()
    library.library.listing.tree.focus_force()
    library.library.listing.tree.event_generate("<Return>")
    wait_until(library, lambda: library.launch.model_entry.get() == "/models/a.gguf")


def test_a_broken_model_says_why_and_cannot_be_used(library):
    library.library.listing.choose("/models/broken.gguf")
    wait_until(library, lambda: "Download it again." in shown(library.library.detail))
    assert not enabled(library.library.use_button)
    library.library._use()
    assert library.navigation.page is Page.LIBRARY


def test_what_is_typed_narrows_the_list(library):
    type_into(library.library.filter_entry, "brok")
    wait_until(library, lambda: names(library) == ["broken"])
    type_into(library.library.filter_entry, "nothing")
    wait_until(library, lambda: shown(library.library.quiet) == "No model's name has that in it.")


def test_folders_are_added_and_removed_and_remembered(library, controller, monkeypatch, tmp_path):
    controller.models.in_folders["/more"] = ("/more/z.gguf",)
    monkeypatch.setattr("tkinter.filedialog.askdirectory", lambda **_: "/more")
    library.library.add_button.invoke()
    wait_until(library, lambda: "z" in names(library))
    assert Memory(tmp_path / "window.json").folders == (FOLDER, "/more")
    assert shown(library.library.folder_menu._text_label) == "2 folders added"
    library.library.folder_menu._dropdown_callback(f"Remove {FOLDER}")
    wait_until(library, lambda: names(library) == ["starter", "z"])
    assert Memory(tmp_path / "window.json").folders == ("/more",)


def test_looking_again_finds_new_files(library, controller):
    controller.models.in_folders[FOLDER] = ("/models/new.gguf",)
    library.library.again_button.invoke()
    wait_until(library, lambda: names(library) == ["new", "starter"])


def test_a_model_that_was_started_comes_first_from_then_on(open_window, tmp_path, controller):
    model = tmp_path / "mine.gguf"
    model.touch()
    app = open_window(Settings(model=str(model)), memory=Memory(tmp_path / "window.json"))
    wait_until(app, lambda: enabled(app.launch.start_button))
    app.launch.start_button.invoke()
    wait_until(app, lambda: app._memory.recent_models)
    app.navigation.go(Page.LIBRARY)
    wait_until(app, lambda: names(app)[:1] == ["★ mine"])


def test_reading_happens_away_from_the_window(library, controller):
    assert "window-library" in controller.models._threads
    assert "MainThread" not in controller.models._threads


# --- dropped onto the window


def drop(app, *paths):
    """What the drop extension does: the list of paths goes into the script that is bound to the event."""
    script = str(app.root.tk.call("bind", app.root._w, "<<Drop>>"))
    app.root.tk.eval(script.replace("%D", tkinter._join((tkinter._join(paths),))))


def test_a_dropped_model_is_chosen_also_with_spaces_in_its_name(app):
    app.navigation.go(Page.LOG)
    drop(app, "/my models/a model.gguf")
    assert app.navigation.page is Page.LAUNCH
    assert app.launch.model_entry.get() == "/my models/a model.gguf"


def test_a_dropped_folder_joins_the_library(app, controller, tmp_path):
    controller.models.in_folders[str(tmp_path)] = (str(tmp_path / "x.gguf"),)
    drop(app, str(tmp_path))
    assert app.navigation.page is Page.LIBRARY
    wait_until(app, lambda: "x" in names(app))


def test_a_dropped_configuration_is_imported(app, controller):
    controller.imported = Settings(contextsize=1024)
    drop(app, "/a.kcpps")
    wait_until(app, lambda: app.launch.context_entry.get() == "1024")


def test_something_else_that_is_dropped_is_said_to_be_no_model(app, controller):
    controller.models.found["/notes.txt"] = ModelLoadError("notes.txt is not a GGUF file.", "Choose another.")
    drop(app, "/notes.txt")
    wait_until(app, lambda: shown(app.launch.model_line).startswith("notes.txt is not a GGUF file."))
    assert Path(STARTER).suffix == ".gguf"
