"""The window's language. Every text that it shows passes through here, so that it can be translated.

Texts stand in English where they are used; ``gui/locale/tavernkeep.pot`` is the list of all of them, from which a
translation is made (docs/translating.md). Which translation is used says the system, or ``LANGUAGE``, as for every
program that uses gettext. What the server says (errors, the log) stays English, as the same sentences go to clients.
"""

from __future__ import annotations

import functools
import gettext
import locale
import os
import sys
from pathlib import Path
from typing import Final

DOMAIN: Final = "tavernkeep"
FOLDER: Final = Path(__file__).resolve().parent / "locale"


def tr(english: str) -> str:
    """A text in the user's language. Values are put in afterwards: ``tr("{count} parts").format(count=3)``."""
    return _catalogue().gettext(english) if english else ""  # gettext answers "" with the file's header


def trn(one: str, many: str, count: int) -> str:
    """The form of a text that goes with ``count``, in the user's language."""
    return _catalogue().ngettext(one, many, count)


def N_(english: str) -> str:
    """Marks a text that stands in a table made at import; whoever shows it calls :func:`tr`."""
    return english


@functools.cache
def _catalogue() -> gettext.NullTranslations:
    return gettext.translation(DOMAIN, FOLDER, _languages(), fallback=True)


def _languages() -> list[str] | None:
    """What the user speaks; None is what the environment says, which gettext looks up itself."""
    if sys.platform != "win32" or any(os.environ.get(name) for name in ("LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG")):
        return None
    import ctypes

    return [locale.windows_locale.get(ctypes.windll.kernel32.GetUserDefaultUILanguage(), "en")]
