"""What clients send, one file for each request, with every key and odd value. Rebuilt from how the clients behave."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def request_of(name: str, **changes: Any) -> dict[str, Any]:
    """The body that the client sends, with ``changes`` that keep a test short or free of chance."""
    body: dict[str, Any] = json.loads((Path(__file__).parent / f"{name}.json").read_text(encoding="utf-8"))
    return {**body, **changes}
