"""Texts in order of how well they answer a query, over real HTTP; and vectors of the model that is loaded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from server.controller import Controller
from server.events import EngineState
from tests import tiny_models
from tests.conftest import Server, settings_for_tests, wait_until
from tests.test_embeddings import JUDGE, MEAN

QUERY = "Who sings in the tavern?"
DOCUMENTS = ["The iron ore lies in the mine.", "Who sings in the tavern?", "A bard."]
ROUTES = ("/v1/rerank", "/rerank", "/v1/reranking", "/reranking")


def started(server: Server, **changes: Any) -> Server:
    server.controller.start(settings_for_tests(contextsize=512, **changes))
    wait_until(lambda: server.controller.embedder.model, "the embeddings model")
    return server


@pytest.fixture(scope="module")
def embeds(starter_model: Path) -> Iterator[Server]:
    server = started(Server(Controller()), embeddingsmodel=str(starter_model))
    server.wait_for(EngineState.READY)
    yield server
    server.controller.stop()


def ranked(server: Server, route: str = "/v1/rerank", **body: Any) -> list[Any]:
    reply = server.post(route, {"query": QUERY, "documents": DOCUMENTS, **body})
    assert reply.status == 200, reply.body
    results: list[Any] = reply.json["results"]
    return results


@pytest.mark.parametrize("route", ROUTES)
def test_documents_come_best_first(embeds: Server, route: str) -> None:
    results = ranked(embeds, route)
    assert sorted(result["index"] for result in results) == [0, 1, 2]
    scores = [result["relevance_score"] for result in results]
    assert scores == sorted(scores, reverse=True)
    assert results[0]["index"] == 1  # the very words of the query
    assert results[0]["relevance_score"] == pytest.approx(1, abs=0.01)


def test_as_many_as_are_wanted_with_their_texts_if_those_are_wanted(embeds: Server) -> None:
    (best,) = ranked(embeds, top_n=1, return_documents=True)
    assert best["document"] == {"text": DOCUMENTS[1]}
    assert "document" not in ranked(embeds)[0]
    assert len(ranked(embeds, top_n=99)) == 3


def test_documents_may_be_objects_and_tokens_are_counted(embeds: Server) -> None:
    reply = embeds.post("/v1/rerank", {"query": QUERY, "documents": [{"text": text} for text in DOCUMENTS]}).json
    assert reply["results"] == ranked(embeds)
    assert reply["usage"]["total_tokens"] > 20


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"query": ""}, "query"),
        ({"query": 5}, "query"),
        ({"documents": []}, "documents"),
        ({"documents": "a"}, "documents"),
        ({"documents": ["a", 5]}, "documents[1]"),
        ({"documents": [""]}, "documents[0]"),
        ({"documents": ["a"] * 2049}, "documents"),
        ({"top_n": 0}, "top_n"),
    ],
)
def test_what_cannot_be_read_is_named(embeds: Server, body: Any, param: str) -> None:
    reply = embeds.post("/v1/rerank", {"query": QUERY, "documents": DOCUMENTS, **body})
    assert reply.status == 400
    assert reply.json["error"]["param"] == param


def test_without_an_embeddings_model_it_is_said_how_to_get_one(server: Server) -> None:
    reply = server.post("/v1/rerank", {"query": QUERY, "documents": DOCUMENTS})
    assert reply.status == 501
    assert "--embeddingsmodel" in reply.json["error"]["message"]


def test_a_model_that_judges_ranks_and_makes_no_vectors(own_server: Server, tmp_path: Path) -> None:
    path = tmp_path / "judge.gguf"
    path.write_bytes(JUDGE)
    started(own_server, embeddingsmodel=str(path))
    scores = [result["relevance_score"] for result in ranked(own_server)]
    assert scores == sorted(scores, reverse=True)
    assert len(set(scores)) == 3
    reply = own_server.post("/v1/embeddings", {"input": "a"})
    assert reply.status == 501
    assert "judge judges how well texts fit together" in reply.json["error"]["message"]


def test_the_loaded_model_makes_vectors_if_it_is_made_for_that(own_server: Server, tmp_path: Path) -> None:
    path = tmp_path / "reader.gguf"
    path.write_bytes(tiny_models.reader(MEAN))
    started(own_server, model=str(path))
    with openai.OpenAI(base_url=f"{own_server.base}/v1", api_key="x", max_retries=0) as client:
        made = client.embeddings.create(model="any", input=["a", "b"])
    assert made.model == "reader"
    assert [len(entry.embedding) for entry in made.data] == [tiny_models.WIDTH] * 2
    own_server.wait_for(EngineState.FAILED)  # it writes no text, and says so to those who ask for some
    reply = own_server.post("/v1/completions", {"prompt": "a"})
    assert reply.status == 503
    assert "no model that writes text" in reply.json["error"]["message"]
