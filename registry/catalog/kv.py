"""Keys and values: what the verbs do, and when a comparison is lost."""

from collections.abc import Generator
from itertools import islice

from weft.pb.catalog.v1 import kv_pb2 as pb

from ..errors import InvalidCommand, InvalidSession
from . import limits
from .draft import Draft
from .model import KeyValue
from .rows import with_values
from .rules import refuse_unless

ROWS_PER_STEP = 64
"""Keys that are removed between two steps: a millisecond or so."""

_TREES = (pb.KvOp.DELETE_TREE, pb.KvOp.GET_TREE)


def change(draft: Draft, command: pb.ChangeKv) -> Generator[None, None, str]:
    """Value: "true", or "false" where the comparison or the lock was lost."""
    op = command.op
    check(op)
    if op.verb == pb.KvOp.DELETE_TREE:
        yield from delete_tree(draft, op.key)
        return "true"
    return "true" if carry_out(draft, op) else "false"


def check(op: pb.KvOp) -> None:
    """Raises InvalidCommand."""
    check_key(op.key, is_prefix=op.verb in _TREES)
    refuse_unless(
        len(op.value) <= limits.KV_VALUE_BYTES_MAX,
        f'Value for key "{op.key[:256]}" is too large ({len(op.value)} > {limits.KV_VALUE_BYTES_MAX} bytes)',
    )


def check_key(key: str, *, is_prefix: bool = False) -> None:
    """Any text is a key, but what a path could be confused by (CVE-2025-11392). Raises InvalidCommand."""
    refuse_unless(key or is_prefix, "Missing key name")
    refuse_unless(
        len(key.encode()) <= limits.KV_KEY_BYTES_MAX,
        f"Key {key[:64]!r}...: use at most {limits.KV_KEY_BYTES_MAX} bytes",
    )
    refuse_unless("../" not in key, f"Key {key[:256]!r}: must not hold '../'")
    refuse_unless(key == key.strip(" "), f"Key {key[:256]!r}: must not begin or end with a space")


def carry_out(draft: Draft, op: pb.KvOp) -> bool:
    """Whether it was done. Raises InvalidSession, InvalidCommand."""
    old = draft.state.kv.get((op.key,))
    match op.verb:
        case pb.KvOp.SET:
            draft.put_kv(_written(op, old))
        case pb.KvOp.CAS:
            if op.index != (old.indexes.modify if old else 0):
                return False
            draft.put_kv(_written(op, old))
        case pb.KvOp.LOCK:
            return _lock(draft, op, old)
        case pb.KvOp.UNLOCK:
            return _unlock(draft, op, old)
        case pb.KvOp.DELETE if old:
            draft.drop_kv(old)
        case pb.KvOp.DELETE_CAS if old:
            if op.index != old.indexes.modify:
                return False
            draft.drop_kv(old)
        case pb.KvOp.DELETE | pb.KvOp.DELETE_CAS:
            pass  # gone already
        case _:
            raise InvalidCommand(f"verb {op.verb}: is no operation on a key")
    return True


def delete_tree(draft: Draft, prefix: str) -> Generator[None, None, None]:
    for count, row in enumerate(draft.state.kv_under(prefix), 1):
        draft.drop_kv(row)
        if not count % ROWS_PER_STEP:
            yield


def _written(op: pb.KvOp, old: KeyValue | None) -> KeyValue:
    """A lock outlives a change of the value."""
    if old is None:
        return KeyValue(op.key, op.value, op.flags)
    return with_values(old, value=op.value, flags=op.flags)


def _lock(draft: Draft, op: pb.KvOp, old: KeyValue | None) -> bool:
    """Who holds the lock may take it again; it then only changes the value."""
    if (op.session,) not in draft.state.sessions:
        raise InvalidSession(f'invalid session "{op.session[:64]}"')
    row = _written(op, old)
    if row.session == op.session:
        draft.put_kv(row)
        return True
    delay = draft.state.lock_delays.get((op.key,))
    if row.session or (delay and delay.until_ms > draft.now_ms):
        return False
    held = islice(draft.state.kv_locked.prefix((op.session,)), limits.LOCKS_PER_SESSION_MAX)
    refuse_unless(
        sum(1 for _ in held) < limits.LOCKS_PER_SESSION_MAX,
        f"session: holds {limits.LOCKS_PER_SESSION_MAX} locks already; use more sessions",
    )
    draft.put_kv(with_values(row, session=op.session, lock_index=row.lock_index + 1))
    return True


def _unlock(draft: Draft, op: pb.KvOp, old: KeyValue | None) -> bool:
    if old is None or old.session != op.session:
        return False
    draft.put_kv(with_values(_written(op, old), session=""))
    return True
