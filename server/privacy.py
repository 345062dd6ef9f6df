"""What people write and models reply is none of the log's business, unless the user wants it there (``logprompts``).

Used by everything that logs what may quote a request. Nothing is ever written of keys and passwords.
"""

from __future__ import annotations

import logging
import traceback
from types import TracebackType

from server.errors import TavernkeepError

LONGEST = 20_000  # characters of one text

ON = "Prompts and replies are written into the log, in full: whoever reads it reads them. --logprompts is switched on."
HIDDEN = "what it says may quote a request; --logprompts shows it"

ExceptionInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]

_texts = logging.getLogger("tavernkeep.texts")


def allow_texts(allowed: bool) -> None:
    """Whether texts are logged by this process from now on."""
    _texts.setLevel(logging.INFO if allowed else logging.NOTSET)


def texts_allowed() -> bool:
    """Whether texts are logged. They are not where nobody has said so."""
    return _texts.level == logging.INFO


def warn() -> None:
    """Say in the log that texts are logged, if they are."""
    if texts_allowed():
        _texts.warning(ON)


def log_text(what: str, text: str | bytes) -> None:
    """Log a text, if that is allowed; ``what`` says whose it is."""
    if texts_allowed() and text:
        text = text if isinstance(text, str) else text.decode("utf-8", "replace")
        cut = f" [and {len(text) - LONGEST} more characters]" if len(text) > LONGEST else ""
        _texts.info("%s: %s%s", what, text[:LONGEST], cut)


def sentence(error: TavernkeepError) -> str:
    """What the log may tell of an error: its sentence, or only of what kind it is where that may quote a request."""
    if texts_allowed() or not error.quotes:
        return str(error)
    where = f" in {error.param}" if error.param else ""
    return f"{error.code}{where} ({HIDDEN})"


def stack(error: BaseException) -> str:
    """Where an error of ours came from. Its text may quote anything that was worked on when it happened."""
    if texts_allowed():
        return "".join(traceback.format_exception(error)).rstrip()
    seen: set[int] = set()
    parts: list[str] = []
    at: BaseException | None = error
    while at is not None and id(at) not in seen:
        seen.add(id(at))
        lines = "".join(traceback.format_tb(at.__traceback__))
        parts.append(f"Traceback (most recent call last):\n{lines}{type(at).__name__} ({HIDDEN})")
        at = at.__cause__ or (None if at.__suppress_context__ else at.__context__)
    return "\nwhich came from\n".join(parts)


class LineFormatter(logging.Formatter):
    """Lines for people."""

    def formatException(self, ei: ExceptionInfo) -> str:
        """As :func:`stack`."""
        return stack(ei[1]) if ei[1] else ""
