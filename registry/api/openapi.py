"""`GET /v1/openapi.json`: the route table as an OpenAPI 3.0 document, made of the table itself.

It says what can be called, with which parameters, and which statuses may come. Bodies of answers are
Consul's, and described by Consul's documentation.
"""

from collections.abc import Callable
from functools import cache

from weft import __version__
from weft.tap_query import FIELDS as TAP_FIELDS

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


_TEXT, _NUMBER, _BOOL = {"type": "string"}, {"type": "integer", "minimum": 0}, {"type": "boolean"}
_PAIR = {"source": _TEXT, "destination": _TEXT}
_SELECT = {"tag": _TEXT, "node-meta": _TEXT, "near": _TEXT}
_OWN: dict[str, dict[str, Json]] = {
    "/v1/agent/check/fail/:id": {"note": _TEXT},
    "/v1/agent/check/pass/:id": {"note": _TEXT},
    "/v1/agent/check/warn/:id": {"note": _TEXT},
    "/v1/agent/health/service/id/:id": {"format": _TEXT},
    "/v1/agent/health/service/name/:name": {"format": _TEXT},
    "/v1/agent/monitor": {"loglevel": _TEXT, "logjson": _BOOL, "seconds": _NUMBER},
    "/v1/agent/metrics/stream": {"seconds": _NUMBER},
    "/v1/agent/maintenance": {"enable": _BOOL, "reason": _TEXT},
    "/v1/agent/members": {"wan": _TEXT},
    "/v1/agent/metrics": {"format": _TEXT},
    "/v1/agent/service/:id": {"hash": _TEXT, "wait": _TEXT},
    "/v1/agent/service/maintenance/:id": {"enable": _BOOL, "reason": _TEXT},
    "/v1/agent/service/register": {"replace-existing-checks": _BOOL},
    "/v1/catalog/connect/:service": _SELECT,
    "/v1/catalog/nodes": {"node-meta": _TEXT, "near": _TEXT},
    "/v1/catalog/service/:service": _SELECT,
    "/v1/config": {"cas": _NUMBER},
    "/v1/config/:kind": {"cas": _NUMBER},
    "/v1/connect/intentions/check": {**_PAIR, "source-type": _TEXT},
    "/v1/connect/intentions/exact": _PAIR,
    "/v1/connect/intentions/match": {
        "by": {"type": "string", "enum": ["source", "destination"]},
        "name": _TEXT,
    },
    "/v1/health/connect/:service": {**_SELECT, "passing": _BOOL},
    "/v1/health/service/:service": {**_SELECT, "passing": _BOOL},
    "/v1/internal/dns": {"dns": _TEXT, "transport": {"type": "string", "enum": ["tcp", "udp"]}},
    "/v1/kv/:key": {
        **dict.fromkeys(("recurse", "raw", "keys", "separator", "acquire", "release"), _TEXT),
        **dict.fromkeys(("cas", "flags"), _NUMBER),
    },
    "/v1/internal/ui/service-topology/:service": {"kind": _TEXT},
    "/v1/mesh/canaries": {"service": _TEXT},
    "/v1/mesh/proxies": {"service": _TEXT, "state": _TEXT},
    "/v1/mesh/graph": {"window": _TEXT, "service": _TEXT},
    "/v1/mesh/proxy/:service": {"instance": _TEXT},
    "/v1/mesh/tap/:service": {
        **dict.fromkeys((*TAP_FIELDS, "limit"), _TEXT),
        "direction": {"type": "string", "enum": ["inbound", "outbound"]},
    },
    "/v1/operator/raft/peer": {"id": _TEXT, "address": _TEXT},
    "/v1/operator/raft/transfer-leader": {"id": _TEXT},
}
"""Parameters of one path alone."""


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
    known = {row["name"] for row in found}
    own = _OWN.get(route.path, {})
    found += [_parameter(name, schema, "As in Consul.") for name, schema in own.items() if name not in known]
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
