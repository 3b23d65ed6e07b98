"""The one table of what the API serves. 404, 405 and OPTIONS come from it.

A path that ends in `:name` takes the rest of the request's path, slashes included: check and service
ids may hold them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum, auto

from ..filter import rows
from ..filter.fields import Struct
from . import (
    agent,
    autopilot,
    ca_configuration,
    catalog,
    config,
    connect_ca,
    discovery_chain,
    health,
    intentions,
    operator,
    snapshot,
    status,
)
from .errors import NotFound, WrongMethod
from .handling import CallHandler, ReadHandler

WITHOUT_V1 = "Invalid URL path: if attempting to use the HTTP API, ensure the path starts with '/v1/'\n"
UNKNOWN = "Invalid URL path: not a recognized HTTP API endpoint\n"


class Needs(Enum):
    """What serving a route takes."""

    NOTHING = auto()  # answered from what this agent knows
    STATE = auto()  # a consistent view of the catalog: index headers, may block
    BODY = auto()  # the request's body, and a leader that takes writes
    UPLOAD = auto()  # the same with a body that is taken in blocks


@dataclass(frozen=True, slots=True)
class Route:
    method: str
    path: str
    handler: ReadHandler | CallHandler
    needs: Needs
    is_open: bool = False  # answered without the management token: health, and what certificates to trust
    at_leader: bool = False  # other servers ask the leader, unless the client says ?stale
    filters: Struct | None = None  # fields that `?filter=` may ask for; None: there is no such parameter


def _read(path: str, handler: ReadHandler) -> Route:
    return Route("GET", path, handler, Needs.STATE)


def _ask(path: str, handler: CallHandler) -> Route:
    return Route("GET", path, handler, Needs.NOTHING)


def _write(method: str, path: str, handler: CallHandler) -> Route:
    return Route(method, path, handler, Needs.BODY)


def _open(route: Route) -> Route:
    return replace(route, is_open=True)


def _at_leader(route: Route) -> Route:
    return replace(route, at_leader=True)


def _by(fields: Struct, route: Route) -> Route:
    return replace(route, filters=fields)


ROUTES: tuple[Route, ...] = (
    _open(_ask("/", status.index)),
    _by(rows.CHECK, _ask("/v1/agent/checks", agent.checks)),
    _write("PUT", "/v1/agent/check/deregister/:id", agent.deregister_check),
    _write("PUT", "/v1/agent/check/fail/:id", agent.mark("fail")),
    _write("PUT", "/v1/agent/check/pass/:id", agent.mark("pass")),
    _write("PUT", "/v1/agent/check/register", agent.register_check),
    _write("PUT", "/v1/agent/check/update/:id", agent.update_check),
    _write("PUT", "/v1/agent/check/warn/:id", agent.mark("warn")),
    _at_leader(_ask("/v1/agent/connect/ca/leaf/:service", connect_ca.leaf)),
    _open(_read("/v1/agent/connect/ca/roots", connect_ca.roots)),
    _by(rows.MEMBER, _ask("/v1/agent/members", operator.members)),
    _ask("/v1/agent/self", agent.self_),
    _ask("/v1/agent/service/:id", agent.service),
    _write("PUT", "/v1/agent/service/deregister/:id", agent.deregister_service),
    _write("PUT", "/v1/agent/service/register", agent.register_service),
    _by(rows.SERVICE, _ask("/v1/agent/services", agent.services)),
    _by(rows.CATALOG_SERVICE, _read("/v1/catalog/connect/:service", catalog.connect)),
    _ask("/v1/catalog/datacenters", catalog.datacenters),
    _by(rows.SERVICE, _read("/v1/catalog/node/:node", catalog.node_services)),
    _by(rows.NODE, _read("/v1/catalog/nodes", catalog.nodes)),
    _by(rows.CATALOG_SERVICE, _read("/v1/catalog/service/:service", catalog.service)),
    _by(rows.CATALOG_SERVICE, _read("/v1/catalog/services", catalog.services)),
    _write("PUT", "/v1/config", config.put),
    _by(rows.CONFIG_ENTRY, _read("/v1/config/:kind", config.get)),
    _write("DELETE", "/v1/config/:kind", config.delete),
    _read("/v1/connect/ca/configuration", ca_configuration.show),
    _write("PUT", "/v1/connect/ca/configuration", ca_configuration.change),
    _open(_read("/v1/connect/ca/roots", connect_ca.roots)),
    _by(rows.INTENTION, _read("/v1/connect/intentions", intentions.list_all)),
    _read("/v1/connect/intentions/check", intentions.check),
    _read("/v1/connect/intentions/exact", intentions.get_exact),
    _write("PUT", "/v1/connect/intentions/exact", intentions.put_exact),
    _write("DELETE", "/v1/connect/intentions/exact", intentions.delete_exact),
    _read("/v1/connect/intentions/match", intentions.match),
    _read("/v1/discovery-chain/:service", discovery_chain.get),
    Route("POST", "/v1/discovery-chain/:service", discovery_chain.get, Needs.STATE),
    _by(rows.CHECK, _open(_read("/v1/health/checks/:service", health.service_checks))),
    _by(rows.HEALTH_ENTRY, _open(_read("/v1/health/connect/:service", health.connect))),
    _by(rows.CHECK, _open(_read("/v1/health/node/:node", health.node_checks))),
    _by(rows.HEALTH_ENTRY, _open(_read("/v1/health/service/:service", health.service))),
    _by(rows.CHECK, _open(_read("/v1/health/state/:state", health.state_checks))),
    _ask("/v1/operator/autopilot/configuration", autopilot.show),
    _write("PUT", "/v1/operator/autopilot/configuration", autopilot.change),
    _at_leader(_ask("/v1/operator/autopilot/health", autopilot.health)),
    _at_leader(_ask("/v1/operator/autopilot/state", autopilot.state)),
    _at_leader(_ask("/v1/operator/raft/configuration", operator.configuration)),
    _write("DELETE", "/v1/operator/raft/peer", operator.remove_peer),
    _write("POST", "/v1/operator/raft/transfer-leader", operator.transfer_leader),
    _write("PUT", "/v1/operator/raft/transfer-leader", operator.transfer_leader),
    _ask("/v1/snapshot", snapshot.save),
    Route("PUT", "/v1/snapshot", snapshot.put, Needs.UPLOAD),
    _open(_ask("/v1/status/leader", status.leader)),
    _open(_ask("/v1/status/peers", status.peers)),
)


class Table:
    """Finds routes. Exact paths come before those with a name, longer prefixes before shorter ones."""

    def __init__(self, routes: tuple[Route, ...]) -> None:
        self._exact: dict[str, dict[str, Route]] = {}
        self._prefixes: dict[str, dict[str, Route]] = {}
        for route in routes:
            prefix, colon, _ = route.path.partition(":")
            methods = (self._prefixes if colon else self._exact).setdefault(prefix, {})
            methods[route.method] = route

    def find(self, path: str) -> tuple[Mapping[str, Route], str]:
        """Routes by method and the name in the path. Raises NotFound."""
        if path in self._exact:
            return self._exact[path], ""
        end = len(path)
        while (end := path.rfind("/", 0, end)) > 0:
            if methods := self._prefixes.get(path[: end + 1]):
                return methods, path[end + 1 :]
        raise NotFound(UNKNOWN if path.startswith("/v1/") else WITHOUT_V1)

    def route(self, method: str, path: str) -> tuple[Route, str]:
        """The route and the name in the path. Raises NotFound, WrongMethod."""
        methods, name = self.find(path)
        if method not in methods:
            raise WrongMethod(method, sorted(methods))
        return methods[method], name
