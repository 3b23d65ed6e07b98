"""Builders of commands. The proposer brings time (Unix ms) and chance (request id, UUIDs) along.

A retry of the same write must carry the same `Stamp`: it is then answered, not applied twice.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import orjson

from ca.sealing import SealedKey
from weft.pb.catalog.v1.command_pb2 import (
    ActivateRoot,
    Command,
    ConfigureAutopilot,
    ConfigureCa,
    DeleteConfigEntry,
    DeleteIntention,
    Deregister,
    Expire,
    InitCluster,
    MintCredential,
    MoveCanary,
    RecordLeaf,
    RecordServiceLeaf,
    Register,
    ResealKey,
    Restore,
    RetireRoots,
    RevokeCredential,
    SetConfigEntry,
    SetIntention,
    SetRoots,
    UpdateCheck,
)

from ..config_entries.canary import ServiceCanary
from . import codec
from .model import AutopilotConfig, CaRoot, CaSettings, Check, Cluster, Intention, Node, Service

COMMAND_VERSION = 16
"""The newest level of commands that this version applies. A command carries the level that its kind came
with, so that a server one level behind still applies all that it knows:
1: all kinds up to Expire. 2: the CA's key and rotation. 3: autopilot and restore.
4: autopilot only where it was never set. 5: config entries, and intentions with permissions.
6: the access control list. 7: keys and values. 8: sessions, and the locks that they hold.
9: transactions. 10: events and coordinates.
11: prepared queries. 12: checks by UDP, HTTP/2 PING, systemd unit and script.
13: agents that join, and their life. 14: canaries. 15: experiments.
16: virtual addresses."""

CA_LEVEL = 2
OPERATOR_LEVEL = 3
UNSET_LEVEL = 4
ENTRIES_LEVEL = 5
ACL_LEVEL = 6
KV_LEVEL = 7
SESSION_LEVEL = 8
TXN_LEVEL = 9
EVENT_LEVEL = 10
QUERY_LEVEL = 11
CHECKS_LEVEL = 12
ENROLMENT_LEVEL = 13
CANARY_LEVEL = 14
_KIND_LEVELS = {ServiceCanary.KIND: CANARY_LEVEL}  # of kinds of config entries that came later
EXPERIMENT_LEVEL = 15
ADDRESSES_LEVEL = 16
REQUEST_ID_BYTES = 16


class Stamp(NamedTuple):
    """What makes one write that write: the proposer's clock in Unix ms and 16 random bytes."""

    time_ms: int
    request_id: bytes


Builder = Callable[[Stamp], Command]


def _base(stamp: Stamp, level: int = 1) -> Command:
    return Command(version=level, time_ms=stamp.time_ms, request_id=stamp.request_id)


def level_of(checks: Iterable[Check]) -> int:
    """What a server must know to keep these rows whole: fields that it does not know it would drop."""
    later = any(getattr(row.definition, name) for row in checks for name in _LATER_FIELDS)
    return CHECKS_LEVEL if later else 1


_LATER_FIELDS = (
    *("udp", "h2ping", "h2ping_plaintext", "os_service", "args", "output_bytes_max"),
    "disable_redirects",
)


def init_cluster(stamp: Stamp, cluster: Cluster) -> Command:
    """Names the cluster. Value: the trust domain in force. Conflict if it is already another one."""
    command = _base(stamp)
    command.init_cluster.CopyFrom(InitCluster(cluster=codec.cluster_to_pb(cluster)))
    return command


def register(
    stamp: Stamp,
    node: Node,
    services: Iterable[Service] = (),
    checks: Iterable[Check] = (),
    *,
    replace_checks_of: Iterable[str] = (),
) -> Command:
    """Registers a node with services and checks, all or nothing. Equal rows change no index."""
    checks = tuple(checks)
    command = _base(stamp, level_of(checks))
    command.register.CopyFrom(
        Register(
            node=codec.node_to_pb(node),
            services=[codec.service_to_pb(row) for row in services],
            checks=[codec.check_to_pb(row) for row in checks],
            replace_checks_of=list(replace_checks_of),
        )
    )
    return command


def deregister_services(
    stamp: Stamp, node: str, service_ids: Iterable[str], *, expected_modify_index: int = 0
) -> Command:
    """Removes instances with their checks; withdraws their credentials and revokes their leaves.

    NotFound if one of them does not exist; then none is removed. `expected_modify_index` compares
    with the first instance's.
    """
    command = _base(stamp)
    command.deregister.CopyFrom(
        Deregister(node=node, service_ids=list(service_ids), expected_modify_index=expected_modify_index)
    )
    return command


def deregister_check(stamp: Stamp, node: str, check_id: str, *, expected_modify_index: int = 0) -> Command:
    """Removes one check. NotFound if it does not exist."""
    command = _base(stamp)
    command.deregister.CopyFrom(
        Deregister(node=node, check_id=check_id, expected_modify_index=expected_modify_index)
    )
    return command


def deregister_node(stamp: Stamp, node: str) -> Command:
    """Removes a node with all it has."""
    command = _base(stamp)
    command.deregister.CopyFrom(Deregister(node=node))
    return command


def update_check(
    stamp: Stamp, node: str, check_id: str, status: str, output: str, *, expected_modify_index: int = 0
) -> Command:
    """Sets a check's status and output. NotFound, or Conflict when the row has another modify index."""
    command = _base(stamp)
    command.update_check.CopyFrom(
        UpdateCheck(
            node=node,
            check_id=check_id,
            status=status,
            output=output,
            expected_modify_index=expected_modify_index,
        )
    )
    return command


def set_intention(stamp: Stamp, intention: Intention) -> Command:
    """Creates or replaces the intention of (source, destination). Value: its id."""
    command = _base(stamp, ENTRIES_LEVEL if intention.permissions_json else 1)
    command.set_intention.CopyFrom(SetIntention(intention=codec.intention_to_pb(intention)))
    return command


def delete_intention(stamp: Stamp, source: str, destination: str) -> Command:
    """Removes an intention. Value: "deleted", or "" when there was none (not an error, as in Consul)."""
    command = _base(stamp)
    command.delete_intention.CopyFrom(DeleteIntention(source=source, destination=destination))
    return command


def set_config_entry(stamp: Stamp, body: bytes, expected_index: int | None = None) -> Command:
    """Creates or replaces the entry whose canonical JSON this is.

    Conflict if `expected_index` is given and the entry has another modify index; 0 is that of one that is
    not there. ImpossibleChain when entries would contradict each other.
    """
    command = _base(stamp, _entry_level(body))
    command.set_config_entry.CopyFrom(
        SetConfigEntry(body=body, compare=expected_index is not None, expected_index=expected_index or 0)
    )
    return command


def _entry_level(body: bytes) -> int:
    """The level of the entry's kind. What is no entry is refused by every level."""
    try:
        said = orjson.loads(body)
    except orjson.JSONDecodeError:
        return ENTRIES_LEVEL
    kind = said.get("Kind") if isinstance(said, dict) else None
    return _KIND_LEVELS.get(kind, ENTRIES_LEVEL) if isinstance(kind, str) else ENTRIES_LEVEL


def move_canary(
    stamp: Stamp,
    body: bytes,
    expected_index: int,
    *,
    splitter: bytes = b"",
    drop_splitter: bool = False,
    expected_splitter_index: int = 0,
) -> Command:
    """A canary's next status with its splitter, or neither. Conflict if one has another modify index."""
    command = _base(stamp, CANARY_LEVEL)
    command.move_canary.CopyFrom(
        MoveCanary(
            body=body,
            expected_index=expected_index,
            splitter=splitter,
            drop_splitter=drop_splitter,
            expected_splitter_index=expected_splitter_index,
        )
    )
    return command


def delete_config_entry(stamp: Stamp, kind: str, name: str, expected_index: int | None = None) -> Command:
    """Removes an entry. Value: "deleted", or "" when there was none. Errors as those of a change."""
    command = _base(stamp, ENTRIES_LEVEL)
    command.delete_config_entry.CopyFrom(
        DeleteConfigEntry(
            kind=kind, name=name, compare=expected_index is not None, expected_index=expected_index or 0
        )
    )
    return command


def mint_credential(stamp: Stamp, instance_key: str, digest: bytes) -> Command:
    """Binds a secret (SHA-256 digest, 32 bytes) to a registered instance.

    An earlier credential ends here, and the leaves it got are revoked. NotFound if the instance is not
    registered.
    """
    command = _base(stamp)
    command.mint_credential.CopyFrom(MintCredential(instance_key=instance_key, digest=digest))
    return command


def revoke_credential(stamp: Stamp, instance_key: str) -> Command:
    """Withdraws an instance's credential and revokes its leaves; the instance stays registered."""
    command = _base(stamp)
    command.revoke_credential.CopyFrom(RevokeCredential(instance_key=instance_key))
    return command


def record_leaf(
    stamp: Stamp, instance_key: str, digest: bytes, serial: int, not_after_ms: int, *, roots_epoch: int = 0
) -> Command:
    """Records a certificate before it is handed out.

    CredentialRefused unless `digest` is still the instance's; Conflict if `roots_epoch` is given and
    the roots have changed since.
    """
    command = _base(stamp)
    command.record_leaf.CopyFrom(
        RecordLeaf(
            instance_key=instance_key,
            digest=digest,
            serial=codec.serial_bytes(serial),
            not_after_ms=not_after_ms,
            roots_epoch=roots_epoch,
        )
    )
    return command


def set_roots(stamp: Stamp, roots: Iterable[CaRoot], expected_epoch: int) -> Command:
    """Replaces the CA's roots. Conflict unless `State.roots_epoch` is `expected_epoch` (0 at first)."""
    command = _base(stamp)
    command.set_roots.CopyFrom(SetRoots(roots=codec.roots_to_pb(roots), expected_epoch=expected_epoch))
    return command


def expire(stamp: Stamp) -> Command:
    """Removes what has expired by the command's time. Value: "more" when a bounded batch was cut."""
    command = _base(stamp)
    command.expire.CopyFrom(Expire())
    return command


def configure_ca(
    stamp: Stamp, settings: CaSettings, *, rotate: bool = False, expected_index: int = 0
) -> Command:
    """Sets what the CA goes by; with `rotate` also asks for a new root.

    Conflict when the Authority row has another modify index than the one given, or `rotate` comes while a
    rotation is under way.
    """
    command = _base(stamp, CA_LEVEL)
    command.configure_ca.CopyFrom(
        ConfigureCa(settings=codec.settings_to_pb(settings), rotate=rotate, expected_index=expected_index)
    )
    return command


def activate_root(stamp: Stamp, root: CaRoot, key: SealedKey, expected_index: int) -> Command:
    """Lets a root sign from now on. Conflict unless the rotation stands where this is the next step."""
    command = _base(stamp, CA_LEVEL)
    command.activate_root.CopyFrom(
        ActivateRoot(root=codec.root_to_pb(root), key=codec.sealed_to_pb(key), expected_index=expected_index)
    )
    return command


def retire_roots(stamp: Stamp, expected_index: int) -> Command:
    """Takes the old roots out of the bundles. Conflict before it is time, and unless it is the next step."""
    command = _base(stamp, CA_LEVEL)
    command.retire_roots.CopyFrom(RetireRoots(expected_index=expected_index))
    return command


def reseal_key(stamp: Stamp, key: SealedKey, expected_index: int) -> Command:
    """Replaces the encryption of the CA's key. Conflict unless it is the key in force."""
    command = _base(stamp, CA_LEVEL)
    command.reseal_key.CopyFrom(ResealKey(key=codec.sealed_to_pb(key), expected_index=expected_index))
    return command


def record_service_leaf(
    stamp: Stamp, service: str, serial: int, not_after_ms: int, roots_epoch: int
) -> Command:
    """Records a certificate of a service by name, so that it can be revoked. Conflict if the roots have
    changed since."""
    command = _base(stamp, CA_LEVEL)
    command.record_service_leaf.CopyFrom(
        RecordServiceLeaf(
            service=service,
            serial=codec.serial_bytes(serial),
            not_after_ms=not_after_ms,
            roots_epoch=roots_epoch,
        )
    )
    return command


def configure_autopilot(
    stamp: Stamp, settings: AutopilotConfig, expected_index: int | None = None
) -> Command:
    """Conflict if `expected_index` is given and the settings have another modify index; 0 is that of
    settings that nobody has set."""
    unset = expected_index == 0
    command = _base(stamp, UNSET_LEVEL if unset else OPERATOR_LEVEL)
    command.configure_autopilot.CopyFrom(
        ConfigureAutopilot(
            settings=codec.autopilot_to_pb(settings), expected_index=expected_index or 0, if_unset=unset
        )
    )
    return command


def restore(
    stamp: Stamp, restore_id: bytes, part: int, records: Iterable[bytes], digest: bytes = b""
) -> Command:
    """Collects a part of a snapshot; the one with a digest puts it in the place of the state.

    It has the newest level: a snapshot holds rows of any, and each server has to read all of them alike.
    Conflict when another restore has begun meanwhile; InvalidCommand when the parts are no snapshot.
    """
    command = _base(stamp, COMMAND_VERSION)
    command.restore.CopyFrom(Restore(id=restore_id, part=part, records=list(records), digest=digest))
    return command
