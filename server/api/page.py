"""The chat page: the files of assets/page, which anybody whom the guard lets in may read, with or without a key."""

from __future__ import annotations

from pathlib import Path

from flask import Blueprint, Response

from server.errors import NotFound

NAME = "page"
ASSETS = Path(__file__).resolve().parents[2] / "assets"
FOLDER = ASSETS / "page"
ICON = ASSETS / "icons" / "tavernkeep-64.png"
TYPES = {  # said here, because Windows lets other programs decide what a .js file is
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".png": "image/png",
}
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",  # the pictures of characters
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)


def blueprint(_: object) -> Blueprint:
    """The routes; they answer without the controller."""
    routes = Blueprint(NAME, __name__)
    files = {file.name: file for file in (*FOLDER.iterdir(), ICON)}

    @routes.get("/")
    def page() -> Response:
        return answer(FOLDER / "index.html")

    @routes.get("/page/<file>")
    def part(file: str) -> Response:
        if file not in files:
            raise NotFound("The chat page has no such file.")
        return answer(files[file])

    def answer(file: Path) -> Response:
        headers = {"Content-Security-Policy": POLICY, "Referrer-Policy": "no-referrer"}
        return Response(file.read_bytes(), headers=headers, content_type=TYPES[file.suffix])

    return routes
