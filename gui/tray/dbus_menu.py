"""The menu of the icon, as Linux desktops ask for it over D-Bus.

https://github.com/AyatanaIndicators/libdbusmenu/blob/main/libdbusmenu-glib/dbus-menu.xml
Annotations are D-Bus types that dbus-fast reads at run time, so they must not be deferred.
"""

from collections.abc import Callable
from typing import Annotated, Any, Final

from dbus_fast import PropertyAccess, Variant
from dbus_fast.annotations import DBusBool, DBusInt32, DBusSignature, DBusStr, DBusUInt32, DBusVariant
from dbus_fast.service import ServiceInterface, dbus_method, dbus_property, dbus_signal

from gui.view.tray import TrayAction, TrayEntry

ROOT: Final = 0
Properties = dict[str, Variant]

Ids = Annotated[list[int], DBusSignature("ai")]
Names = Annotated[list[str], DBusSignature("as")]
Clicks = Annotated[list[Any], DBusSignature("a(isvu)")]
Layout = Annotated[tuple[int, list[Any]], DBusSignature("u(ia{sv}av)")]
GroupProperties = Annotated[list[Any], DBusSignature("a(ia{sv})")]
TwoIdLists = Annotated[tuple[list[int], list[int]], DBusSignature("aiai")]
Revision = Annotated[list[int], DBusSignature("ui")]


class DbusMenu(ServiceInterface):
    """A flat menu. An entry's id is its place, from 1; ``chosen`` hears of a click."""

    def __init__(self, chosen: Callable[[TrayAction], None]) -> None:
        super().__init__("com.canonical.dbusmenu")
        self._chosen = chosen
        self._entries: tuple[TrayEntry, ...] = ()
        self._revision = 0

    def show(self, entries: tuple[TrayEntry, ...]) -> None:
        """Have these entries from now on."""
        if entries != self._entries:
            self._entries = entries
            self._revision += 1
            self.LayoutUpdated()

    def _properties(self, number: int) -> Properties:
        if number == ROOT:
            return {"children-display": Variant("s", "submenu")}
        entry = self._entries[number - 1]
        # An underscore would mark the next letter as the one to press.
        return {"label": Variant("s", entry.text.replace("_", "__")), "enabled": Variant("b", entry.enabled)}

    def _known(self, numbers: list[int]) -> list[int]:
        everything = range(len(self._entries) + 1)
        return [number for number in numbers or everything if number in everything]

    @dbus_method()
    def GetLayout(self, parent: DBusInt32, _depth: DBusInt32, _names: Names) -> Layout:
        """The entries below ``parent``, and which edition of the menu this is."""
        children = [
            Variant("(ia{sv}av)", [number, self._properties(number), []])
            for number in range(1, len(self._entries) + 1)
            if parent == ROOT
        ]
        return self._revision, [parent, self._properties(parent) if self._known([parent]) else {}, children]

    @dbus_method()
    def GetGroupProperties(self, numbers: Ids, _names: Names) -> GroupProperties:
        """What the entries with these ids look like; no ids are all of them."""
        return [[number, self._properties(number)] for number in self._known(numbers)]

    @dbus_method()
    def GetProperty(self, number: DBusInt32, name: DBusStr) -> DBusVariant:
        """One property of an entry."""
        known = self._properties(number) if self._known([number]) else {}
        return known.get(name, Variant("s", ""))

    @dbus_method()
    def Event(self, number: DBusInt32, event: DBusStr, _data: DBusVariant, _time: DBusUInt32) -> None:
        """Something happened to an entry."""
        self._happened(number, event)

    @dbus_method()
    def EventGroup(self, events: Clicks) -> Ids:
        """Several events; returns the ids that are not known."""
        for number, event, *_ in events:
            self._happened(number, event)
        return [number for number, *_ in events if not self._known([number])]

    def _happened(self, number: int, event: str) -> None:
        if event == "clicked" and number != ROOT and self._known([number]) and self._entries[number - 1].enabled:
            self._chosen(self._entries[number - 1].action)

    @dbus_method()
    def AboutToShow(self, _number: DBusInt32) -> DBusBool:
        """Whether the menu changes as it opens; this one is always up to date."""
        return False

    @dbus_method()
    def AboutToShowGroup(self, numbers: Ids) -> TwoIdLists:
        """The ids that change as they open, and those that are not known."""
        return [], [number for number in numbers if not self._known([number])]

    @dbus_signal()
    def LayoutUpdated(self) -> Revision:
        """The menu has changed."""
        return [self._revision, ROOT]

    @dbus_property(access=PropertyAccess.READ)
    def Version(self) -> DBusUInt32:
        """Of the protocol."""
        return 3

    @dbus_property(access=PropertyAccess.READ)
    def TextDirection(self) -> DBusStr:
        """Left to right."""
        return "ltr"

    @dbus_property(access=PropertyAccess.READ)
    def Status(self) -> DBusStr:
        """Nothing urgent."""
        return "normal"

    @dbus_property(access=PropertyAccess.READ)
    def IconThemePath(self) -> Names:
        """Where icons of entries are; they have none."""
        return []
