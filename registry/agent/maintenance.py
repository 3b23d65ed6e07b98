"""Maintenance of a node or of a service: a critical check that an operator sets, under Consul's names."""

from ..catalog.model import CRITICAL, Check, Service

TYPE = "maintenance"
NODE_ID = "_node_maintenance"
SERVICE_PREFIX = "_service_maintenance:"
_NO_REASON = "Maintenance mode is enabled for this {}, but no reason was provided. This is a default message."


def is_maintenance(check: Check) -> bool:
    """Whether this check was set by an operator, and no probe will ever change it."""
    return check.id == NODE_ID or check.id.startswith(SERVICE_PREFIX)


def of_node(node: str, reason: str) -> Check:
    return Check(
        node, NODE_ID, "Node Maintenance Mode", CRITICAL, reason or _NO_REASON.format("node"), type=TYPE
    )


def of_service(service: Service, reason: str) -> Check:
    return Check(
        service.node,
        SERVICE_PREFIX + service.id,
        "Service Maintenance Mode",
        CRITICAL,
        reason or _NO_REASON.format("service"),
        service_id=service.id,
        type=TYPE,
    )
