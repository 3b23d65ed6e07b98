"""Who answers for a target: proxies and native instances of its service, and how well they are."""

from typing import Any

import orjson

from weft.pb.mesh.v1 import mesh_pb2 as pb

from ..catalog.model import CRITICAL, PASSING, WARNING, Service, ServiceEntry, aggregate
from ..catalog.state import State
from ..config_entries.routing import Subset
from ..filter.expression import filter_of
from ..filter.rows import HEALTH_ENTRY
from .rows import row_of

ALL_INSTANCES = Subset()


def endpoints(state: State, service: str, subset: Subset = ALL_INSTANCES) -> pb.Endpoints:
    """Those that the subset's filter keeps, in the order of node and id.

    A proxy is as healthy as the worst of itself, its node and the application behind it: a live sidecar
    in front of a dead application is of no use to a caller.
    """
    entries = state.connect_nodes(service).rows
    if subset.filter.strip():
        keeps = filter_of(subset.filter, HEALTH_ENTRY)
        entries = tuple(entry for entry in entries if keeps(row_of(entry)))
    return pb.Endpoints(endpoints=[_endpoint(state, entry, subset.only_passing) for entry in entries])


def _endpoint(state: State, entry: ServiceEntry, only_passing: bool) -> pb.Endpoint:
    row, application = entry.service, _application(state, entry.service)
    own = state.checks_of(application) if application else ()
    status = aggregate((*entry.checks, *own))
    weight = row.weight_warning if status == WARNING else row.weight_passing
    is_well = status == PASSING if only_passing else status != CRITICAL
    return pb.Endpoint(
        instance_key=row.instance_key,
        service_id=application.id if application else row.id,
        address=row.address or entry.node.address,
        port=row.port,
        weight=weight,
        healthy=is_well and weight > 0,
        locality=locality_of(row) or (locality_of(application) if application else None),
    )


def locality_of(row: Service) -> pb.Locality | None:
    """Where an instance said that it is."""
    if not row.locality_json:
        return None
    said: Any = orjson.loads(row.locality_json)
    if not isinstance(said, dict):
        return None
    region, zone = (said.get(key) for key in ("Region", "Zone"))
    return pb.Locality(
        region=region if isinstance(region, str) else "", zone=zone if isinstance(zone, str) else ""
    )


def _application(state: State, row: Service) -> Service | None:
    """The instance that a proxy stands for; None for a native one, and for an id that is not of the
    service, since readers of the service's endpoints do not wait for changes of other services.
    """
    if row.proxy is None:
        return None
    found = state.services.get((row.node, row.proxy.destination_service_id))
    return found if found and found.name == row.proxy.destination_service else None
