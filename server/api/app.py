"""The Flask app: wires the dialects, the guard and the dressing of errors. Built by the controller."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from flask import Flask, Response, jsonify, request
from flask.json.provider import DefaultJSONProvider
from werkzeug.exceptions import HTTPException

from server import privacy
from server.api import (
    absent,
    addresses,
    admin,
    anthropic,
    caller,
    embeddings,
    guard,
    health,
    kobold,
    kobold_status,
    metrics,
    ollama,
    openai,
    openapi,
    page,
    prompt,
    refusal,
    responses,
    samplers,
    saves,
    tokens,
)
from server.api.traffic import Traffic, route
from server.errors import BadRequest, Forbidden, ModelNotReady, NotFound, TavernkeepError, Unauthorized

if TYPE_CHECKING:
    from server.controller import Controller

log = logging.getLogger("tavernkeep.http")

MAX_BODY = 32 * 1024 * 1024
LONGEST_LINE = 300
RETRY_SECONDS = "2"  # a model loads, or a reply ends, in seconds


class _Json(DefaultJSONProvider):
    """KoboldCpp's layout, on which clients compare strings: one line, ``", "`` and ``": "`` as separators."""

    sort_keys = False

    def response(self, *args: Any, **kwargs: Any) -> Response:
        text = self.dumps(self._prepare_response_obj(args, kwargs))
        return Response(text, mimetype=self.mimetype)


def create_app(controller: Controller) -> Flask:
    """A WSGI app that serves what ``controller`` holds."""
    app = Flask("tavernkeep", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False
    app.json = _Json(app)
    traffic = Traffic()
    traffic.install(app)
    addresses.install(app)
    guard.install(app, lambda: controller.settings)
    for dialect in (
        health,
        prompt,
        samplers,
        kobold,
        kobold_status,
        tokens,
        saves,
        admin,
        openai,
        responses,
        anthropic,
        embeddings,
        ollama,
        absent,
        page,
        openapi,
    ):
        app.register_blueprint(dialect.blueprint(controller))
    app.register_blueprint(metrics.blueprint(controller, traffic))
    app.register_error_handler(Exception, _dress)
    return app


def _dress(error: Exception) -> tuple[Response, int, dict[str, str]]:
    if isinstance(error, HTTPException):
        known = _from_http(error)
    elif isinstance(error, TavernkeepError):
        known = error
    else:
        log.exception("%s %s failed.", request.method, route())
        known = TavernkeepError("The server made a mistake while answering; the log has the details.")
    status = error.code if isinstance(error, HTTPException) and error.code else known.status
    _log(known, status)
    headers = {"Retry-After": RETRY_SECONDS} if status == ModelNotReady.status else {}
    body = refusal.body(known)
    if request.blueprint == ollama.NAME:
        body["error"] = str(known)  # its clients show what stands there, whatever it is
    elif request.blueprint == anthropic.NAME:
        body |= anthropic.error_body(known, status)
    return jsonify(body), status, headers


def _log(error: TavernkeepError, status: int) -> None:
    """One line for each request that is refused. Those that the guard refuses matter most."""
    level = logging.WARNING if isinstance(error, (Forbidden, Unauthorized)) else logging.INFO
    said = privacy.sentence(error)[:LONGEST_LINE]  # it may name a host or a page, as long as a header may be
    fields = {"client": caller.client(), "route": route(), "status": status, "error": error.code}
    log.log(level, "%s %s: %d, %s", fields["client"], fields["route"], status, said, extra=fields)


def _from_http(error: HTTPException) -> TavernkeepError:
    if error.code == 404:
        return NotFound(f"There is nothing at {request.path}.", "Check the address; /docs lists what is served.")
    if error.code == 405:
        return BadRequest(f"{request.path} does not answer {request.method}.")
    if error.code == 413:
        return BadRequest(f"The request is larger than {MAX_BODY // 1024 // 1024} MB.")
    return BadRequest(error.description or error.name)
