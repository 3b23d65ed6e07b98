"""Expands `Connect.SidecarService` into the proxy's own registration, with Consul's defaults."""

from dataclasses import replace

from ..catalog.model import CONNECT_PROXY, CRITICAL, Check, CheckDefinition, Proxy, Service
from .errors import InvalidDefinition
from .service_definition import ServiceSpec

SUFFIX = "-sidecar-proxy"
PORTS = range(21000, 21256)  # Consul's sidecar_min_port..sidecar_max_port
LISTEN_CHECK_INTERVAL_MS = 1_000
"""Consul's is 10 s. A sidecar serves from its first passing check on and one loopback connect costs
nothing, so that a new instance need not wait, nor a dead one linger, for ten."""


def sidecar_id(service_id: str) -> str:
    return service_id + SUFFIX


def expand(parent: ServiceSpec, port: int) -> ServiceSpec:
    """The proxy of `parent`, listening on `port`. Raises InvalidDefinition.

    Tags and metadata default to the parent's: Nomad compares them. Checks default to a TCP check of the
    listener and an alias of the application's health.
    """
    asked = parent.sidecar
    if asked is None:
        raise ValueError("the definition has no SidecarService")
    application, service = parent.service, asked.service
    if service.kind not in ("", CONNECT_PROXY):
        raise InvalidDefinition("Invalid SidecarService: Kind cannot be set")
    row = replace(
        service,
        id=sidecar_id(application.id),
        name=service.name or application.name + SUFFIX,
        kind=CONNECT_PROXY,
        port=port,
        tags=service.tags or application.tags,
        meta=service.meta or application.meta,
        proxy=_proxy(service.proxy, application),
    )
    checks = asked.checks if asked.checks_given else _default_checks(row, application)
    return ServiceSpec(
        row, tuple(_rehome(check, row, n, len(checks)) for n, check in enumerate(checks, 1)), True
    )


def _proxy(asked: Proxy | None, application: Service) -> Proxy:
    proxy = asked or Proxy(destination_service="")
    if proxy.destination_service not in ("", application.name):
        raise InvalidDefinition("Invalid SidecarService: Proxy.DestinationServiceName cannot be set")
    if proxy.destination_service_id not in ("", application.id):
        raise InvalidDefinition("Invalid SidecarService: Proxy.DestinationServiceID cannot be set")
    socket_path = proxy.local_socket_path or application.socket_path
    return replace(
        proxy,
        destination_service=application.name,
        destination_service_id=application.id,
        local_address=proxy.local_address or ("" if socket_path else "127.0.0.1"),
        local_port=proxy.local_port or (0 if socket_path else application.port),
        local_socket_path=socket_path,
    )


def _default_checks(row: Service, application: Service) -> tuple[Check, ...]:
    host = row.address or "127.0.0.1"
    target = f"[{host}]:{row.port}" if ":" in host else f"{host}:{row.port}"
    listening = Check(
        node=row.node,
        id="",
        name="Connect Sidecar Listening",
        status=CRITICAL,
        service_id=row.id,
        type="tcp",
        definition=CheckDefinition(tcp=target, interval_ms=LISTEN_CHECK_INTERVAL_MS),
    )
    aliasing = Check(
        node=row.node,
        id="",
        name=f"Connect Sidecar Aliasing {application.id}",
        status=CRITICAL,
        service_id=row.id,
        type="alias",
        definition=CheckDefinition(alias_service=application.id),
    )
    return (listening, aliasing)


def _rehome(check: Check, row: Service, n: int, count: int) -> Check:
    """Gives a check the proxy's id; ids that the caller chose stay."""
    default_id = f"service:{row.id}" + (f":{n}" if count > 1 else "")
    unnamed = check.id in ("", "service:") or check.id.startswith("service::")  # the proxy had no id yet
    chosen = default_id if unnamed else check.id
    return replace(check, id=chosen, service_id=row.id)
