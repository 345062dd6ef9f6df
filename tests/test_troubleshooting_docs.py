"""docs/troubleshooting.md tells the truth: whatever it says that the program says, the program says."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "troubleshooting.md"
SOURCES = [ROOT / "bootstrap.py", ROOT / "launcher.py", *(ROOT / "server").rglob("*.py"), *(ROOT / "gui").rglob("*.py")]
PLACEHOLDER = re.compile(r"%[\d.]*[a-z]|\{[^{}]*\}|\.{3,}")  # logging's, those of texts that are translated, and dots
SENTENCES = 80  # the page has more than so many


def quotes(page: str) -> list[str]:
    """What the program says, by the page: code in the first column of tables, and sentences elsewhere."""
    said, in_table, first = [], False, False
    for token in MarkdownIt("commonmark").enable("table").parse(page):
        if token.type in ("table_open", "table_close"):
            in_table = token.type == "table_open"
        elif token.type in ("tr_open", "td_close"):
            first = token.type == "tr_open"
        codes = [child.content for child in token.children or () if child.type == "code_inline"]
        said += [code for code in codes if (first if in_table else code.endswith(".") and " " in code)]
    return said


def literals(source: str) -> Iterator[str]:
    """The texts in a module, with ``...`` where a value is put in; not its docstrings."""
    tree = ast.parse(source)
    parts = {id(value) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for value in node.values}
    parts |= {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "..." for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts:
            yield node.value


@functools.cache
def texts() -> str:
    """All that the program can say."""
    return "\n".join(plain(text) for source in SOURCES for text in literals(source.read_text("utf-8")))


def plain(text: str) -> str:
    """A text with ``...`` for each placeholder, and no full stop behind one."""
    return PLACEHOLDER.sub("...", PLACEHOLDER.sub("...", text))


def said_by_the_program(sentence: str) -> bool:
    return plain(sentence) in texts()


def test_every_sentence_of_the_page_is_the_programs_own() -> None:
    said = quotes(PAGE.read_text("utf-8"))
    assert len(said) > SENTENCES
    assert [sentence for sentence in said if not said_by_the_program(sentence)] == []


def test_an_invented_one_is_found() -> None:
    page = """
| it says | what to do |
|---|---|
| `Port ... is already used by ...` | `--port 5002` |
| `The model is on holiday.` | wait |

It may say `The key is missing or wrong.` or `The dragon ate it.`, and `--flags` are not looked at.
"""
    said = quotes(page)
    assert said == [
        "Port ... is already used by ...",
        "The model is on holiday.",
        "The key is missing or wrong.",
        "The dragon ate it.",
    ]
    assert [sentence for sentence in said if not said_by_the_program(sentence)] == [said[1], said[3]]
