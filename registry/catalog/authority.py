"""How the CA's settings, key and roots change: each step of ca/rotation.py as one compare-and-set."""

from dataclasses import replace
from datetime import UTC, datetime

from ca.rotation import TABLE, Phase, Step, may_take, retire_at_ms
from weft.pb.catalog.v1 import command_pb2 as pb

from ..errors import Conflict
from . import codec, rules
from .draft import Draft
from .model import Authority, CaRoot


def configure(draft: Draft, command: pb.ConfigureCa) -> str:
    """Settings; with `rotate` also the step REQUEST. Asking again before it has begun asks once."""
    row = draft.state.authority or Authority()
    if command.expected_index:
        _compare(row, command.expected_index)
    settings = codec.settings_from_pb(command.settings)
    rules.ca_settings(settings)
    phase = row.phase
    if command.rotate and phase is not Phase.REQUESTED:
        phase = _after(row, Step.REQUEST)
    changed = replace(row, settings=settings, phase=phase)
    if changed != row or not draft.state.authority:
        draft.put_authority(changed)
    return ""


def activate_root(draft: Draft, command: pb.ActivateRoot) -> str:
    """INSTALL or SWITCH: the given root signs from now on."""
    row = draft.state.authority or Authority()
    _compare(row, command.expected_index)
    root, key = codec.root_from_pb(command.root), codec.sealed_from_pb(command.key)
    rules.root(root)
    rules.sealed_key(key)
    rules.refuse_unless(root.signing_key_id.replace(":", "") == key.key_id, "Key: is not the key of the root")
    domain = draft.state.cluster.trust_domain if draft.state.cluster else ""
    rules.refuse_unless(root.active, "Root: must be active")
    rules.refuse_unless(root.trust_domain == domain, "TrustDomain: is not this cluster's")
    if row.phase is Phase.EMPTY:
        _install(draft, row, root)
    else:
        row = _switch(draft, row, root)
    draft.put_authority(replace(row, phase=TABLE[row.phase].leads_to, key=key))
    return ""


def _install(draft: Draft, row: Authority, root: CaRoot) -> None:
    """The first root; or the key of a root that is there already, from before keys were in the log."""
    known = draft.state.active_root()
    if known and known.id != root.id:
        raise Conflict(f"the cluster has another root already: {known.id}")
    if not known:
        draft.put_own_roots(root.trust_domain, [root])


def _switch(draft: Draft, row: Authority, root: CaRoot) -> Authority:
    _after(row, Step.SWITCH)
    old = [replace(other, active=False) for other in _own_roots(draft, root.trust_domain)]
    rules.refuse_unless(all(other.id != root.id for other in old), "Root: signs already")
    last = draft.state.leaves_by_expiry.last()
    ends_ms = last[0] if last else 0
    retire = retire_at_ms(draft.now_ms, row.settings.leaf_ttl_ms, ends_ms)
    draft.put_own_roots(root.trust_domain, [*old, root])
    return replace(row, retire_at_ms=retire)


def retire_roots(draft: Draft, command: pb.RetireRoots) -> str:
    """RETIRE: the old roots leave the bundles, their cross-signature the chains."""
    row = draft.state.authority or Authority()
    _compare(row, command.expected_index)
    phase = _after(row, Step.RETIRE)
    if draft.now_ms < row.retire_at_ms:
        raise Conflict(f"the old root's last leaf may be in use until {_utc(row.retire_at_ms)}")
    domain = draft.state.cluster.trust_domain if draft.state.cluster else ""
    kept = [replace(root, intermediates_der=()) for root in _own_roots(draft, domain) if root.active]
    draft.put_own_roots(domain, kept)
    draft.put_authority(replace(row, phase=phase, retire_at_ms=0))
    return ""


def reseal_key(draft: Draft, command: pb.ResealKey) -> str:
    row = draft.state.authority or Authority()
    _compare(row, command.expected_index)
    key = codec.sealed_from_pb(command.key)
    rules.sealed_key(key)
    if not row.key or row.key.key_id != key.key_id:
        raise Conflict("this is not the key in force")
    draft.put_authority(replace(row, key=key))
    return ""


def _own_roots(draft: Draft, trust_domain: str) -> list[CaRoot]:
    return [row for row in draft.state.roots.values() if row.trust_domain == trust_domain]


def _compare(row: Authority, expected: int) -> None:
    if row.indexes.modify != expected:
        raise Conflict(f"the CA changed at index {row.indexes.modify}, after {expected}; read it again")


def _after(row: Authority, step: Step) -> Phase:
    """Where the step leads. Raises Conflict when it is not the next one."""
    if may_take(row.phase, step):
        return TABLE[row.phase].leads_to
    raise Conflict(
        _WAIT.get(row.phase, "").format(_utc(row.retire_at_ms)) or f"{step.value}: not the next step"
    )


_WAIT = {
    Phase.EMPTY: "the CA has no root yet; wait until a leader has made one",
    Phase.SWITCHED: "a rotation is under way: the old root goes at {}; ask again after it",
}


def _utc(unix_ms: int) -> str:
    return datetime.fromtimestamp(unix_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
