"""Who answers for a service: its proxies and native instances, and how well they are."""

from weft.pb.mesh.v1 import mesh_pb2 as pb

from ..catalog.model import CRITICAL, WARNING, Service, ServiceEntry, aggregate
from ..catalog.state import State


def endpoints(state: State, service: str) -> pb.Endpoints:
    """In the order of node and id.

    A proxy is as healthy as the worst of itself, its node and the application behind it: a live sidecar
    in front of a dead application is of no use to a caller.
    """
    entries = state.connect_nodes(service).rows
    return pb.Endpoints(endpoints=[_endpoint(state, entry) for entry in entries])


def _endpoint(state: State, entry: ServiceEntry) -> pb.Endpoint:
    row, application = entry.service, _application(state, entry.service)
    own = state.checks_of(application) if application else ()
    status = aggregate((*entry.checks, *own))
    weight = row.weight_warning if status == WARNING else row.weight_passing
    return pb.Endpoint(
        instance_key=row.instance_key,
        service_id=application.id if application else row.id,
        address=row.address or entry.node.address,
        port=row.port,
        weight=weight,
        healthy=status != CRITICAL and weight > 0,
    )


def _application(state: State, row: Service) -> Service | None:
    """The instance that a proxy stands for; None for a native one, and for an id that is not of the
    service, since readers of the service's endpoints do not wait for changes of other services.
    """
    if row.proxy is None:
        return None
    found = state.services.get((row.node, row.proxy.destination_service_id))
    return found if found and found.name == row.proxy.destination_service else None
