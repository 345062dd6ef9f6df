"""The guard over real HTTP: foreign pages, foreign names, keys and preflights."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from server.api.app import create_app
from server.controller import Controller
from server.events import EngineState
from server.settings import Settings
from tests.conftest import Server, settings_for_tests

GENERATE = "/api/v1/generate"


@pytest.fixture(scope="module")
def protected(starter_model: object) -> Iterator[Server]:
    server = Server(Controller())
    server.controller.start(settings_for_tests(contextsize=512, password="open sesame"))
    server.wait_for(EngineState.READY)
    yield server
    server.controller.stop()


def test_a_name_that_is_not_ours_is_refused(server: Server) -> None:
    reply = server.post(GENERATE, {"prompt": "a"}, Host="evil.example")
    assert reply.status == 403
    assert "evil.example" in reply.json["error"]["message"]


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]:5001", "localhost:9999"])
def test_loopback_names_are_served(server: Server, host: str) -> None:
    assert server.get("/health", Host=host).status == 200


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "file://", "http://127.0.0.1.evil.example"])
def test_pages_from_elsewhere_are_refused_and_get_no_cors_headers(server: Server, origin: str) -> None:
    reply = server.post(GENERATE, {"prompt": "a"}, Origin=origin)
    assert reply.status == 403
    assert reply.headers["Access-Control-Allow-Origin"] is None


def test_pages_from_this_pc_are_served_and_named_in_the_answer(server: Server) -> None:
    reply = server.get("/v1/models", Origin="http://localhost:8000")
    assert reply.status == 200
    assert reply.headers["Access-Control-Allow-Origin"] == "http://localhost:8000"
    assert reply.headers["Access-Control-Allow-Credentials"] is None


# What libraries send from a browser beside what browsers send themselves.
CLIENT_HEADERS = (
    "accept, anthropic-beta, anthropic-dangerous-direct-browser-access, anthropic-version, api-key, apikey,"
    " authorization, cache-control, client-agent, content-type, genkey, http-referer, nostream, openai-beta,"
    " openai-organization, openai-project, x-api-key, x-requested-with, x-stainless-arch, x-stainless-os, x-title"
)
PREFLIGHT = {"Access_Control_Request_Method": "POST", "Access_Control_Request_Headers": CLIENT_HEADERS}


def test_a_preflight_names_the_headers_that_clients_send(protected: Server) -> None:
    reply = protected.request("OPTIONS", "/v1/chat/completions", Origin="http://localhost:8000", **PREFLIGHT)
    assert reply.status == 204
    assert reply.headers["Access-Control-Allow-Headers"] == CLIENT_HEADERS
    assert reply.headers["Access-Control-Allow-Credentials"] is None
    assert reply.headers["Access-Control-Allow-Private-Network"] is None
    assert int(reply.headers["Access-Control-Max-Age"]) > 0
    assert set(reply.headers["Vary"].split(", ")) >= {"Origin", "Access-Control-Request-Headers"}


def test_a_preflight_into_the_private_network_is_answered_where_it_is_asked(server: Server) -> None:
    asked = {"Origin": "http://localhost:8000", "Access_Control_Request_Private_Network": "true"}
    reply = server.request("OPTIONS", "/v1/chat/completions", **asked)
    assert reply.headers["Access-Control-Allow-Private-Network"] == "true"


def test_a_preflight_of_a_page_from_elsewhere_is_refused_without_a_hint_what_would_be_allowed(server: Server) -> None:
    asked = {"Origin": "https://evil.example", "Access_Control_Request_Private_Network": "true"}
    reply = server.request("OPTIONS", "/v1/chat/completions", **asked)
    assert reply.status == 403
    assert not [name for name in reply.headers if name.startswith("Access-Control")]


def test_what_a_page_from_elsewhere_embeds_is_refused(server: Server) -> None:
    assert server.get("/v1/models", Sec_Fetch_Site="cross-site", Sec_Fetch_Dest="script").status == 403
    assert server.get("/docs", Sec_Fetch_Site="cross-site", Sec_Fetch_Dest="document").status == 200
    assert server.get("/docs").headers["X-Frame-Options"] == "DENY"


def test_browsers_that_do_not_say_who_embeds_it_are_told_to_keep_it(server: Server) -> None:
    assert server.get("/v1/models").headers["Cross-Origin-Resource-Policy"] == "same-origin"


@pytest.mark.parametrize("origin", ["https://evil.example", "null"])
def test_a_form_of_another_page_does_nothing(server: Server, origin: str) -> None:
    form = b'{"prompt": "a", "x": "=1"}'
    reply = server.post(GENERATE, form, Origin=origin, Content_Type="text/plain", Sec_Fetch_Site="cross-site")
    assert reply.status == 403


def test_no_get_changes_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any page can send one to an address of a network, where browsers do not say that another site is at work."""
    controller, done = Controller(Settings(admin=True)), []
    for name in ("start", "stop", "close", "swap", "cancel", "abort", "generate", "use_state"):
        monkeypatch.setattr(controller, name, lambda *_, name=name, **__: done.append(name))
    app = create_app(controller)
    rules = [rule for rule in app.url_map.iter_rules() if "GET" in (rule.methods or ()) and not rule.arguments]
    for rule in rules:
        app.test_client().get(rule.rule)
    assert len(rules) > 30
    assert done == []


def test_every_header_of_ours_can_be_read_by_pages(server: Server) -> None:
    reply = server.post(GENERATE, {"prompt": "a", "max_length": 1, "grammar": "("}, Origin="http://localhost:1")
    ours = [name for name in reply.headers if name.startswith("X-Tavernkeep-")]
    assert ours
    assert all(name in reply.headers["Access-Control-Expose-Headers"] for name in ours)


def test_errors_carry_cors_headers_too(server: Server) -> None:
    assert server.get("/nothing", Origin="http://localhost:1").headers["Access-Control-Allow-Origin"]


@pytest.mark.parametrize("key", ["", "Bearer ", "Bearer abc123", "Bearer undefined", "Basic eDp5"])
def test_without_a_password_any_key_is_accepted(server: Server, key: str) -> None:
    assert server.get("/v1/models", Authorization=key).status == 200


def test_with_a_password_the_key_is_asked_for(protected: Server) -> None:
    assert protected.get("/api/extra/version").json["protected"] is True
    for path in (GENERATE, "/v1/completions", "/api/extra/abort", "/api/extra/tokencount"):
        assert protected.post(path, {"prompt": "a"}).status == 401
        assert protected.post(path, {"prompt": "a"}, Authorization="Bearer wrong").status == 401
    reply = protected.post(GENERATE, {"prompt": "a", "max_length": 1}, Authorization="Bearer open sesame")
    assert reply.status == 200
    assert protected.get("/v1/models", X_Api_Key="open sesame").status == 200


def test_the_empty_chat_page_is_read_without_the_key_and_what_it_asks_for_is_not(protected: Server) -> None:
    for path in ("/", "/page/page.js", "/foo/page/page.js", "/page/page.js/"):
        assert protected.get(path).status == 200, path
    for path in ("/props", "/api/extra/sampler_presets", "/page/../v1/models", "/page/v1/models"):
        assert protected.get(path).status == 401, path


def test_a_wrong_key_is_refused_while_the_model_loads_and_before_the_queue(
    own_server: Server, starter_model: object
) -> None:
    own_server.controller.start(settings_for_tests(contextsize=512, password="open sesame", multiuser=0))
    assert own_server.post(GENERATE, {"prompt": "a"}, Authorization="Bearer wrong").status == 401
    own_server.wait_for(EngineState.READY)
    key = "Authorization: Bearer open sesame"
    with own_server.send_raw("/api/extra/generate/stream", {"prompt": "a", "max_length": 400}, key) as stream:
        assert stream.recv(100)
        assert own_server.post(GENERATE, {"prompt": "a"}, Api_Key="open sesame").status == 503
        assert own_server.post(GENERATE, {"prompt": "a"}, Api_Key="wrong").status == 401


def test_a_page_that_the_user_allows_is_served_but_is_no_admin(own_server: Server, starter_model: object) -> None:
    page = {"Origin": "https://lite.koboldai.net"}
    own_server.controller.start(settings_for_tests(alloworigins="https://lite.koboldai.net", admin=True))
    reply = own_server.get("/api/v1/model", **page)
    assert (reply.status, reply.headers["Access-Control-Allow-Origin"]) == (200, "https://lite.koboldai.net")
    change = {"filename": "unload_model"}
    assert own_server.post("/api/admin/reload_config", change, **page).json["success"] is False
    assert own_server.post("/api/admin/reload_config", change).json["success"] is True


def test_unknown_routes_and_methods_answer_in_json(server: Server) -> None:
    assert server.get("/nothing").status == 404
    assert server.get("/nothing").json["detail"]["type"] == "not_found"
    wrong = server.get("/v1/chat/completions")
    assert wrong.status == 405
    assert "GET" in wrong.json["error"]["message"]


def test_a_body_over_the_limit_is_refused_in_words(server: Server) -> None:
    reply = server.post("/v1/completions", b'{"prompt": "' + b"a" * (32 * 1024 * 1024) + b'"}')
    assert reply.status == 413
    assert "32 MB" in reply.json["error"]["message"]
