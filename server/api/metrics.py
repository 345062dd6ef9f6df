"""``/metrics``: the server in numbers, for Prometheus; the names of llama-server's dashboards are there as well."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from flask import Blueprint, Response, request
from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
    StateSetMetricFamily,
)
from prometheus_client.exposition import choose_encoder, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from server import VERSION
from server.api.traffic import Traffic
from server.errors import Forbidden, Unauthorized
from server.events import EngineState
from server.request.ledger import Totals
from server.request.tally import Spread
from server.snapshot import Snapshot

if TYPE_CHECKING:
    from server.controller import Controller


def blueprint(controller: Controller, traffic: Traffic) -> Blueprint:
    """The route, answering from ``controller`` and from the ``traffic`` of its app."""
    routes = Blueprint("metrics", __name__)
    registry = CollectorRegistry()
    registry.register(_Collector(controller, traffic))

    @routes.get("/metrics")
    def metrics() -> Response:
        try:
            _, content_type = choose_encoder(request.headers.get("Accept", ""))
        except TypeError:  # it compares versions, and the client's is no number
            _, content_type = choose_encoder("")
        # Not its encoder: that changes the colons of samples where OpenMetrics is asked for (prometheus_client 0.26).
        write = openmetrics.generate_latest if "openmetrics" in content_type else generate_latest
        return Response(write(registry, escaping=openmetrics.ALLOWUTF8), content_type=content_type)

    return routes


class _Collector(Collector):
    """Reads what is known anyway whenever somebody asks. Labels have few values: routes, statuses, reasons."""

    def __init__(self, controller: Controller, traffic: Traffic) -> None:
        self._controller = controller
        self._traffic = traffic

    def collect(self) -> Iterator[Metric]:
        """Everything, once."""
        now, totals = self._controller.snapshot(), self._controller.totals()
        yield from _requests(self._traffic.answers())
        yield from _replies(totals)
        yield from _engine(now)
        yield from _memory(now)
        yield from _as_llama_server(now, totals)
        yield InfoMetricFamily("tavernkeep", "The program.", {"version": VERSION})
        yield GaugeMetricFamily("tavernkeep_uptime_seconds", "Time since the launcher started.", totals.uptime)


def _requests(answers: dict[tuple[str, int], int]) -> Iterator[Metric]:
    requests = CounterMetricFamily(
        "tavernkeep_http_requests", "Requests that were answered, of every route.", labels=("route", "status")
    )
    refused = Counter({Unauthorized.status: 0, Forbidden.status: 0})
    for (route, status), count in sorted(answers.items()):
        requests.add_metric((route, str(status)), count)
        if status in refused:
            refused[status] += count
    yield requests
    refusals = CounterMetricFamily(
        "tavernkeep_guard_refusals",
        "Requests that the guard refused: 401 without the key, 403 for where they came from.",
        labels=("status",),
    )
    for status, count in refused.items():
        refusals.add_metric((str(status),), count)
    yield refusals


def _replies(totals: Totals) -> Iterator[Metric]:
    replies = CounterMetricFamily(
        "tavernkeep_replies", "Replies that ended, and why.", labels=("route", "finish_reason")
    )
    for route, ending, count in totals.counted.endings:
        replies.add_metric((route, ending), count)
    yield replies
    for name, told, count in (
        ("trimmed_replies", "Replies whose prompt was shortened, because it did not fit the context.", totals.trimmed),
        ("prompt_tokens", "Tokens of the prompts of finished replies.", totals.asked),
        ("cached_tokens", "Those of them that did not have to be read.", totals.cached),
        ("completion_tokens", "Tokens of finished replies.", totals.written),
    ):
        yield CounterMetricFamily(f"tavernkeep_{name}", told, count)
    yield _histogram("first_token_seconds", "From the request to the first token.", totals.counted.first_token)
    yield _histogram("reply_seconds", "From the request to the last token.", totals.counted.duration)


def _engine(now: Snapshot) -> Iterator[Metric]:
    states = {state.value: state is now.state for state in EngineState}
    yield StateSetMetricFamily("tavernkeep_engine_state", "What the engine is doing.", states)
    if now.model:
        facts = {"name": now.model.name, "quantisation": now.model.quantisation}
        yield InfoMetricFamily("tavernkeep_model", "The loaded model.", facts)
    restarts = "Times that an engine which crashed or hung was started again."
    yield CounterMetricFamily("tavernkeep_engine_restarts", restarts, now.restarts)
    stats = now.stats
    for name, told, value in (
        ("replies_running", "Replies that are read or written now.", stats.running),
        ("replies_waiting", "Replies that wait for room.", stats.waiting),
        ("prompt_tokens_per_second", "Speed of reading prompts in the last second.", stats.prompt_speed),
        ("completion_tokens_per_second", "Speed of writing replies in the last second.", stats.decode_speed),
        ("kv_cells_used", "Cells of the KV cache that running replies hold.", stats.cells_used),
        ("kv_cells_cached", "Cells of the KV cache that hold prompts for later.", stats.cells_cached),
        ("kv_cells_capacity", "All cells of the KV cache.", stats.cells_total),
    ):
        yield GaugeMetricFamily(f"tavernkeep_{name}", told, value)


def _memory(now: Snapshot) -> Iterator[Metric]:
    machine, stats = now.machine, now.stats
    own = GaugeMetricFamily("tavernkeep_memory_bytes", "RAM that a process holds.", labels=("process",))
    own.add_metric(("launcher",), machine.own - machine.engine)
    own.add_metric(("engine",), machine.engine)
    yield own
    for name, told, value in (
        ("prompt_cache_ram_bytes", "RAM for prompts that fell out of the KV cache.", stats.ram_used),
        ("gpu_memory_used_bytes", "Memory of the GPUs that is taken, by whomever.", stats.vram_used),
        ("gpu_memory_bytes", "All memory of the GPUs; 0 without one.", stats.vram_total),
    ):
        yield GaugeMetricFamily(f"tavernkeep_{name}", told, value)


def _as_llama_server(now: Snapshot, totals: Totals) -> Iterator[Metric]:
    """What llama-server tells, by its names. Prompt tokens are those that had to be read."""
    stats, counted = now.stats, totals.counted
    cells = stats.cells_used + stats.cells_cached
    for name, told, count in (
        ("prompt_tokens", "Prompt tokens processed.", totals.asked - totals.cached),
        ("prompt_seconds", "Time of processing prompts.", counted.reading),
        ("tokens_predicted", "Tokens generated.", totals.written),
        ("tokens_predicted_seconds", "Time of generating tokens.", counted.writing),
    ):
        yield CounterMetricFamily(f"llamacpp:{name}", told, count)
    for name, told, value in (
        ("prompt_tokens_seconds", "Prompt tokens per second.", stats.prompt_speed),
        ("predicted_tokens_seconds", "Generated tokens per second.", stats.decode_speed),
        ("kv_cache_usage_ratio", "Share of the KV cache that is in use.", cells / max(stats.cells_total, 1)),
        ("kv_cache_tokens", "Tokens in the KV cache.", cells),
        ("requests_processing", "Requests being processed.", stats.running),
        ("requests_deferred", "Requests waiting.", stats.waiting),
    ):
        yield GaugeMetricFamily(f"llamacpp:{name}", told, value)


def _histogram(name: str, told: str, spread: Spread) -> Metric:
    bounds = [*map(str, spread.bounds), "+Inf"]
    buckets = list(zip(bounds, itertools.accumulate(spread.counts), strict=True))
    return HistogramMetricFamily(f"tavernkeep_{name}", told, buckets=buckets, sum_value=spread.total)
