"""What an agent keeps of its membership: one file of mode 0600, replaced whole.

The key of a join that is under way lies beside it: should the answer be lost with the process, the same key
asks again, and no other can.
"""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Self

import orjson
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from ca.bundle import chain_to_pem, der_to_pem
from ca.provider import FileKey, private_pem
from weft.errors import ConfigError, WeftError
from weft.files import read_private, write_private
from weft.pb.agent.v1 import agent_pb2 as pb

from .errors import MembershipDamaged

FILE, PENDING_KEY = "membership.json", "joining.key"


@dataclass(frozen=True, slots=True)
class Membership:
    """Times are Unix seconds; roots and chains PEM; addresses host:port."""

    node: str
    datacenter: str
    trust_domain: str
    key_pem: str = field(repr=False)
    chain_pem: str = field(repr=False)
    not_before_s: int
    not_after_s: int
    signing_key_id: str  # of the root that signed, hex
    roots_pem: str = field(repr=False)  # of the trust domain
    registry_ca_pem: str = field(repr=False)
    agent_addresses: tuple[str, ...]
    https_addresses: tuple[str, ...]
    grpc_addresses: tuple[str, ...] = ()
    acl_accessor_id: str = ""
    acl_secret: str = field(default="", repr=False)

    @classmethod
    def made_of(
        cls, node: str, key: ec.EllipticCurvePrivateKey, answer: pb.JoinResponse | pb.RenewResponse
    ) -> Self:
        """What a server has answered. Raises WeftError where a certificate in it does not read."""
        certificate, cluster = answer.certificate, answer.cluster
        joined = answer if isinstance(answer, pb.JoinResponse) else pb.JoinResponse()
        return cls(
            node=node,
            datacenter=cluster.datacenter,
            trust_domain=cluster.trust_domain,
            key_pem=private_pem(key).decode(),
            chain_pem=chain_to_pem(certificate.chain_der).decode(),
            not_before_s=certificate.not_before_unix_s,
            not_after_s=certificate.not_after_unix_s,
            signing_key_id=certificate.signing_key_id.hex(),
            roots_pem="".join(map(der_to_pem, cluster.roots_der)),
            registry_ca_pem=cluster.registry_ca_pem,
            agent_addresses=tuple(cluster.agent_addresses),
            https_addresses=tuple(cluster.https_addresses),
            grpc_addresses=tuple(cluster.grpc_addresses),
            acl_accessor_id=joined.acl_accessor_id,
            acl_secret=joined.acl_secret,
        )


class MembershipFiles:
    """In `directory`, which must exist."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / FILE
        self._pending = directory / PENDING_KEY

    def load(self, node: str) -> Membership | None:
        """None before the first join. Raises MembershipDamaged."""
        if not self._path.exists():
            return None
        try:
            fields = orjson.loads(read_private(self._path, "membership"))
            lists = {name: tuple(value) for name, value in fields.items() if isinstance(value, list)}
            found = Membership(**(fields | lists))
            serialization.load_pem_private_key(found.key_pem.encode(), password=None)
        except ConfigError as error:
            raise MembershipDamaged(str(error)) from None
        except (ValueError, TypeError, AttributeError):
            # The cause may quote the file, so it is not shown.
            raise MembershipDamaged(
                f"{self._path}: is damaged; remove it, and join with a new token"
            ) from None
        if found.node != node:
            raise MembershipDamaged(
                f"{self._path}: is of node {found.node}, not of {node}; give that name, or another directory"
            )
        return found

    def save(self, membership: Membership) -> None:
        """Raises EnvironmentProblem."""
        write_private(self._path, orjson.dumps(asdict(membership)))
        self._pending.unlink(missing_ok=True)

    def pending_key(self) -> ec.EllipticCurvePrivateKey:
        """The key to join with, the same until `save`. Raises WeftError."""
        try:
            return FileKey(self._pending).key()
        except WeftError as error:
            raise MembershipDamaged(f"{error}; or remove the file, and join with a new token") from error
