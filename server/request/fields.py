"""Reading a request body field by field: null is absent, numbers may come as text, floats as whole numbers.

Used by the dialects in this folder.
"""

from __future__ import annotations

import json
import math
from typing import Any

from server import json_text
from server.errors import BadRequest

# Names that both dialects know, the first that is present counts.
MAX_TOKENS = ("max_completion_tokens", "max_tokens", "n_predict")
MOST_STOPS = 256
MOST_BANNED = 768
LONGEST_TEXT = 1000
MIN_TOKENS = ("min_tokens", "min_length")
GUIDANCE = ("guidance_scale", "cfg_scale")
BYPASS_EOS = ("bypass_eos", "bypass_eos_token")
PLACEHOLDERS = "replace_instruct_placeholders"
BAN_EOS = ("ban_eos_token", "use_default_badwordsids", "ignore_eos")


def parse_body(body: bytes) -> dict[str, Any]:
    """The JSON object in a request body, whatever its Content-Type says; an empty body is an empty object.

    Raises :class:`BadRequest` when it is anything else.
    """
    if not body.strip():
        return {}
    try:
        parsed = json_text.loads(body)
    except ValueError as error:
        raise BadRequest(f"The request body is not valid JSON: {error}.") from None
    if not isinstance(parsed, dict):
        raise BadRequest("The request body must be a JSON object.")
    return parsed


class Fields:
    """A request body. ``strict`` raises :class:`BadRequest` for a value of the wrong kind (as OpenAI does); otherwise
    it counts as absent (as KoboldCpp does). With several names the first one that is present counts."""

    def __init__(self, body: dict[str, Any], *, strict: bool) -> None:
        self._body = body
        self._strict = strict

    def raw(self, *names: str) -> tuple[str, Any]:
        """Name and value of the first field that is present and not null; ``("", None)`` if there is none."""
        return next(((name, self._body[name]) for name in names if self._body.get(name) is not None), ("", None))

    def has(self, *names: str) -> bool:
        """Whether one of these is present and not null."""
        return self.raw(*names)[1] is not None

    def number(self, *names: str, default: float) -> float:
        found = self.optional_number(*names)
        return default if found is None else found

    def optional_number(self, *names: str) -> float | None:
        name, value = self.raw(*names)
        if value is None or value == "":
            return None
        try:
            number = float(value) if isinstance(value, (int, float, str)) else math.nan
        except (ValueError, OverflowError):
            number = math.nan
        if not math.isfinite(number):
            self.wrong(name, value, "a number")
            return None
        return number

    def whole(self, *names: str, default: int) -> int:
        return int(self.number(*names, default=default))

    def optional_whole(self, *names: str) -> int | None:
        number = self.optional_number(*names)
        return None if number is None else int(number)

    def flag(self, *names: str, default: bool) -> bool:
        found = self.optional_flag(*names)
        return default if found is None else found

    def optional_flag(self, *names: str) -> bool | None:
        _, value = self.raw(*names)
        if isinstance(value, str):
            return value.lower() in ("true", "1") if value else None
        return None if value is None else bool(value)

    def text(self, *names: str, default: str = "") -> str:
        name, value = self.raw(*names)
        if value is None:
            return default
        if not isinstance(value, str):
            self.wrong(name, value, "text")
            return default
        return value

    def texts(self, *names: str) -> tuple[str, ...]:
        """A text or a list of texts, without empty ones. The first name that holds any counts."""
        return next(filter(None, map(self._texts, names)), ())

    def stops(self, *names: str) -> tuple[str, ...]:
        """Texts that end a reply. Raises :class:`BadRequest` for more, or longer ones, than anybody needs."""
        return self._bounded_texts(MOST_STOPS, *names)

    def banned(self) -> tuple[str, ...]:
        """Texts that a reply must not say, bounded as stop texts are."""
        return self._bounded_texts(MOST_BANNED, "banned_tokens", "banned_strings")

    def _bounded_texts(self, most: int, *names: str) -> tuple[str, ...]:
        texts = self.texts(*names)
        longest = max(map(len, texts), default=0)
        if len(texts) > most or longest > LONGEST_TEXT:
            name = self.raw(*names)[0]
            raise BadRequest(
                f"{name} has {len(texts)} texts of up to {longest} characters;"
                f" at most {most} texts of {LONGEST_TEXT} characters are looked for.",
                "Send fewer or shorter ones.",
                param=name,
            )
        return texts

    def _texts(self, name: str) -> tuple[str, ...]:
        value = self._body.get(name)
        entries = [value] if isinstance(value, str) else value
        if entries is None:
            return ()
        if not isinstance(entries, list):
            self.wrong(name, value, "text or a list of texts")
            return ()
        return tuple(entry for entry in entries if isinstance(entry, str) and entry)

    def mapping(self, *names: str) -> dict[str, Any]:
        name, value = self.raw(*names)
        if value is None or value == "" or isinstance(value, dict):
            return value or {}
        self.wrong(name, value, "an object")
        return {}

    def wrong(self, name: str, value: object, kind: str) -> None:
        """A value is not of the ``kind`` it should be: an error, or nothing, as the dialect has it."""
        if self._strict:
            raise BadRequest(f"{name} must be {kind}, not {json.dumps(value)[:60]}.", param=name)
