"""Sans-IO. How a conversation between servers begins: whether the called one takes the caller."""

from typing import NamedTuple

from weft.pb.raft.v1 import raft_pb2 as pb

from ..raft.config import ADDRESS_BYTES_MAX, ID_BYTES_MAX

PROTOCOL = 1
"""Raised with every change that an older server would not understand."""


class Known(NamedTuple):
    """What a called server knows of itself; `level` is that of commands which may be in its log."""

    server_id: str
    cluster_id: str
    level: int


def refusal(opening: pb.Opening, known: Known) -> str:
    """Why the caller is refused, with the mend; "" when it is not."""
    if opening.protocol != PROTOCOL:
        return (
            f"this server speaks protocol {PROTOCOL}, the caller {opening.protocol}: "
            "run the same version on every server"
        )
    match opening.WhichOneof("purpose"):
        case "hello":
            return _refusal_of_hello(opening.hello, known) or _refusal_of_level(opening.level, known)
        case "identify":
            return ""
        case "join":
            wish = opening.join
            return _refusal_of_join(wish.server_id, wish.address) or _refusal_of_level(opening.level, known)
    return "the caller does not say what it wants; run the same version on every server"


def _refusal_of_hello(hello: pb.Hello, known: Known) -> str:
    if not known.cluster_id:
        return f"server {known.server_id} belongs to no cluster yet"
    if hello.cluster_id != known.cluster_id:
        return (
            f"this is cluster {known.cluster_id}, the caller is of {hello.cluster_id[:64] or 'none'}: "
            "check its addresses, or start it with an empty data directory"
        )
    if hello.receiver != known.server_id:
        return f"this is server {known.server_id}, not {hello.receiver[:64]}: remove the old id as a peer"
    if not 0 < len(hello.sender) <= ID_BYTES_MAX or hello.sender == known.server_id:
        return "the caller gives no id of its own: two servers must not share a data directory"
    if not 0 < len(hello.address) <= ADDRESS_BYTES_MAX:
        return "the caller does not say where it is found"
    return ""


def _refusal_of_join(server_id: str, address: str) -> str:
    if not 0 < len(server_id) <= ID_BYTES_MAX or not 0 < len(address) <= ADDRESS_BYTES_MAX:
        return "a server joins with its id and its address"
    return ""


def _refusal_of_level(level: int, known: Known) -> str:
    if level >= known.level:
        return ""
    return (
        f"this cluster uses commands of level {known.level}, the caller knows level {level}: "
        "upgrade it, or it would halt at the first of them"
    )
