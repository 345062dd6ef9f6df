"""The manual of the routes, for programs and for people. ``python -m server.api.openapi`` writes docs/api.md."""

from __future__ import annotations

import html
import itertools
import json
from collections.abc import Iterator
from typing import Any

from flask import Blueprint, Response, redirect
from werkzeug.wrappers import Response as AnyResponse

from server import VERSION
from server.api.manual import ROUTES
from server.api.manual.route import Route

ADDRESS = "http://127.0.0.1:5001"
IN_PATHS = {"digest": "sha256:0123", "file": "page.js", "name": "SmolLM2-135M-Instruct.Q4_1"}  # examples
KINDS: dict[str, dict[str, Any]] = {
    "text": {"type": "string"},
    "number": {"type": "number"},
    "integer": {"type": "integer"},
    "flag": {"type": "boolean"},
    "texts": {"type": "array", "items": {"type": "string"}},
    "list": {"type": "array"},
    "object": {"type": "object"},
    "any": {},
}
ERRORS = {
    "400": "The request cannot be understood.",
    "401": "The key is missing or wrong.",
    "403": "The guard refuses where the request comes from.",
    "404": "There is nothing there.",
    "501": "This server does not do that, or it is switched off.",
    "503": "No model is loaded, or the queue is full.",
}
ERROR = {
    "type": "object",
    "description": "Both shapes that clients read; Ollama's routes have a text as error.",
    "properties": {
        "error": {},
        "detail": {"type": "object", "properties": {"msg": {"type": "string"}, "type": {"type": "string"}}},
    },
}
INTRODUCTION = """# The API

Every route that Tavernkeep answers, with an example to paste into a shell. Each also answers behind any beginning
(`/lcpp/props`, `/foo/api/v1/model`), with slashes at its end, and whatever the request's Content-Type says. With
`--password KEY` send `Authorization: Bearer KEY`. Errors come with a true status and a sentence, in OpenAI's shape and
in KoboldCpp's at once. While the server runs, `/docs` has this page with all fields, and `/api/openapi.json` has it for
programs.

What differs from KoboldCpp is in [differences.md](differences.md); samplers are in [samplers.md](samplers.md), chats
and templates in [prompt.md](prompt.md).
"""
STYLE = """
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem; font: 16px/1.5 system-ui, sans-serif;
  color: #1f2328; background: #fff; }
pre { background: #f3f4f6; padding: .75rem; white-space: pre-wrap; overflow-wrap: anywhere; border-radius: .4rem; }
table { border-collapse: collapse; } td { padding: .1rem 1rem .1rem 0; vertical-align: top; }
summary { cursor: pointer; } code { font-size: .9em; }
@media (prefers-color-scheme: dark) { body { color: #e6e6e6; background: #1b1b1b; } pre { background: #2a2a2a; } }
"""


def blueprint(_: object) -> Blueprint:
    """The routes; they answer without the controller."""
    routes = Blueprint("openapi", __name__)

    @routes.get("/api/openapi.json")
    def openapi() -> dict[str, Any]:
        return document()

    @routes.get("/docs")
    def docs() -> Response:
        return Response(page(), content_type="text/html; charset=utf-8")

    @routes.get("/v1")
    @routes.get("/api")
    @routes.get("/api/v1")
    def to_docs() -> AnyResponse:
        return redirect("/docs")

    return routes


def document() -> dict[str, Any]:
    """The OpenAPI document."""
    paths: dict[str, dict[str, Any]] = {}
    for route in ROUTES:
        for path, method in itertools.product((route.path, *route.aliases), route.methods):
            paths.setdefault(path, {})[method.lower()] = _operation(route, path, method)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Tavernkeep", "version": VERSION},
        "paths": paths,
        "components": {
            "schemas": {"Error": ERROR},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"key": []}],
    }


def markdown() -> str:
    """docs/api.md."""
    parts = [INTRODUCTION]
    for group, routes in itertools.groupby(ROUTES, key=lambda route: route.group):
        parts.append(f"\n## {group}\n")
        for route in routes:
            parts += ["", f"### {_title(route)}", "", route.summary, *_also(route), "", "```sh", curl(route), "```", ""]
            parts += [f"Answers {_status(route)}`{_answer(route)}`", ""]
    return "\n".join(parts).replace("\n\n\n", "\n\n").rstrip() + "\n"


def page() -> str:
    """The same, to look at in a browser, with the fields that each route takes."""
    groups = itertools.groupby(ROUTES, key=lambda route: route.group)
    body = "".join(f"<h2>{html.escape(group)}</h2>{''.join(map(_section, routes))}" for group, routes in groups)
    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>Tavernkeep: the API</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head>'
        f"<body><h1>Tavernkeep: the API</h1><p>Every route, with an example. For programs: "
        f'<a href="/api/openapi.json">openapi.json</a>. To talk: <a href="/">the chat page</a>.</p>{body}</body></html>'
    )


def curl(route: Route) -> str:
    """The example, as people type it."""
    method = route.methods[0]
    url = ADDRESS + route.path.format(**IN_PATHS)
    if route.example is not None:
        data = json.dumps(route.example, ensure_ascii=False).replace("'", "'\\''")
        return f"curl {url} -d '{data}'"
    return f"curl {url}" if method == "GET" else f"curl -X {method} {url}"


def _operation(route: Route, path: str, method: str) -> dict[str, Any]:
    error = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}}
    responses: dict[str, Any] = {status: {"description": why, **error} for status, why in ERRORS.items()}
    if path in ("/v1", "/api", "/api/v1"):
        responses["302"] = {"description": "See /docs."}
    else:
        answer = {"example": route.answer} if isinstance(route.answer, str) else {"schema": _schema(route.answer)}
        responses[str(route.status)] = {"description": route.summary, "content": {route.content: answer}}
    operation: dict[str, Any] = {
        "operationId": f"{method.lower()}{path.replace('/', '_')}",
        "tags": [route.group],
        "summary": route.summary,
        "responses": responses,
    }
    named = [name for name in IN_PATHS if f"{{{name}}}" in path]
    if named:
        kind = {"in": "path", "required": True, "schema": {"type": "string"}}
        operation["parameters"] = [{"name": name, **kind} for name in named]
    if method != "GET":
        operation["requestBody"] = {"content": {"application/json": {"schema": _body(route)}}}
    return operation


def _body(route: Route) -> dict[str, Any]:
    """What a body may hold. No field must be there, and unknown ones are no mistake: clients send many."""
    properties = {name: {**KINDS[kind], "description": meaning} for name, (kind, meaning) in route.takes.items()}
    example = {"examples": [dict(route.example)]} if route.example is not None else {}
    return {"type": "object", "properties": properties, **example}


def _schema(value: Any) -> dict[str, Any]:
    """The schema of an answer like ``value``; where that has nothing, anything may be."""
    if isinstance(value, dict):
        return {"type": "object", "properties": {name: _schema(entry) for name, entry in value.items()}}
    if isinstance(value, list):
        return {"type": "array", "items": _schema(value[0]) if value else {}}
    kinds = {bool: "boolean", int: "integer", float: "number", str: "string"}
    return {"type": kinds[type(value)], "examples": [value]} if type(value) in kinds else {}


def _section(route: Route) -> str:
    rows = "".join(
        f"<tr><td><code>{name}</code></td><td>{kind}</td><td>{html.escape(meaning)}</td></tr>"
        for name, (kind, meaning) in route.takes.items()
    )
    fields = f"<details><summary>Fields</summary><table>{rows}</table></details>" if rows else ""
    texts = "".join(f"<p>{html.escape(text)}</p>" for text in filter(None, (route.summary, *_also(route))))
    return (
        f"<h3><code>{html.escape(_title(route))}</code></h3>{texts}<pre>{html.escape(curl(route))}</pre>"
        f"<p>Answers {_status(route)}<code>{html.escape(_answer(route))}</code></p>{fields}"
    )


def _title(route: Route) -> str:
    return f"{' or '.join(route.methods)} {route.path}"


def _also(route: Route) -> Iterator[str]:
    if route.aliases:
        yield ""
        yield f"Also at {', '.join(route.aliases)}."


def _status(route: Route) -> str:
    return "" if route.status == 200 else f"{route.status} and "


def _answer(route: Route) -> str:
    return (
        json.dumps(route.answer, ensure_ascii=False) if not isinstance(route.answer, str) else repr(route.answer)[1:-1]
    )


if __name__ == "__main__":
    print(markdown(), end="")
