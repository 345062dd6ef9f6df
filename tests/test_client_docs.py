"""docs/clients.md tells the truth: it has every line, and every test it names is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

TESTS = Path(__file__).resolve().parent
NEEDS = 35


def lines() -> list[str]:
    page = (TESTS.parent / "docs" / "clients.md").read_text("utf-8").splitlines()
    return [line for line in page if re.match(r"\| \d", line)]


def functions_of(file: str) -> set[str]:
    tree = ast.parse((TESTS / file).read_text("utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_need_has_a_line_and_every_line_a_test():
    assert [int(line.split("|")[1]) for line in lines()] == list(range(1, NEEDS + 1))
    assert all(re.search(r"`test_\w+\.py::test_\w+`", line) for line in lines())


def test_every_test_that_is_named_is_there():
    named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", "\n".join(lines()))
    assert [f"{file}::{test}" for file, test in named if test not in functions_of(file)] == []
