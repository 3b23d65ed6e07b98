"""Lets agents in: makes join tokens, redeems them, and signs the certificates that follow.

Any server does it, for each signature is recorded in the log before it is handed out, and the record is
refused where the token was used, the membership ended, or the roots have changed meanwhile (trap 25).
"""

import hmac
import uuid
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ca.authority import PublicKey, csr_public_key
from ca.sealing import NONCE_BYTES, Keyring
from weft.credential import SECRET_ENTROPY_BYTES, new_secret
from weft.pb.catalog.v1.enrolment_pb2 import AgentLeaf
from weft.spiffe import AgentId

from ..acl.model import Grants, NodeIdentity, Token
from ..acl.secrets import derive
from ..agent.writer import Entropy, Writer
from ..catalog import codec, enrolment
from ..catalog.enrolment_model import JoinToken
from ..catalog.state import State
from ..errors import Conflict, CredentialRefused, NotReady
from ..replica.port import Log
from .admission import Admission
from .issuer import FENCED_ATTEMPTS, Issuer, Leaf, ends_ms
from .join_text import JoinText, pins_of

ID_BYTES = 8


@dataclass(frozen=True, slots=True)
class Enrolled:
    """What a new member gets. The access token's two parts are "" where there is no access control."""

    leaf: Leaf
    accessor_id: str = ""
    acl_secret: str = field(default="", repr=False)


class Enroller:
    """`admission` is None where there is no access control; `roots_pem` are the servers' own."""

    def __init__(
        self,
        log: Log,
        writer: Writer,
        issuer: Issuer,
        keyring: Keyring,
        admission: Admission | None,
        roots_pem: Callable[[], str],
        entropy: Entropy,
    ) -> None:
        self._log = log
        self._writer = writer
        self._issuer = issuer
        self._keyring = keyring
        self._admission = admission
        self._roots_pem = roots_pem
        self._entropy = entropy

    # Tokens

    async def make_token(
        self, node: str, ttl_ms: int, *, prefix: bool = False, description: str = ""
    ) -> tuple[JoinToken, JoinText]:
        """A new join token; its text is shown once. Raises InvalidCommand, and what Log.propose raises."""
        state = self._log.view()
        text = JoinText(
            self._entropy(ID_BYTES).hex(),
            new_secret(self._entropy(SECRET_ENTROPY_BYTES)),
            pins_of(self._roots_pem()),
        )
        code = next(self._codes(state, text.secret))
        expires_ms = self._writer.now_ms() + ttl_ms
        row = JoinToken(text.id, code, node, prefix, description, expires_ms)
        await self._writer.propose(lambda stamp: enrolment.create_join_token(stamp, row))
        return self._log.view().join_tokens.get((text.id,)) or row, text

    def _codes(self, state: State, secret: str) -> Iterator[bytes]:
        """What a token's row may hold for this secret: one code per operator key, the newest first."""
        if state.cluster is None:
            raise NotReady("the cluster has no name yet; retry later")
        for key in self._keyring.keys:
            yield hmac.digest(derive(key, state.cluster.id, b"weft join code 1"), secret.encode(), "sha256")

    # Certificates

    async def join(self, token_id: str, secret: str, node: str, csr_der: bytes) -> Enrolled:
        """Redeems a token: once, but the same key may ask again, since an answer may be lost.

        Raises CredentialRefused, Conflict, InvalidSpiffeId, CsrRefused, SignTooOften, and as `renew`.
        """
        await self._log.read_index()
        state = self._log.view()
        code = self._proven(state, token_id, secret)
        identity = _identity(state, node)
        self._issuer.spend(f"agent/{node}")
        key = csr_public_key(csr_der)
        acl_token = self._acl_token(state, node)

        async def record(leaf: AgentLeaf) -> None:
            await self._writer.propose(
                lambda stamp: enrolment.redeem_join_token(
                    stamp,
                    token_id,
                    code,
                    node=node,
                    key_digest=_digest(key),
                    leaf=leaf,
                    acl_token=acl_token,
                )
            )

        leaf = await self._signed(key, identity, record)
        return Enrolled(leaf, *self._opened(node))

    def _proven(self, state: State, token_id: str, secret: str) -> bytes:
        """The code that the row holds. Raises CredentialRefused where the secret is not its own."""
        row = state.join_tokens.get((token_id,))
        known = row.secret_code if row else b""
        found = [code for code in self._codes(state, secret) if hmac.compare_digest(code, known)]
        if not found:
            raise CredentialRefused(enrolment.REFUSED)
        return found[0]

    def _acl_token(self, state: State, node: str) -> Token | None:
        """May do what a node's agent does in its own name. Not used where the agent has one already."""
        if self._admission is None or state.cluster is None:
            return None
        accessor_id, secret = (str(uuid.UUID(bytes=self._entropy(16), version=4)) for _ in range(2))
        sealed = self._admission.box(state).seal(secret, accessor_id, self._entropy(NONCE_BYTES))
        grants = Grants(node_identities=(NodeIdentity(node, state.cluster.datacenter),))
        return Token(accessor_id, sealed, f"Agent of {node}", grants)

    def _opened(self, node: str) -> tuple[str, str]:
        """Accessor id and secret of the token that the member has now."""
        state = self._log.view()
        member = state.members.get((node,))
        token = state.acl.token(member.accessor_id) if member and member.accessor_id else None
        if self._admission is None or token is None:
            return "", ""
        return token.accessor_id, self._admission.box(state).open(token.secret, token.accessor_id)

    async def renew(self, node: str, proof_serial: int, csr_der: bytes) -> Leaf:
        """The next certificate of a member that has proven itself by the one of this serial number.

        Raises CredentialRefused, SignTooOften, CsrRefused, IssueRefused, KeyUnusable, KeyMismatch, and what
        Log.propose raises.
        """
        self._issuer.spend(f"agent/{node}")
        key = csr_public_key(csr_der)
        await self._log.read_index()
        identity = _identity(self._log.view(), node)

        async def record(leaf: AgentLeaf) -> None:
            await self._writer.propose(
                lambda stamp: enrolment.record_agent_leaf(stamp, node, proof_serial, leaf)
            )

        return await self._signed(key, identity, record)

    async def _signed(
        self, key: PublicKey, identity: AgentId, record: Callable[[AgentLeaf], Awaitable[None]]
    ) -> Leaf:
        """Signs again where the roots have changed between signature and record."""
        for left in reversed(range(FENCED_ATTEMPTS)):
            state = self._log.view()
            leaf = self._issuer.issue(state, key, identity)
            noted = AgentLeaf(
                serial=codec.serial_bytes(leaf.issued.serial),
                not_after_ms=ends_ms(leaf),
                roots_epoch=state.roots_epoch,
            )
            try:
                await record(noted)
            except Conflict:
                await self._log.read_index()
                if not left or self._log.view().roots_epoch == state.roots_epoch:
                    raise
            else:
                return leaf
        raise AssertionError("the last attempt returns or raises")


def _identity(state: State, node: str) -> AgentId:
    if state.cluster is None:
        raise NotReady("the cluster has no name yet; retry later")
    return AgentId(state.cluster.trust_domain, state.cluster.datacenter, node)


def _digest(key: PublicKey) -> bytes:
    return sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()
