"""Who may connect: what can be chosen, what a choice asks for, and what it means, in words."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from gui.language import N_, tr
from server.access import entries, is_loopback
from server.errors import SettingsError
from server.settings import Settings
from server.snapshot import Network, WebPage

HERE: Final = "127.0.0.1"
EVERYWHERE: Final = "0.0.0.0"
MOST_NETWORKS: Final = 6
BETWEEN: Final = ", "


class Access(enum.Enum):
    """Who may connect."""

    THIS_PC = "this_pc"
    WITH_KEY = "with_key"
    BY_ADDRESS = "by_address"


ACCESS: Final = (
    (Access.THIS_PC.value, N_("Only this PC")),
    (Access.WITH_KEY.value, N_("Other PCs with a key")),
    (Access.BY_ADDRESS.value, N_("Chosen addresses")),
)


@dataclass(frozen=True)
class NetworkTick:
    """A network of this PC: what it is called, its ``subnet``, and whether that is among the chosen addresses."""

    label: str
    subnet: str
    chosen: bool


@dataclass(frozen=True)
class AccessView:
    """How the choice looks: what it means, and which fields belong to it."""

    hint: str
    asks_key: bool
    asks_addresses: bool
    networks: tuple[NetworkTick, ...]


def access_of(settings: Settings) -> Access:
    """The choice that the settings amount to."""
    if is_loopback(settings.host):
        return Access.THIS_PC
    return Access.BY_ADDRESS if settings.allowclients and not settings.password else Access.WITH_KEY


def host_for(access: Access, host: str) -> str:
    """The address to listen on: that of the settings, where it goes with the choice."""
    if is_loopback(host) == (access is Access.THIS_PC):
        return host
    return HERE if access is Access.THIS_PC else EVERYWHERE


def check(access: Access, password: str, allowclients: str) -> None:
    """Raises :class:`SettingsError` while a choice lacks what protects the server."""
    if access is Access.WITH_KEY and not password:
        raise SettingsError(
            tr("Other PCs may connect, but there is no key yet."), tr("Press New key, or type one of your own.")
        )
    if access is Access.BY_ADDRESS and not entries(allowclients):
        raise SettingsError(
            tr("Chosen addresses may connect, but none is chosen."), tr("Tick a network, or type an address.")
        )


def access_view(access: Access, password: str, allowclients: str, port: str, networks: Sequence[Network]) -> AccessView:
    """How the choice looks now."""
    chosen = entries(allowclients)
    ticks = tuple(
        NetworkTick(f"{network.name}  {network.subnet}", network.subnet, network.subnet in chosen)
        for network in networks[:MOST_NETWORKS]
    )
    asks_addresses = access is Access.BY_ADDRESS or (access is Access.WITH_KEY and bool(chosen))
    named = [each for each in networks if not asks_addresses or each.subnet in chosen]
    return AccessView(
        hint=_hint(access, password, asks_addresses, port.strip(), named),
        asks_key=access is Access.WITH_KEY or bool(password),
        asks_addresses=asks_addresses,
        networks=ticks if asks_addresses else (),
    )


def with_subnet(allowclients: str, subnet: str, *, chosen: bool) -> str:
    """The chosen addresses with a subnet among them, or without it."""
    others = [entry for entry in entries(allowclients) if entry != subnet]
    return BETWEEN.join([*others, subnet] if chosen else others)


def lets_in(page: WebPage, alloworigins: str) -> bool:
    """Whether a web page is among the allowed ones, under all its addresses."""
    return set(page.origins) <= set(entries(alloworigins))


def others_than(pages: Sequence[WebPage], alloworigins: str) -> str:
    """The allowed web pages that are none of the known ``pages``."""
    known = {origin for page in pages if lets_in(page, alloworigins) for origin in page.origins}
    return BETWEEN.join(entry for entry in entries(alloworigins) if entry not in known)


def _hint(access: Access, password: str, asks_addresses: bool, port: str, networks: Sequence[Network]) -> str:
    if access is Access.THIS_PC:
        return (
            tr("Only programs on this PC can connect, with the key.")
            if password
            else tr("Only programs on this PC can connect.")
        )
    if not asks_addresses:
        hint = tr("Whoever sends the key can connect. Mantella, and CHIM's KoboldCpp connectors, cannot send your key.")
    elif password:
        hint = tr("The addresses below can connect, with the key.")
    else:
        hint = tr("The addresses below can connect without a key, as CHIM in WSL must.")
    known = BETWEEN.join(f"http://{network.address}:{port} ({network.name})" for network in networks[:2])
    return f"{hint} {tr('There enter {addresses}').format(addresses=known)}" if known else hint
