"""How an agent becomes a member: join tokens come and go, are redeemed once, and certificates follow."""

import hmac
import re
from dataclasses import replace

from weft.pb.catalog.v1 import enrolment_pb2 as pb
from weft.pb.catalog.v1.command_pb2 import Command

from ..acl.model import Token
from ..acl.secrets import CODE_BYTES
from ..errors import Conflict, CredentialRefused, InvalidCommand
from . import access, acl_codec, codec, limits, rules, trust
from .commands import ENROLMENT_LEVEL, Stamp
from .draft import Draft
from .enrolment_model import JoinToken, Member, agent_leaf_key
from .feature_level import ID_META, SERVER_SERVICE

JOINED, AGAIN = "joined", "again"
DIGEST_BYTES = 32  # SHA-256
_ID = re.compile(r"[0-9a-f]{16}")
_FIELDS = ("id", "secret_code", "node", "prefix", "description", "expires_ms")
REFUSED = "the join token is not (or no longer) valid: make another with weft join-token create"


def base(stamp: Stamp) -> Command:
    return Command(version=ENROLMENT_LEVEL, time_ms=stamp.time_ms, request_id=stamp.request_id)


def create_join_token(stamp: Stamp, row: JoinToken) -> Command:
    """Conflict where the id is another one's."""
    command = base(stamp)
    given = {name: getattr(row, name) for name in _FIELDS}
    command.create_join_token.token.CopyFrom(pb.JoinToken(**given))
    return command


def delete_join_token(stamp: Stamp, token_id: str) -> Command:
    """Value: "deleted", or "" when there was none. An agent that has joined by it stays."""
    command = base(stamp)
    command.delete_join_token.id = token_id
    return command


def redeem_join_token(
    stamp: Stamp,
    token_id: str,
    secret_code: bytes,
    *,
    node: str,
    key_digest: bytes,
    leaf: pb.AgentLeaf,
    acl_token: Token | None,
) -> Command:
    """Value: JOINED, or AGAIN where the same key comes once more.

    CredentialRefused unless the token is in force, for this node, and unused; Conflict when the name is
    another member's and the token does not name it, or the roots have changed since the signature.
    """
    command = base(stamp)
    sent = acl_codec.token_to_pb(acl_token) if acl_token else None
    command.redeem_join_token.CopyFrom(
        pb.RedeemJoinToken(
            id=token_id,
            secret_code=secret_code,
            node=node,
            key_digest=key_digest,
            leaf=leaf,
            acl_token=sent,
        )
    )
    return command


def record_agent_leaf(stamp: Stamp, node: str, proof_serial: int, leaf: pb.AgentLeaf) -> Command:
    """CredentialRefused unless the certificate that proved the node is in force; Conflict as above."""
    command = base(stamp)
    command.record_agent_leaf.CopyFrom(
        pb.RecordAgentLeaf(node=node, proof_serial=codec.serial_bytes(proof_serial), leaf=leaf)
    )
    return command


def remove_agent(stamp: Stamp, node: str) -> Command:
    """Value: "removed", or "" when there was no such member."""
    command = base(stamp)
    command.remove_agent.node = node
    return command


# What they do


def create(draft: Draft, command: pb.CreateJoinToken) -> str:
    row = JoinToken(**{name: getattr(command.token, name) for name in _FIELDS}, created_ms=draft.now_ms)
    _check(row, draft.now_ms)
    if (row.id,) in draft.state.join_tokens:
        raise Conflict(f"join token {row.id} exists already")
    if len(draft.state.join_tokens) >= limits.JOIN_TOKENS_MAX:
        raise InvalidCommand(f"there are {limits.JOIN_TOKENS_MAX} join tokens already; delete some")
    draft.put_join_token(row)
    return row.id


def _check(row: JoinToken, now_ms: int) -> None:
    rules.refuse_unless(_ID.fullmatch(row.id), "ID: must be 16 hexadecimal digits")
    rules.refuse_unless(len(row.secret_code) == CODE_BYTES, "Secret: is missing")
    rules.name("NodePrefix" if row.prefix else "Node", row.node)
    rules.text("Description", row.description, limits.DESCRIPTION_CHARS_MAX)
    left_ms = row.expires_ms - now_ms
    rules.refuse_unless(
        limits.JOIN_TOKEN_TTL_MS_MIN <= left_ms <= limits.JOIN_TOKEN_TTL_MS_MAX,
        "ExpirationTTL: use 1s to 720h",
    )


def delete(draft: Draft, command: pb.DeleteJoinToken) -> str:
    row = draft.state.join_tokens.get((command.id,))
    if row is None:
        return ""
    draft.drop_join_token(row)
    return "deleted"


def redeem(draft: Draft, command: pb.RedeemJoinToken) -> str:
    """Once: a token that was used answers nobody but the key that used it."""
    row = _valid(draft, command)
    member = draft.state.members.get((command.node,))
    if row.redeemed_by:
        same = (row.redeemed_by, row.key_digest) == (command.node, command.key_digest)
        if not same or member is None or member.join_token != row.id:
            raise CredentialRefused("the join token was used already: make another")
        trust.record(draft, agent_leaf_key(command.node), command.leaf)
        return AGAIN
    _may_have(draft, row, command.node)
    accessor_id = _replace_acl_token(draft, member, command)
    _withdraw_leaves(draft, command.node)
    draft.put_join_token(replace(row, redeemed_by=command.node, key_digest=command.key_digest))
    draft.put_member(Member(command.node, row.id, accessor_id, draft.now_ms))
    trust.record(draft, agent_leaf_key(command.node), command.leaf)
    return JOINED


def _valid(draft: Draft, command: pb.RedeemJoinToken) -> JoinToken:
    """Raises CredentialRefused with one text for all that a stranger could probe."""
    rules.name("Node", command.node)
    rules.refuse_unless(len(command.key_digest) == DIGEST_BYTES, "key_digest: must have 32 bytes (SHA-256)")
    row = draft.state.join_tokens.get((command.id,))
    if row is None or not hmac.compare_digest(row.secret_code, command.secret_code):
        raise CredentialRefused(REFUSED)
    if row.expires_ms <= draft.now_ms:
        raise CredentialRefused(REFUSED)
    if not row.covers(command.node):
        raise CredentialRefused(f"the join token is not for a node of the name {command.node}")
    return row


def _may_have(draft: Draft, row: JoinToken, node: str) -> None:
    """Raises CredentialRefused, Conflict. Only a token that names a node can replace its agent."""
    if is_server(draft, node):
        raise CredentialRefused(f"{node} is the node of a registry server: give the agent another name")
    if row.prefix and (node,) in draft.state.members:
        raise Conflict(f"an agent of the name {node} has joined already: use another name")


def is_server(draft: Draft, node: str) -> bool:
    service = draft.state.services.get((node, SERVER_SERVICE))
    return service is not None and ID_META in service.meta


def _replace_acl_token(draft: Draft, member: Member | None, command: pb.RedeemJoinToken) -> str:
    """The token of who had the name before ends here. Answers the new one's accessor id."""
    tables = draft.state.acl
    if member and member.accessor_id:
        tables = tables.without_token(member.accessor_id)
    accessor_id = ""
    if command.HasField("acl_token"):
        row = acl_codec.token_from_pb(command.acl_token)
        tables, accessor_id = access.with_token(draft, tables, row), row.accessor_id
    if tables is not draft.state.acl:
        draft.set_acl(tables)
    return accessor_id


def _withdraw_leaves(draft: Draft, node: str) -> None:
    """No sidecar takes an agent for a peer, so servers alone have to know: the row is what they look at."""
    for leaf in draft.state.leaves_of(agent_leaf_key(node)):
        draft.drop_leaf(leaf)


def record_leaf(draft: Draft, command: pb.RecordAgentLeaf) -> str:
    """The old certificate goes on until it ends, so that nothing breaks where the new one is not used yet."""
    proof = int.from_bytes(command.proof_serial, "big")
    if draft.state.agent_leaf(command.node, proof, draft.now_ms) is None:
        raise CredentialRefused(f"the certificate of agent {command.node[:128]!r} is not in force")
    trust.record(draft, agent_leaf_key(command.node), command.leaf)
    return ""


def remove(draft: Draft, command: pb.RemoveAgent) -> str:
    row = draft.state.members.get((command.node,))
    if row is None:
        return ""
    if (command.node,) in draft.state.nodes and not is_server(draft, command.node):
        draft.drop_node(command.node)
    forget(draft, row)
    return "removed"


def forget(draft: Draft, row: Member) -> None:
    """Ends a membership, and all that proves it."""
    _withdraw_leaves(draft, row.node)
    if row.accessor_id:
        draft.set_acl(draft.state.acl.without_token(row.accessor_id))
    draft.drop_member(row)
