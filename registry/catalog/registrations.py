"""How nodes, services and checks come, change and go."""

from weft.pb.catalog.v1 import command_pb2 as pb

from ..errors import Conflict, InvalidCommand, NotFound
from . import codec, limits, rules
from .draft import Draft
from .model import Check, Indexes, Node, Service
from .rows import says_same, with_values


def register(draft: Draft, command: pb.Register) -> str:
    """All of it or nothing. Equal rows move no index, so a periodic re-registration wakes nobody."""
    rules.refuse_unless(command.HasField("node"), "Node: missing")
    rules.refuse_unless(
        len(command.services) <= limits.SERVICES_PER_COMMAND_MAX,
        f"Services: more than {limits.SERVICES_PER_COMMAND_MAX} at once",
    )
    rules.refuse_unless(
        len(command.checks) <= limits.CHECKS_PER_COMMAND_MAX,
        f"Checks: more than {limits.CHECKS_PER_COMMAND_MAX} at once",
    )
    node = codec.node_from_pb(command.node)
    register_node(draft, node)
    for service in map(codec.service_from_pb, command.services):
        register_service(draft, node, service)
    checks = [codec.check_from_pb(row) for row in command.checks]
    _drop_replaced(draft, node.name, set(command.replace_checks_of), {row.id for row in checks})
    for check in checks:
        register_check(draft, node, check)
    return ""


def register_node(draft: Draft, row: Node) -> None:
    """What is registered already was looked at when it came; most registrations repeat their node."""
    if not says_same(row, draft.state.nodes.get((row.name,))):
        rules.node(row)
    cluster = draft.state.cluster
    rules.refuse_unless(
        cluster is None or row.datacenter == cluster.datacenter,
        f"Datacenter {row.datacenter!r}: this cluster is {cluster.datacenter if cluster else ''!r}",
    )
    draft.put_node(row)


def register_service(draft: Draft, node: Node, row: Service) -> None:
    """Raises InvalidCommand."""
    if row.node != node.name:
        raise InvalidCommand(f"Service {row.id[:64]!r}: is of another node")
    if row.datacenter != node.datacenter:
        raise InvalidCommand(f"Service {row.id[:64]!r}: is of another datacenter than its node")
    rules.service(row)
    old = draft.state.services.get((row.node, row.id))
    if old and _identity(old) != _identity(row):
        draft.drop_credential(row.instance_key)  # it was given to the service that this was before
    draft.put_service(row)


def _identity(row: Service) -> tuple[str, str, str]:
    return row.name, row.kind, row.connects_to


def _drop_replaced(draft: Draft, node: str, service_ids: set[str], kept: set[str]) -> None:
    for service_id in sorted(service_ids - {""}):
        for check in tuple(draft.state.checks_by_service.prefix((node, service_id))):
            if check.id not in kept:
                draft.drop_check(check)


def register_check(draft: Draft, node: Node, row: Check) -> None:
    """Raises InvalidCommand, NotFound."""
    if row.node != node.name:
        raise InvalidCommand(f"Check {row.id[:64]!r}: is of another node")
    rules.check(row)
    service = draft.service_of(row)
    if row.service_id and not service:
        raise NotFound(f"ServiceID {row.service_id[:64]!r} does not exist on node {row.node!r}")
    draft.put_check(row, service)


def deregister(draft: Draft, command: pb.Deregister) -> str:
    """A check, service instances, or the whole node: the most specific that is named."""
    if command.check_id:
        check = _check(draft, command.node, command.check_id)
        _compare(check.indexes, command.expected_modify_index)
        draft.drop_check(check)
    elif command.service_ids:
        services = [_service(draft, command.node, service_id) for service_id in command.service_ids]
        _compare(services[0].indexes, command.expected_modify_index)
        for service in {row.id: row for row in services}.values():
            draft.drop_service(service)
    else:
        if not draft.state.nodes.get((command.node,)):
            raise NotFound(f"Node {command.node[:64]!r} does not exist")
        draft.drop_node(command.node)
    return ""


def update_check(draft: Draft, command: pb.UpdateCheck) -> str:
    check = _check(draft, command.node, command.check_id)
    _compare(check.indexes, command.expected_modify_index)
    rules.status(command.status)
    rules.text("Output", command.output, limits.OUTPUT_CHARS_MAX)
    changed = with_values(check, status=command.status, output=command.output)
    draft.put_check(changed, draft.service_of(changed))
    return ""


def _check(draft: Draft, node: str, check_id: str) -> Check:
    found = draft.state.checks.get((node, check_id))
    if not found:
        raise NotFound(f"Check {check_id[:64]!r} does not exist on node {node[:64]!r}")
    return found


def _service(draft: Draft, node: str, service_id: str) -> Service:
    found = draft.state.services.get((node, service_id))
    if not found:
        raise NotFound(f"ServiceID {service_id[:64]!r} does not exist on node {node[:64]!r}")
    return found


def _compare(indexes: Indexes, expected: int) -> None:
    if expected and indexes.modify != expected:
        raise Conflict(f"changed at index {indexes.modify}, after {expected}; read it again")
