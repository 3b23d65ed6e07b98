"""Routes of what Weft has beside Consul, of gateways, exports, usage, and the old forms of intentions."""

from ..filter import rows
from . import (
    canary,
    catalog,
    chaos,
    exports,
    gateways,
    intentions_by_id,
    mesh_graph,
    mesh_proxies,
    mesh_view,
    tap,
    topology,
    usage,
)
from .permission import (
    INSIDE,
    KEYRING_READ,
    KEYRING_WRITE,
    MESH_READ,
    OPERATOR_READ,
    SERVICE_READ,
    SERVICE_WRITE,
    SIEVED,
)
from .route import Route, ask, at_leader, by, read, secret, write

_KEYRING = "/v1/operator/keyring"

ROUTES: tuple[Route, ...] = (
    read("/v1/catalog/gateway-services/:gateway", gateways.services, SIEVED),
    by(rows.SERVICE, read("/v1/catalog/node-services/:node", catalog.node_service_list, SIEVED)),
    write("PUT", "/v1/mesh/chaos/experiment", chaos.start, INSIDE),
    write("DELETE", "/v1/mesh/chaos/experiment/:name", chaos.stop, INSIDE),
    at_leader(ask("/v1/mesh/chaos/experiments", chaos.list_all, INSIDE)),
    write("DELETE", "/v1/mesh/chaos/experiments", chaos.stop_all, INSIDE),
    write("POST", "/v1/connect/intentions", intentions_by_id.create, INSIDE),
    read("/v1/connect/intentions/:id", intentions_by_id.get, INSIDE),
    write("PUT", "/v1/connect/intentions/:id", intentions_by_id.change, INSIDE),
    write("DELETE", "/v1/connect/intentions/:id", intentions_by_id.delete, INSIDE),
    read("/v1/exported-services", exports.exported, MESH_READ),
    by(rows.HEALTH_ENTRY, read("/v1/health/ingress/:service", gateways.ingress, SIEVED)),
    read("/v1/imported-services", exports.imported, MESH_READ),
    read("/v1/internal/ui/service-topology/:service", topology.get, SERVICE_READ),
    at_leader(ask("/v1/mesh/canaries", canary.list_all, SIEVED)),
    write("PUT", "/v1/mesh/canary/abort/:service", canary.abort, SERVICE_WRITE),
    write("PUT", "/v1/mesh/canary/pause/:service", canary.pause, SERVICE_WRITE),
    write("PUT", "/v1/mesh/canary/promote/:service", canary.promote, SERVICE_WRITE),
    write("PUT", "/v1/mesh/canary/resume/:service", canary.resume, SERVICE_WRITE),
    at_leader(ask("/v1/mesh/graph", mesh_graph.graph, INSIDE)),
    ask("/v1/mesh/proxies", mesh_proxies.list_all, INSIDE),
    read("/v1/mesh/proxy/:service", mesh_view.proxy, INSIDE),
    secret(ask("/v1/mesh/tap/:service", tap.tap, INSIDE)),
    ask(_KEYRING, usage.keyring, KEYRING_READ),
    write("POST", _KEYRING, usage.keyring, KEYRING_WRITE),
    write("PUT", _KEYRING, usage.keyring, KEYRING_WRITE),
    write("DELETE", _KEYRING, usage.keyring, KEYRING_WRITE),
    ask("/v1/operator/usage", usage.usage, OPERATOR_READ),
)
