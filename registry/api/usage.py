"""`/v1/operator/usage` and `/v1/operator/keyring`."""

from collections import Counter

from ..catalog.feature_level import SERVER_SERVICE
from ..catalog.state import State
from .blocking import gate
from .errors import BadRequest
from .handling import Call
from .respond import Reply
from .views import Json

_MESH_KINDS = (
    *("connect-native", "connect-proxy", "mesh-gateway"),
    *("api-gateway", "ingress-gateway", "terminating-gateway"),
)
NO_KEYRING = (
    "there is no gossip keyring: servers prove themselves by certificates; renew those instead (weft tls)"
)


async def usage(call: Call) -> Reply:
    """What there is of each, by datacenter."""
    await gate(call.parts.log, call.query.consistency(call.headers))
    state = call.parts.log.view()
    return call.json({"Usage": {call.parts.datacenter: count(state)}, "Index": state.index})


def count(state: State) -> Json:
    """Names of services and instances; billable are those that belong to an application."""
    kinds = Counter("connect-native" if row.connect_native else row.kind for row in state.services.values())
    billable = sum(1 for row in state.services.values() if not row.kind and row.id != SERVER_SERVICE)
    return {
        "Nodes": len(state.nodes),
        "Services": len(state.service_names().rows),
        "ServiceInstances": len(state.services),
        "ConnectServiceInstances": {kind: kinds[kind] for kind in _MESH_KINDS},
        "BillableServiceInstances": billable,
    }


async def keyring(_call: Call) -> Reply:
    """Raises BadRequest, for every method."""
    raise BadRequest(NO_KEYRING)
