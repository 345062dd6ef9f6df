"""Does this installation work? The launcher's ``--self-test``: the starter model, and a request on each dialect."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from server import VERSION
from server.errors import TavernkeepError
from server.events import EngineState, ModelInfo
from server.settings import Settings

if TYPE_CHECKING:
    from server.controller import Controller

PATIENCE: Final = 120.0
LOOK_SECONDS: Final = 0.02
CHAT: Final = {
    "messages": [{"role": "user", "content": "Which city is the capital of France?"}],
    "max_tokens": 16,
    "temperature": 0,
}
STORY: Final = "Once upon a time"
# Where to ask, with which body, and the way to the text in the answer.
DIALECTS: Final[tuple[tuple[str, str, dict[str, Any], tuple[str | int, ...]], ...]] = (
    ("KoboldCpp", "/api/v1/generate", {"prompt": STORY, "max_length": 16, "top_k": 1}, ("results", 0, "text")),
    ("OpenAI chat", "/v1/chat/completions", CHAT, ("choices", 0, "message", "content")),
    (
        "OpenAI completions",
        "/v1/completions",
        {"prompt": STORY, "max_tokens": 16, "temperature": 0},
        ("choices", 0, "text"),
    ),
    (
        "OpenAI responses",
        "/v1/responses",
        {"input": CHAT["messages"], "max_output_tokens": 16, "temperature": 0},
        ("output", 0, "content", 0, "text"),
    ),
    ("Anthropic", "/v1/messages", CHAT, ("content", 0, "text")),
    (
        "Ollama",
        "/api/chat",
        {"messages": CHAT["messages"], "stream": False, "options": {"num_predict": 16, "temperature": 0}},
        ("message", "content"),
    ),
)


def self_test(controller: Controller) -> int:
    """Print a line for each part that works, and the time it took. Returns the exit status: 1 when one does not."""
    begun = time.monotonic()
    print(f"tavernkeep {VERSION}")
    try:
        controller.start(Settings(model=controller.models.starter(), port=0, contextsize=2048))
        model = _loaded(controller)
        variant = f" ({model.cpu_variant})" if model.cpu_variant else ""
        print(f"  ok  {model.name} on {', '.join(model.devices)}{variant}")
        for name, heard in _ask_all(controller.snapshot().address):
            print(f"  ok  {name}: {heard!r}", flush=True)
    except TavernkeepError as error:
        print(f"tavernkeep: The self-test failed: {error}", file=sys.stderr)
        return 1
    finally:
        controller.stop()
    print(f"Self-test passed in {time.monotonic() - begun:.1f} s.")
    return 0


def _loaded(controller: Controller) -> ModelInfo:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        now = controller.snapshot()
        if now.state is EngineState.READY and now.model:
            return now.model
        if now.state is EngineState.FAILED:
            raise TavernkeepError(now.sentence)
        time.sleep(LOOK_SECONDS)
    raise TavernkeepError(f"The starter model was not loaded within {PATIENCE:g} seconds.")


def _ask_all(address: str) -> Iterator[tuple[str, str]]:
    for name, path, body, way in DIALECTS:
        try:
            heard = _ask(address, path, body)
            for step in way:
                heard = heard[step]
        except (OSError, HTTPException, ValueError, LookupError, TypeError) as error:
            raise TavernkeepError(f"{name} did not answer on {path}: {error!r}.") from error
        if not heard:
            raise TavernkeepError(f"{name} answered nothing on {path}.")
        yield name, heard


def _ask(address: str, path: str, body: dict[str, Any]) -> Any:
    connection = HTTPConnection(urlsplit(address).netloc, timeout=PATIENCE)
    try:
        connection.request("POST", path, json.dumps(body))
        return json.loads(connection.getresponse().read())
    finally:
        connection.close()
