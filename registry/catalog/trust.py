"""Who the cluster is, whom it trusts, and which instance may prove what."""

from weft.pb.catalog.v1 import command_pb2 as pb
from weft.pb.catalog.v1.enrolment_pb2 import AgentLeaf
from weft.spiffe import InvalidSpiffeId, SpiffeId

from ..errors import Conflict, CredentialRefused, InvalidCommand, NotFound
from . import codec, limits, rules
from .draft import Draft
from .model import LeafRecord, service_leaf_key

DIGEST_BYTES = 32  # SHA-256
SERIAL_BYTES_MAX = 20  # RFC 5280, 4.1.2.2


def init_cluster(draft: Draft, command: pb.InitCluster) -> str:
    row = codec.cluster_from_pb(command.cluster)
    rules.uuid("Cluster ID", row.id)
    rules.name("Datacenter", row.datacenter)
    try:
        SpiffeId(row.trust_domain, row.datacenter, "any")
    except InvalidSpiffeId as error:
        raise InvalidCommand(str(error)) from None
    known = draft.state.cluster
    if known and known != row:
        raise Conflict(
            f"this is cluster {known.id} of datacenter {known.datacenter}; it cannot become another"
        )
    draft.set_cluster(row)
    return row.trust_domain


def mint_credential(draft: Draft, command: pb.MintCredential) -> str:
    rules.refuse_unless(
        len(command.digest) == DIGEST_BYTES, f"digest: must have {DIGEST_BYTES} bytes (SHA-256)"
    )
    _registered(draft, command.instance_key)
    draft.put_credential(command.instance_key, command.digest)
    return ""


def revoke_credential(draft: Draft, command: pb.RevokeCredential) -> str:
    if (command.instance_key,) not in draft.state.credentials:
        raise NotFound(f"instance {command.instance_key[:128]!r} has no credential")
    draft.drop_credential(command.instance_key)
    return ""


def record_leaf(draft: Draft, command: pb.RecordLeaf) -> str:
    """Fenced twice: the credential may have been withdrawn, the roots replaced, while the CA signed."""
    credential = draft.state.credentials.get((command.instance_key,))
    if not credential or credential.digest != command.digest:
        raise CredentialRefused(f"the credential of instance {command.instance_key[:128]!r} is not in force")
    record(draft, command.instance_key, command)
    return ""


def record_service_leaf(draft: Draft, command: pb.RecordServiceLeaf) -> str:
    rules.name("Service", command.service)
    record(draft, service_leaf_key(command.service), command)
    return ""


def record(draft: Draft, key: str, command: pb.RecordLeaf | pb.RecordServiceLeaf | AgentLeaf) -> None:
    """Notes a certificate under `key`, before it is handed out. Raises Conflict, InvalidCommand."""
    if command.roots_epoch and command.roots_epoch != draft.state.roots_epoch:
        raise Conflict("the CA's roots have changed meanwhile; sign again")
    rules.refuse_unless(
        0 < len(command.serial) <= SERIAL_BYTES_MAX, f"serial: must have 1 to {SERIAL_BYTES_MAX} bytes"
    )
    rules.refuse_unless(command.not_after_ms > draft.now_ms, "not_after: has passed already")
    for leaf in draft.state.leaves_of(key):
        if leaf.not_after_ms <= draft.now_ms:
            draft.drop_leaf(leaf)
    rules.refuse_unless(
        len(draft.state.leaves_of(key)) < limits.LEAVES_PER_INSTANCE_MAX,
        f"{key!r} holds {limits.LEAVES_PER_INSTANCE_MAX} certificates; renew less",
    )
    serial = int.from_bytes(command.serial, "big")
    draft.put_leaf(LeafRecord(serial, key, command.not_after_ms, draft.index))


def set_roots(draft: Draft, command: pb.SetRoots) -> str:
    if draft.state.authority:
        raise Conflict("the roots belong to the CA's rotation; ask for a new one instead")
    if command.expected_epoch != draft.state.roots_epoch:
        raise Conflict(f"the roots are at epoch {draft.state.roots_epoch}, not {command.expected_epoch}")
    rows = [codec.root_from_pb(row) for row in command.roots]
    rules.refuse_unless(0 < len(rows) <= limits.ROOTS_MAX, f"Roots: give 1 to {limits.ROOTS_MAX}")
    for row in rows:
        rules.root(row)
    rules.refuse_unless(len({row.id for row in rows}) == len(rows), "Roots: two have the same ID")
    rules.refuse_unless(sum(row.active for row in rows) == 1, "Roots: exactly one must be active")
    draft.put_roots(rows)
    return str(draft.state.roots_epoch)


def _registered(draft: Draft, key: str) -> None:
    if not draft.state.instance(key).rows:
        raise NotFound(f"instance {key[:128]!r} is not registered")
