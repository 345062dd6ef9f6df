"""The networks this PC is in, by names that people know, for the list of clients that may connect. Used by the
controller and the launcher."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import psutil

from server.snapshot import Network

WSL, DOCKER, MACHINES, TAILSCALE = "WSL", "Docker", "Virtual machines", "Tailscale"
WITHIN_THIS_PC = (WSL, DOCKER, MACHINES)
NAMES = (  # of network interfaces, on all systems; the first that fits
    (re.compile(r"wsl", re.IGNORECASE), WSL),
    (re.compile(r"docker|podman|^br-[0-9a-f]{12}$", re.IGNORECASE), DOCKER),
    (re.compile(r"tailscale", re.IGNORECASE), TAILSCALE),
    (re.compile(r"zerotier|^zt", re.IGNORECASE), "ZeroTier"),
    (re.compile(r"vethernet|hyper-v|vmware|vmnet|^virbr|vbox|virtualbox", re.IGNORECASE), MACHINES),
    (re.compile(r"vpn|wireguard|^wg|^u?tun|^tap|^ppp", re.IGNORECASE), "VPN"),
    (re.compile(r"wi-?fi|wlan|^wl", re.IGNORECASE), "Wi-Fi"),
    (re.compile(r"ethernet|^eth|^en[opsx]", re.IGNORECASE), "Ethernet"),
    (re.compile(r"^en\d+$"), "Ethernet / Wi-Fi"),  # macOS does not say which of the two
)
WSL_SUBNETS = ipaddress.IPv4Network("172.16.0.0/12")  # in which WSL's network has another place after each start
SHARED = ipaddress.IPv4Network("100.64.0.0/10")  # Tailscale's addresses, of which each PC has one without a subnet


def networks() -> tuple[Network, ...]:
    """Those that are up now, WSL's first."""
    up = {name for name, state in psutil.net_if_stats().items() if state.isup}
    return named({name: found for name, found in psutil.net_if_addrs().items() if name in up})


def named(interfaces: Mapping[str, Iterable[Any]]) -> tuple[Network, ...]:
    """The private IPv4 networks of ``interfaces``, which are psutil's addresses by name."""
    found: dict[str, Network] = {}
    for network in _private(interfaces):
        found.setdefault(network.subnet, network)
    lasting = (_lasting(network, found.values()) for network in found.values())
    return tuple(sorted(lasting, key=lambda network: network.name != WSL))


def _private(interfaces: Mapping[str, Iterable[Any]]) -> Iterator[Network]:
    for interface, addresses in interfaces.items():
        for address in addresses:
            if address.family != socket.AF_INET or not address.netmask:
                continue
            own = ipaddress.IPv4Interface(f"{address.address}/{address.netmask}")
            if own.ip in SHARED:
                yield Network(TAILSCALE, str(SHARED), address.address)
            elif own.is_private and not own.is_loopback and not own.is_link_local and own.network.num_addresses > 1:
                yield Network(_name_of(interface), str(own.network), address.address)


def _name_of(interface: str) -> str:
    return next((name for pattern, name in NAMES if pattern.search(interface)), interface)


def _lasting(network: Network, found: Iterable[Network]) -> Network:
    """WSL's network with the whole range that it moves in, unless other PCs, such as an office's, are in there too."""
    others = [ipaddress.IPv4Network(each.subnet) for each in found if each.name not in WITHIN_THIS_PC]
    moves = network.name == WSL and ipaddress.IPv4Address(network.address) in WSL_SUBNETS
    if not moves or any(other.overlaps(WSL_SUBNETS) for other in others):
        return network
    return replace(network, subnet=str(WSL_SUBNETS))
