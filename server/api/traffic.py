"""How many requests came to which route, and how they were answered. Installed by the app, read by ``/metrics``."""

from __future__ import annotations

import threading
from collections import Counter

from flask import Flask, Response, request

NO_ROUTE = "none"


def route() -> str:
    """The route of the request as it is declared. What stands in an address may be anything, a key as well."""
    return request.url_rule.rule if request.url_rule else NO_ROUTE


class Traffic:
    """Counts answers. Safe from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._answers: Counter[tuple[str, int]] = Counter()

    def install(self, app: Flask) -> None:
        """Count what ``app`` answers from now on."""

        @app.after_request
        def count(response: Response) -> Response:
            with self._lock:
                self._answers[route(), response.status_code] += 1
            return response

    def answers(self) -> dict[tuple[str, int], int]:
        """How many answers each route gave with each status."""
        with self._lock:
            return dict(self._answers)
