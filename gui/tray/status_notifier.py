"""The icon in the tray of Linux desktops (KDE, XFCE, Cinnamon, GNOME with its extension ...), over D-Bus.

https://www.freedesktop.org/wiki/Specifications/StatusNotifierItem/ in the names that KDE gave it, which all use.
Annotations are D-Bus types that dbus-fast reads at run time, so they must not be deferred.
"""

import asyncio
import contextlib
import os
import threading
from typing import Annotated, Any, Final

from dbus_fast import Message, MessageType, PropertyAccess
from dbus_fast.aio import MessageBus
from dbus_fast.annotations import DBusBool, DBusInt32, DBusObjectPath, DBusSignature, DBusStr
from dbus_fast.errors import DBusFastError
from dbus_fast.service import ServiceInterface, dbus_method, dbus_property, dbus_signal

from gui.theme import ICONS
from gui.tray.dbus_menu import DbusMenu
from gui.tray.icon import TrayEvents, icon_name, logger
from gui.view.looks import Tone
from gui.view.tray import TrayAction, TrayView

ITEM_PATH: Final = "/StatusNotifierItem"
MENU_PATH: Final = "/StatusNotifierItem/Menu"
WATCHER: Final = "org.kde.StatusNotifierWatcher"
WATCHER_PATH: Final = "/StatusNotifierWatcher"
BUS: Final = "org.freedesktop.DBus"
PATIENCE: Final = 2.0  # seconds for the bus to let go
# A panel may start after us, and be started again.
SIGNALS: Final = (
    f"type='signal',sender='{BUS}',member='NameOwnerChanged',arg0='{WATCHER}'",
    f"type='signal',interface='{WATCHER}',member='StatusNotifierHostRegistered'",
    f"type='signal',interface='{WATCHER}',member='StatusNotifierHostUnregistered'",
)

ToolTip = Annotated[list[Any], DBusSignature("(sa(iiay)ss)")]


class StatusNotifier:
    """A thread with a connection to the session's bus. Without a bus, or a panel with a tray, nothing is in sight."""

    def __init__(self, events: TrayEvents) -> None:
        self._events = events
        self._item = Item(events)
        self._menu = DbusMenu(events.chosen)
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(_went_wrong)
        self._ended = asyncio.Event()
        self._changed = asyncio.Event()
        self._registered = False
        self._thread = threading.Thread(target=self._run, name="tray", daemon=True)
        self._thread.start()

    def show(self, view: TrayView) -> None:
        """Show it from now on."""
        with contextlib.suppress(RuntimeError):  # there is no bus, or it has gone
            self._loop.call_soon_threadsafe(self._draw, view)

    def close(self) -> None:
        """Take the icon away, and end the thread."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(PATIENCE)

    def _draw(self, view: TrayView) -> None:
        self._item.show(view)
        self._menu.show(view.entries)

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        except (OSError, EOFError, KeyError, DBusFastError) as error:
            logger.info("There is no icon in the tray: %s", error or "the session's bus has gone.")
        finally:
            self._events.in_sight(False)
            self._loop.close()

    async def _serve(self) -> None:
        bus = await MessageBus().connect()
        bus.export(ITEM_PATH, self._item)
        bus.export(MENU_PATH, self._menu)
        name = f"org.kde.StatusNotifierItem-{os.getpid()}-1"
        tasks = [
            asyncio.ensure_future(task)
            for task in (self._ended.wait(), bus.wait_for_disconnect(), self._stay_registered(bus, name))
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            bus.disconnect()

    async def _stay_registered(self, bus: MessageBus, name: str) -> None:
        """Tell every watcher that comes of the icon, and the window whether somebody shows it."""
        await bus.request_name(name)
        bus.add_message_handler(self._hear)
        for rule in SIGNALS:
            await bus.call(Message(BUS, "/org/freedesktop/DBus", BUS, "AddMatch", signature="s", body=[rule]))
        while True:
            self._changed.clear()
            if not self._registered:
                answer = await self._ask_watcher(bus, WATCHER, "RegisterStatusNotifierItem", "s", name)
                self._registered = answer is not None
            hosts = await self._ask_watcher(
                bus, f"{BUS}.Properties", "Get", "ss", WATCHER, "IsStatusNotifierHostRegistered"
            )
            self._events.in_sight(self._registered and hosts is not None and bool(hosts[0].value))
            await self._changed.wait()

    def _hear(self, message: Message) -> None:
        if message.message_type is not MessageType.SIGNAL:
            return
        if message.member == "NameOwnerChanged":
            self._registered = False
            self._changed.set()
        elif message.interface == WATCHER:
            self._changed.set()

    async def _ask_watcher(
        self, bus: MessageBus, interface: str, member: str, signature: str, *body: str
    ) -> list[Any] | None:
        """The answer, or None where nobody watches."""
        reply = await bus.call(Message(WATCHER, WATCHER_PATH, interface, member, signature=signature, body=[*body]))
        return reply.body if reply and reply.message_type is MessageType.METHOD_RETURN else None


def _went_wrong(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """A bus that ends leaves messages behind that were not sent; nobody needs to hear of each of them."""
    if not isinstance(context.get("exception"), (OSError, EOFError)):
        loop.default_exception_handler(context)


class Item(ServiceInterface):
    """The icon itself, as a panel asks for it."""

    def __init__(self, events: TrayEvents) -> None:
        super().__init__("org.kde.StatusNotifierItem")
        self._events = events
        self._view = TrayView(Tone.QUIET, "Tavernkeep", ())

    def show(self, view: TrayView) -> None:
        """Look like this from now on."""
        before, self._view = self._view, view
        if view.tone is not before.tone:
            self.NewIcon()
        if view.title != before.title:
            self.NewToolTip()

    @dbus_method()
    def Activate(self, _x: DBusInt32, _y: DBusInt32) -> None:
        """The icon was clicked."""
        self._events.chosen(TrayAction.OPEN)

    @dbus_method()
    def SecondaryActivate(self, _x: DBusInt32, _y: DBusInt32) -> None:
        """The icon was clicked with the middle button."""

    @dbus_method()
    def ContextMenu(self, _x: DBusInt32, _y: DBusInt32) -> None:
        """Where no menu is drawn from ``Menu``."""

    @dbus_method()
    def Scroll(self, _delta: DBusInt32, _orientation: DBusStr) -> None:
        """The wheel was turned over the icon."""

    @dbus_signal()
    def NewIcon(self) -> None:
        """``IconName`` has changed."""

    @dbus_signal()
    def NewToolTip(self) -> None:
        """``ToolTip`` has changed."""

    @dbus_property(access=PropertyAccess.READ)
    def Category(self) -> DBusStr:
        """What kind of program this is."""
        return "ApplicationStatus"

    @dbus_property(access=PropertyAccess.READ)
    def Id(self) -> DBusStr:
        """By this the desktop remembers whether to hide the icon."""
        return "tavernkeep"

    @dbus_property(access=PropertyAccess.READ)
    def Title(self) -> DBusStr:
        """The program's name."""
        return "Tavernkeep"

    @dbus_property(access=PropertyAccess.READ)
    def Status(self) -> DBusStr:
        """Passive icons are hidden by some desktops."""
        return "Active"

    @dbus_property(access=PropertyAccess.READ)
    def IconThemePath(self) -> DBusStr:
        """The folder of the icons."""
        return str(ICONS)

    @dbus_property(access=PropertyAccess.READ)
    def IconName(self) -> DBusStr:
        """The icon in that folder."""
        return icon_name(self._view.tone)

    @dbus_property(access=PropertyAccess.READ)
    def ToolTip(self) -> ToolTip:
        """Icon, pictures, title and text."""
        return ["", [], self._view.title, ""]

    @dbus_property(access=PropertyAccess.READ)
    def ItemIsMenu(self) -> DBusBool:
        """A click does more than to open the menu."""
        return False

    @dbus_property(access=PropertyAccess.READ)
    def Menu(self) -> DBusObjectPath:
        """Where the menu is."""
        return MENU_PATH
