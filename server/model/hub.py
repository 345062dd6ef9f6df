"""Models on Hugging Face: a short list to recommend, the search, and what a repository holds. Used by the window.

Nothing here talks to the network unless the user asks for it.
"""

from __future__ import annotations

import json
import logging
import os
import re
import time
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from server import json_text
from server.errors import DownloadError, TavernkeepError
from server.model.gguf import PART
from server.snapshot import CatalogueEntry, HubFile, HubPart, HubRepository

CATALOGUE = Path(__file__).resolve().parent.parent.parent / "presets" / "models.json"
MOST_FOUND = 50
TIMEOUT = 20.0
REPOSITORY = re.compile(r"(?:https?://[^/\s]+/)?([\w.-]+/[\w.-]+?)(?:/(?:tree|blob|resolve)/.*)?/?")
SHA256 = re.compile(r"[0-9a-f]{64}")
LARGEST = 1 << 60  # of the numbers that are believed
MOST_BYTES = 16 << 20  # of an answer; a repository with 5000 files has 2 MB
IN_NO_NAME = frozenset('\\:*?"<>|')  # on Windows; a path with a backslash would lead to another folder there
DEVICES = re.compile(r"(con|prn|aux|nul|(com|lpt)[0-9])(\..*)?", re.IGNORECASE)  # likewise, in every folder

log = logging.getLogger("tavernkeep")
Result = TypeVar("Result")


@lru_cache(maxsize=1)
def catalogue() -> tuple[CatalogueEntry, ...]:
    """Models to recommend, small ones first."""
    entries = json.loads(CATALOGUE.read_text("utf-8"))["models"]
    return tuple(sorted((CatalogueEntry(**entry) for entry in entries), key=lambda entry: entry.size))


def repository_in(typed: str) -> str:
    """The ``owner/name`` in what was typed, which may be the address of a page; "" if it is something to search for."""
    match = REPOSITORY.fullmatch(typed.strip())
    return match.group(1) if match else ""


def search(text: str, token: str = "", endpoint: str | None = None) -> tuple[HubRepository, ...]:
    """Repositories with GGUF files, the most used ones first. Raises :class:`DownloadError`."""

    def ask() -> tuple[HubRepository, ...]:
        wanted = {"search": text.strip(), "filter": "gguf", "sort": "downloads", "limit": MOST_FOUND}
        found = _answer("models", wanted, token, endpoint)
        return tuple(_repository(each) for each in _typed(found, list, [])[:MOST_FOUND])

    return told(ask, text)


def files(repository: str, token: str = "", endpoint: str | None = None) -> tuple[HubFile, ...]:
    """The models in a repository, small ones first; a split one is one. Raises :class:`DownloadError`."""

    def ask() -> tuple[HubFile, ...]:
        from huggingface_hub.utils._validators import validate_repo_id

        validate_repo_id(repository)
        described = _answer(f"models/{repository}", {"blobs": True}, token, endpoint)
        parts = [_part(each) for each in _field(described, "siblings", list, [])]
        revision = _field(described, "sha", str, "") or "main"
        whole = [HubFile(repository, revision, group) for group in _grouped(filter(_is_model, parts))]
        return tuple(sorted(whole, key=lambda file: file.size))

    found = told(ask, repository)
    if not found:
        raise DownloadError(f"{repository} has no GGUF files.", "Look for a repository whose name ends in GGUF.")
    return found


def told(ask: Callable[[], Result], what: str) -> Result:
    """What ``ask`` returns. Raises :class:`DownloadError` with a sentence where the hub says no, or nothing.

    Whoever asks the hub anything does it through here, so the library is not imported before.
    """
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"  # read when the library is imported
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        OfflineModeIsEnabled,
        RemoteEntryNotFoundError,
        RepositoryNotFoundError,
    )

    try:
        return ask()
    except GatedRepoError:
        raise DownloadError(
            f"The owner of {what} wants its licence to be accepted.",
            f"Do that on https://huggingface.co/{what}, then enter a token of yours (Settings, Access Tokens there).",
        ) from None
    except RepositoryNotFoundError:
        raise DownloadError(
            f"There is no repository {what}, or it is private.",
            "Check its name, which is owner/name; for a private one enter a token.",
        ) from None
    except RemoteEntryNotFoundError:
        raise DownloadError(f"{what} is not there any more.", "Look into the repository again.") from None
    except HFValidationError:
        raise DownloadError(f"{what[:100]!r} is not the name of a repository.", "A name is owner/name.") from None
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        if status in (401, 403):
            raise DownloadError(f"The hub refused {what}.", "Check the token.") from None
        raise DownloadError(f"The hub answered with an error ({status}).", "Try again later.") from None
    except OfflineModeIsEnabled:
        raise DownloadError("HF_HUB_OFFLINE is set: nobody asks the hub.", "Start without that variable.") from None
    except (OSError, TavernkeepError):
        raise
    except Exception as error:  # its HTTP library has a family of errors of its own
        log.info("The hub did not answer: %s: %s", type(error).__name__, error)
        raise DownloadError("The hub did not answer.", "Check the internet connection, and try again.") from None


def _answer(path: str, wanted: dict[str, Any], token: str, endpoint: str | None) -> Any:
    """What the hub says. The library's own questions wait for ever, or believe any answer."""
    from huggingface_hub import constants
    from huggingface_hub.utils._headers import build_hf_headers
    from huggingface_hub.utils._http import get_session, hf_raise_for_status

    address, headers = f"{endpoint or constants.ENDPOINT}/api/{path}", build_hf_headers(token=token or False)
    content, until = bytearray(), time.monotonic() + TIMEOUT
    with get_session().stream("GET", address, params=wanted, headers=headers, timeout=TIMEOUT) as answer:
        for piece in answer.iter_bytes():
            content += piece
            if len(content) > MOST_BYTES:
                raise _strange()
            if time.monotonic() > until:
                raise DownloadError("The hub answers too slowly.", "Check the internet connection, and try again.")
        hf_raise_for_status(answer)
    try:
        return json_text.loads(bytes(content))
    except ValueError:
        raise _strange() from None


def _repository(described: Any) -> HubRepository:
    licences = (tag for tag in _field(described, "tags", list, []) if str(tag).startswith("license:"))
    return HubRepository(
        _field(described, "id", str),
        _field(described, "downloads", int, 0),
        str(next(licences, "")).removeprefix("license:"),
        bool(described.get("gated")),
    )


def _part(described: Any) -> HubPart:
    stored = _field(described, "lfs", dict, {})
    sha256 = _field(stored, "sha256", str) if stored else ""
    if stored and not SHA256.fullmatch(sha256):
        raise _strange()
    return HubPart(_field(described, "rfilename", str), _field(described, "size", int, 0), sha256)


def _field(described: Any, name: str, kind: type[Result], otherwise: Result | None = None) -> Result:
    """A field of an answer; ``otherwise`` where it is left out."""
    return _typed(_typed(described, dict).get(name), kind, otherwise)


def _typed(value: Any, kind: type[Result], otherwise: Result | None = None) -> Result:
    if value is None and otherwise is not None:
        return otherwise
    if type(value) is not kind or (isinstance(value, int) and not 0 <= value <= LARGEST):
        raise _strange()
    return value


def _strange() -> DownloadError:
    return DownloadError(
        "What answered is not the hub.",
        "Check the internet connection: some networks want you to sign in first.",
    )


def _is_model(part: HubPart) -> bool:
    """Whether a file is a model, and its name is that of a file below the repository on any system."""
    path = PurePosixPath(part.path)
    stays = part.path.isprintable() and not IN_NO_NAME & set(part.path)
    stays = stays and not path.is_absolute() and ".." not in path.parts
    stays = stays and not any(DEVICES.fullmatch(name) for name in path.parts)
    return stays and part.path.lower().endswith(".gguf") and not path.name.startswith("mmproj")


def _grouped(parts: Iterable[HubPart]) -> list[tuple[HubPart, ...]]:
    """Files of one split model together, in their order. A split model that is not complete is left out."""
    groups: dict[str, list[HubPart]] = {}
    for part in sorted(parts, key=lambda part: part.path):
        groups.setdefault(PART.sub("", part.path), []).append(part)
    return [tuple(group) for group in groups.values() if _complete(group)]


def _complete(group: list[HubPart]) -> bool:
    match = PART.search(group[0].path)
    return len(group) == (int(match.group(2)) if match else 1)
