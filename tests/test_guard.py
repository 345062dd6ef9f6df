"""Who may talk to the server: Host, Origin, client addresses and the key, for friends and for foes."""

import pytest
from flask import Request
from werkzeug.test import EnvironBuilder

from server.api import guard
from server.api.guard import check_client, check_embedding, check_host, check_key, check_origin
from server.errors import Forbidden, Unauthorized

LOOPBACK = "127.0.0.1"
EVERYWHERE = "0.0.0.0"

FOREIGN_NAMES = [
    "evil.com",
    "evil.com:5001",
    "EVIL.COM",
    "localhost.evil.com",
    "127.0.0.1.evil.com",
    "evil.com.",
    "notlocalhost",
    "localhost:5001@evil.com",
    "127.0.0.1:80@evil.com",
    "user:pass@evil.com",
    "local\thost.evil.com",
    "evil.com#localhost",
    "evil.com/localhost",
    "evil.com?localhost",
    "2130706433.evil.com",
    "xn--lcalhost-54a",
    "l\u03bfcalhost",  # a Greek omicron
    "[::1].evil.com",
    "[::1",
    "::1]",
    "[evil.com]",
    ":5001",
    "@",
]


# --- Host ---


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost:5001",
        "LOCALHOST:5001",
        "app.localhost:5001",
        "127.0.0.1",
        "127.0.0.1:5001",
        "127.0.0.1:80",
        "127.1.2.3",
        "[::1]",
        "[::1]:5001",
        "[0:0:0:0:0:0:0:1]",
    ],
)
@pytest.mark.parametrize("bound", [LOOPBACK, EVERYWHERE, "::1"])
def test_names_of_this_pc_are_let_in(host, bound):
    check_host(host, bound)


def test_no_host_at_all_is_let_in_because_no_browser_leaves_it_out():
    check_host("", LOOPBACK)


@pytest.mark.parametrize("host", FOREIGN_NAMES)
@pytest.mark.parametrize("bound", [LOOPBACK, EVERYWHERE])
def test_foreign_names_are_refused_wherever_the_server_listens(host, bound):
    with pytest.raises(Forbidden):
        check_host(host, bound)


@pytest.mark.parametrize("host", ["localhost.", "127.0.0.1."])
def test_a_trailing_dot_is_refused(host):
    with pytest.raises(Forbidden):
        check_host(host, LOOPBACK)


@pytest.mark.parametrize("host", ["192.168.1.5", "192.168.1.5:5001", "[fe80::1]:5001", "10.0.0.1"])
def test_a_bare_address_is_let_in_only_where_the_network_is_open(host):
    check_host(host, EVERYWHERE)
    check_host(host, "::")
    with pytest.raises(Forbidden):
        check_host(host, LOOPBACK)


@pytest.mark.parametrize("host", ["2130706433", "0x7f.1", "127.1", "0177.0.0.1", "1.2.3.4.5"])
def test_addresses_in_disguise_are_refused(host):
    with pytest.raises(Forbidden):
        check_host(host, EVERYWHERE)


@pytest.mark.parametrize("bound", ["gaming-pc", "Gaming-PC"])
def test_the_name_that_the_server_is_bound_to_is_its_own(bound):
    check_host("gaming-pc:5001", bound)
    check_host("GAMING-PC:5001", bound)


def test_a_refused_host_is_named():
    with pytest.raises(Forbidden, match=r"'evil\.com'"):
        check_host("evil.com:5001", LOOPBACK)


def test_a_network_client_is_not_told_to_use_its_own_localhost():
    with pytest.raises(Forbidden) as caught:
        check_host("gaming-pc:5001", EVERYWHERE)
    assert "http://localhost" not in str(caught.value)


@pytest.mark.parametrize("host", ["host.docker.internal:5001", "host.containers.internal"])
def test_containers_may_call_this_pc_as_they_do(host):
    check_host(host, LOOPBACK)


@pytest.mark.parametrize("host", ["tavern.home", "TAVERN.home:5001", "nas"])
def test_names_that_the_user_allows_are_let_in_and_no_others(host):
    check_host(host, LOOPBACK, "tavern.home, nas")
    with pytest.raises(Forbidden):
        check_host(host, LOOPBACK, "tavern.homes")


@pytest.mark.parametrize("host", ["gaming-pc", "gaming-pc.local:5001", "GAMING-PC"])
def test_the_network_may_call_this_pc_by_its_name(host, monkeypatch):
    monkeypatch.setattr(guard.socket, "gethostname", lambda: "Gaming-PC")
    check_host(host, EVERYWHERE)
    with pytest.raises(Forbidden):
        check_host(host, LOOPBACK)


def test_a_name_of_this_pc_that_somebody_might_own_is_not_let_in_by_itself(monkeypatch):
    monkeypatch.setattr(guard.socket, "gethostname", lambda: "pc.example.com")
    with pytest.raises(Forbidden):
        check_host("pc.example.com", EVERYWHERE)


# --- Origin ---


@pytest.mark.parametrize(
    "origin",
    [
        None,
        "http://localhost",
        "http://localhost:8000",
        "https://localhost:8000",
        "HTTP://LOCALHOST:8000",
        "http://127.0.0.1:8000",
        "http://[::1]:8000",
        "http://app.localhost",
    ],
)
def test_programs_and_pages_of_this_pc_may_ask(origin):
    check_origin(origin, "127.0.0.1:5001")


def test_the_servers_own_page_may_ask():
    check_origin("http://192.168.1.5:5001", "192.168.1.5:5001")


@pytest.mark.parametrize(
    "origin",
    [
        "",
        "null",
        "http://evil.com",
        "https://localhost.evil.com",
        "http://127.0.0.1.evil.com",
        "http://localhost@evil.com",
        "http://evil.com:5001",
        "http://192.168.1.5:8000",
        "file://localhost",
        "file://",
        "chrome-extension://abc",
        "data:text/html,x",
        "localhost",
        "//localhost",
        "http://",
        "http:///localhost",
        "http://[",
        "http://[evil",
        "http://]",
        "http://ev\u2100il.com",
    ],
)
def test_pages_from_elsewhere_may_not(origin):
    with pytest.raises(Forbidden):
        check_origin(origin, "192.168.1.5:5001")


@pytest.mark.parametrize("origin", ["https://lite.koboldai.net", "HTTPS://Lite.KoboldAI.net", "https://a.example:8443"])
def test_pages_that_the_user_allows_may(origin):
    check_origin(origin, "127.0.0.1:5001", "https://lite.koboldai.net, https://a.example:8443")


@pytest.mark.parametrize(
    "origin",
    [
        "http://lite.koboldai.net",
        "https://lite.koboldai.net:8443",
        "https://lite.koboldai.net.evil.com",
        "https://evil.lite.koboldai.net",
        "null",
    ],
)
def test_pages_that_only_look_like_an_allowed_one_may_not(origin):
    with pytest.raises(Forbidden):
        check_origin(origin, "127.0.0.1:5001", "https://lite.koboldai.net")


@pytest.mark.parametrize("destination", ["image", "script", "iframe", "empty", "style"])
def test_pages_from_elsewhere_may_embed_nothing(destination):
    with pytest.raises(Forbidden, match="embed"):
        check_embedding(request_with(Sec_Fetch_Site="cross-site", Sec_Fetch_Dest=destination))


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Dest": "document"},
        {"Sec_Fetch_Site": "same-origin", "Sec_Fetch_Dest": "image"},
        {"Sec_Fetch_Site": "none", "Sec_Fetch_Dest": "document"},
    ],
    ids=str,
)
def test_links_and_the_servers_own_pages_may(headers):
    check_embedding(request_with(**headers))


def test_a_form_that_another_page_sends_is_no_link():
    with pytest.raises(Forbidden):
        check_embedding(request_with("POST", Sec_Fetch_Site="cross-site", Sec_Fetch_Dest="document"))


def test_other_servers_under_the_same_name_may_embed_nothing():
    with pytest.raises(Forbidden):
        check_embedding(request_with(Sec_Fetch_Site="same-site", Sec_Fetch_Dest="image"))


def test_a_refused_page_is_named():
    with pytest.raises(Forbidden, match=r"http://evil\.com"):
        check_origin("http://evil.com", "127.0.0.1:5001")


# --- clients ---


@pytest.mark.parametrize("address", ["192.168.1.20", "8.8.8.8", "127.0.0.1", "::1", ""])
def test_without_a_list_every_address_may_come(address):
    check_client(address, "")


@pytest.mark.parametrize("address", ["192.168.1.20", "172.20.0.9", "fe80::1"])
def test_addresses_on_the_list_may_come(address):
    check_client(address, "192.168.1.20, 172.16.0.0/12, fe80::/10")


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "127.9.9.9", "::ffff:127.0.0.1"])
def test_this_pc_may_always_come(address):
    check_client(address, "192.168.1.20")


def test_an_ipv4_client_of_an_ipv6_socket_is_known_by_its_ipv4_address():
    check_client("::ffff:192.168.1.20", "192.168.1.20")


@pytest.mark.parametrize("address", ["192.168.1.21", "192.168.1.2", "8.8.8.8", "fe80::1", "::ffff:8.8.8.8"])
def test_addresses_off_the_list_may_not_and_are_named(address):
    with pytest.raises(Forbidden, match=address):
        check_client(address, "192.168.1.20")


@pytest.mark.parametrize("address", ["", "unknown", "evil.com"])
def test_a_client_without_an_address_is_refused_where_there_is_a_list(address):
    with pytest.raises(Forbidden):
        check_client(address, "192.168.1.20")


# --- the key ---


def request_with(method: str = "GET", **headers: str) -> Request:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return Request(EnvironBuilder(method=method, headers=names).get_environ())


@pytest.mark.parametrize(
    "authorization", ["", "Bearer ", "Bearer abc123", "Bearer undefined", "Basic eDp5", "nonsense"]
)
def test_without_a_password_any_key_will_do(authorization):
    check_key(request_with(Authorization=authorization), "")


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer secret"},
        {"Authorization": "bearer secret"},
        {"Authorization": "Bearer  secret "},
        {"X_Api_Key": "secret"},
        {"Api_Key": "secret"},
        {"Authorization": "Bearer wrong", "X_Api_Key": "secret"},
    ],
    ids=str,
)
def test_the_key_is_taken_from_any_of_its_headers(headers):
    check_key(request_with(**headers), "secret")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer "},
        {"Authorization": "secret"},
        {"Authorization": "Basic secret"},
        {"Authorization": "Bearer secre"},
        {"Authorization": "Bearer secrets"},
        {"Authorization": "Bearer SECRET"},
        {"Authorization": "Bearer wrong", "X_Api_Key": ""},
    ],
    ids=str,
)
def test_a_missing_or_wrong_key_is_refused_and_never_shown(headers):
    with pytest.raises(Unauthorized) as caught:
        check_key(request_with(**headers), "secret")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_a_password_with_an_umlaut_can_be_sent(encoding):
    # WSGI hands header bytes over as Latin-1.
    check_key(request_with(Authorization="Bearer " + "schlüssel".encode(encoding).decode("latin-1")), "schlüssel")


def test_keys_are_compared_in_constant_time_and_in_no_other_way(monkeypatch):
    compared = []
    monkeypatch.setattr("hmac.compare_digest", lambda *keys: bool(compared.append(keys)))
    with pytest.raises(Unauthorized):
        check_key(request_with(X_Api_Key="secret"), "secret")
    assert (b"secret", b"secret") in compared
