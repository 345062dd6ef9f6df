"""Models on Hugging Face: a short list to recommend, the search, and what a repository holds. Used by the window.

Nothing here talks to the network unless the user asks for it.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, TypeVar

from server.errors import DownloadError, TavernkeepError
from server.model.gguf import PART
from server.snapshot import CatalogueEntry, HubFile, HubPart, HubRepository

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import ModelInfo

CATALOGUE = Path(__file__).resolve().parent.parent.parent / "presets" / "models.json"
MOST_FOUND = 50
TIMEOUT = 20.0
REPOSITORY = re.compile(r"(?:https?://[^/\s]+/)?([\w.-]+/[\w.-]+?)(?:/(?:tree|blob|resolve)/.*)?/?")

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
        found = _api(endpoint).list_models(
            search=text.strip(), filter="gguf", sort="downloads", limit=MOST_FOUND, token=token or False
        )
        return tuple(HubRepository(each.id, each.downloads or 0, _licence(each), bool(each.gated)) for each in found)

    return told(ask, text)


def files(repository: str, token: str = "", endpoint: str | None = None) -> tuple[HubFile, ...]:
    """The models in a repository, small ones first; a split one is one. Raises :class:`DownloadError`."""

    def ask() -> tuple[HubFile, ...]:
        info = _api(endpoint).model_info(repository, files_metadata=True, token=token or False, timeout=TIMEOUT)
        parts = [
            HubPart(each.rfilename, each.size or 0, each.lfs.sha256 if each.lfs else "")
            for each in info.siblings or ()
            if each.rfilename.lower().endswith(".gguf") and not PurePosixPath(each.rfilename).name.startswith("mmproj")
        ]
        whole = [HubFile(repository, info.sha or "main", group) for group in _grouped(parts)]
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
    except (OSError, TavernkeepError):
        raise
    except Exception as error:  # its HTTP library has a family of errors of its own
        log.info("The hub did not answer: %s: %s", type(error).__name__, error)
        raise DownloadError("The hub did not answer.", "Check the internet connection, and try again.") from None


def _api(endpoint: str | None) -> HfApi:
    from huggingface_hub import HfApi

    return HfApi(endpoint=endpoint, token=False)


def _licence(info: ModelInfo) -> str:
    return next((tag.removeprefix("license:") for tag in info.tags or () if tag.startswith("license:")), "")


def _grouped(parts: Iterable[HubPart]) -> list[tuple[HubPart, ...]]:
    """Files of one split model together, in their order. A split model that is not complete is left out."""
    groups: dict[str, list[HubPart]] = {}
    for part in sorted(parts, key=lambda part: part.path):
        groups.setdefault(PART.sub("", part.path), []).append(part)
    return [tuple(group) for group in groups.values() if _complete(group)]


def _complete(group: list[HubPart]) -> bool:
    match = PART.search(group[0].path)
    return len(group) == (int(match.group(2)) if match else 1)
