"""Fields that clients send and that ask for what Tavernkeep does not have. Used by the dialects in this folder."""

from __future__ import annotations

from typing import Any


def unsupported(body: dict[str, Any]) -> tuple[str, ...]:
    """The names of such fields in a body."""
    return ()
