"""Sans-IO. The status of an alias check: the worst of another service's or another node's checks."""

from typing import NamedTuple

from ..catalog import watches
from ..catalog.model import CRITICAL, PASSING, WARNING, Check
from ..catalog.state import State
from ..catalog.watches import WatchKey
from .status import Outcome


class Aliased(NamedTuple):
    """What an alias check says now, and the keys under which that may change."""

    outcome: Outcome
    keys: tuple[WatchKey, ...]


def follow(state: State, check: Check) -> Aliased:
    """`AliasService` is an id on `AliasNode`, or on the check's own node; without it the node is meant."""
    node = check.definition.alias_node or check.node
    target = check.definition.alias_service
    if not target:
        checks = tuple(row for row in state.node_checks(node).rows if not row.service_id)
        found = (node,) in state.nodes
        outcome = _worst(check, checks) if found else _absent(f"Node {node}")
        return Aliased(outcome, (watches.node(node),))
    entry = state.service(node, target)
    if entry.rows is None:
        return Aliased(_absent(f"Service {target}", f" on node {node}"), entry.keys)
    # The service's own key is narrower than the node's, which every check there moves.
    return Aliased(_worst(check, entry.rows.checks), (watches.service(entry.rows.service.name),))


def _absent(what: str, where: str = "") -> Outcome:
    return Outcome(CRITICAL, f"{what} could not be found{where}")


def _worst(check: Check, checks: tuple[Check, ...]) -> Outcome:
    for status in (CRITICAL, WARNING):
        for other in checks:
            if other.status == status and (other.node, other.id) != (check.node, check.id):
                return Outcome(status, f"Aliased check {other.name} failing: {other.output}")
    return Outcome(PASSING, "All checks passing.")
