"""Sans-IO. Anti-entropy: what the servers have of this node, what they should have, and the steps between.

The agent is the truth about its node. Rows are compared as the API shows them, without what only the catalog
decides (indexes) and without fields that this version does not know: a newer server would otherwise be told
the same for ever.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ..catalog.address_row import VIRTUAL_TAG

Json = dict[str, Any]

NODE_FIELDS = ("ID", "Address", "Datacenter", "TaggedAddresses", "Meta")
SERVICE_FIELDS = (
    *(
        "Kind",
        "ID",
        "Service",
        "Tags",
        "Address",
        "TaggedAddresses",
        "Meta",
        "Port",
        "SocketPath",
        "Locality",
    ),
    *("Weights", "EnableTagOverride", "Proxy", "Connect"),
)
CHECK_FIELDS = (
    *("CheckID", "Name", "Status", "Notes", "Output", "ServiceID", "Type", "Interval", "Timeout"),
    "ExposedPort",
)


MAINTENANCE = "maintenance"  # the type of checks by which operators take something out


@dataclass(frozen=True, slots=True)
class Held:
    """A node as one side has it, in the JSON of the API. `node` is None where it is not known."""

    node: Json | None
    services: Mapping[str, Json] = field(default_factory=dict)
    checks: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TellNode:
    """The node's own row."""

    node: Json


@dataclass(frozen=True, slots=True)
class Tell:
    """A service, where it differs, and those of its checks that do; or checks of the node (`owner` "")."""

    owner: str
    service: Json | None
    checks: tuple[Json, ...]


@dataclass(frozen=True, slots=True)
class Remove:
    """What nobody has here: a service with its checks, or one check."""

    service_id: str = ""
    check_id: str = ""


Step = TellNode | Tell | Remove


def plan(local: Held, remote: Held, not_ours: frozenset[str]) -> list[Step]:
    """The steps that make `remote` what `local` is, in order. Checks in `not_ours` are the servers' own.

    What is no more goes first, so that a service with a new id never shows twice.
    """
    assert local.node is not None
    steps: list[Step] = []
    if remote.node is None or not same(local.node, remote.node, NODE_FIELDS):
        steps.append(TellNode(local.node))
    gone = [it for it in remote.services if it not in local.services]
    steps += [Remove(service_id=it) for it in gone]
    steps += [
        Remove(check_id=key)
        for key, row in remote.checks.items()
        if key not in local.checks and key not in not_ours and row["ServiceID"] not in gone
    ]
    return steps + _told(local, remote)


def _told(local: Held, remote: Held) -> list[Step]:
    steps: list[Step] = []
    for owner in ("", *local.services):
        service = _wanted(local.services[owner], remote.services.get(owner)) if owner else None
        checks = tuple(
            row
            for key, row in local.checks.items()
            if row["ServiceID"] == owner and not same(row, remote.checks.get(key), _compared(row))
        )
        if service or checks:
            steps.append(Tell(owner, service, checks))
    return steps


def _compared(check: Json) -> tuple[str, ...]:
    """What is to be equal. The output of one that takes out of use is the servers': there sidecars tell what
    is still open."""
    if check.get("Type") != MAINTENANCE:
        return CHECK_FIELDS
    return tuple(name for name in CHECK_FIELDS if name != "Output")


def _wanted(here: Json, there: Json | None) -> Json | None:
    """The service as it is to be told; None where it is as it should be. With EnableTagOverride tags are
    what the catalog says (Consul's rule)."""
    if there and here.get("EnableTagOverride"):
        here = {**here, "Tags": there.get("Tags")}
    return None if same(here, _own(there), SERVICE_FIELDS) else here


def _own(there: Json | None) -> Json | None:
    """Without the virtual address, which the servers give."""
    if there is None or VIRTUAL_TAG not in there.get("TaggedAddresses", {}):
        return there
    tagged = {tag: it for tag, it in there["TaggedAddresses"].items() if tag != VIRTUAL_TAG}
    return {**there, "TaggedAddresses": tagged}


def same(here: Json, there: Json | None, fields: tuple[str, ...]) -> bool:
    """Whether these fields say the same; what is empty may be left out."""
    return there is not None and all((here.get(it) or None) == (there.get(it) or None) for it in fields)


def after(remote: Held, step: Step) -> Held:
    """What the servers have once the step is done."""
    match step:
        case TellNode(node):
            return replace(remote, node=node)
        case Tell(owner, service, checks):
            services = {**remote.services, owner: service} if service else remote.services
            return replace(
                remote,
                services=services,
                checks={**remote.checks, **{row["CheckID"]: row for row in checks}},
            )
        case Remove(service_id, check_id):
            kept = {key: row for key, row in remote.services.items() if key != service_id or not service_id}
            left = {
                key: row
                for key, row in remote.checks.items()
                if key != check_id and not (service_id and row["ServiceID"] == service_id)
            }
            return replace(remote, services=kept, checks=left)
