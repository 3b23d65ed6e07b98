"""What it takes to change the catalog itself, and not by way of the agent (Consul's rules)."""

from ..acl.access import Access
from ..acl.caller import Caller
from ..agent.permission import may_write_service
from ..catalog.model import Check, Node, Service
from ..catalog.rows import says_same
from ..catalog.state import State


def write_node(caller: Caller, state: State, row: Node) -> None:
    """A node that says what it said needs no permission: services are registered with their node."""
    if not says_same(row, state.nodes.get((row.name,))):
        caller.require("node", row.name, Access.WRITE)


def write_service(caller: Caller, state: State, row: Service) -> None:
    """An id is not taken from another service."""
    may_write_service(caller, row)
    if old := state.services.get((row.node, row.id)):
        may_write_service(caller, old)


def write_check(caller: Caller, state: State, row: Check, names: dict[str, str]) -> None:
    """`names` are of services that are registered with it, by id."""
    _write_check(caller, row.node, names.get(row.service_id) or _name(state, row.node, row.service_id))
    if old := state.checks.get((row.node, row.id)):
        _write_check(caller, old.node, old.service_name)


def delete(caller: Caller, state: State, node: str, service_id: str, check_id: str) -> None:
    """The most specific of the three; what is not there is its node's matter. Whoever may write the node may
    take anything off it: its agent has no right to services that it must take away (Consul's rule)."""
    if caller.may.allows("node", node, Access.WRITE):
        return
    if check_id:
        found = state.checks.get((node, check_id))
        _write_check(caller, node, found.service_name if found else "")
    elif service := state.services.get((node, service_id)):
        may_write_service(caller, service)
    else:
        caller.require("node", node, Access.WRITE)


def _name(state: State, node: str, service_id: str) -> str:
    found = state.services.get((node, service_id))
    return found.name if found else ""


def _write_check(caller: Caller, node: str, service_name: str) -> None:
    if service_name:
        caller.require("service", service_name, Access.WRITE)
    else:
        caller.require("node", node, Access.WRITE)
