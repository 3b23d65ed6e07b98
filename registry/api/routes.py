"""The one table of what the API serves. 404, 405 and OPTIONS come from it.

A path that ends in `:name` takes the rest of the request's path, slashes included: check and service
ids may hold them.
"""

from collections.abc import Mapping

from ..filter import rows
from . import (
    agent,
    agent_routes,
    autopilot,
    ca_configuration,
    catalog,
    catalog_write,
    config,
    connect_ca,
    coordinate,
    discovery_chain,
    dns,
    enrolment,
    event,
    health,
    intentions,
    kv,
    mesh_routes,
    openapi,
    operator,
    prepared_query,
    session,
    snapshot,
    status,
    txn,
)
from .acl import routes as acl
from .errors import NotFound, ValueTooLarge, WrongMethod
from .permission import (
    ACL_WRITE,
    AGENT_READ,
    EVENT_WRITE,
    INSIDE,
    OPEN,
    OPERATOR_READ,
    OPERATOR_WRITE,
    SERVICE_READ,
    SERVICE_WRITE,
    SIEVED,
)
from .route import Needs, Route
from .route import ask as _ask
from .route import at_leader as _at_leader
from .route import by as _by
from .route import kept as _kept
from .route import read as _read
from .route import secret as _secret
from .route import write as _write

WITHOUT_V1 = "Invalid URL path: if attempting to use the HTTP API, ensure the path starts with '/v1/'\n"
UNKNOWN = "Invalid URL path: not a recognized HTTP API endpoint\n"


ROUTES: tuple[Route, ...] = (
    _ask("/", status.index, OPEN),
    *acl.ROUTES,
    *agent_routes.ROUTES,
    *mesh_routes.ROUTES,
    *enrolment.ROUTES,
    _by(rows.CHECK, _ask("/v1/agent/checks", agent.checks, SIEVED)),
    _write("PUT", "/v1/agent/check/deregister/:id", agent.deregister_check, INSIDE),
    _write("PUT", "/v1/agent/check/fail/:id", agent.mark("fail"), INSIDE),
    _write("PUT", "/v1/agent/check/pass/:id", agent.mark("pass"), INSIDE),
    _write("PUT", "/v1/agent/check/register", agent.register_check, INSIDE),
    _write("PUT", "/v1/agent/check/update/:id", agent.update_check, INSIDE),
    _write("PUT", "/v1/agent/check/warn/:id", agent.mark("warn"), INSIDE),
    _secret(_at_leader(_ask("/v1/agent/connect/ca/leaf/:service", connect_ca.leaf, SERVICE_WRITE))),
    _read("/v1/agent/connect/ca/roots", connect_ca.roots, OPEN),
    _by(rows.MEMBER, _ask("/v1/agent/members", operator.members, SIEVED)),
    _ask("/v1/agent/self", agent.self_, AGENT_READ),
    _write("PUT", "/v1/agent/service/deregister/:id", agent.deregister_service, INSIDE),
    _write("PUT", "/v1/agent/service/register", agent.register_service, INSIDE),
    _by(rows.SERVICE, _ask("/v1/agent/services", agent.services, SIEVED)),
    _kept(_by(rows.CATALOG_SERVICE, _read("/v1/catalog/connect/:service", catalog.connect, SIEVED))),
    _write("PUT", "/v1/catalog/deregister", catalog_write.deregister, INSIDE),
    _write("PUT", "/v1/catalog/register", catalog_write.register, INSIDE),
    _ask("/v1/catalog/datacenters", catalog.datacenters, OPEN),
    _kept(_by(rows.SERVICE, _read("/v1/catalog/node/:node", catalog.node_services, SIEVED))),
    _kept(_by(rows.NODE, _read("/v1/catalog/nodes", catalog.nodes, SIEVED))),
    _kept(_by(rows.CATALOG_SERVICE, _read("/v1/catalog/service/:service", catalog.service, SIEVED))),
    _kept(_by(rows.CATALOG_SERVICE, _read("/v1/catalog/services", catalog.services, SIEVED))),
    _write("PUT", "/v1/config", config.put, INSIDE),
    _by(rows.CONFIG_ENTRY, _read("/v1/config/:kind", config.get, SIEVED)),
    _write("DELETE", "/v1/config/:kind", config.delete, INSIDE),
    _read("/v1/connect/ca/configuration", ca_configuration.show, OPERATOR_READ),
    _write("PUT", "/v1/connect/ca/configuration", ca_configuration.change, OPERATOR_WRITE),
    _read("/v1/connect/ca/roots", connect_ca.roots, OPEN),
    _by(rows.INTENTION, _read("/v1/connect/intentions", intentions.list_all, SIEVED)),
    _read("/v1/connect/intentions/check", intentions.check, INSIDE),
    _read("/v1/connect/intentions/exact", intentions.get_exact, INSIDE),
    _write("PUT", "/v1/connect/intentions/exact", intentions.put_exact, INSIDE),
    _write("DELETE", "/v1/connect/intentions/exact", intentions.delete_exact, INSIDE),
    _read("/v1/connect/intentions/match", intentions.match, INSIDE),
    _read("/v1/coordinate/datacenters", coordinate.datacenters, SIEVED),
    _read("/v1/coordinate/node/:node", coordinate.node, INSIDE),
    _read("/v1/coordinate/nodes", coordinate.nodes, SIEVED),
    _write("PUT", "/v1/coordinate/update", coordinate.update, INSIDE),
    _read("/v1/discovery-chain/:service", discovery_chain.get, SERVICE_READ),
    Route("POST", "/v1/discovery-chain/:service", discovery_chain.get, Needs.STATE, SERVICE_READ),
    _write("PUT", "/v1/event/fire/:name", event.fire, EVENT_WRITE),
    _read("/v1/event/list", event.list_all, SIEVED),
    _kept(_by(rows.CHECK, _read("/v1/health/checks/:service", health.service_checks, SIEVED))),
    _kept(_by(rows.HEALTH_ENTRY, _read("/v1/health/connect/:service", health.connect, SIEVED))),
    _kept(_by(rows.CHECK, _read("/v1/health/node/:node", health.node_checks, SIEVED))),
    _kept(_by(rows.HEALTH_ENTRY, _read("/v1/health/service/:service", health.service, SIEVED))),
    _kept(_by(rows.CHECK, _read("/v1/health/state/:state", health.state_checks, SIEVED))),
    _ask("/v1/internal/dns", dns.answer, SIEVED),
    _read("/v1/kv/:key", kv.get, INSIDE),
    Route("PUT", "/v1/kv/:key", kv.put, Needs.BODY, INSIDE, too_large=ValueTooLarge),
    _write("DELETE", "/v1/kv/:key", kv.delete, INSIDE),
    _ask(openapi.PATH, openapi.serve(lambda: ROUTES), OPEN),
    _ask("/v1/operator/autopilot/configuration", autopilot.show, OPERATOR_READ),
    _write("PUT", "/v1/operator/autopilot/configuration", autopilot.change, OPERATOR_WRITE),
    _at_leader(_ask("/v1/operator/autopilot/health", autopilot.health, OPERATOR_READ)),
    _at_leader(_ask("/v1/operator/autopilot/state", autopilot.state, OPERATOR_READ)),
    _at_leader(_ask("/v1/operator/raft/configuration", operator.configuration, OPERATOR_READ)),
    _write("DELETE", "/v1/operator/raft/peer", operator.remove_peer, OPERATOR_WRITE),
    _write("POST", "/v1/operator/raft/transfer-leader", operator.transfer_leader, OPERATOR_WRITE),
    _write("PUT", "/v1/operator/raft/transfer-leader", operator.transfer_leader, OPERATOR_WRITE),
    _read("/v1/query", prepared_query.list_all, SIEVED),
    _write("POST", "/v1/query", prepared_query.create, INSIDE),
    _write("DELETE", "/v1/query/:id", prepared_query.delete, INSIDE),
    _read("/v1/query/:id", prepared_query.get, INSIDE),
    _write("PUT", "/v1/query/:id", prepared_query.update, INSIDE),
    _write("PUT", "/v1/session/create", session.create, INSIDE),
    _write("PUT", "/v1/session/destroy/:session", session.destroy, INSIDE),
    _read("/v1/session/info/:session", session.info, SIEVED),
    _read("/v1/session/list", session.list_all, SIEVED),
    _read("/v1/session/node/:node", session.on_node, SIEVED),
    _at_leader(_write("PUT", "/v1/session/renew/:session", session.renew, INSIDE)),
    _secret(_ask("/v1/snapshot", snapshot.save, ACL_WRITE)),
    Route("PUT", "/v1/snapshot", snapshot.put, Needs.UPLOAD, ACL_WRITE),
    _ask("/v1/status/leader", status.leader, OPEN),
    _ask("/v1/status/peers", status.peers, OPEN),
    _write("PUT", "/v1/txn", txn.put, INSIDE),
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

    def knows(self, path: str) -> bool:
        """Whether there is a route, by whatever method."""
        try:
            return bool(self.find(path))
        except NotFound:
            return False

    def route(self, method: str, path: str) -> tuple[Route, str]:
        """The route and the name in the path. Raises NotFound, WrongMethod."""
        methods, name = self.find(path)
        if method not in methods:
            raise WrongMethod(method, sorted(methods))
        return methods[method], name
