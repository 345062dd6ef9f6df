"""Who may talk to the server: Host and Origin checks, client addresses, the key, and the CORS headers that follow.

Any web page that this PC opens can send requests to it; without these checks it could use the model and read chats.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Callable
from urllib.parse import urlsplit

from flask import Flask, Request, Response, request

from server.errors import Forbidden, Unauthorized
from server.settings import Settings, client_networks

OPEN_PATHS = frozenset({"/health", "/api/extra/version", "/api/v1/info/version", "/api/latest/info/version"})
ALLOWED_HEADERS = (
    "Accept, Authorization, Cache-Control, Client-Agent, Content-Type, X-Api-Key, X-Requested-With, apikey, genkey"
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
        if request.path.rstrip("/") not in OPEN_PATHS:
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
    name = _hostname(f"http://{header}")
    if not header or _is_loopback(name) or name == bound or (not _is_loopback(bound) and _is_address(name)):
        return
    raise Forbidden(f"The host name {name!r} is not one of this server's.", "Use http://127.0.0.1 or http://localhost.")


def check_origin(origin: str | None, host: str) -> None:
    """Refuse requests that a web page from elsewhere sends."""
    if origin is not None and not _origin_allowed(origin, host):
        raise Forbidden(f"Web pages from {origin} may not use this server.")


def check_client(address: str, allowed: str) -> None:
    """Where a list of clients is set, refuse all others but this PC itself."""
    networks = client_networks(allowed)
    if networks and not _is_loopback(address):
        client = ipaddress.ip_address(address)
        if not any(client in network for network in networks):
            raise Forbidden(f"The address {address} is not on the list of clients.", "Add it with --allowclients.")


def check_key(request: Request, password: str) -> None:
    """Where a password is set, refuse requests without it; else accept any key, because Mantella always sends one."""
    scheme, _, bearer = request.headers.get("Authorization", "").partition(" ")
    keys = (bearer.strip() if scheme.lower() == "bearer" else "", request.headers.get("X-Api-Key", ""))
    expected = password.encode()
    if password and not any(hmac.compare_digest(key.encode("utf-8", "replace"), expected) for key in keys):
        raise Unauthorized("The key is missing or wrong.", "Send it as 'Authorization: Bearer KEY'.")


def _origin_allowed(origin: str, host: str) -> bool:
    parts = urlsplit(origin)
    return parts.scheme in ("http", "https") and (_is_loopback(_hostname(origin)) or parts.netloc == host)


def _hostname(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return url


def _is_loopback(name: str) -> bool:
    if name == "localhost" or name.endswith(".localhost"):
        return True
    return _is_address(name) and ipaddress.ip_address(name).is_loopback


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
