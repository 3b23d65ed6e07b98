"""Builders of commands about keys and values."""

from weft.pb.catalog.v1 import kv_pb2 as pb
from weft.pb.catalog.v1.command_pb2 import Command

from .commands import KV_LEVEL, SESSION_LEVEL, Stamp


def _change(stamp: Stamp, op: pb.KvOp) -> Command:
    level = SESSION_LEVEL if op.session else KV_LEVEL
    command = Command(version=level, time_ms=stamp.time_ms, request_id=stamp.request_id)
    command.change_kv.op.CopyFrom(op)
    return command


def set_kv(
    stamp: Stamp, key: str, value: bytes = b"", flags: int = 0, *, expected_index: int | None = None
) -> Command:
    """Value: "true", or "false" if `expected_index` is given and the key has another modify index; 0 is that
    of a key that is not there."""
    if expected_index is None:
        return _change(stamp, pb.KvOp(verb=pb.KvOp.SET, key=key, value=value, flags=flags))
    return _change(stamp, pb.KvOp(verb=pb.KvOp.CAS, key=key, value=value, flags=flags, index=expected_index))


def lock_kv(stamp: Stamp, key: str, session: str, value: bytes = b"", flags: int = 0) -> Command:
    """Value: "false" while another session holds the lock. InvalidSession if there is no such session."""
    return _change(stamp, pb.KvOp(verb=pb.KvOp.LOCK, key=key, value=value, flags=flags, session=session))


def unlock_kv(stamp: Stamp, key: str, session: str, value: bytes = b"", flags: int = 0) -> Command:
    """Value: "false" unless the session holds the lock."""
    return _change(stamp, pb.KvOp(verb=pb.KvOp.UNLOCK, key=key, value=value, flags=flags, session=session))


def delete_kv(stamp: Stamp, key: str, *, expected_index: int | None = None) -> Command:
    """Value: "true", also for a key that is not there; "false" where the comparison is lost."""
    if expected_index is None:
        return _change(stamp, pb.KvOp(verb=pb.KvOp.DELETE, key=key))
    return _change(stamp, pb.KvOp(verb=pb.KvOp.DELETE_CAS, key=key, index=expected_index))


def delete_kv_tree(stamp: Stamp, prefix: str) -> Command:
    """Removes all keys that begin with the prefix; "" is all there are."""
    return _change(stamp, pb.KvOp(verb=pb.KvOp.DELETE_TREE, key=prefix))
