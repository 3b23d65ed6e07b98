"""Which agent calls on the port of agents, by its certificate.

TLS takes any certificate under the roots of the mesh, so each call looks at the chain again: it must end in a
root of this trust domain and name an agent, not a service (traps 3 and 8). A session that was resumed helps
nobody: the certificate is looked at each time, and so are its end and what the log says of it (trap 7).
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from ca.authority import new_root
from ca.bundle import der_to_pem
from weft.clock import Clock
from weft.svid import AgentPeer, UntrustedPeer, Verifier

from ..catalog.state import State
from .errors import Unauthenticated

AuthContext = Mapping[str, Iterable[bytes]]
"""What grpc tells of a finished handshake."""

ENDED = "the agent's certificate is not (or no longer) in force: it has to join anew"


class AgentProof:
    """Judges by the catalog's view as it is at each call."""

    def __init__(self, view: Callable[[], State], clock: Clock) -> None:
        self._view = view
        self._clock = clock
        self._nobody = _root_of_nobody(self._now())
        self._made: tuple[int, Verifier] | None = None
        self._trusted: tuple[int, bytes] | None = None

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.wall(), UTC)

    def roots_pem(self) -> bytes:
        """What TLS is to take certificates under; asked at each handshake."""
        epoch = self._view().roots_epoch
        if self._trusted is None or self._trusted[0] != epoch:
            self._trusted = (epoch, ("".join(map(der_to_pem, self._roots())) or self._nobody).encode())
        return self._trusted[1]

    def _roots(self) -> list[bytes]:
        state = self._view()
        domain = state.cluster.trust_domain if state.cluster else ""
        return [row.certificate_der for row in state.ca_roots().rows if row.trust_domain == domain]

    def _verifier(self) -> Verifier:
        state = self._view()
        if self._made is None or self._made[0] != state.roots_epoch:
            domain = state.cluster.trust_domain if state.cluster else ""
            self._made = (state.roots_epoch, Verifier({domain: self._roots()}))
        return self._made[1]

    def agent(self, context: AuthContext) -> AgentPeer:
        """The agent of this datacenter that calls. Raises Unauthenticated."""
        try:
            peer = self._verifier().agent(_chain(context), self._now())
        except UntrustedPeer as error:
            raise Unauthenticated(str(error)) from None
        cluster = self._view().cluster
        if cluster is None or peer.identity.datacenter != cluster.datacenter:
            raise Unauthenticated(f"{peer.identity} is an agent of another datacenter")
        return peer

    def in_force(self, peer: AgentPeer) -> bool:
        """Whether a certificate that was proven is still one of a member."""
        now_ms = int(self._clock.wall() * 1000)
        return self._view().agent_leaf(peer.identity.node, peer.serial, now_ms) is not None


def _chain(context: AuthContext) -> list[bytes]:
    """The caller's certificates, DER, its own first. Raises Unauthenticated where there is none."""
    leaf, rest = (tuple(context.get(name, ())) for name in ("x509_pem_cert", "x509_pem_cert_chain"))
    if not leaf:
        raise Unauthenticated("no certificate: call with the one of an agent")
    found = x509.load_pem_x509_certificates(b"".join((leaf[0], *rest)))
    chain = [certificate.public_bytes(Encoding.DER) for certificate in found]
    return list(dict.fromkeys(chain))


def _root_of_nobody(now: datetime) -> str:
    """Until the CA has a root, TLS needs one all the same. Nobody has the key of this one."""
    root = new_root("nobody.invalid", ec.generate_private_key(ec.SECP256R1()), 1, now)
    return der_to_pem(root.public_bytes(Encoding.DER))
