"""The networks this PC is in, by names that people know, for the list of clients that may connect. Used by the
controller and the launcher."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterable, Mapping
from typing import Any

import psutil

from server.snapshot import Network

WSL = "WSL"
NAMES = (  # of network interfaces, on all systems; the first that fits
    (re.compile(r"wsl", re.IGNORECASE), WSL),
    (re.compile(r"docker|podman|^br-[0-9a-f]{12}$", re.IGNORECASE), "Docker"),
    (re.compile(r"tailscale", re.IGNORECASE), "Tailscale"),
    (re.compile(r"zerotier|^zt", re.IGNORECASE), "ZeroTier"),
    (re.compile(r"vethernet|hyper-v|vmware|vmnet|^virbr|vbox|virtualbox", re.IGNORECASE), "Virtual machines"),
    (re.compile(r"wi-?fi|wlan|^wl", re.IGNORECASE), "Wi-Fi"),
    (re.compile(r"ethernet|^eth|^en[opsx]", re.IGNORECASE), "Ethernet"),
)
WSL_SUBNETS = ipaddress.ip_network("172.16.0.0/12")  # in which WSL's network has another place after each start
SHARED = ipaddress.ip_network("100.64.0.0/10")  # Tailscale's addresses, of which each PC has one without a subnet


def networks() -> tuple[Network, ...]:
    """Those that are up now, WSL's first."""
    up = {name for name, state in psutil.net_if_stats().items() if state.isup}
    return named({name: found for name, found in psutil.net_if_addrs().items() if name in up})


def named(interfaces: Mapping[str, Iterable[Any]]) -> tuple[Network, ...]:
    """The private IPv4 networks of ``interfaces``, which are psutil's addresses by name."""
    found: dict[str, Network] = {}
    for interface, addresses in interfaces.items():
        for address in addresses:
            subnet = _subnet(_name_of(interface), address) if address.family == socket.AF_INET else ""
            if subnet:
                found.setdefault(subnet, Network(_name_of(interface), subnet))
    return tuple(sorted(found.values(), key=lambda network: network.name != WSL))


def _name_of(interface: str) -> str:
    return next((name for pattern, name in NAMES if pattern.search(interface)), interface)


def _subnet(name: str, address: Any) -> str:
    own = ipaddress.ip_address(address.address)
    if own in SHARED:
        return str(SHARED)
    if own.is_loopback or own.is_link_local or not own.is_private or not address.netmask:
        return ""
    if name == WSL and own in WSL_SUBNETS:
        return str(WSL_SUBNETS)
    return str(ipaddress.ip_network(f"{own}/{address.netmask}", strict=False))
