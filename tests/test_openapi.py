"""The manual of the routes is complete and true: every route is in it, and every example does what it says."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings

from server.api import openapi
from server.api.app import create_app
from server.api.manual import ROUTES
from server.api.manual.route import Route
from server.controller import Controller
from server.events import EngineState
from tests.conftest import PATIENCE, Reply, Server, settings_for_tests, wait_until

ROOT = Path(__file__).resolve().parent.parent
METHODS = {"GET", "POST", "PUT", "DELETE"}
COMMAND = re.compile(r"```sh\n(curl .*)\n```\n\nAnswers (?:(\d+) and )?`(.*)`")


def routes_there_are() -> set[tuple[str, str]]:
    rules = create_app(Controller()).url_map.iter_rules()
    return {
        (method, re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)) for rule in rules for method in rule.methods or ()
    }


def routes_of(document: dict[str, Any]) -> set[tuple[str, str]]:
    return {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}


def test_every_route_is_described_and_no_other():
    there = {(method, path) for method, path in routes_there_are() if method in METHODS}
    assert routes_of(openapi.document()) == there


def test_the_document_can_be_had_without_a_key_and_the_page_as_well(own_server: Server):
    own_server.controller.start(settings_for_tests(password="secret"))
    assert own_server.get("/api/openapi.json").json == json.loads(json.dumps(openapi.document()))
    page = own_server.get("/docs")
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "/api/extra/generate/stream" in page.body.decode()


@pytest.mark.parametrize("path", ["/api", "/api/v1", "/v1"])
def test_the_beginnings_of_the_apis_lead_to_the_page(server: Server, path: str):
    assert server.get(path).body == openapi.page().encode()


def test_the_page_of_the_repository_is_the_one_that_is_made():
    made = (ROOT / "docs" / "api.md").read_text("utf-8")
    assert made == openapi.markdown(), "write it anew: python -m server.api.openapi > docs/api.md"


# --- examples ---


@pytest.fixture(scope="module")
def everything(starter_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with all that can be switched on."""
    folder = tmp_path_factory.mktemp("everything")
    server = Server(Controller())
    server.controller.start(
        settings_for_tests(
            admin=True,
            embeddingsmodel=str(starter_model),
            savedatafile=str(folder / "stories.jsondb"),
            statedir=str(folder / "states"),
        )
    )
    server.wait_for(EngineState.READY)
    wait_until(lambda: server.controller.embedder.model, "the embeddings model")
    yield server
    server.controller.stop()


def run(server: Server, command: str) -> Reply:
    """What curl would do with such a command."""
    _, *words = shlex.split(command)
    url = next(word for word in words if word.startswith("http"))
    data = words[words.index("-d") + 1].encode() if "-d" in words else None
    method = words[words.index("-X") + 1] if "-X" in words else "POST" if data else "GET"
    return server.request(method, url.removeprefix(openapi.ADDRESS), data)


def missing(answer: Any, documented: Any, where: str = "") -> list[str]:
    """Where an answer has not what the documented one has, or a value of another kind."""
    if isinstance(documented, dict) and isinstance(answer, dict):
        parts = [f"{where}.{name}" for name in documented if name not in answer]
        both = [name for name in documented if name in answer]
        return parts + [each for name in both for each in missing(answer[name], documented[name], f"{where}.{name}")]
    if isinstance(documented, list) and isinstance(answer, list):
        return [
            each for entry in answer for each in missing(entry, documented[0] if documented else None, f"{where}[]")
        ]
    number = isinstance(documented, (int, float)) and not isinstance(documented, bool)
    alike = isinstance(answer, (int, float)) if number else type(answer) is type(documented)
    return [] if documented is None or alike else [where]


def test_every_alias_answers_as_its_route(everything: Server):
    def answer(route: Route, path: str) -> tuple[int, list[str]]:
        body = None if route.example is None else json.dumps(route.example).encode()
        reply = everything.request(route.methods[0], path, body)
        loaded = reply.json if "json" in reply.headers["Content-Type"] else {}
        return reply.status, sorted(loaded)

    for route in ROUTES:
        for alias in route.aliases:
            assert answer(route, alias) == answer(route, route.path), alias


# --- bodies that nobody thought of ---


def short(body: Any) -> Any:
    """The same request, but for a reply of a few tokens: these tests are about requests."""
    if not isinstance(body, dict):
        return body
    options = body.get("options")
    few = {"max": 2, "max_length": 2, "max_tokens": 2, "max_completion_tokens": 2, "n_predict": 2}
    return {
        **body,
        **few,
        "options": {**options, "num_predict": 2} if isinstance(options, dict) else {"num_predict": 2},
    }


def described(names: set[str]) -> schemathesis.BaseSchema:
    """These routes' part of the document."""
    document: dict[str, Any] = json.loads(json.dumps(openapi.document()))
    document["paths"] = {path: methods for path, methods in document["paths"].items() if path in names}
    return schemathesis.openapi.from_dict(document)


a_few = settings(
    max_examples=15, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
SWAP = "/api/admin/reload_config"
ordinary = described({route.path for route in ROUTES} - {SWAP})  # without aliases, which lead to the same
swaps = described({SWAP})


@ordinary.parametrize()
@a_few
def test_no_request_makes_the_server_fail_or_hang(case: schemathesis.Case, everything: Server):
    case.body = short(case.body)
    response = case.call(base_url=everything.base, timeout=PATIENCE)
    assert response.status_code < 500 or response.status_code == 501, response.text[:500]
    if response.status_code >= 400:
        told = response.json()
        assert "detail" in told or isinstance(told["error"], str), response.text[:500]
    assert everything.snapshot().state is EngineState.READY


@swaps.parametrize()
@a_few
def test_no_request_to_change_the_model_leaves_the_server_without_one(case: schemathesis.Case, everything: Server):
    response = case.call(base_url=everything.base, timeout=PATIENCE)
    assert response.status_code < 500, response.text[:500]
    everything.wait_for(EngineState.READY)


def test_every_example_on_the_page_does_what_it_says(everything: Server):
    """The last one loads the model again, so this test comes last."""
    examples = COMMAND.findall((ROOT / "docs" / "api.md").read_text("utf-8"))
    assert len(examples) == len(ROUTES)
    for command, status, documented in examples:
        reply = run(everything, command)
        assert reply.status == int(status or 200), (command, reply.body[:300])
        if documented.startswith(("{", "[")):
            assert not missing(reply.json, json.loads(documented)), (command, reply.body[:600])
        else:
            assert reply.body.decode().startswith(documented[:13].encode().decode("unicode_escape")), command
