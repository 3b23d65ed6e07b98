"""Who answers for a target: proxies and native instances of its service, and how well they are."""

from collections.abc import Callable
from typing import Any, NamedTuple

import orjson

from weft.pb.mesh.v1 import mesh_pb2 as pb

from ..catalog.model import (
    CRITICAL,
    PASSING,
    WARNING,
    Check,
    Service,
    ServiceEntry,
    aggregate,
    is_maintenance,
)
from ..catalog.state import State
from ..config_entries.routing import Subset
from ..filter.expression import filter_of
from ..filter.rows import HEALTH_ENTRY
from .rows import row_of

ALL_INSTANCES = Subset()


def endpoints(state: State, service: str, subset: Subset = ALL_INSTANCES) -> pb.Endpoints:
    """Those that the subset's filter keeps, in the order of node and id; none that is in maintenance.

    A proxy is as healthy as the worst of itself, its node and the application behind it: a live sidecar
    in front of a dead application is of no use to a caller.
    """
    kept = filter(_keeps(subset), state.connect_nodes(service).rows)
    found = (_instance(state, entry) for entry in kept)
    rows = [_endpoint(it, subset.only_passing) for it in found if not _is_maintained(it)]
    return pb.Endpoints(endpoints=rows)


class _Instance(NamedTuple):
    """An entry, the application that it stands for, and all that its health is told by: found once."""

    entry: ServiceEntry
    application: Service | None
    checks: tuple[Check, ...]


def _instance(state: State, entry: ServiceEntry) -> _Instance:
    application = _application(state, entry.service)
    if application is None:
        return _Instance(entry, None, entry.checks)
    return _Instance(entry, application, (*entry.checks, *state.checks_of(application)))


def _is_maintained(it: _Instance) -> bool:
    """Whether callers' sidecars are to let what is open on it end and begin nothing, even where so few are
    well that the sick ones are tried too."""
    return any(map(is_maintenance, it.checks))


class Standing(NamedTuple):
    """An instance of the service. `out`: why it takes no request of the target, "" where it does."""

    instance_key: str
    service_id: str
    node: str
    address: str
    status: str
    out: str


def standings(state: State, service: str, subset: Subset = ALL_INSTANCES) -> list[Standing]:
    """All instances of the service, as `endpoints` judges them."""
    keeps = _keeps(subset)
    found = (_instance(state, entry) for entry in state.connect_nodes(service).rows)
    return [_standing(it, subset, keeps(it.entry)) for it in found]


def _standing(it: _Instance, subset: Subset, is_kept: bool) -> Standing:
    made = _endpoint(it, subset.only_passing)
    out = "" if made.healthy else _trouble(it.checks, subset.only_passing)
    if not is_kept:
        out = f"the subset's filter does not keep it: {subset.filter}"
    status, node = aggregate(it.checks), it.entry.node.name
    return Standing(made.instance_key, made.service_id, node, f"{made.address}:{made.port}", status, out)


def _trouble(checks: tuple[Check, ...], only_passing: bool) -> str:
    """Why those that the checks are about are not well."""
    bad = [it for it in checks if it.status == CRITICAL or (only_passing and it.status != PASSING)]
    named = ", ".join(f"check {it.id} is {it.status}" for it in bad)
    return named or "its weight is 0 for the status that it has"


def _keeps(subset: Subset) -> Callable[[ServiceEntry], bool]:
    if not subset.filter.strip():
        return lambda entry: True
    keeps = filter_of(subset.filter, HEALTH_ENTRY)
    return lambda entry: keeps(row_of(entry))


def _endpoint(it: _Instance, only_passing: bool) -> pb.Endpoint:
    row, application = it.entry.service, it.application
    status = aggregate(it.checks)
    weight = row.weight_warning if status == WARNING else row.weight_passing
    is_well = status == PASSING if only_passing else status != CRITICAL
    return pb.Endpoint(
        instance_key=row.instance_key,
        service_id=application.id if application else row.id,
        address=row.address or it.entry.node.address,
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
