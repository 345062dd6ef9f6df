"""The other side of the tray: a message bus of the test's own, and a panel on it that shows icons and clicks them."""

import asyncio
import contextlib
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dbus_fast import BusType, Message, PropertyAccess, Variant
from dbus_fast.aio import MessageBus
from dbus_fast.annotations import DBusBool, DBusStr
from dbus_fast.service import ServiceInterface, dbus_method, dbus_property, dbus_signal

from gui.tray.status_notifier import ITEM_PATH, WATCHER, WATCHER_PATH

PROPERTIES = "org.freedesktop.DBus.Properties"
ITEM = "org.kde.StatusNotifierItem"
MENU = "com.canonical.dbusmenu"


@contextlib.contextmanager
def message_bus(folder: Path) -> Iterator[str]:
    """Run a session bus; gives its address."""
    daemon = subprocess.Popen(
        ["dbus-daemon", "--session", "--nofork", "--nopidfile", "--print-address", f"--address=unix:dir={folder}"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert daemon.stdout
    with daemon:
        try:
            yield daemon.stdout.readline().strip()
        finally:
            daemon.terminate()


class _Watcher(ServiceInterface):
    def __init__(self, has_host: bool) -> None:
        super().__init__(WATCHER)
        self.items: list[str] = []
        self.has_host = has_host

    @dbus_method()
    def RegisterStatusNotifierItem(self, service: DBusStr) -> None:
        self.items.append(service)

    @dbus_property(access=PropertyAccess.READ)
    def IsStatusNotifierHostRegistered(self) -> DBusBool:
        return self.has_host

    @dbus_signal()
    def StatusNotifierHostRegistered(self) -> None:
        pass


class Panel:
    """A desktop's panel with a tray, on a thread of its own; without a ``host`` its tray is not in sight yet."""

    def __init__(self, address: str, *, host: bool = True) -> None:
        self._watcher = _Watcher(host)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._bus = self._do(self._open(address))

    @property
    def items(self) -> list[str]:
        """The bus names of the icons that were registered."""
        return self._watcher.items

    def show_tray(self) -> None:
        """The tray comes into sight."""
        self._watcher.has_host = True
        self._loop.call_soon_threadsafe(self._watcher.StatusNotifierHostRegistered)

    def look(self, name: str) -> Any:
        """A property of the icon."""
        return self.call(ITEM_PATH, PROPERTIES, "Get", "ss", ITEM, name)[0].value

    def entries(self) -> dict[str, tuple[int, bool]]:
        """The menu: each entry's id, and whether it can be clicked, by its text."""
        revision, (_, _, children) = self.call(self.look("Menu"), MENU, "GetLayout", "iias", 0, -1, [])
        assert revision >= 1
        found = {}
        for child in children:
            number, properties, _ = child.value
            found[properties["label"].value] = (number, properties["enabled"].value)
        return found

    def click(self, text: str) -> None:
        """Click an entry of the menu."""
        self.call(self.look("Menu"), MENU, "Event", "isvu", self.entries()[text][0], "clicked", Variant("s", ""), 0)

    def call(self, path: str, interface: str, member: str, signature: str, *body: Any) -> Any:
        """Call a method of the icon that was registered last; returns what it answers."""
        message = Message(self.items[-1], path, interface, member, signature=signature, body=[*body])
        reply = self._do(self._bus.call(message))
        assert not reply.error_name, reply.body
        return reply.body

    def close(self) -> None:
        """The panel ends, as one does that crashes."""
        self._bus.disconnect()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    async def _open(self, address: str) -> MessageBus:
        bus = await MessageBus(bus_address=address, bus_type=BusType.SESSION).connect()
        bus.export(WATCHER_PATH, self._watcher)
        await bus.request_name(WATCHER)
        return bus

    def _do(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)
