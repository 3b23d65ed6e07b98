"""Catalog rows as Consul's JSON. Keys and their order are Consul's; lists and maps are never null."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson

from weft.durations import format_duration

from ..catalog.address_row import VIRTUAL_TAG
from ..catalog.model import Check, Intention, Node, Proxy, Service, ServiceEntry, Upstream
from ..config_entries.schema import show
from ..intentions.precedence import precedence

Json = dict[str, Any]


def node(row: Node) -> Json:
    return {
        "ID": row.id,
        "Node": row.name,
        "Address": row.address,
        "Datacenter": row.datacenter,
        "TaggedAddresses": dict(row.tagged_addresses),
        "Meta": dict(row.meta),
        "CreateIndex": row.indexes.create,
        "ModifyIndex": row.indexes.modify,
    }


def _weights(row: Service) -> Json:
    return {"Passing": row.weight_passing, "Warning": row.weight_warning}


def _tagged(row: Service, virtual: str = "") -> Json:
    """`virtual` is the virtual address of the service that a mesh endpoint stands for."""
    shown = {tag: {"Address": at.address, "Port": at.port} for tag, at in row.tagged_addresses.items()}
    return shown | {VIRTUAL_TAG: {"Address": virtual, "Port": row.port}} if virtual else shown


def _connect(row: Service) -> Json:
    return {"Native": True} if row.connect_native else {}


def _opaque(raw: bytes) -> Any:
    return orjson.loads(raw) if raw else {}


def health_service(row: Service, virtual: str = "") -> Json:
    """As `Service` in health/service."""
    return {
        **_head(row, virtual),
        "Weights": _weights(row),
        "EnableTagOverride": row.enable_tag_override,
        "Proxy": proxy(row.proxy),
        "Connect": _connect(row),
        "PeerName": "",
        "CreateIndex": row.indexes.create,
        "ModifyIndex": row.indexes.modify,
    }


def agent_service(row: Service) -> Json:
    """As in agent/services."""
    shown = {
        **_head(row),
        "Weights": _weights(row),
        "EnableTagOverride": row.enable_tag_override,
        "CreateIndex": row.indexes.create,
        "ModifyIndex": row.indexes.modify,
        "Datacenter": row.datacenter,
    }
    if row.proxy is not None:
        shown["Proxy"] = proxy(row.proxy)
    if row.connect_native:
        shown["Connect"] = _connect(row)
    return shown


def _head(row: Service, virtual: str = "") -> Json:
    head: Json = {"Kind": row.kind} if row.kind else {}
    head |= {"ID": row.id, "Service": row.name, "Tags": list(row.tags), "Address": row.address}
    if tagged := _tagged(row, virtual):
        head["TaggedAddresses"] = tagged
    head |= {"Meta": dict(row.meta), "Port": row.port}
    if row.socket_path:
        head["SocketPath"] = row.socket_path
    if row.locality_json:
        head["Locality"] = _opaque(row.locality_json)
    return head


def catalog_service(entry: ServiceEntry, virtual: str = "") -> Json:
    """As in catalog/service; `ID` is the node's."""
    on, row = entry.node, entry.service
    return {
        "ID": on.id,
        "Node": on.name,
        "Address": on.address,
        "Datacenter": on.datacenter,
        "TaggedAddresses": dict(on.tagged_addresses),
        "NodeMeta": dict(on.meta),
        "ServiceKind": row.kind,
        "ServiceID": row.id,
        "ServiceName": row.name,
        "ServiceTags": list(row.tags),
        "ServiceAddress": row.address,
        "ServiceTaggedAddresses": _tagged(row, virtual),
        "ServiceWeights": _weights(row),
        "ServiceMeta": dict(row.meta),
        "ServicePort": row.port,
        "ServiceSocketPath": row.socket_path,
        "ServiceEnableTagOverride": row.enable_tag_override,
        "ServiceProxy": proxy(row.proxy),
        "ServiceConnect": _connect(row),
        "ServiceLocality": _opaque(row.locality_json) if row.locality_json else None,
        "CreateIndex": row.indexes.create,
        "ModifyIndex": row.indexes.modify,
    }


def health_entry(entry: ServiceEntry, virtual: str = "") -> Json:
    """As in health/service."""
    return {
        "Node": node(entry.node),
        "Service": health_service(entry.service, virtual),
        "Checks": [check(row) for row in entry.checks],
    }


def proxy(row: Proxy | None) -> Json:
    """The Proxy object, with what was only kept to be echoed."""
    shown: Json = {"Mode": "", "MeshGateway": {}, "Expose": {}}
    if row is None:
        return shown
    named = {
        "DestinationServiceName": row.destination_service,
        "DestinationServiceID": row.destination_service_id,
        "LocalServiceAddress": row.local_address,
        "LocalServicePort": row.local_port,
        "LocalServiceSocketPath": row.local_socket_path,
        "Mode": row.mode,
        "Config": _opaque(row.config_json),
        "Upstreams": [upstream(each) for each in row.upstreams],
    }
    kept = {key: value for key, value in named.items() if value}
    return shown | kept | _opaque(row.rest_json)  # type: ignore[no-any-return]


def upstream(row: Upstream) -> Json:
    named = {
        "DestinationType": "service",
        "DestinationName": row.destination_name,
        "Datacenter": row.datacenter,
        "LocalBindAddress": row.local_bind_address,
        "LocalBindPort": row.local_bind_port,
        "LocalBindSocketPath": row.local_bind_socket_path,
        "LocalBindSocketMode": row.local_bind_socket_mode,
        "Config": _opaque(row.config_json),
    }
    kept = {key: value for key, value in named.items() if value}
    return kept | {"MeshGateway": {}} | _opaque(row.rest_json)  # type: ignore[no-any-return]


def check(row: Check) -> Json:
    return {
        "Node": row.node,
        "CheckID": row.id,
        "Name": row.name,
        "Status": row.status,
        "Notes": row.notes,
        "Output": row.output,
        "ServiceID": row.service_id,
        "ServiceName": row.service_name,
        "ServiceTags": list(row.service_tags),
        "Type": row.type,
        "Interval": _duration(row.definition.interval_ms),
        "Timeout": _duration(row.definition.timeout_ms),
        "ExposedPort": row.exposed_port,
        "Definition": {},
        "CreateIndex": row.indexes.create,
        "ModifyIndex": row.indexes.modify,
    }


def _duration(ms: int) -> str:
    return format_duration(ms / 1000) if ms else ""


def intention(row: Intention) -> Json:
    permissions = {"Permissions": [show(it) for it in row.permissions]} if row.permissions_json else {}
    return {
        **permissions,
        "ID": row.id,
        "Description": row.description,
        "SourceNS": "default",
        "SourceName": row.source,
        "SourcePartition": "default",
        "DestinationNS": "default",
        "DestinationName": row.destination,
        "DestinationPartition": "default",
        "SourceType": "consul",
        "Action": row.action,
        "Meta": _sorted(row.meta),
        "Precedence": precedence(row),
        "CreatedAt": rfc3339(row.created_ms),
        "UpdatedAt": rfc3339(row.updated_ms),
        "CreateIndex": row.indexes.create,
        "ModifyIndex": row.indexes.modify,
    }


def _sorted(pairs: Mapping[str, str]) -> dict[str, str]:
    return dict(sorted(pairs.items()))


def rfc3339(unix_ms: int) -> str:
    """`2026-03-01T10:00:00Z`, with milliseconds where there are any."""
    moment = datetime.fromtimestamp(unix_ms / 1000, UTC)
    precision = "milliseconds" if unix_ms % 1000 else "seconds"
    return moment.isoformat(timespec=precision).replace("+00:00", "Z")
