"""Sans-IO. The status of an alias check: the worst of another service's or another node's checks."""

from collections.abc import Iterable, Sequence
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
    rows = state.node_checks(node).rows
    outcome = judged(check, (node,) in state.nodes, (node, target) in state.services, rows)
    if not target:
        return Aliased(outcome, (watches.node(node),))
    entry = state.service(node, target)
    # The service's own key is narrower than the node's, which every check there moves.
    keys = (watches.service(entry.rows.service.name),) if entry.rows else entry.keys
    return Aliased(outcome, keys)


def judged(check: Check, node_known: bool, service_known: bool, rows: Iterable[Check]) -> Outcome:
    """`rows` are the checks of the node that is followed; those of a service count its node's as well."""
    node = check.definition.alias_node or check.node
    target = check.definition.alias_service
    if not target and not node_known:
        return _absent(f"Node {node}")
    if target and not service_known:
        return _absent(f"Service {target}", f" on node {node}")
    return _worst(check, [row for row in rows if not row.service_id or row.service_id == target])


def _absent(what: str, where: str = "") -> Outcome:
    return Outcome(CRITICAL, f"{what} could not be found{where}")


def _worst(check: Check, checks: Sequence[Check]) -> Outcome:
    for status in (CRITICAL, WARNING):
        for other in checks:
            if other.status == status and (other.node, other.id) != (check.node, check.id):
                return Outcome(status, f"Aliased check {other.name} failing: {other.output}")
    return Outcome(PASSING, "All checks passing.")
