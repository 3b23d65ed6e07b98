"""`GET /v1/openapi.json`: the route table as an OpenAPI 3.0 document, made of the table itself.

It says what can be called, with which parameters, and which statuses may come. Bodies of answers are
Consul's, and described by Consul's documentation.
"""

from collections.abc import Callable
from functools import cache

from weft import __version__

from .handling import Call, CallHandler
from .permission import How
from .respond import Reply
from .route import Needs, Route
from .views import Json

PATH = "/v1/openapi.json"
_STATUSES = {
    "200": "As in Consul's API.",
    "400": "A parameter or the body is wrong; the text says which.",
    "401": "There is no access control here.",
    "403": "The token is unknown or may not do this.",
    "404": "Nothing by that name.",
    "409": "Somebody else has changed it meanwhile.",
    "413": "The body is too large.",
    "415": "The body is not of a type that is taken.",
    "429": "A warning, or too many requests.",
    "500": "No leader, an unknown datacenter, or another refusal for which Consul answers 500.",
    "503": "Critical.",
}
_FLAGS = {
    "pretty": "Indent the JSON.",
    "stale": "Any server may answer, also without a leader.",
    "consistent": "The leader asks a majority before it answers.",
}


def serve(routes: Callable[[], tuple[Route, ...]]) -> CallHandler:
    """The handler; `routes` is asked at the first request."""
    made = cache(lambda: document(routes()))

    async def handler(call: Call) -> Reply:
        return call.json(made())

    return handler


def document(routes: tuple[Route, ...]) -> Json:
    """Deterministic: paths and methods in the order of their names."""
    paths: dict[str, Json] = {}
    for route in sorted(routes, key=lambda route: (route.path, route.method)):
        prefix, colon, name = route.path.partition(":")
        path = f"{prefix}{{{name}}}" if colon else prefix
        paths.setdefault(path, {})[route.method.lower()] = _operation(route, name)
    return {
        "openapi": "3.0.3",
        "info": {"title": "Weft: the API of Consul and more", "version": __version__},
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {"type": "apiKey", "in": "header", "name": "X-Consul-Token"}}
        },
    }


def _operation(route: Route, name: str) -> Json:
    made: Json = {
        "operationId": f"{route.method.lower()}{route.path}".replace("/", "_").replace(":", ""),
        "summary": _summary(route),
        "parameters": [*_named(name), *_query(route)],
        "responses": {status: {"description": text} for status, text in _STATUSES.items()},
    }
    if route.guard.how is not How.OPEN:
        made["security"] = [{"token": []}]
    if body := _body(route):
        made["requestBody"] = body
    return made


def _summary(route: Route) -> str:
    lines = (route.handler.__doc__ or "").strip().splitlines()
    return lines[0] if lines else f"{route.method} {route.path}"


def _named(name: str) -> list[Json]:
    schema = {"type": "string", "minLength": 1}
    return [{"name": name, "in": "path", "required": True, "schema": schema}] if name else []


def _query(route: Route) -> list[Json]:
    found = [_parameter("dc", {"type": "string"}, "The datacenter; this agent's by default.")]
    flags = _FLAGS if route.needs is Needs.STATE else {"pretty": _FLAGS["pretty"]}
    found += [_parameter(flag, {"type": "string"}, text) for flag, text in flags.items()]
    if route.needs is Needs.STATE:
        index: Json = {"type": "integer", "minimum": 0, "maximum": 2**64 - 1}
        found.append(_parameter("index", index, "Wait until the result's index is above this one."))
        wait = {"type": "string", "example": "10s"}
        found.append(_parameter("wait", wait, "How long; 5m by default, 10m at most."))
    if route.filters is not None:
        found.append(_parameter("filter", {"type": "string"}, "An expression that rows must satisfy."))
    return found


def _parameter(name: str, schema: Json, text: str) -> Json:
    return {"name": name, "in": "query", "required": False, "schema": schema, "description": text}


def _body(route: Route) -> Json | None:
    if route.needs is Needs.UPLOAD or (route.needs is Needs.BODY and route.path.startswith("/v1/kv/")):
        kind, schema = "application/octet-stream", {"type": "string", "format": "binary"}
    elif route.method in ("POST", "PUT") and route.needs is not Needs.NOTHING:
        kind, schema = "application/json", {"type": "object"}
    else:
        return None
    return {"required": False, "content": {kind: {"schema": schema}}}
