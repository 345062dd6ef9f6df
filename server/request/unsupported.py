"""Fields that clients send and that ask for what there is not. Used by the dialects in this folder."""

from __future__ import annotations

import math
from typing import Any

from server.errors import BadRequest

# Each with the value that asks for nothing. Only what would change a reply is named.
NEUTRAL = {
    "add_bos_token": True,
    "audio": [],
    "best_of": 1,
    "early_stopping": False,
    "echo": False,
    "encoder_repetition_penalty": 1,
    "epsilon_cutoff": 0,
    "eta_cutoff": 0,
    "frmtadsnsp": False,
    "frmtrmblln": False,
    "frmtrmspch": False,
    "frmttriminc": False,
    "images": [],
    "length_penalty": 1,
    "max_tokens_second": 0,
    "n": 1,
    "no_repeat_ngram_size": 0,
    "num_beams": 1,
    "penalty_alpha": 0,
    "singleline": False,
    "skew": 0,
    "soft_prompt": "",
    "suffix": "",
    "use_beam_search": False,
    "web_search_options": {},
}


MOST_IMAGES = 16


def unsupported(body: dict[str, Any], *known: str) -> tuple[str, ...]:
    """The names of such fields in a body, without those that are ``known`` to its route.

    Raises :class:`BadRequest` for more images than anybody would look at.
    """
    images = body.get("images")
    if isinstance(images, list) and len(images) > MOST_IMAGES:
        raise BadRequest(f"images holds {len(images)} pictures; {MOST_IMAGES} are the most.", param="images")
    asked = (name for name, neutral in NEUTRAL.items() if _asks(body.get(name), neutral))
    return tuple(name for name in asked if name not in known)


def _asks(value: Any, neutral: Any) -> bool:
    """Whether a value differs from the neutral one; numbers may come as text, and nothing asks for nothing."""
    if value in (None, "", [], {}):
        return False
    if isinstance(value, str) and value.lower() in ("true", "false"):
        value = value.lower() == "true"
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return True
    return not isinstance(neutral, (int, float)) or not math.isclose(number, neutral)
