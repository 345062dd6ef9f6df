"""JSON that others wrote, read within bounds. Used wherever a request, or a file that this program did not just write,
is read.

Python reads more than JSON: ``NaN``, numbers that are infinite, and as many brackets in brackets as its stack holds.
What comes later (templates, schemas, the reply that repeats a part of its request) would fail on those.
"""

from __future__ import annotations

import json
import math
from typing import Any

DEEPEST = 200  # brackets in brackets
CONTAINERS = (dict, list)
TOO_DEEP = f"it is nested deeper than {DEEPEST} levels"


def loads(text: str | bytes) -> Any:
    """What a JSON text says. Of a key that comes twice the last one counts.

    Raises :class:`ValueError` whose text says what is wrong, to stand behind a colon.
    """
    try:
        value = json.loads(text, parse_constant=_refuse, parse_float=_finite)
    except RecursionError:
        raise ValueError(TOO_DEEP) from None
    except (json.JSONDecodeError, UnicodeDecodeError, _NoNumber):
        raise
    except ValueError:  # Python's own limit for whole numbers, with advice for programmers
        raise ValueError("a number in it has too many digits") from None
    if not is_shallow(value, DEEPEST):
        raise ValueError(TOO_DEEP)
    return value


def is_shallow(value: Any, most: int) -> bool:
    """Whether objects and lists are nested at most so deep."""
    level = [value] if isinstance(value, CONTAINERS) else []
    for _ in range(most):
        parts = (part for outer in level for part in (outer.values() if isinstance(outer, dict) else outer))
        level = [part for part in parts if isinstance(part, CONTAINERS)]
        if not level:
            break
    return not level


class _NoNumber(ValueError):
    """What Python takes for a number, and JSON does not."""


def _refuse(word: str) -> Any:
    raise _NoNumber(f"{word} is no number")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise _NoNumber(f"the number {digits[:20]} is too large")
    return number
