"""The documents hang together: every link leads somewhere, every document is found from README.md."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from babel.messages.pofile import read_po
from markdown_it import MarkdownIt
from markdown_it.token import Token

from server.command_line import parse

ROOT = Path(__file__).resolve().parent.parent
BUILT = {"build", "dist"}  # what others made, beside the folders whose names begin with a dot
BOOTSTRAP = {"--gpu"}
GUIDES = ("getting-started.md", "choosing.md", "troubleshooting.md")
MARKDOWN = MarkdownIt("commonmark").enable("table")


def documents() -> list[Path]:
    """Every Markdown file of this repository."""
    found = []
    for folder, folders, files in os.walk(ROOT):
        folders[:] = [name for name in folders if name not in BUILT and not name.startswith(".")]
        found += [Path(folder, name) for name in files if name.endswith(".md")]
    return sorted(found)


def pieces(document: Path) -> Iterator[Token]:
    """Links, images and texts, wherever they stand but in code."""
    for token in MARKDOWN.parse(document.read_text("utf-8")):
        yield from token.children or ()


def anchors(document: Path) -> set[str]:
    """What GitHub makes of the headings, to be named behind ``#``."""
    tokens = MARKDOWN.parse(document.read_text("utf-8"))
    titles = [after for token, after in itertools.pairwise(tokens) if token.type == "heading_open"]
    seen: Counter[str] = Counter()
    found = set()
    for title in titles:
        text = "".join(child.content for child in title.children or ())
        slug = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
        found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return found


def targets(document: Path) -> Iterator[tuple[str, Path, str]]:
    """Each link to a place in this repository: as it is written, the file, and what stands behind ``#``."""
    for token in pieces(document):
        written = str(token.attrs.get("href" if token.type == "link_open" else "src", ""))
        address = urlsplit(written)
        if written and not address.scheme and not address.netloc:
            path = unquote(address.path)
            yield written, (document.parent / path).resolve() if path else document, unquote(address.fragment)


def problems(document: Path) -> list[str]:
    """What of a document's links and pictures is wrong."""
    found = []
    for written, file, anchor in targets(document):
        if not file.exists():
            found.append(f"{written} leads nowhere")
        elif anchor and (file.suffix != ".md" or anchor not in anchors(file)):
            found.append(f"{written}: there is no such heading")
    found += [f"{token.attrs['src']} has no text" for token in pieces(document) if bare(token)]
    return found


def bare(token: Token) -> bool:
    """Whether it is a picture that says nothing to those who cannot see it."""
    return token.type == "image" and not token.content.strip()


def unknown_labels(page: str) -> list[str]:
    """What is in bold and is no text of the window's; a bold beginning that ends in a full stop or colon is none."""
    with (ROOT / "gui/locale/tavernkeep.pot").open("rb") as file:
        texts = {text for message in read_po(file) for text in ([message.id] if message.id else ())}
    lines = [token.content.replace("\n", " ") for token in MARKDOWN.parse(page) if token.type == "inline"]
    bold = [text for line in lines for text in re.findall(r"\*\*(.+?)\*\*", line)]
    return [text for text in bold if text not in texts and not text.endswith((".", ":", "?"))]


def unknown_flags(page: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Flags in a page's code that the launcher's ``--help`` does not list."""
    with contextlib.suppress(SystemExit):
        parse(["--help"])
    known = set(re.findall(r"--[\w-]+", capsys.readouterr().out)) | BOOTSTRAP
    tokens = [each for token in MARKDOWN.parse(page) for each in (token, *(token.children or ()))]
    code = [line for token in tokens if token.type in ("code_inline", "fence") for line in token.content.splitlines()]
    ours = [line for line in code if line.startswith("--") or "bootstrap.py" in line]
    return [flag for line in ours for flag in re.findall(r"(?<!\S)--[\w-]+", line) if flag not in known]


@pytest.mark.parametrize("document", documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere_and_every_picture_has_a_text(document: Path) -> None:
    assert problems(document) == []


def test_every_document_is_found_from_the_readme() -> None:
    reached, ahead = set(), [ROOT / "README.md"]
    while ahead:
        document = ahead.pop()
        if document in reached or document.suffix != ".md" or not document.is_file():
            continue
        reached.add(document)
        ahead += [file for _, file, _ in targets(document)]
    lost = {document for document in documents() if (ROOT / "docs") in document.parents} - reached
    assert sorted(str(document.relative_to(ROOT)) for document in lost) == []


@pytest.mark.parametrize("guide", GUIDES)
def test_what_a_guide_has_in_bold_is_a_label_of_the_window(guide: str) -> None:
    assert unknown_labels((ROOT / "docs" / guide).read_text("utf-8")) == []


def test_a_label_that_is_not_there_is_found() -> None:
    assert unknown_labels("**In short:** press **Start**, then **Make it so**.") == ["Make it so"]


@pytest.mark.parametrize(
    "document",
    [
        *(ROOT / name for name in ("README.md", "SECURITY.md")),
        *(ROOT / "docs" / name for name in (*GUIDES, "flags.md", "samplers.md")),
        *(ROOT / "docs" / "connect").glob("*.md"),
    ],
)
def test_every_flag_that_a_player_is_told_of_is_there(document: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert unknown_flags(document.read_text("utf-8"), capsys) == []


def test_a_flag_that_is_not_there_is_found(capsys: pytest.CaptureFixture[str]) -> None:
    page = "`--port 5002` `--dragons 3` `apt-get --dragons`\n\n```\npython3 bootstrap.py --unicorns\n```\n"
    assert unknown_flags(page, capsys) == ["--dragons", "--unicorns"]


def test_what_is_broken_is_found(tmp_path: Path) -> None:
    (tmp_path / "other.md").write_text("# A *heading*, `code` & more\n## Twice\n## Twice\n")
    (tmp_path / "picture.png").write_bytes(b"")
    page = tmp_path / "page.md"
    page.write_text(
        "# Here\n[a](other.md#a-heading-code--more) [b](other.md#twice-1) [c](#here) ![d](picture.png)\n"
        "`[e](no.md)` <https://example.org/no.md> [f](http://127.0.0.1:5001/no)\n\n```\n[g](no.md)\n```\n"
        "| [h](gone.md) | [i](other.md#twice-2) |\n|---|---|\n| [j](#there) | ![](picture.png) |\n\n![k](gone.png)\n"
    )
    assert problems(page) == [
        "gone.md leads nowhere",
        "other.md#twice-2: there is no such heading",
        "#there: there is no such heading",
        "gone.png leads nowhere",
        "picture.png has no text",
    ]
