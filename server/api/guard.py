"""Who may talk to the server: Host and Origin checks, client addresses, the key, and the CORS headers that follow.

Any web page that this PC opens can send requests to it; without these checks it could use the model and read chats.
"""

from __future__ import annotations

import hmac
import re
import socket
from collections.abc import Callable

from flask import Flask, Request, Response, request

from server.access import address_of, client_networks, host_names, is_loopback, web_origins
from server.errors import Forbidden, Unauthorized
from server.settings import Settings

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
OPEN, OWN_KEY = "page", "admin"  # blueprints: the chat page, which asks for the key itself; routes with another key
CONTAINERS = frozenset(  # as Docker and Podman call the PC they run on; nobody can register a name in .internal
    ("host.docker.internal", "gateway.docker.internal", "host.containers.internal")
)
ALLOWED_METHODS = "GET, POST, PUT, DELETE, OPTIONS"
EXPOSED_HEADERS = "Retry-After, X-Tavernkeep-Ignored, X-Tavernkeep-Trimmed"
PREFLIGHT_SECONDS = "600"
PREFLIGHT_VARIES = (
    "Access-Control-Request-Method",
    "Access-Control-Request-Headers",
    "Access-Control-Request-Private-Network",
)
KEY_HEADERS = ("X-Api-Key", "Api-Key")


def install(app: Flask, settings: Callable[[], Settings]) -> None:
    """Check every request of ``app`` before it is routed; ``settings`` gives the settings that are in force."""

    @app.before_request
    def check() -> Response | None:
        check_host(request.headers.get("Host", ""), settings().host, settings().allowhosts)
        check_origin(request.headers.get("Origin"), request.headers.get("Host", ""), settings().alloworigins)
        check_embedding(request)
        check_client(request.remote_addr or "", settings().allowclients)
        if request.method == "OPTIONS":
            return Response(status=204)
        if request.method == "HEAD":
            return Response(status=200)  # whether anybody listens, as KoboldCpp answers it for every path
        if request.path.rstrip("/") not in OPEN_PATHS and request.blueprint not in (OPEN, OWN_KEY):
            check_key(request, settings().password)
        return None

    @app.after_request
    def add_headers(response: Response) -> Response:
        response.headers["Cache-Control"] = "no-store"
        response.headers["Cross-Origin-Resource-Policy"] = "same-origin"  # for browsers that do not say who embeds it
        response.vary.add("Origin")
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["X-Frame-Options"] = "DENY"
        origin = request.headers.get("Origin")
        if origin and origin_allowed(origin, request.headers.get("Host", ""), settings().alloworigins):
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Expose-Headers"] = EXPOSED_HEADERS
            if request.method == "OPTIONS":
                _answer_preflight(response)
        return response


def _answer_preflight(response: Response) -> None:
    """Any header may be sent: SDKs add dozens of their own, and none of them gets a page further than its origin does.

    Chrome asked for the private network until it asked the user instead (Local Network Access), which needs no header.
    """
    response.vary.update(PREFLIGHT_VARIES)
    response.headers["Access-Control-Allow-Methods"] = ALLOWED_METHODS
    response.headers["Access-Control-Max-Age"] = PREFLIGHT_SECONDS
    if asked := request.headers.get("Access-Control-Request-Headers"):
        response.headers["Access-Control-Allow-Headers"] = asked
    if request.headers.get("Access-Control-Request-Private-Network") == "true":
        response.headers["Access-Control-Allow-Private-Network"] = "true"


def check_host(header: str, bound: str, allowed: str = "") -> None:
    """Refuse names that are not this server's: a page could point a name of its own at this PC (DNS rebinding).

    Names that nobody can register are let in: loopback's, those that containers use, the ``allowed`` ones, and where
    the server listens on more than loopback bare addresses and the name of this PC.
    """
    name = _hostname(header)
    in_network = not is_loopback(bound)
    ours = {bound.lower(), *CONTAINERS, *host_names(allowed)}
    if not header or is_loopback(name) or name in ours or (in_network and (address_of(name) or name in _own_names())):
        return
    address = "the IP address of this PC" if in_network else "http://127.0.0.1 or http://localhost"
    raise Forbidden(
        f"The host name {name or header!r} is not one of this server's.",
        f"Use {address}, or allow it with --allowhosts.",
    )


def _own_names() -> tuple[str, ...]:
    """What other PCs in the network call this one; not a name with dots, which may be anybody's."""
    name = socket.gethostname().lower().removesuffix(".local")
    return () if "." in name else (name, f"{name}.local")


def check_origin(origin: str | None, host: str, allowed: str = "") -> None:
    """Refuse requests that a web page from elsewhere sends, unless its origin is one of the ``allowed``."""
    if origin is not None and not origin_allowed(origin, host, allowed):
        raise Forbidden(
            f"Web pages from {origin} may not use this server.",
            "If you trust that page, allow it in Tavernkeep's window or with --alloworigins.",
        )


def check_embedding(request: Request) -> None:
    """Refuse what a web page from elsewhere embeds, as a picture, a script or a frame: browsers send no Origin then. A
    link to this server may be followed."""
    get = request.headers.get
    if get("Origin") is not None or get("Sec-Fetch-Site") not in ("cross-site", "same-site"):
        return
    if get("Sec-Fetch-Dest") != "document" or request.method not in ("GET", "HEAD"):
        raise Forbidden("Web pages from elsewhere may not embed anything of this server.")


def check_client(address: str, allowed: str) -> None:
    """Where a list of clients is set, refuse all others but this PC itself."""
    networks = client_networks(allowed)
    if not networks or is_loopback(address):
        return
    client = address_of(address)
    if client is None or not any(client in network for network in networks):
        raise Forbidden(f"The address {address} is not on the list of clients.", "Add it with --allowclients.")


def check_key(request: Request, password: str) -> None:
    """Where a password is set, refuse requests without it; else accept any key, because Mantella always sends one."""
    if password and not has_key(request, password):
        raise Unauthorized("The key is missing or wrong.", "Send it as 'Authorization: Bearer KEY'.")


def has_key(request: Request, password: str) -> bool:
    """Whether a request brings this key. It takes as long for one that is nearly right as for any other."""
    scheme, _, bearer = request.headers.get("Authorization", "").partition(" ")
    others = [request.headers.get(name, "") for name in KEY_HEADERS]
    return any(_same(key, password) for key in (bearer.strip() if scheme.lower() == "bearer" else "", *others))


def _same(key: str, password: str) -> bool:
    sent = key.encode("latin-1", "replace")  # as WSGI hands header bytes over
    return any(hmac.compare_digest(sent, password.encode(coding, "replace")) for coding in ("utf-8", "latin-1"))


def origin_allowed(origin: str, host: str, allowed: str = "") -> bool:
    """Whether a page of this origin may use the server: one from this PC, the server's own, or an ``allowed`` one."""
    scheme, separator, authority = origin.partition("://")
    if not separator or scheme.lower() not in ("http", "https"):
        return False
    name = _hostname(authority)
    return bool(name) and (is_loopback(name) or authority == host or origin.lower() in web_origins(allowed))


def _hostname(authority: str) -> str:
    """The name or address in ``name:port``; "" for anything that is not exactly that."""
    match = AUTHORITY.fullmatch(authority.lower())
    return (match[1] or match[2]) if match else ""
