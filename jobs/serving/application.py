"""The FastAPI application of a service: its paths, and what OpenAPI says of them.

The rule: FastAPI documents bodies by the types that check them; requests that it routes to an endpoint are answered by
the endpoint alone.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from fastapi.routing import APIRoute

from lvm_batch.jobs.serving.arrow_bodies import MEDIA_TYPE, UNPACKED
from lvm_batch.jobs.serving.bodies import RefusalBody, size_bodies
from lvm_batch.jobs.serving.endpoints import BODY_S, JSON

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from starlette.requests import Request

    from lvm_batch.io.schema import WindowShape
    from lvm_batch.jobs.serving.bodies import Body
    from lvm_batch.jobs.serving.endpoints import Endpoint

_STREAM = {MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}}


def make_application(endpoints: Mapping[str, Endpoint], shape: WindowShape) -> FastAPI:
    """Return an application with the paths that read vectors, for models of a shape."""
    app = FastAPI(
        title="lvm-batch",
        version=version("lvm-batch"),
        description="Predicts the next vector of a context, with the routing of a run.",
    )
    bodies = size_bodies(length=shape.length, dim=shape.dim)
    query, answer = _query_example(shape.length, shape.dim), _answer_example(shape.dim)
    _add(
        app,
        endpoints["/predict"],
        bodies.query,
        bodies.answer,
        summary="Predict the vector that follows a context.",
        request={JSON: {"example": query}},
        response={JSON: {"example": answer}},
        response_description="The prediction.",
    )
    _add(
        app,
        endpoints["/predict/batch"],
        bodies.queries,
        bodies.answers,
        summary="Predict for several contexts at once.",
        request={JSON: {"example": {"rows": [query]}}, **_STREAM},
        response={JSON: {"example": {"answers": [answer]}}, **_STREAM},
        response_description="The answers, in the order of the rows, in the form that the rows came in.",
    )
    return app


def _add(
    app: FastAPI,
    endpoint: Endpoint,
    body: Any,  # noqa: ANN401 - a type of bodies, or a union of such
    answer: type[Body],
    *,
    request: dict[str, Any],
    response: dict[str, Any],
    **documented: Any,  # noqa: ANN401 - whatever FastAPI takes
) -> None:
    """Add the path of an endpoint, documented by the types of its body and its answer."""
    app.router.add_api_route(
        endpoint.path,
        _signature(body),
        methods=["POST"],
        response_model=answer,
        responses={200: {"content": response}, **_refusals()},
        openapi_extra={"requestBody": {"content": request}},
        route_class_override=_routes_to(endpoint),
        **documented,
    )


def _signature(body: Any) -> Callable[..., Any]:  # noqa: ANN401 - a type
    """Return a function by whose parameter FastAPI documents a body."""

    def predict(body: Any) -> None:  # noqa: ANN401 - its type is not known before
        """Stand for the endpoint."""

    predict.__annotations__ = {"body": body}
    predict.__doc__ = None  # FastAPI would show it
    return predict


def _routes_to(endpoint: Endpoint) -> type[APIRoute]:
    """Return the class of routes that hand their requests to an endpoint."""

    class EndpointRoute(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Any]]:
            async def handler(_: Request) -> Endpoint:  # it is what ASGI calls to respond
                return endpoint

            return handler

    return EndpointRoute


def _refusals() -> dict[int | str, dict[str, Any]]:
    """Describe every status that a request is refused with."""
    statuses = {
        408: f"The body has not come within {BODY_S} s.",
        413: "The body is larger than --max-body or, for /predict, than a query can be; or an Arrow stream, or "
        f"its answer, takes more than {UNPACKED} times --max-body.",
        415: "The content type of the body is not supported.",
        422: "A value in the body cannot be used; the answer says which, and where.",
        429: "More than --max-queue requests are in progress.",
        503: f"Bodies and answers of all requests have reached their limit: {UNPACKED} times --max-body, or 256 "
        "MiB where"
        " that is less.",
    }
    found: dict[int | str, dict[str, Any]] = {
        status: {"description": text, "model": RefusalBody} for status, text in statuses.items()
    }
    for status in (429, 503):
        found[status]["headers"] = {
            "Retry-After": {"schema": {"type": "integer"}, "description": "Seconds to wait."}
        }
    return found


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
    """Return a number that looks like a vector's: from -0.05 to 0.05, in no apparent order."""
    return (place * 37 % 101 - 50) / 1000
