"""Embeddings: what vectors are like, that every route gives the same, and that whatever goes wrong stays theirs."""

from __future__ import annotations

import base64
import itertools
import os
import pickle
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import ollama
import openai
import pytest

from server.controller import Controller
from server.embedding import Embed, Embedded, LoadEmbedder, Pair
from server.engine.client import EngineClient
from server.engine.embedder import Embedder
from server.engine.llama.embeddings import EmbeddingModel
from server.engine.llama.library import NativeLog
from server.errors import BadRequest, ModelNotReady, NotAvailable
from server.events import EngineState, ModelLoaded
from server.model.library import STARTER
from server.request.embeddings import MOST_INPUTS, read_embeddings
from tests import tiny_models
from tests.conftest import Server, settings_for_tests, wait_until

MEAN, FIRST, RANK = 1, 2, 4
JUDGE = tiny_models.reader(RANK, cls_output_weight=(tiny_models.WIDTH, 1))
SIZE = 576  # of the starter model's vectors
CONTEXT = 64
ROUTES = ("/v1/embeddings", "/embeddings", "/api/extra/embeddings")
TEXTS = [
    f"{name} is {what}." for name in ("Ysolda", "Nazeem", "Lydia", "Farkas") for what in ("here", "away", "a bard")
]


def started(server: Server, model: Path | str = STARTER, **changes: Any) -> Server:
    server.controller.start(settings_for_tests(contextsize=512, embeddingsmodel=str(model), **changes))
    server.wait_for(EngineState.READY)
    return server


@pytest.fixture(scope="module")
def embeds() -> Iterator[Server]:
    """A server whose embeddings model is the starter model as well."""
    server = started(Server(Controller()), embeddingsmaxctx=CONTEXT)
    wait_until(lambda: server.controller.embedder.model, "the embeddings model")
    yield server
    server.controller.stop()


def vectors(server: Server, given: Any, route: str = "/v1/embeddings", **more: Any) -> np.ndarray:
    answer = server.post(route, {"input": given, **more})
    assert answer.status == 200, answer.body
    return np.array([entry["embedding"] for entry in answer.json["data"]])


def refusal(server: Server, route: str = "/v1/embeddings", status: int = 400, **body: Any) -> str:
    answer = server.post(route, body)
    assert answer.status == status, answer.body
    assert answer.json["error"]["message"] == answer.json["detail"]["msg"]
    sentence: str = answer.json["error"]["message"]
    return sentence


# --- models -------------------------------------------------------------------------------------------------------


def model_of(file: Path, content: bytes, context: int = 0) -> EmbeddingModel:
    file.write_bytes(content)
    return EmbeddingModel(LoadEmbedder(str(file), context, gpu_layers=0, threads=2), NativeLog(), lambda _done: None)


def made(model: EmbeddingModel, *inputs: Any, truncate: bool = True, dimensions: int = 0) -> np.ndarray:
    answer = embedded(model, *inputs, truncate=truncate, dimensions=dimensions)
    assert not answer.problem
    return np.array([np.frombuffer(vector, "<f4") for vector in answer.vectors])


def embedded(model: EmbeddingModel, *inputs: Any, truncate: bool = True, dimensions: int = 0) -> Embedded:
    return model.embed(Embed(1, inputs, first=0, truncate=truncate, dimensions=dimensions))


KINDS = {
    "a reader that averages": tiny_models.reader(MEAN),
    "a reader with a token for the whole": tiny_models.reader(FIRST),
    "a writer": tiny_models.plain(),
    "a writer with one state": tiny_models.recurrent(),
}


@pytest.mark.parametrize("kind", KINDS)
def test_models_of_every_kind_make_vectors_of_length_1_that_do_not_depend_on_their_neighbours(kind, tmp_path):
    model = model_of(tmp_path / "m.gguf", KINDS[kind])
    texts = [name * count for count in (1, 3) for name in ("wolf", "bear", "mudcrab", "x")] * 3
    together = made(model, *texts)
    assert together.shape == (24, tiny_models.WIDTH)
    assert np.allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    alone = np.concatenate([made(model, text) for text in texts])
    assert np.allclose(together, alone, atol=1e-2)
    assert not np.allclose(together[0], together[1], atol=1e-2)


def test_a_reader_never_reads_beyond_the_positions_it_has_learned(tmp_path):
    model = model_of(tmp_path / "m.gguf", tiny_models.reader(MEAN, context=32), context=4096)
    assert model.context == 32
    assert embedded(model, "a" * 500).tokens == 32


def test_what_is_cut_off_keeps_the_token_that_ends_a_text(tmp_path):
    model = model_of(tmp_path / "m.gguf", tiny_models.reader(FIRST, context=32))
    start, end, space = 1, 2, [byte + 3 for byte in "▁".encode()]  # which this kind of vocabulary begins texts with
    whole = (start, *space, *([ord("a") + 3] * 27), end)
    assert np.array_equal(made(model, "a" * 500), made(model, whole))


def test_without_truncate_what_is_too_long_is_refused_by_its_number(tmp_path):
    model = model_of(tmp_path / "m.gguf", tiny_models.reader(MEAN, context=32))
    problem = embedded(model, "short", "a" * 500, truncate=False).problem
    assert problem.startswith("input[1] has 505 tokens, and the embeddings model reads 32 at most.")


def test_tokens_that_do_not_exist_are_refused(tmp_path):
    model = model_of(tmp_path / "m.gguf", tiny_models.plain())
    assert "input[0] has token ids" in embedded(model, (1, tiny_models.VOCABULARY)).problem
    assert not embedded(model, (1, tiny_models.VOCABULARY - 1)).problem


def test_vectors_are_cut_to_dimensions_and_have_length_1_again(tmp_path):
    model = model_of(tmp_path / "m.gguf", tiny_models.reader(MEAN))
    whole, cut = made(model, "wolf")[0], made(model, "wolf", dimensions=8)[0]
    assert len(cut) == 8
    assert np.allclose(cut, whole[:8] / np.linalg.norm(whole[:8]), atol=1e-6)
    assert "at most 64" in embedded(model, "wolf", dimensions=65).problem


def test_a_model_that_judges_makes_one_number_of_a_pair_whatever_stands_beside_it(tmp_path):
    model = model_of(tmp_path / "m.gguf", JUDGE)
    assert model.info.judges
    pairs = [Pair("who", text) for text in ("the bard", "a dragon", "b")]
    together = made(model, *pairs)
    assert together.shape == (3, 1)
    assert len({float(score) for (score,) in together}) == 3
    assert together == pytest.approx(np.array([made(model, pair)[0] for pair in pairs]), abs=1e-3)


def test_a_document_that_is_too_long_loses_its_end_and_a_query_that_is_too_long_is_refused(tmp_path):
    model = model_of(tmp_path / "m.gguf", JUDGE)
    long = embedded(model, Pair("who", "the bard " * 100))
    assert not long.problem
    assert long.tokens == model.context
    assert "leaves no room" in embedded(model, Pair("who " * 100, "the bard")).problem


# --- what is asked for --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "inputs"),
    [
        ("a", ("a",)),
        (["a", "b"], ("a", "b")),
        ([1, 2], ((1, 2),)),
        ([[1], [2, 3]], ((1,), (2, 3))),
        (["a", [1]], ("a", (1,))),
    ],
)
def test_texts_and_tokens_may_come_alone_or_in_lists(given, inputs):
    assert read_embeddings({"input": given}).inputs == inputs


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "input is empty"),
        ({"input": None}, "input is empty"),
        ({"input": ""}, "input is empty"),
        ({"input": []}, "input is empty"),
        ({"input": 5}, "input[0] must be text"),
        ({"input": {"a": 1}}, "input[0] must be text"),
        ({"input": ["a", None]}, "input[1] must be text"),
        ({"input": [[]]}, "input[0] must be text"),
        ({"input": [True]}, "input[0] must be text"),
        ({"input": [-1]}, "input[0] must be text"),
        ({"input": [2**40]}, "input[0] must be text"),
        ({"input": [[1, "a"]]}, "input[0] must be text"),
        ({"input": ["a"] * (MOST_INPUTS + 1)}, "are the most"),
        ({"input": "a", "dimensions": 0}, "dimensions must be at least 1"),
        ({"input": "a", "dimensions": "many"}, "dimensions must be a number"),
        ({"input": "a", "encoding_format": "int8"}, "encoding_format must be float or base64"),
    ],
)
def test_what_cannot_be_understood_is_refused_in_a_sentence(body, words):
    with pytest.raises(BadRequest) as caught:
        read_embeddings(body)
    assert words in str(caught.value)


@pytest.mark.parametrize("absent", [{"dimensions": None, "encoding_format": None, "truncate": None}, {}])
def test_null_is_absent(absent):
    asked = read_embeddings({"input": "a", **absent})
    assert (asked.dimensions, asked.base64, asked.truncate) == (0, False, True)


# --- over HTTP ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("route", ROUTES)
def test_every_route_answers_in_openais_shape(embeds, route):
    answer = embeds.post(route, {"input": ["wolf", "bear"], "model": "any name"}).json
    assert list(answer) == ["object", "data", "model", "usage"]
    assert answer["object"] == "list"
    assert answer["model"] == STARTER.stem
    assert [(entry["object"], entry["index"], len(entry["embedding"])) for entry in answer["data"]] == [
        ("embedding", 0, SIZE),
        ("embedding", 1, SIZE),
    ]
    count = len(embeds.controller.tokenize("wolf", special=True) + embeds.controller.tokenize("bear", special=True))
    assert answer["usage"] == {"prompt_tokens": count, "total_tokens": count}


def test_the_same_text_has_the_same_vector_on_every_route(embeds):
    one = vectors(embeds, "wolf")[0]
    for route in ROUTES:
        assert np.array_equal(vectors(embeds, "wolf", route)[0], one)
    assert embeds.post("/api/embed", {"model": "m", "input": "wolf"}).json["embeddings"] == [one.tolist()]
    assert embeds.post("/api/embeddings", {"model": "m", "prompt": "wolf"}).json["embedding"] == one.tolist()


def test_base64_holds_the_same_numbers(embeds):
    answer = embeds.post("/v1/embeddings", {"input": "wolf", "encoding_format": "base64"}).json
    data = base64.b64decode(answer["data"][0]["embedding"])
    assert np.array_equal(struct.unpack(f"<{SIZE}f", data), vectors(embeds, "wolf")[0])


def test_many_texts_keep_their_order_and_each_is_nearest_to_itself(embeds):
    together = vectors(embeds, [*TEXTS, *TEXTS, *TEXTS])
    alone = np.concatenate([vectors(embeds, text) for text in TEXTS])
    nearest = np.argmax(together @ alone.T, axis=1)
    assert nearest.tolist() == [*range(len(TEXTS))] * 3


def test_tokens_are_as_good_as_their_text(embeds):
    tokens = list(embeds.controller.tokenize("A wolf howls.", special=True))
    assert np.array_equal(vectors(embeds, tokens), vectors(embeds, "A wolf howls."))


def test_sillytaverns_plain_text_body_is_read(embeds):
    answer = embeds.post("/api/extra/embeddings", {"input": ["wolf"]}, Content_Type="text/plain;charset=UTF-8")
    assert answer.status == 200


def test_a_long_text_is_cut_off_unless_that_is_forbidden(embeds):
    long = "The wolf howls. " * 100
    answer = embeds.post("/v1/embeddings", {"input": long}).json
    assert answer["usage"]["prompt_tokens"] == CONTEXT
    sentence = refusal(embeds, input=[*["short"] * 20, long], truncate=False)
    assert sentence.startswith("input[20] has ")


def test_more_dimensions_than_there_are_is_refused(embeds):
    assert vectors(embeds, "wolf", dimensions=16).shape == (1, 16)
    assert "576" in refusal(embeds, input="wolf", dimensions=577)


def test_openais_library_reads_the_vectors(embeds):
    with openai.OpenAI(base_url=f"{embeds.base}/v1", api_key="any", max_retries=0) as client:
        answer = client.embeddings.create(model="any", input=["wolf", "bear"])
        assert np.allclose([entry.embedding for entry in answer.data], vectors(embeds, ["wolf", "bear"]), atol=1e-6)
        with pytest.raises(openai.BadRequestError, match="input is empty"):
            client.embeddings.create(model="any", input="")


def test_ollamas_library_reads_the_vectors(embeds):
    with ollama.Client(embeds.base) as client:
        answer = client.embed(model="any:latest", input=["wolf", "bear"], dimensions=16)
        assert np.array_equal(answer.embeddings, vectors(embeds, ["wolf", "bear"], dimensions=16))
        assert answer.model == "any:latest"
        assert answer.prompt_eval_count
        assert answer.total_duration
        assert client.embed(model="any", input="").embeddings == []
        assert len(client.embeddings(model="any", prompt="wolf").embedding) == SIZE
        assert client.embeddings(model="any", prompt="").embedding == []
        with pytest.raises(ollama.ResponseError, match="reads 64 at most"):
            client.embed(model="any", input="wolf " * 100, truncate=False)


def test_it_is_told_that_there_are_embeddings(embeds, server):
    assert embeds.get("/api/extra/version").json["embeddings"] is True
    assert server.get("/api/extra/version").json["embeddings"] is False


def test_without_an_embeddings_model_it_is_said_how_to_get_one(server):
    for route in ROUTES:
        assert "--embeddingsmodel" in refusal(server, route, 501, input="wolf")
    for asked in ({"input": "wolf"}, {"prompt": "wolf"}, {}):
        for route in ("/api/embed", "/api/embeddings"):
            answer = server.post(route, {"model": "m", **asked})
            assert answer.status == 501
            assert "--embeddingsmodel" in answer.json["error"]


def test_ollama_lists_the_embeddings_model_too_and_shows_it_by_its_name(own_server, tmp_path):
    file = tmp_path / "reader.gguf"
    file.write_bytes(tiny_models.reader(MEAN))
    started(own_server, file)
    wait_until(lambda: own_server.controller.embedder.model, "the embeddings model")
    with ollama.Client(own_server.base) as client:
        names = [STARTER.stem + ":latest", "reader:latest"]
        assert [model.model for model in client.list().models] == names
        running = client.ps().models
        assert [model.model for model in running] == names
        assert running[1].context_length == 64
        for name in ("reader", "reader:latest"):
            shown = client.show(name)
            assert shown.capabilities == ["embedding"]
            assert shown.modelinfo["general.architecture"] == "bert"
        assert "completion" in client.show("anything else").capabilities


# --- what goes wrong ----------------------------------------------------------------------------------------------


def chats(server: Server) -> bool:
    return server.post("/api/v1/generate", {"prompt": "Once", "max_length": 2}).status == 200


def test_without_a_model_that_writes_there_are_vectors_all_the_same(own_server, tmp_path):
    file = tmp_path / "reader.gguf"
    file.write_bytes(tiny_models.reader(MEAN))
    own_server.controller.start(settings_for_tests(model="/no/such.gguf", embeddingsmodel=str(file)))
    wait_until(lambda: own_server.controller.embedder.model, "the embeddings model")
    assert vectors(own_server, "wolf").shape == (1, tiny_models.WIDTH)
    assert own_server.post("/api/show", {"model": "reader"}).json["capabilities"] == ["embedding"]


def test_a_file_that_is_no_model_is_told_and_the_other_model_answers(own_server, tmp_path):
    file = tmp_path / "bad.gguf"
    file.write_bytes(b"no model at all")
    started(own_server, file)
    assert own_server.get("/api/extra/version").json["embeddings"] is False
    assert "bad.gguf is not a GGUF file" in refusal(own_server, status=503, input="wolf")
    assert chats(own_server)


def test_a_model_that_llama_cpp_refuses_is_told_and_the_other_model_answers(own_server, tmp_path):
    file = tmp_path / "odd.gguf"
    file.write_bytes(tiny_models.plain().replace(b"output_norm.weight", b"output_norn.weight"))
    started(own_server, file)
    embedder = own_server.controller.embedder
    wait_until(lambda: embedder._problem, "the refusal")
    assert "llama.cpp could not load odd.gguf" in refusal(own_server, status=503, input="wolf")
    assert chats(own_server)


def test_a_crash_ends_the_vectors_only_and_they_come_back_by_themselves(own_server):
    started(own_server)
    embedder = own_server.controller.embedder
    wait_until(lambda: embedder.model, "the embeddings model")
    crashed = embedder._engine.pid
    os.kill(crashed, signal.SIGKILL)
    wait_until(lambda: embedder.model and embedder._engine.pid != crashed, "the next process")
    assert vectors(own_server, "wolf").shape == (1, SIZE)
    assert chats(own_server)


def test_without_restarts_a_crash_ends_the_vectors_until_the_next_start(own_server):
    started(own_server, autorestart=False)
    embedder = own_server.controller.embedder
    wait_until(lambda: embedder.model, "the embeddings model")
    os.kill(embedder._engine.pid, signal.SIGKILL)
    wait_until(lambda: embedder.model is None, "the end of the process")
    assert "killed" in refusal(own_server, status=503, input="wolf")
    assert own_server.get("/api/extra/version").json["embeddings"] is False
    assert chats(own_server)
    started(own_server)
    wait_until(lambda: embedder.model, "the embeddings model again")
    assert vectors(own_server, "wolf").shape == (1, SIZE)


def test_the_embeddings_model_stays_while_the_other_is_swapped_and_ends_with_the_server(own_server):
    started(own_server)
    embedder = own_server.controller.embedder
    wait_until(lambda: embedder.model, "the embeddings model")
    process = embedder._engine.pid
    started(own_server, defaultgenamt=100)
    assert embedder._engine.pid == process
    started(own_server, "")
    assert embedder.model is None
    started(own_server)
    wait_until(lambda: embedder.model, "the embeddings model")
    own_server.controller.stop()
    assert embedder.model is None


def test_its_process_ends_with_the_launcher_even_in_the_middle_of_a_long_text():
    command = [sys.executable, "-m", "server.engine.worker"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdin
        assert process.stdout
        pickle.dump(LoadEmbedder(str(STARTER), context=0, gpu_layers=0, threads=1), process.stdin)
        pickle.dump(Embed(1, ("wolf " * 3000,) * 300, first=0, truncate=True, dimensions=0), process.stdin)
        process.stdin.flush()
        while not any(isinstance(event, ModelLoaded) for event in pickle.load(process.stdout)):
            pass
        process.stdin.close()
        assert process.wait(20) == 0


def test_until_it_is_loaded_clients_are_told_to_try_again(monkeypatch, tmp_path):
    file = tmp_path / "m.gguf"
    file.write_bytes(tiny_models.reader(MEAN))
    monkeypatch.setattr(EngineClient, "start", lambda _client, _spec: None)
    embedder = Embedder(itertools.count())
    embedder.load(LoadEmbedder(str(file), context=0, gpu_layers=0, threads=1), restart=True)
    with pytest.raises(ModelNotReady, match="is loading"):
        embedder.embed(["wolf"], lambda: False, truncate=True)
    embedder.close()
    with pytest.raises(NotAvailable):
        embedder.embed(["wolf"], lambda: False, truncate=True)


def test_vectors_do_not_wait_for_a_reply(embeds):
    endless = {"prompt": "Once", "options": {"num_predict": -1, "ignore_eos": True}}
    with embeds.send_raw("/api/generate", endless) as connection:
        assert connection.recv(4096)
        assert vectors(embeds, "wolf").shape == (1, SIZE)
        assert embeds.snapshot().requests
    embeds.wait_until_quiet()


def test_only_so_many_requests_wait_for_it(embeds, monkeypatch):
    monkeypatch.setattr("server.engine.embedder.MOST_REQUESTS", 0)
    assert "Too many requests" in refusal(embeds, status=503, input="wolf")


def test_a_client_that_left_gets_no_more_vectors(embeds):
    assert embeds.controller.embedder.embed(["wolf"], lambda: True, truncate=True) is None
