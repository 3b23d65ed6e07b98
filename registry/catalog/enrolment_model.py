"""Rows about agents: tokens that let one join, and the members that have."""

from dataclasses import dataclass, field

from .model import NO_INDEXES, Indexes


@dataclass(frozen=True, slots=True)
class JoinToken:
    """Lets one agent become a member, once. Key: id.

    `node` is whom it lets in; with `prefix`, how that name begins. `redeemed_by` is "" until it was used;
    `key_digest` is then of the key that the member's first certificate is for.
    """

    id: str
    secret_code: bytes = field(repr=False)
    node: str
    prefix: bool = False
    description: str = ""
    expires_ms: int = 0
    created_ms: int = 0
    redeemed_by: str = ""
    key_digest: bytes = b""
    indexes: Indexes = NO_INDEXES

    def covers(self, node: str) -> bool:
        """Whether a node of this name may join by it."""
        return node.startswith(self.node) if self.prefix else node == self.node


@dataclass(frozen=True, slots=True)
class Member:
    """A node whose agent has joined. Key: node. Its certificates are leaves of `agent_leaf_key`.

    `silent_ms` is when the leader found that it is not heard any more; 0 while it is.
    """

    node: str
    join_token: str  # id of the one that it joined by
    accessor_id: str = ""  # of its token in the access control list; "" without one
    joined_ms: int = 0
    silent_ms: int = 0
    indexes: Indexes = NO_INDEXES


def agent_leaf_key(node: str) -> str:
    """Under what certificates of a node's agent are recorded: never the key of an instance."""
    return f"agent/{node}"
