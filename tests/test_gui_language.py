"""Every text of the window can be translated: the list is true, and a window in another language shows no English."""

import io
import re
import tkinter
from collections.abc import Iterator
from tkinter import ttk

import pytest

from gui import language
from gui.locale.extract import TEMPLATE, catalogue, template
from gui.view.looks import Page
from tests.window import app, controller, open_window, wait_until

# What is no text of ours: names, other programs' fields, and what the scripted controller says for the server.
OTHERS = (
    "Tavernkeep", "KoboldAI Lite", "Agnai", "RisuAI", "Mikupad", "WSL", "Wi-Fi", "http",
    "KoboldAI", "OpenAI", "LLM Service", "Model", "Custom Token Count", "llama",
    "ChatML, the model's own. The model file carries it.", "ChatML", "Alpaca",
)  # fmt: skip


def bracketed(text: str) -> str:
    return f"⟦{text}⟧"


def left_over(text: str) -> list[str]:
    """The words outside of all brackets."""
    before = ""
    while text != before:
        before, text = text, re.sub(r"⟦[^⟦⟧]*⟧", " ", text)
    for name in OTHERS:
        text = text.replace(name, " ")
    return re.findall(r"[^\W\d_]{2,}", text)


@pytest.fixture
def brackets(tmp_path, monkeypatch):
    """A language that puts every text in brackets."""
    from babel.messages.catalog import Catalog
    from babel.messages.mofile import write_mo

    translated = Catalog(locale="de")
    for message in catalogue():
        if message.id:
            several = isinstance(message.id, tuple)
            translated.add(message.id, tuple(map(bracketed, message.id)) if several else bracketed(message.id))
    folder = tmp_path / "locale" / "de" / "LC_MESSAGES"
    folder.mkdir(parents=True)
    with (folder / "tavernkeep.mo").open("wb") as file:
        write_mo(file, translated)
    monkeypatch.setattr(language, "FOLDER", tmp_path / "locale")
    monkeypatch.setenv("LANGUAGE", "de")
    language._catalogue.cache_clear()
    yield
    language._catalogue.cache_clear()


def texts_of(widget: tkinter.Misc) -> Iterator[str]:
    """What a widget and all in it show, but for what a user or the server wrote into fields."""
    kind = widget.winfo_class()
    if kind == "Label":
        yield widget.cget("text")
    elif kind == "Canvas":
        yield from (widget.itemcget(item, "text") for item in widget.find_all() if widget.type(item) == "text")
    elif kind == "Menu" and widget.index("end") is not None:
        yield from (widget.entrycget(index, "label") for index in range(widget.index("end") + 1))
    elif isinstance(widget, ttk.Treeview):
        yield from (widget.heading(column, "text") for column in widget["columns"])
    for child in widget.winfo_children():
        yield from texts_of(child)


def test_the_list_of_texts_is_that_of_the_code():
    assert TEMPLATE.read_bytes() == template(), "write it anew: python -m gui.locale.extract"


def test_the_list_can_be_read_by_the_tools_of_translators():
    from babel.messages.pofile import read_po

    assert len(read_po(io.BytesIO(TEMPLATE.read_bytes()))) > 300


def test_without_a_translation_the_texts_are_english():
    assert language.tr("Start") == "Start"
    assert language.tr("") == ""
    assert [language.trn("a part", "{count} parts", count) for count in (1, 2)] == ["a part", "{count} parts"]


def test_another_language_says_it_in_its_own_words(brackets):
    assert language.tr("Start") == "⟦Start⟧"
    assert language.tr("") == ""
    assert language.trn("{count:,} reply", "{count:,} replies", 2) == "⟦{count:,} replies⟧"


def test_in_another_language_no_page_shows_a_text_that_is_not_translated(brackets, app):
    app.launch.options.fold_button.invoke()
    left = {}
    for page in Page:
        app.navigation.go(page)
        app.root.update()
        for text in texts_of(app.root):
            if left_over(text):
                left[text] = page.name
    assert left == {}
