"""`/v1/internal/ui/service-topology/:service`: what a service calls and who calls it, as it is registered."""

from collections import Counter
from collections.abc import Iterator

from ..acl.access import Access
from ..acl.authorizer import Authorizer
from ..catalog import watches
from ..catalog.model import CONNECT_PROXY, CRITICAL, PASSING, WARNING, ServiceEntry
from ..catalog.state import State
from ..catalog.watches import WatchKey
from ..discovery_chain.compile import declared_protocol
from ..intentions.match import check
from .errors import BadRequest
from .handling import Answer, Reading, answer
from .views import Json

REGISTRATION = "proxy-registration"  # Consul's word for what an upstream of a proxy says


def get(reading: Reading) -> Answer:
    """Upstreams and downstreams with their health, and whether intentions allow the calls."""
    service, state = reading.needed("Missing service name"), reading.state
    if not reading.query.flag("kind"):
        raise BadRequest("Missing service kind")
    called = reading.sieve.keep(_upstreams(state, service), _may_read)
    callers = reading.sieve.keep(_downstreams(state, service), _may_read)
    shown = {
        "Protocol": declared_protocol(service, state.config),
        "TransparentProxy": False,
        "Upstreams": [_summary(reading, name, service, name) for name in called],
        "Downstreams": [_summary(reading, name, name, service) for name in callers],
        "FilteredByACLs": reading.sieve.left_out,
    }
    keys = (watches.SERVICES, watches.CHECKS, watches.INTENTIONS)
    return answer(state.read(None, *keys, *_proxies(state)), shown)


def _proxies(state: State) -> Iterator[WatchKey]:
    """Of every service that has some: any of them may come to call this one."""
    names = dict.fromkeys(row.connects_to for row in state.services.values() if row.proxy)
    return map(watches.connect, names)


def _may_read(may: Authorizer, name: str) -> bool:
    return may.allows("service", name, Access.READ)


def _upstreams(state: State, service: str) -> list[str]:
    rows = state.services_by_connect.prefix((service,))
    return sorted({it.destination_name for row in rows if row.proxy for it in row.proxy.upstreams})


def _downstreams(state: State, service: str) -> list[str]:
    proxies = (row.proxy for row in state.services.values() if row.kind == CONNECT_PROXY and row.proxy)
    return sorted(
        {
            proxy.destination_service
            for proxy in proxies
            if any(it.destination_name == service for it in proxy.upstreams)
        }
    )


def _summary(reading: Reading, name: str, source: str, destination: str) -> Json:
    entries = reading.state.service_nodes(name).rows
    checks = Counter(it.status for entry in entries for it in entry.checks)
    return {
        "Name": name,
        "Datacenter": reading.parts.datacenter,
        "Tags": sorted({tag for entry in entries for tag in entry.service.tags}),
        "Nodes": sorted({entry.node.name for entry in entries}),
        "ExternalSources": [],
        "InstanceCount": len(entries),
        "ChecksPassing": checks[PASSING],
        "ChecksWarning": checks[WARNING],
        "ChecksCritical": checks[CRITICAL],
        "TransparentProxy": False,
        "ConnectNative": any(entry.service.connect_native for entry in entries),
        "ConnectedWithProxy": _has_proxy(reading.state, entries),
        "Source": REGISTRATION,
        "Intention": _intention(reading, source, destination),
    }


def _has_proxy(state: State, entries: tuple[ServiceEntry, ...]) -> bool:
    return any(True for entry in entries for _ in state.sidecars_of(entry.service))


def _intention(reading: Reading, source: str, destination: str) -> Json:
    default = reading.parts.default_allow
    decision = check(reading.state, source, destination, default_allow=default).rows
    row = decision.intention
    return {
        "DefaultAllow": default,
        "Allowed": decision.allowed,
        "HasPermissions": bool(row and row.permissions_json),
        "ExternalSource": row.meta.get("external-source", "") if row else "",
        "HasExact": bool(row and (row.source, row.destination) == (source, destination)),
    }
