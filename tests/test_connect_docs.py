"""docs/connect tells the truth: each program has its page, with the fields that the window shows for it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from gui.view.connect import EXAMPLE_ADDRESS
from server import clients
from server.snapshot import ClientGuide
from tests.conftest import Server

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "connect"
INDEX = FOLDER / "README.md"
EXAMPLES = re.findall(r"```python\n(.+?)```", (FOLDER / "openai.md").read_text("utf-8"), re.DOTALL)
each_program = pytest.mark.parametrize("guide", clients.guides(), ids=lambda guide: guide.key)


def rows(page: Path) -> set[tuple[str, ...]]:
    """The first two cells of the rows of a page's tables, without marks of code and links."""
    lines = [line for line in page.read_text("utf-8").splitlines() if line.startswith("|")]
    cells = [re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", line).replace("`", "").strip("|").split("|") for line in lines]
    return {tuple(cell.strip() for cell in line[:2]) for line in cells}


def test_every_program_has_a_page_and_every_page_a_program() -> None:
    assert {page.stem for page in FOLDER.glob("*.md")} - {INDEX.stem} == set(clients.ORDER)
    assert {preset.stem for preset in clients.FOLDER.glob("*.json")} == set(clients.ORDER)


@each_program
def test_a_page_has_each_field_with_its_value(guide: ClientGuide) -> None:
    fields = {(field, value.replace("{address}", EXAMPLE_ADDRESS)) for field, value in guide.fields}
    assert fields - rows(FOLDER / f"{guide.key}.md") == set()


@each_program
def test_the_list_of_pages_names_each_program_with_its_address(guide: ClientGuide) -> None:
    address = next(value for _field, value in guide.fields if "{address}" in value)
    assert (guide.name, address.replace("{address}", EXAMPLE_ADDRESS)) in rows(INDEX)
    assert f"]({guide.key}.md)" in INDEX.read_text("utf-8")


@pytest.mark.parametrize("name", clients.ORDER)
def test_each_preset_says_where_it_is_from(name: str) -> None:
    assert "https://github.com/" in clients._read(name)["source"]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.split()[1])
def test_the_examples_in_python_hear_a_reply(server: Server, example: str, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}
    exec(example.replace(EXAMPLE_ADDRESS, server.base), names)
    names["client"].close()
    assert capsys.readouterr().out.strip()
