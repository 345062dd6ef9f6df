"""The icon in the notification area of Windows, drawn by pystray."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, Final

import pystray

from gui.theme import ICONS
from gui.tray.icon import TrayEvents, icon_name
from gui.view.looks import Tone
from gui.view.tray import TrayEntry, TrayView

LONGEST_TITLE: Final = 127  # https://learn.microsoft.com/windows/win32/api/shellapi/ns-shellapi-notifyicondataw


class Picture:
    """What pystray needs of a Pillow image: to be written as an .ico. With the finished file no Pillow is needed."""

    def __init__(self, tone: Tone) -> None:
        self._file = ICONS / f"{icon_name(tone)}.ico"

    def save(self, stream: IO[bytes], format: str) -> None:  # noqa: ARG002
        """Write the icon; ``format`` is always "ICO"."""
        stream.write(self._file.read_bytes())


class WindowsTray:
    """pystray runs a thread for it; its methods may be called from any other."""

    def __init__(self, events: TrayEvents) -> None:
        self._events = events
        self._view = TrayView(Tone.QUIET, "Tavernkeep", ())
        self._icon = pystray.Icon("tavernkeep", Picture(Tone.QUIET), "Tavernkeep", pystray.Menu(self._entries))
        self._icon.run_detached()
        events.in_sight(True)

    def show(self, view: TrayView) -> None:
        """Show it from now on."""
        before, self._view = self._view, view
        if view.tone is not before.tone:
            self._icon.icon = Picture(view.tone)
        self._icon.title = view.title[:LONGEST_TITLE]
        if view.entries != before.entries:
            self._icon.update_menu()

    def close(self) -> None:
        """Take the icon away."""
        self._icon.stop()

    def _entries(self) -> Iterator[pystray.MenuItem]:
        """The menu as it is now; a click on the icon does what its first entry does."""
        for place, entry in enumerate(self._view.entries):
            yield pystray.MenuItem(entry.text, self._choice(entry), enabled=entry.enabled, default=place == 0)

    def _choice(self, entry: TrayEntry) -> object:
        return lambda: self._events.chosen(entry.action)
