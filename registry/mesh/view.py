"""The compiled view of a service's proxy, for people: what its sidecar is told, why, and who is left out."""

from dataclasses import dataclass

from weft.pb.mesh.v1 import mesh_pb2 as pb

from ..catalog.model import Proxy
from ..catalog.state import State
from ..catalog.watches import WatchKey
from ..errors import NotFound
from .compile import ProxyCompiler
from .endpoints import ALL_INSTANCES, Standing, standings
from .origins import Origins, inbound_origins, outbound_origins
from .settings import UpstreamSettings


@dataclass(frozen=True, slots=True)
class View:
    """Of the proxy of one instance. `others` are the keys of all proxies of the service."""

    instance_key: str
    others: tuple[str, ...]
    resources: dict[str, pb.Resource]
    origins: Origins
    standings: dict[str, list[Standing]]  # by target id
    keys: frozenset[WatchKey]  # all that it was made of


def view(state: State, compiler: ProxyCompiler, service: str, instance: str = "") -> View:
    """`instance` is the id of the service's instance or of its proxy; "" is the first. Raises NotFound."""
    proxies = [(row, row.proxy) for row in state.services_by_connect.prefix((service,)) if row.proxy]
    wanted = [it for it in proxies if instance in ("", it[0].id, it[1].destination_service_id)]
    if not wanted:
        which = f"instance {instance[:128]!r} of service" if instance else "service"
        raise NotFound(f"{which} {service[:128]!r} has no sidecar; register it with Connect.SidecarService")
    row, proxy = wanted[0]
    made = View(
        row.instance_key,
        tuple(it.instance_key for it, _ in proxies),
        compiler.resources(state, row.instance_key),
        inbound_origins(state, service),
        {},
        compiler.depends(state, row.instance_key),
    )
    _trace(made, state, compiler, proxy)
    return made


def _trace(made: View, state: State, compiler: ProxyCompiler, proxy: Proxy) -> None:
    """Fills in what there is to say of each upstream."""
    told, cluster = UpstreamSettings(state, proxy), state.cluster
    for upstream in proxy.upstreams if cluster else ():
        assert cluster is not None  # for the type checker
        name = upstream.destination_name
        chain = compiler.chain(state, cluster, name, told.of(name, name).protocol)
        made.origins.update(outbound_origins(state, proxy, chain))
        for target_id, target in chain.targets.items():
            leg, entry = target.leg, target.entry
            if leg.datacenter == cluster.datacenter:
                subset = entry.subsets[leg.subset] if entry and leg.subset else ALL_INSTANCES
                made.standings[target_id] = standings(state, leg.service, subset)
