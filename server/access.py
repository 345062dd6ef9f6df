"""Who may connect, as the settings name them: addresses, host names, web pages, a key. Used by the settings, the guard
and the window."""

from __future__ import annotations

import ipaddress
import re
import secrets

from server.errors import SettingsError, shown

HOST_NAME = re.compile(r"[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?", re.ASCII)
WEB_ORIGIN = re.compile(r"https?://([a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?|\[[0-9a-f:.]+\])(:[0-9]{1,5})?", re.ASCII)
MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")  # IPv4 addresses, as IPv6 sockets write them
USUAL_PORTS = {"http": "80", "https": "443"}  # which browsers leave out of an origin
NARROWEST_PREFIX = {4: 8, 6: 7}  # the widest private networks: 10.0.0.0/8 and fc00::/7


def is_loopback(host: str) -> bool:
    """Whether ``host`` is a name or address of this PC that no other can reach."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    address = address_of(host)
    return address is not None and address.is_loopback


def address_of(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The IP address that ``text`` is, if it is one; that of IPv4 also where an IPv6 socket wrote it."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, ipaddress.IPv6Address) else address


def client_networks(text: str) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
    """The subnets named in an ``allowclients`` value (comma-separated addresses or subnets).

    Raises :class:`SettingsError` naming the first entry that is neither.
    """
    networks = []
    for entry in entries(text):
        try:
            network = _network(entry)
        except ValueError:
            raise SettingsError(
                f"allowclients: {shown(entry)} is not an IP address or subnet.",
                "Write for example 192.168.1.20 or 172.16.0.0/12.",
            ) from None
        if network.prefixlen < NARROWEST_PREFIX[network.version]:
            raise SettingsError(
                f"allowclients: {entry} lets in nearly everybody.", "Set a password, or name your own network only."
            )
        networks.append(network)
    return tuple(networks)


def host_names(text: str) -> frozenset[str]:
    """The names in an ``allowhosts`` value, in small letters. Raises :class:`SettingsError` naming an odd one."""
    names = frozenset(entry.lower() for entry in entries(text))
    for name in sorted(names):
        if not HOST_NAME.fullmatch(name):
            raise SettingsError(
                f"allowhosts: {shown(name)} is not the name of a PC.", "Write for example gaming-pc.local."
            )
    return names


def web_origins(text: str) -> frozenset[str]:
    """The origins in an ``alloworigins`` value, in small letters. Raises :class:`SettingsError` naming the first that
    is none: there is no way to allow all pages."""
    origins = [entry.lower().rstrip("/") for entry in entries(text)]
    for origin in origins:
        if not WEB_ORIGIN.fullmatch(origin):
            raise SettingsError(
                f"alloworigins: {shown(origin)} is not the beginning of a web page's address.",
                "Write for example https://lite.koboldai.net, page by page.",
            )
    return frozenset(origin.removesuffix(f":{USUAL_PORTS[origin.partition(':')[0]]}") for origin in origins)


def new_key() -> str:
    """A key that nobody guesses: 128 random bits, in letters that can be typed and that no shell takes for a flag."""
    return secrets.token_hex(16)


def entries(text: str) -> list[str]:
    """What stands between the commas."""
    return [entry for entry in (part.strip() for part in text.split(",")) if entry]


def _network(entry: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    network = ipaddress.ip_network(entry, strict=False)
    if isinstance(network, ipaddress.IPv6Network) and network.subnet_of(MAPPED):
        return ipaddress.IPv4Network((int(network.network_address) & 0xFFFFFFFF, network.prefixlen - MAPPED.prefixlen))
    return network
