"""A server on this PC that answers as huggingface.co does, as far as downloads go; with faults on demand."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

REVISION = "0123456789abcdef0123456789abcdef01234567"
PIECE = 1 << 20


class Hub:
    """``files`` are the contents by repository and path, ``asked`` the requests for them: path and first byte.

    After ``cut_after`` bytes of an answer the connection breaks, as often as ``cuts`` says. A closed ``gate`` holds
    answers back after their first half.
    """

    def __init__(self) -> None:
        self.files: dict[str, dict[str, bytes]] = {}
        self.gated: set[str] = set()
        self.token = "hf_secret"
        self.wrong_checksums: set[str] = set()
        self.cut_after = 0
        self.cuts = 0
        self.status = 0
        self.gate = threading.Event()
        self.gate.set()
        self.asked: list[tuple[str, int]] = []
        self.endpoint = ""

    def described(self, repository: str) -> dict[str, Any]:
        siblings = []
        for path, content in self.files[repository].items():
            sha256 = hashlib.sha256(b"other" if path in self.wrong_checksums else content).hexdigest()
            lfs = {"size": len(content), "sha256": sha256, "pointerSize": 134}
            siblings.append({"rfilename": path, "size": len(content), "lfs": lfs})
        return {**self.listed(repository), "sha": REVISION, "siblings": siblings}

    def listed(self, repository: str) -> dict[str, Any]:
        gated = "manual" if repository in self.gated else False
        return {"id": repository, "downloads": 7, "tags": ["gguf", "license:apache-2.0"], "gated": gated}


@contextmanager
def running_hub() -> Iterator[Hub]:
    """The imitation on a free port of this PC."""
    hub = Hub()

    class Handler(_Handler):
        imitated = hub

    with serving(Handler) as hub.endpoint:
        yield hub
        hub.gate.set()


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """A server on a free port of this PC; its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


class QuietHandler(BaseHTTPRequestHandler):
    """Keeps connections, as the hub does, and logs nothing."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Nothing."""


class _Handler(QuietHandler):
    imitated: Hub

    def do_GET(self) -> None:
        hub, address = self.imitated, urlsplit(self.path)
        parts = unquote(address.path).strip("/").split("/")
        if hub.status:
            self._refuse(hub.status, "")
        elif parts[:2] == ["api", "models"] and len(parts) == 2:
            wanted = parse_qs(address.query)["search"][0].lower()
            self._answer([hub.listed(name) for name in hub.files if wanted in name.lower()])
        elif parts[:2] == ["api", "models"]:
            name = "/".join(parts[2:4])
            self._answer(hub.described(name)) if name in hub.files else self._refuse(404, "RepoNotFound")
        else:
            self._send_file("/".join(parts[:2]), "/".join(parts[4:]))

    def _send_file(self, repository: str, path: str) -> None:
        hub = self.imitated
        content = hub.files.get(repository, {}).get(path)
        if repository in hub.gated and self.headers.get("Authorization") != f"Bearer {hub.token}":
            self._refuse(403, "GatedRepo")
            return
        if content is None:
            self._refuse(404, "EntryNotFound")
            return
        first = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").split("-")[0])
        hub.asked.append((path, first))
        self.send_response(206 if first else 200)
        self.send_header("Content-Length", str(len(content) - first))
        if first:
            self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        self._send_pieces(content, first)

    def _send_pieces(self, content: bytes, first: int) -> None:
        hub, half = self.imitated, first + (len(content) - first) // 2
        for start in range(first, len(content), PIECE):
            if start >= half:
                hub.gate.wait(30)
            if hub.cuts and hub.cut_after and start - first >= hub.cut_after:
                hub.cuts -= 1
                self.close_connection = True
                return
            try:
                self.wfile.write(content[start : start + PIECE])
            except OSError:
                self.close_connection = True
                return

    def _answer(self, body: Any) -> None:
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()
