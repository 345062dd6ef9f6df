"""The networks of a PC by names that people know, as Windows, Linux and macOS list them."""

import ipaddress
import socket
from types import SimpleNamespace

import pytest

from server.networks import named, networks
from server.snapshot import Network


def ipv4(address, netmask):
    return [SimpleNamespace(family=socket.AF_INET, address=address, netmask=netmask)]


@pytest.mark.parametrize(
    ("interface", "address", "netmask", "name", "subnet"),
    [
        ("vEthernet (WSL (Hyper-V firewall))", "172.28.96.1", "255.255.240.0", "WSL", "172.16.0.0/12"),
        ("vEthernet (WSL)", "192.168.160.1", "255.255.240.0", "WSL", "192.168.160.0/20"),
        ("vEthernet (Default Switch)", "172.20.16.1", "255.255.240.0", "Virtual machines", "172.20.16.0/20"),
        ("Wi-Fi", "192.168.1.20", "255.255.255.0", "Wi-Fi", "192.168.1.0/24"),
        ("WLAN", "192.168.178.3", "255.255.255.0", "Wi-Fi", "192.168.178.0/24"),
        ("Ethernet 2", "10.1.2.3", "255.0.0.0", "Ethernet", "10.0.0.0/8"),
        ("enp3s0", "192.168.1.20", "255.255.255.0", "Ethernet", "192.168.1.0/24"),
        ("wlp2s0", "192.168.1.21", "255.255.255.0", "Wi-Fi", "192.168.1.0/24"),
        ("docker0", "172.17.0.1", "255.255.0.0", "Docker", "172.17.0.0/16"),
        ("tailscale0", "100.101.102.103", "255.255.255.255", "Tailscale", "100.64.0.0/10"),
        ("en0", "192.168.1.20", "255.255.255.0", "Ethernet / Wi-Fi", "192.168.1.0/24"),
        ("utun4", "100.90.1.2", "255.255.255.255", "Tailscale", "100.64.0.0/10"),
        ("wg0", "10.8.0.2", "255.255.255.0", "VPN", "10.8.0.0/24"),
        ("mystery0", "192.168.77.1", "255.255.255.0", "mystery0", "192.168.77.0/24"),
    ],
)
def test_a_network_has_the_name_that_people_know(interface, address, netmask, name, subnet):
    (network,) = named({interface: ipv4(address, netmask)})
    assert network == Network(name, subnet, address)


@pytest.mark.parametrize(
    ("address", "netmask"),
    [
        ("127.0.0.1", "255.0.0.0"),
        ("169.254.3.4", "255.255.0.0"),
        ("8.8.8.8", "255.255.255.0"),
        ("10.0.0.1", None),
        ("10.8.0.2", "255.255.255.255"),
    ],
)
def test_what_is_no_private_network_is_not_offered(address, netmask):
    assert named({"Ethernet": ipv4(address, netmask)}) == ()


def test_wsl_comes_first_and_no_subnet_comes_twice():
    interfaces = {
        "Ethernet": ipv4("192.168.1.20", "255.255.255.0"),
        "Wi-Fi": ipv4("192.168.1.21", "255.255.255.0"),
        "vEthernet (WSL)": ipv4("172.28.96.1", "255.255.240.0"),
    }
    assert [network.name for network in named(interfaces)] == ["WSL", "Ethernet"]


WSL_AND_MACHINES = {
    "vEthernet (WSL)": ipv4("172.28.96.1", "255.255.240.0"),
    "vEthernet (Default Switch)": ipv4("172.20.16.1", "255.255.240.0"),
}


def test_wsl_is_offered_with_the_range_that_it_moves_in_unless_other_pcs_are_there_too():
    assert named(WSL_AND_MACHINES)[0].subnet == "172.16.0.0/12"
    office = {**WSL_AND_MACHINES, "Ethernet": ipv4("172.16.9.9", "255.255.0.0")}
    assert named(office)[0].subnet == "172.28.96.0/20"


def test_the_networks_of_this_pc_can_be_read():
    for network in networks():
        assert network.name
        assert ipaddress.ip_network(network.subnet)
