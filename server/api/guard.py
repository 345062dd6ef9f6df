"""Who may talk to the server: Host and Origin checks, client addresses, the key, and the CORS headers that follow.

Any web page that this PC opens can send requests to it; without these checks it could use the model and read chats.
"""

from __future__ import annotations

import hmac
import ipaddress
import re
from collections.abc import Callable

from flask import Flask, Request, Response, request

from server.errors import Forbidden, Unauthorized
from server.settings import Settings, client_networks, is_loopback

AUTHORITY = re.compile(r"(?:\[([0-9a-f:.]+)\]|([a-z0-9_.-]+))(?::[0-9]*)?", re.ASCII)
OPEN_PATHS = frozenset(
    (
        "/health",
        "/ping",
        "/docs",
        "/api/openapi.json",
        "/api/extra/version",
        "/api/v1/info/version",
        "/api/latest/info/version",
    )
)
OWN_KEY = "admin"  # the blueprint whose routes ask for a key of their own
ALLOWED_HEADERS = (
    "Accept, Authorization, Cache-Control, Client-Agent, Content-Type, X-Api-Key, X-Requested-With, anthropic-beta,"
    " anthropic-version, apikey, genkey"
)


def install(app: Flask, settings: Callable[[], Settings]) -> None:
    """Check every request of ``app`` before it is routed; ``settings`` gives the settings that are in force."""

    @app.before_request
    def check() -> Response | None:
        check_host(request.headers.get("Host", ""), settings().host)
        check_origin(request.headers.get("Origin"), request.headers.get("Host", ""))
        check_client(request.remote_addr or "", settings().allowclients)
        if request.method == "OPTIONS":
            return Response(status=204)
        if request.method == "HEAD":
            return Response(status=200)  # whether anybody listens, as KoboldCpp answers it for every path
        if request.path.rstrip("/") not in OPEN_PATHS and request.blueprint != OWN_KEY:
            check_key(request, settings().password)
        return None

    @app.after_request
    def add_headers(response: Response) -> Response:
        response.headers["Cache-Control"] = "no-store"
        response.headers["Vary"] = "Origin"
        origin = request.headers.get("Origin")
        if origin and _origin_allowed(origin, request.headers.get("Host", "")):
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Allow-Methods"] = "GET, POST, PUT, OPTIONS"
            response.headers["Access-Control-Allow-Headers"] = ALLOWED_HEADERS
            response.headers["Access-Control-Allow-Private-Network"] = "true"
        return response


def check_host(header: str, bound: str) -> None:
    """Refuse names that are not this server's: a page could point a name of its own at this PC (DNS rebinding).

    A bare address cannot be such a name; it is let in where the server listens on more than loopback.
    """
    name = _hostname(header)
    in_network = not is_loopback(bound)
    if not header or is_loopback(name) or name == bound.lower() or (in_network and _is_address(name)):
        return
    address = "the IP address of this PC" if in_network else "http://127.0.0.1 or http://localhost"
    raise Forbidden(f"The host name {name or header!r} is not one of this server's.", f"Use {address}.")


def check_origin(origin: str | None, host: str) -> None:
    """Refuse requests that a web page from elsewhere sends."""
    if origin is not None and not _origin_allowed(origin, host):
        raise Forbidden(f"Web pages from {origin} may not use this server.")


def check_client(address: str, allowed: str) -> None:
    """Where a list of clients is set, refuse all others but this PC itself."""
    networks = client_networks(allowed)
    if not networks or is_loopback(address):
        return
    if not _is_address(address) or not any(ipaddress.ip_address(address) in network for network in networks):
        raise Forbidden(f"The address {address} is not on the list of clients.", "Add it with --allowclients.")


def check_key(request: Request, password: str) -> None:
    """Where a password is set, refuse requests without it; else accept any key, because Mantella always sends one."""
    if password and not has_key(request, password):
        raise Unauthorized("The key is missing or wrong.", "Send it as 'Authorization: Bearer KEY'.")


def has_key(request: Request, password: str) -> bool:
    """Whether a request brings this key. It takes as long for one that is nearly right as for any other."""
    scheme, _, bearer = request.headers.get("Authorization", "").partition(" ")
    keys = (bearer.strip() if scheme.lower() == "bearer" else "", request.headers.get("X-Api-Key", ""))
    return any(_same(key, password) for key in keys)


def _same(key: str, password: str) -> bool:
    sent = key.encode("latin-1", "replace")  # as WSGI hands header bytes over
    return any(hmac.compare_digest(sent, password.encode(coding, "replace")) for coding in ("utf-8", "latin-1"))


def _origin_allowed(origin: str, host: str) -> bool:
    scheme, separator, authority = origin.partition("://")
    if not separator or scheme.lower() not in ("http", "https"):
        return False
    name = _hostname(authority)
    return bool(name) and (is_loopback(name) or authority == host)


def _hostname(authority: str) -> str:
    """The name or address in ``name:port``; "" for anything that is not exactly that."""
    match = AUTHORITY.fullmatch(authority.lower())
    return (match[1] or match[2]) if match else ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
