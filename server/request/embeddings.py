"""A request for embeddings, read with care. Called by the dialects that have one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from server.embedding import Input
from server.errors import BadRequest
from server.request.fields import Fields
from server.request.tokens import are_tokens

MOST_INPUTS = 2048  # OpenAI's limit
NOTHING: tuple[object, ...] = (None, "", [])


@dataclass(frozen=True)
class EmbeddingsRequest:
    """Texts or token ids that vectors are wanted of. Those too long are cut off with ``truncate``, else refused.

    ``dimensions`` 0 is all that the model has. ``base64``: the client wants bytes, not numbers.
    """

    inputs: tuple[Input, ...]
    truncate: bool
    dimensions: int
    base64: bool


def read_embeddings(body: dict[str, Any], *, may_be_empty: bool = False) -> EmbeddingsRequest:
    """OpenAI's body, with KoboldCpp's ``truncate``. Raises :class:`BadRequest` that says what is wrong with it.

    One without input is wrong as well, unless it ``may_be_empty``.
    """
    fields = Fields(body, strict=True)
    dimensions = fields.optional_whole("dimensions")
    if dimensions is not None and dimensions < 1:
        raise BadRequest("dimensions must be at least 1.", param="dimensions")
    encoding = fields.text("encoding_format", default="float")
    if encoding not in ("float", "base64"):
        fields.wrong("encoding_format", encoding, "float or base64")
    return EmbeddingsRequest(
        () if may_be_empty and body.get("input") in NOTHING else _inputs(body.get("input")),
        truncate=fields.flag("truncate", default=True),
        dimensions=dimensions or 0,
        base64=encoding == "base64",
    )


@dataclass(frozen=True)
class RerankRequest:
    """``documents`` that are to be put in order by how well they answer ``query``; the first ``most`` are wanted."""

    query: str
    documents: tuple[str, ...]
    most: int
    return_documents: bool


def read_rerank(body: dict[str, Any]) -> RerankRequest:
    """The body that Jina's and Cohere's clients and llama-server's send. Raises :class:`BadRequest`."""
    fields = Fields(body, strict=True)
    query = fields.text("query")
    if not query:
        raise BadRequest("query is empty.", "Send a text.", param="query")
    given = fields.raw("documents", "texts")[1]
    if not isinstance(given, list) or not given:
        raise BadRequest("documents must be a list with at least one text.", param="documents")
    if len(given) > MOST_INPUTS:
        raise BadRequest(f"documents has {len(given)} texts, and {MOST_INPUTS} are the most.", param="documents")
    most = fields.whole("top_n", default=len(given))
    if most < 1:
        raise BadRequest("top_n must be at least 1.", param="top_n")
    documents = tuple(_document(f"documents[{index}]", entry) for index, entry in enumerate(given))
    return RerankRequest(query, documents, most, fields.flag("return_documents", default=False))


def _document(where: str, entry: Any) -> str:
    text = entry.get("text") if isinstance(entry, dict) else entry
    if not isinstance(text, str) or not text:
        raise BadRequest(f"{where} must be text that is not empty.", param=where)
    return text


def _inputs(value: Any) -> tuple[Input, ...]:
    """A text, a list of texts, a list of token ids, or a list of such lists."""
    if value in NOTHING:
        raise BadRequest("input is empty.", "Send a text, or a list of texts.", param="input")
    given = value if isinstance(value, list) and not are_tokens(value) else [value]
    if len(given) > MOST_INPUTS:
        raise BadRequest(f"input has {len(given)} texts, and {MOST_INPUTS} are the most.", param="input")
    return tuple(_input(f"input[{index}]", entry) for index, entry in enumerate(given))


def _input(where: str, value: Any) -> Input:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and are_tokens(value):
        return tuple(value)
    raise BadRequest(f"{where} must be text or a list of token ids.", param="input")
