"""The addresses that clients use: any beginning before a route's own path, as KoboldCpp takes it.

``/foo/api/v1/model`` and ``/lcpp/props`` are found at ``/api/v1/model`` and ``/props``. The path is changed before
anything else looks at it, so what guards a route guards it under all of its addresses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Flask
from werkzeug.exceptions import MethodNotAllowed, NotFound

if TYPE_CHECKING:
    from collections.abc import Iterable

    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment
    from werkzeug.routing import MapAdapter

MOST_PARTS = 5  # of the longest path of a route


def install(app: Flask) -> None:
    """Let every route of ``app`` answer behind any beginning, and with slashes at its end."""
    inner: WSGIApplication = app.wsgi_app
    routes = app.url_map.bind("localhost")  # no route depends on the host, which is the guard's to judge

    def shortened(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        environ["PATH_INFO"] = _known(routes, environ["PATH_INFO"])
        return inner(environ, start_response)

    app.wsgi_app = shortened  # type: ignore[method-assign]  # as Flask's own manual says


def _known(routes: MapAdapter, path: str) -> str:
    """The whole path if it is a route's, or the longest end of it that is; else the path as it came."""
    trimmed = path.rstrip("/") or "/"
    parts = trimmed.split("/")[1:]
    ends = ("/" + "/".join(parts[start:]) for start in range(max(len(parts) - MOST_PARTS, 1), len(parts)))
    for end in (trimmed, *ends):
        try:
            routes.match(end)
        except NotFound:
            continue
        except MethodNotAllowed:
            pass
        return end
    return path
