"""Writes docs/consul-compatibility.md from the route table: `python -m tests.tidy.compat_page`.

Whether an endpoint is served is asked of the table; what is missing of one that is served is the typed table
of notes below. A tidy test runs the same code and compares.
"""

from pathlib import Path
from typing import NamedTuple

from registry.api import enrolment
from registry.api.errors import NotFound, WrongMethod
from registry.api.route import Route
from registry.api.routes import ROUTES, Table

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "consul-compatibility.md"

INTRO = """\
# Compatibility with Consul's HTTP API

Consul's clients work against Weft unchanged, as far as this table says. Generated from the routes that are
served by `python -m tests.tidy.compat_page`; do not edit it by hand. `GET /v1/openapi.json` has the same
routes as an OpenAPI document.

Tenancy parameters (`ns`, `partition`, `peer`, `sameness-group`) are taken empty or as `default`. `?near`
sorts by round-trip time where coordinates were reported (`/v1/coordinate/update`), but not by `_ip`.
Servers take `?cached` and answer it as a plain read. A wrong `dc` is `No path to datacenter` (500).
"""


class Group(NamedTuple):
    """Endpoints of one chapter: `METHOD[,METHOD] path` each."""

    title: str
    endpoints: tuple[str, ...]


GROUPS = (
    Group(
        "Catalog and health",
        (
            "GET /v1/catalog/connect/:service",
            "GET /v1/catalog/datacenters",
            "PUT /v1/catalog/deregister",
            "GET /v1/catalog/gateway-services/:gateway",
            "GET /v1/catalog/node-services/:node",
            "GET /v1/catalog/node/:node",
            "GET /v1/catalog/nodes",
            "PUT /v1/catalog/register",
            "GET /v1/catalog/service/:service",
            "GET /v1/catalog/services",
            "GET /v1/health/checks/:service",
            "GET /v1/health/connect/:service",
            "GET /v1/health/ingress/:service",
            "GET /v1/health/node/:node",
            "GET /v1/health/service/:service",
            "GET /v1/health/state/:state",
            "GET /v1/status/leader",
            "GET /v1/status/peers",
        ),
    ),
    Group(
        "Agent",
        (
            "PUT /v1/agent/check/deregister/:id",
            "PUT /v1/agent/check/fail/:id",
            "PUT /v1/agent/check/pass/:id",
            "PUT /v1/agent/check/register",
            "PUT /v1/agent/check/update/:id",
            "PUT /v1/agent/check/warn/:id",
            "GET /v1/agent/checks",
            "POST /v1/agent/connect/authorize",
            "GET /v1/agent/connect/ca/leaf/:service",
            "GET /v1/agent/connect/ca/roots",
            "PUT /v1/agent/force-leave/:node",
            "GET /v1/agent/health/service/id/:id",
            "GET /v1/agent/health/service/name/:name",
            "GET /v1/agent/host",
            "PUT /v1/agent/join/:address",
            "PUT /v1/agent/leave",
            "PUT /v1/agent/maintenance",
            "GET /v1/agent/members",
            "GET /v1/agent/metrics",
            "GET /v1/agent/metrics/stream",
            "GET /v1/agent/monitor",
            "PUT /v1/agent/reload",
            "GET /v1/agent/self",
            "PUT /v1/agent/service/deregister/:id",
            "PUT /v1/agent/service/maintenance/:id",
            "PUT /v1/agent/service/register",
            "GET /v1/agent/service/:id",
            "GET /v1/agent/services",
            "PUT /v1/agent/token/:type",
            "GET /v1/agent/version",
        ),
    ),
    Group(
        "Keys, sessions, transactions, queries, events, coordinates",
        (
            "GET,PUT,DELETE /v1/kv/:key",
            "PUT /v1/session/create",
            "PUT /v1/session/destroy/:id",
            "GET /v1/session/info/:id",
            "GET /v1/session/list",
            "GET /v1/session/node/:node",
            "PUT /v1/session/renew/:id",
            "PUT /v1/txn",
            "GET,POST /v1/query",
            "GET,PUT,DELETE /v1/query/:id",
            "GET /v1/query/:id/execute",
            "GET /v1/query/:id/explain",
            "PUT /v1/event/fire/:name",
            "GET /v1/event/list",
            "GET /v1/coordinate/datacenters",
            "GET /v1/coordinate/node/:node",
            "GET /v1/coordinate/nodes",
            "PUT /v1/coordinate/update",
        ),
    ),
    Group(
        "Mesh",
        (
            "PUT /v1/config",
            "GET,DELETE /v1/config/:kind",
            "GET,PUT /v1/connect/ca/configuration",
            "GET /v1/connect/ca/roots",
            "GET,POST /v1/connect/intentions",
            "GET,PUT,DELETE /v1/connect/intentions/:id",
            "GET /v1/connect/intentions/check",
            "GET,PUT,DELETE /v1/connect/intentions/exact",
            "GET /v1/connect/intentions/match",
            "GET,POST /v1/discovery-chain/:service",
            "GET /v1/exported-services",
            "GET /v1/imported-services",
            "POST /v1/peering/establish",
            "POST /v1/peering/token",
            "GET,DELETE /v1/peering/:name",
            "GET /v1/peerings",
        ),
    ),
    Group(
        "Access control",
        (
            "PUT /v1/acl/auth-method",
            "GET,PUT,DELETE /v1/acl/auth-method/:name",
            "GET /v1/acl/auth-methods",
            "PUT /v1/acl/binding-rule",
            "GET,PUT,DELETE /v1/acl/binding-rule/:id",
            "GET /v1/acl/binding-rules",
            "PUT /v1/acl/bootstrap",
            "POST /v1/acl/login",
            "POST /v1/acl/logout",
            "POST /v1/acl/oidc/auth-url",
            "POST /v1/acl/oidc/callback",
            "GET /v1/acl/policies",
            "PUT /v1/acl/policy",
            "GET,PUT,DELETE /v1/acl/policy/:id",
            "GET /v1/acl/policy/name/:name",
            "GET /v1/acl/replication",
            "PUT /v1/acl/role",
            "GET,PUT,DELETE /v1/acl/role/:id",
            "GET /v1/acl/role/name/:name",
            "GET /v1/acl/roles",
            "GET /v1/acl/templated-policies",
            "GET /v1/acl/templated-policy/name/:name",
            "POST /v1/acl/templated-policy/preview/:name",
            "PUT /v1/acl/token",
            "GET,PUT,DELETE /v1/acl/token/:accessor",
            "PUT /v1/acl/token/:accessor/clone",
            "GET /v1/acl/token/self",
            "GET /v1/acl/tokens",
            "POST /v1/internal/acl/authorize",
        ),
    ),
    Group(
        "Operator",
        (
            "GET,PUT /v1/operator/autopilot/configuration",
            "GET /v1/operator/autopilot/health",
            "GET /v1/operator/autopilot/state",
            "GET,POST,PUT,DELETE /v1/operator/keyring",
            "GET /v1/operator/raft/configuration",
            "DELETE /v1/operator/raft/peer",
            "POST /v1/operator/raft/transfer-leader",
            "GET /v1/operator/usage",
            "GET /v1/operator/utilization",
            "GET,PUT /v1/snapshot",
            "GET /v1/internal/federation-states",
            "PUT /v1/internal/service-virtual-ip",
            "GET /v1/internal/ui/nodes",
            "GET /v1/internal/ui/services",
            "GET /v1/internal/ui/service-topology/:service",
            "GET /debug/pprof/",
        ),
    ),
)

NOTES: dict[str, str] = {
    "/v1/agent/check/register": "no Docker checks; scripts where `--enable-script-checks` allows them",
    "/v1/agent/force-leave/:node": "a silent agent's node; servers: `weft operator raft remove-peer`",
    "/v1/agent/join/:address": "there is no gossip: done where the address is a member's, else 400",
    "/v1/agent/leave": "ends the process: a server stays a member, an agent takes its node away",
    "/v1/agent/monitor": "what the process logs (`--log-level`); `seconds` bounds it",
    "/v1/agent/host": "memory, processors, host and root disk only",
    "/v1/agent/members": "servers, and agents that have joined; there is no gossip",
    "/v1/agent/metrics": "gauges of the log and the catalog",
    "/v1/agent/reload": "definition files; other settings are read at the start",
    "/v1/agent/service/register": "no terminating, ingress or API gateways",
    "/v1/agent/token/:type": "servers keep `default` in memory; agents keep `agent`, `default`, `dns`, "
    "`config_file_service_registration` on disk",
    "/v1/catalog/datacenters": "this datacenter only",
    "/v1/catalog/gateway-services/:gateway": "always empty: there are no gateways of these kinds",
    "/v1/coordinate/nodes": "as clients report them: Weft measures nothing itself",
    "/v1/query": "`Failover` knows no other place than this datacenter: clusters do not peer yet",
    "/v1/health/ingress/:service": "always empty: there are no ingress gateways",
    "/v1/internal/ui/service-topology/:service": "as proxies register it; calls: `/v1/mesh/graph`",
    "/v1/imported-services": "always empty: clusters do not peer yet",
    "/v1/operator/keyring": "always 400: servers use certificates, not a gossip key",
    "/v1/connect/intentions/:id": "names of source and destination cannot be changed",
}
"""Served, and what is missing of it. Whatever is not here is meant to be whole."""

REASONS: dict[str, str] = {
    "/debug/pprof/": "a profile of Go's runtime",
    "/v1/acl/oidc/auth-url": "Enterprise only in Consul",
    "/v1/acl/oidc/callback": "Enterprise only in Consul",
    "/v1/operator/utilization": "Enterprise only in Consul",
}
"""Not served, and what to do instead."""


class Row(NamedTuple):
    method: str
    path: str
    served: str
    note: str


def rows(group: Group) -> list[Row]:
    """One for each method."""
    found = []
    for line in group.endpoints:
        methods, path = line.split(" ")
        for method in methods.split(","):
            served = route_of(method, path)
            note = (NOTES if served else REASONS).get(path, "")
            found.append(Row(method, path, ("partial" if note else "yes") if served else "no", note))
    return found


def route_of(method: str, path: str) -> Route | None:
    """The route that serves an endpoint, if it was made for it: not one whose name merely swallows it."""
    sample = "/".join("x" if part.startswith(":") else part for part in path.split("/"))
    try:
        route, _ = Table(ROUTES).route(method, sample)
    except (NotFound, WrongMethod):
        return None
    return route if _swallows_nothing(route.path, path) else None


SUB_PATHS = {"/v1/acl/token/:accessor/clone", "/v1/query/:id/execute", "/v1/query/:id/explain"}
"""The last word belongs to the name in the route's path, and its handler tells."""


def _swallows_nothing(served: str, path: str) -> bool:
    return path in SUB_PATHS or served.partition(":")[0] == path.partition(":")[0]


def unlisted() -> list[str]:
    """Routes of Consul's paths that no group names; ours (`/`, the document, `/v1/mesh`) are not Consul's."""
    ours = {"/", "/v1/internal/dns", "/v1/openapi.json", "/v1/operator/raft/transfer-leader"}
    ours |= {route.path for route in ROUTES if route.path.startswith("/v1/mesh/")}
    ours |= {it.path for it in enrolment.ROUTES}
    listed = {
        route.path
        for group in GROUPS
        for line in group.endpoints
        for method in line.split(" ")[0].split(",")
        if (route := route_of(method, line.split(" ")[1]))
    }
    return sorted({route.path for route in ROUTES} - listed - ours)


def page() -> str:
    """The whole page."""
    parts = [INTRO]
    for group in GROUPS:
        parts.append(f"\n## {group.title}\n\n| Endpoint | Served | What to know |\n|---|---|---|\n")
        parts.extend(f"| {row.method} `{row.path}` | {row.served} | {row.note} |\n" for row in rows(group))
    return "".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page())
