"""``/metrics``: what the client library's own parsers read there is what was asked and answered."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from server.controller import Controller
from server.events import EngineState
from tests.conftest import Server, settings_for_tests, wait_until

OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
CHAT = "/v1/chat/completions"
SECRET = "a key of mine"


@pytest.fixture(scope="module")
def counting(starter_model: object) -> Iterator[Server]:
    """A server with a key, whose counters nobody else's test moves."""
    server = Server(Controller())
    server.controller.start(settings_for_tests(password=SECRET))
    server.wait_for(EngineState.READY)
    yield server
    server.controller.stop()


def ask(server: Server, words: str = "Well met!", **more: Any) -> dict[str, Any]:
    body = {"messages": [{"role": "user", "content": words}], "max_tokens": 4, "ignore_eos": True, **more}
    counted = server.controller.totals().replies
    reply = server.post(CHAT, body, Authorization=f"Bearer {SECRET}")
    assert reply.status == 200, reply.body
    wait_until(lambda: server.controller.totals().replies > counted, "the reply to be counted")
    return reply.json if not more.get("stream") else {}


def figures(server: Server, read: Any = read_text, accept: str = "") -> dict[str, float]:
    """Every sample by its name and the values of its labels: ``name{a,b}``."""
    server.wait_until_quiet()
    answer = server.get("/metrics", Authorization=f"Bearer {SECRET}", Accept=accept)
    assert answer.status == 200
    samples = [sample for family in read(answer.body.decode()) for sample in family.samples]
    named = {f"{sample.name}{{{','.join(sample.labels.values())}}}": sample.value for sample in samples}
    assert len(named) == len(samples)
    return named


def risen(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    return {name: value - before.get(name, 0) for name, value in after.items() if value != before.get(name, 0)}


def test_the_tokens_of_replies_are_counted(counting: Server):
    before = figures(counting)
    usage = [ask(counting, f"Question {number}: who are you?")["usage"] for number in range(2)]
    more = risen(before, figures(counting))
    cached = sum(each["prompt_tokens_details"]["cached_tokens"] for each in usage)
    asked, written = (sum(each[name] for each in usage) for name in ("prompt_tokens", "completion_tokens"))
    assert more["tavernkeep_prompt_tokens_total{}"] == asked
    assert more["tavernkeep_cached_tokens_total{}"] == cached > 0
    assert more["tavernkeep_completion_tokens_total{}"] == more["llamacpp:tokens_predicted_total{}"] == written
    assert more["llamacpp:prompt_tokens_total{}"] == asked - cached


def test_replies_are_counted_by_route_and_reason_with_their_times(counting: Server):
    before = figures(counting)
    ask(counting)
    ask(counting, stream=True)
    more = risen(before, figures(counting))
    assert more[f"tavernkeep_replies_total{{length,{CHAT}}}"] == 2
    assert more[f"tavernkeep_http_requests_total{{{CHAT},200}}"] == 2
    for name in ("first_token", "reply"):
        assert more[f"tavernkeep_{name}_seconds_count{{}}"] == 2
        assert more[f"tavernkeep_{name}_seconds_bucket{{+Inf}}"] == 2
    assert 0 < more["tavernkeep_first_token_seconds_sum{}"] < more["tavernkeep_reply_seconds_sum{}"]
    assert more["llamacpp:tokens_predicted_seconds_total{}"] > 0


def test_what_the_guard_refuses_is_counted_and_its_addresses_are_not_told(counting: Server):
    before = figures(counting)
    assert counting.get("/metrics").status == 401
    assert counting.get("/tavern/of/strangers", Origin="https://evil.example").status == 403
    assert counting.get("/v1/models/elsewhere?key=abcdef", Authorization=f"Bearer {SECRET}").status == 404
    after = figures(counting)
    more = risen(before, after)
    assert more["tavernkeep_guard_refusals_total{401}"] == more["tavernkeep_guard_refusals_total{403}"] == 1
    assert more["tavernkeep_http_requests_total{none,403}"] == 1
    assert more["tavernkeep_http_requests_total{/v1/models/<path:name>,404}"] == 1
    assert not any(word in name for name in after for word in ("strangers", "elsewhere", "abcdef", "evil", SECRET))


def test_the_engine_its_memory_and_its_cells_are_told(counting: Server):
    ask(counting)
    large = "tavernkeep_memory_bytes{engine}"
    wait_until(lambda: figures(counting)[large] > 50e6, "the engine's memory, which is measured once a second")
    now, snapshot = figures(counting), counting.snapshot()
    assert now["tavernkeep_engine_state{ready}"] == 1
    assert now["tavernkeep_engine_state{failed}"] == 0
    assert now["tavernkeep_kv_cells_capacity{}"] == snapshot.stats.cells_total == 2048
    assert now["tavernkeep_kv_cells_cached{}"] == now["llamacpp:kv_cache_tokens{}"] > 0
    assert now["llamacpp:kv_cache_usage_ratio{}"] == pytest.approx(now["llamacpp:kv_cache_tokens{}"] / 2048)
    assert now["tavernkeep_memory_bytes{launcher}"] > 20e6
    assert now["tavernkeep_replies_running{}"] == now["llamacpp:requests_deferred{}"] == 0


def test_both_formats_are_valid_and_tell_the_same(counting: Server):
    ask(counting)
    text, openmetrics = figures(counting), figures(counting, read_openmetrics, OPENMETRICS)
    assert {name for name in text if not name.startswith("tavernkeep_http")} == {
        name for name in openmetrics if not name.startswith("tavernkeep_http")
    }
    assert text["tavernkeep_completion_tokens_total{}"] == openmetrics["tavernkeep_completion_tokens_total{}"]


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("", "text/plain; version=0.0.4"),
        ("text/html,*/*", "text/plain; version=0.0.4"),
        ("text/plain; version=beer", "text/plain; version=0.0.4"),
        (OPENMETRICS, "application/openmetrics-text; version=1.0.0"),
    ],
)
def test_the_client_chooses_the_format(counting: Server, accept: str, content_type: str):
    answer = counting.get("/metrics", Authorization=f"Bearer {SECRET}", Accept=accept)
    assert answer.headers["Content-Type"].startswith(content_type)


def test_without_a_model_there_are_metrics_too():
    from server.api.app import create_app

    answer = create_app(Controller()).test_client().get("/metrics", headers={"Host": "localhost"})
    samples = {sample.name for family in read_text(answer.get_data(as_text=True)) for sample in family.samples}
    assert "tavernkeep_engine_state" in samples
    assert "tavernkeep_model_info" not in samples
