"""The programs that people connect: what to enter there, and a request as each makes it. Used by the controller."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from server.errors import TavernkeepError
from server.snapshot import ClientGuide, Trial
from server.whole_file import whole_file

FOLDER = Path(__file__).resolve().parent.parent / "presets" / "clients"
ORDER = ("mantella", "chim", "skyrimnet", "sillytavern_text", "sillytavern_chat", "koboldai_lite", "openai")
PATIENCE = 120.0
MANTELLA_FILE = "config.ini"
MANTELLA_LINE = re.compile(rb"^([ \t]*llm_api[ \t]*=)[^\r\n]*", re.MULTILINE)


class Tokenize(Protocol):
    """Counts what was heard: the loaded model's token ids of a text."""

    def __call__(self, text: str, *, special: bool) -> tuple[int, ...]: ...


def guides() -> tuple[ClientGuide, ...]:
    """What to enter into each program; ``{address}`` stands where the server's address belongs."""
    return tuple(_guide(name) for name in ORDER)


def ask_as(name: str, address: str, password: str, tokenize: Tokenize) -> Trial:
    """Make the request that a client makes, over HTTP. Raises :class:`TavernkeepError` with what the server said."""
    if not address:
        raise TavernkeepError("The server is not running.", "Press Start on the launch page first.")
    told = _read(name)
    headers = {"Authorization": f"Bearer {password}"} if password else {}
    if "origin" in told:
        headers["Origin"] = told["origin"]  # a web page is refused until it is allowed, and so is this
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=PATIENCE)
    begun = time.monotonic()
    try:
        connection.request("POST", told["path"], json.dumps(told["body"]), headers)
        response = connection.getresponse()
        if response.status != 200:
            raise TavernkeepError(_refusal(response.read()))
        heard = [(time.monotonic(), piece) for piece in _pieces(response)]
    except (OSError, http.client.HTTPException) as error:
        sentence = f"The server did not answer: {error}."
        raise TavernkeepError(sentence, "Press Start on the launch page first.") from error
    finally:
        connection.close()
    if not heard:
        raise TavernkeepError("The reply was empty.", "Try again, or choose another model.")
    since, seconds = heard[0][0], heard[-1][0] - heard[0][0]
    later = "".join(piece for _moment, piece in heard[1:])
    speed = len(tokenize(later, special=False)) / seconds if later else 0.0
    return Trial("".join(piece for _moment, piece in heard), since - begun, speed)


def write_mantella_config(folder: str, address: str) -> str:
    """Have Mantella's ``config.ini`` in ``folder`` name this server; returns the name of the copy made before.

    Raises :class:`TavernkeepError` when there is no such file, or it is not Mantella's, or cannot be written.
    """
    file = Path(folder) / MANTELLA_FILE
    try:
        content = file.read_bytes()
        changed, lines = MANTELLA_LINE.subn(rb"\1 " + address.encode() + b"/v1", content)
        if lines != 1:
            raise TavernkeepError(
                f"{file} has no line for Mantella's LLM service (llm_api).",
                "Start Mantella once, so that it writes its settings, then choose its folder again.",
            )
        copy = _free_name(file)
        shutil.copy2(file, copy)
        with whole_file(file) as writing:
            writing.write(changed)
    except FileNotFoundError:
        raise TavernkeepError(
            f"There is no {MANTELLA_FILE} in {folder}.", "It is usually in Documents, My Games, Mantella."
        ) from None
    except OSError as error:
        raise TavernkeepError(f"{file} could not be changed: {error.strerror}.") from None
    return copy.name


def _free_name(file: Path) -> Path:
    number = 0
    while (copy := file.with_name(f"{file.stem}_before_tavernkeep_{number}{file.suffix}")).exists():
        number += 1
    return copy


def _guide(name: str) -> ClientGuide:
    told = _read(name)
    fields = tuple((field, value) for field, value in told["fields"])
    return ClientGuide(name, told["name"], told["where"], fields, tuple(told["advice"]))


def _read(name: str) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return told


def _pieces(response: http.client.HTTPResponse) -> Iterator[str]:
    """The texts in a stream of any of the dialects."""
    for line in response:
        data = line.removeprefix(b"data: ").strip()
        if data == line.strip() or data == b"[DONE]":
            continue
        told = json.loads(data)
        if "error" in told:
            raise TavernkeepError(_refusal(data))
        choice = (told.get("choices") or [{}])[0]
        piece = told.get("token") or choice.get("text") or choice.get("delta", {}).get("content")
        if piece:
            yield piece


def _refusal(body: bytes) -> str:
    try:
        return str(json.loads(body)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return "The server refused the request without saying why."
