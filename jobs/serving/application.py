"""What OpenAPI says of the endpoints that read vectors.

The rule: what is written here is what is accepted, dimensions included; a test holds the service against it. Does not
know how a body is read.
"""

from __future__ import annotations

from typing import Any

from lvm_batch.io.output.writer import ROUTES
from lvm_batch.jobs.serving.arrow_bodies import MEDIA_TYPE, UNPACKED
from lvm_batch.jobs.serving.endpoints import BODY_S
from lvm_batch.jobs.serving.json_bodies import TOO_LARGE
from lvm_batch.jobs.serving.json_vectors import MOST_TOKENS
from lvm_batch.lvm.inference.routing import REASONS

JSON = "application/json"


def predict(length: int, dim: int) -> dict[str, Any]:
    """The operation ``POST /predict``, as arguments of a FastAPI route."""
    return {
        "summary": "Predict the vector that follows a context.",
        "openapi_extra": _body({JSON: (_query(length, dim), _query_example(length, dim))}),
        "responses": {
            200: _response("The prediction.", {JSON: (_answer(dim), _answer_example(dim))}),
            **_refusals(),
        },
    }


def predict_batch(length: int, dim: int) -> dict[str, Any]:
    """The operation ``POST /predict/batch``, as arguments of a FastAPI route."""
    rows = _object(
        {"rows": {"type": "array", "minItems": 1, "items": _query(length, dim)}}, required=["rows"]
    )
    answers = _object({"answers": {"type": "array", "items": _answer(dim)}}, required=["answers"])
    stream = ({"type": "string", "format": "binary"}, None)
    return {
        "summary": "Predict for several contexts at once.",
        "openapi_extra": _body({JSON: (rows, {"rows": [_query_example(length, dim)]}), MEDIA_TYPE: stream}),
        "responses": {
            200: _response(
                "The answers, in the order of the rows, in the form that the rows came in.",
                {JSON: (answers, {"answers": [_answer_example(dim)]}), MEDIA_TYPE: stream},
            ),
            **_refusals(),
        },
    }


def _query(length: int, dim: int) -> dict[str, Any]:
    vector = {
        "type": "array",
        "items": {"type": "number", "exclusiveMinimum": -TOO_LARGE, "exclusiveMaximum": TOO_LARGE},
        "minItems": dim,
        "maxItems": dim,
    }
    context = {
        "type": "array",
        "minItems": 1,
        "items": vector,
        "description": f"{length} vectors, oldest first; of more the last {length} count, fewer are padded.",
    }
    tokens = {
        "type": ["number", "null"],
        "minimum": 0,
        "maximum": MOST_TOKENS,
        "description": "Tokens of the whole context.",
    }
    return _object(
        {
            "context": context,
            "lane": {"type": ["string", "null"]},
            "context_tokens": tokens,
            "target": {
                "anyOf": [vector, {"type": "null"}],
                "description": "The true next vector, if it is known.",
            },
        },
        required=["context"],
    )


def _answer(dim: int) -> dict[str, Any]:
    measure = {"type": ["number", "null"]}
    properties = {
        "prediction": {"type": "array", "items": {"type": "number"}, "minItems": dim, "maxItems": dim},
        "route": {"enum": list(ROUTES), "description": "Whose prediction it is."},
        "reasons": {
            "type": "array",
            "items": {"enum": list(REASONS)},
            "description": "Why it is to be escalated.",
        },
        "confidence": measure
        | {"description": "Cosine with the nearest vector of the bank; null without one."},
        "margin": measure | {"description": "What the nearest has over the second nearest."},
        "cosine": measure | {"description": "Cosine with the target; null without one."},
        "model": {"type": "string", "description": "Architecture, and the beginning of the file's SHA-256."},
        "status_detail": {"type": ["string", "null"], "description": "Such as `padded: 3`."},
    }
    return _object(properties, required=list(properties))


def _refusals() -> dict[int | str, dict[str, Any]]:
    place = {"type": "array", "items": {"type": ["string", "integer"]}}
    wrong = _object(
        {"loc": place, "msg": {"type": "string"}, "type": {"type": "string"}}, required=["loc", "msg", "type"]
    )
    detail = _object({"detail": {"type": "array", "items": wrong}}, required=["detail"])
    refused = {
        408: f"The body has not come within {BODY_S} s.",
        413: "The body is larger than --max-body or, to /predict, than a query can be; or an Arrow stream unpacks to,"
        f" or is answered with, more than {UNPACKED} times --max-body.",
        415: "The body is of a type that is not read here.",
        422: "Something in the body cannot be used: what, and where.",
        429: "More requests are under way than --max-queue.",
        503: f"Bodies and answers of all requests take all that they may: {UNPACKED} times --max-body, or 256 MiB where"
        " that is less.",
    }
    found: dict[int | str, dict[str, Any]] = {
        status: _response(text, {JSON: (detail, None)}) for status, text in refused.items()
    }
    for status in (429, 503):
        found[status]["headers"] = {
            "Retry-After": {"schema": {"type": "integer"}, "description": "Seconds to wait."}
        }
    return found


def _object(properties: dict[str, Any], *, required: list[str]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def _content(kinds: dict[str, tuple[dict[str, Any], Any]]) -> dict[str, Any]:
    return {
        kind: {"schema": schema} | ({} if example is None else {"example": example})
        for kind, (schema, example) in kinds.items()
    }


def _body(kinds: dict[str, tuple[dict[str, Any], Any]]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": _content(kinds)}}


def _response(text: str, kinds: dict[str, tuple[dict[str, Any], Any]]) -> dict[str, Any]:
    return {"description": text, "content": _content(kinds)}


def _query_example(length: int, dim: int) -> dict[str, Any]:
    context = [[_number(row * dim + column) for column in range(dim)] for row in range(length)]
    return {"context": context, "lane": "sci-fact", "context_tokens": 120}


def _answer_example(dim: int) -> dict[str, Any]:
    return {
        "prediction": [_number(column) for column in range(dim)],
        "route": "gru",
        "reasons": ["high_stakes_lane"],
        "confidence": 0.81,
        "margin": 0.03,
        "cosine": None,
        "model": "gru@37b78bf9569",
        "status_detail": None,
    }


def _number(place: int) -> float:
    """Numbers that look like a vector's: from -0.05 to 0.05, in no apparent order."""
    return (place * 37 % 101 - 50) / 1000
