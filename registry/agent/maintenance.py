"""Maintenance of a node or of a service: a critical check that an operator sets, under Consul's names."""

from ..catalog.model import CRITICAL, NODE_MAINTENANCE, SERVICE_MAINTENANCE, Check, Service

TYPE = "maintenance"
_NO_REASON = "Maintenance mode is enabled for this {}, but no reason was provided. This is a default message."


def of_node(node: str, reason: str) -> Check:
    notes = reason or _NO_REASON.format("node")
    return Check(node, NODE_MAINTENANCE, "Node Maintenance Mode", CRITICAL, notes, type=TYPE)


def of_service(service: Service, reason: str) -> Check:
    return Check(
        service.node,
        SERVICE_MAINTENANCE + service.id,
        "Service Maintenance Mode",
        CRITICAL,
        reason or _NO_REASON.format("service"),
        service_id=service.id,
        type=TYPE,
    )
