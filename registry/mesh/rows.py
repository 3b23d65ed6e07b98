"""An instance as the filters of subsets see it: what `health/connect` would show of it."""

from typing import Any

import orjson

from ..catalog.model import Check, Node, Proxy, Service, ServiceEntry


def row_of(entry: ServiceEntry) -> dict[str, Any]:
    """By the names that `filter.rows.HEALTH_ENTRY` knows."""
    return {
        "Node": _node(entry.node),
        "Service": _service(entry.service),
        "Checks": [*map(_check, entry.checks)],
    }


def _node(row: Node) -> dict[str, Any]:
    return {
        "ID": row.id,
        "Node": row.name,
        "Address": row.address,
        "Datacenter": row.datacenter,
        "TaggedAddresses": row.tagged_addresses,
        "Meta": row.meta,
        **_indexes(row),
    }


def _service(row: Service) -> dict[str, Any]:
    return {
        "Kind": row.kind,
        "ID": row.id,
        "Service": row.name,
        "Tags": row.tags,
        "Address": row.address,
        "Port": row.port,
        "SocketPath": row.socket_path,
        "Datacenter": row.datacenter,
        "Meta": row.meta,
        "TaggedAddresses": {
            tag: {"Address": at.address, "Port": at.port} for tag, at in row.tagged_addresses.items()
        },
        "Weights": {"Passing": row.weight_passing, "Warning": row.weight_warning},
        "EnableTagOverride": row.enable_tag_override,
        "Proxy": _proxy(row.proxy) if row.proxy else None,
        "Connect": {"Native": row.connect_native},
        "Locality": _locality(row.locality_json),
        **_indexes(row),
    }


def _locality(raw: bytes) -> dict[str, Any]:
    said = orjson.loads(raw) if raw else {}
    return said if isinstance(said, dict) else {}


def _proxy(row: Proxy) -> dict[str, Any]:
    return {
        "DestinationServiceName": row.destination_service,
        "DestinationServiceID": row.destination_service_id,
        "LocalServiceAddress": row.local_address,
        "LocalServicePort": row.local_port,
        "LocalServiceSocketPath": row.local_socket_path,
        "Mode": row.mode,
    }


def _check(row: Check) -> dict[str, Any]:
    return {
        "Node": row.node,
        "CheckID": row.id,
        "Name": row.name,
        "Status": row.status,
        "Notes": row.notes,
        "Output": row.output,
        "ServiceID": row.service_id,
        "ServiceName": row.service_name,
        "ServiceTags": row.service_tags,
        "Type": row.type,
        **_indexes(row),
    }


def _indexes(row: Node | Service | Check) -> dict[str, int]:
    return {"CreateIndex": row.indexes.create, "ModifyIndex": row.indexes.modify}
