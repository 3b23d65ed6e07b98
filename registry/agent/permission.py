"""What it takes to change what is registered on a node (Consul's rules)."""

from ..acl.access import Access
from ..acl.caller import Caller
from ..catalog.model import Check, Service


def may_write_service(caller: Caller, row: Service) -> None:
    """Raises PermissionDenied. A sidecar needs a right to what it stands for too: it speaks in its name."""
    caller.require("service", row.name, Access.WRITE)
    if row.proxy is not None:
        caller.require("service", row.proxy.destination_service, Access.WRITE)


def may_write_check(caller: Caller, row: Check) -> None:
    """A check of a service goes by the service, one of the node by the node. Raises PermissionDenied."""
    if row.service_id:
        caller.require("service", row.service_name, Access.WRITE)
    else:
        caller.require("node", row.node, Access.WRITE)
