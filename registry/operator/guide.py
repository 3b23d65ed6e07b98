"""What an agent is told of the cluster: where its servers are, and by what roots it knows them."""

from collections.abc import Callable

from weft.pb.agent.v1 import agent_pb2 as pb

from ..catalog import watches
from ..catalog.feature_level import SERVER_SERVICE
from ..catalog.state import State
from ..identity.enroller import Enrolled
from ..identity.issuer import Leaf
from .servers import AGENT_META, GRPC_META, HTTPS_META, addresses

ADDRESSES_MAX = 16


class Guide:
    """`own` is host:port of this server's listeners: for agents, gRPC, HTTPS; "" where it has none."""

    def __init__(
        self, view: Callable[[], State], roots_pem: Callable[[], str], own: Callable[[], tuple[str, str, str]]
    ) -> None:
        self._view = view
        self._roots_pem = roots_pem
        self._own = own
        self._addresses: tuple[int, tuple[str, ...]] = (-1, ())

    def cluster(self) -> pb.Cluster:
        state = self._view()
        _, grpc, https = self._own()
        domain = state.cluster.trust_domain if state.cluster else ""
        return pb.Cluster(
            datacenter=state.cluster.datacenter if state.cluster else "",
            trust_domain=domain,
            roots_der=[row.certificate_der for row in state.ca_roots().rows if row.trust_domain == domain],
            registry_ca_pem=self._roots_pem(),
            agent_addresses=self.agent_addresses(),
            grpc_addresses=addresses(state, GRPC_META, grpc)[:ADDRESSES_MAX],
            https_addresses=addresses(state, HTTPS_META, https)[:ADDRESSES_MAX],
        )

    def agent_addresses(self) -> tuple[str, ...]:
        """Where leases are held: the same object as long as nothing has changed."""
        state = self._view()
        index = state.index_of(watches.service(SERVER_SERVICE))
        if self._addresses[0] != index:
            found = addresses(state, AGENT_META, self._own()[0])[:ADDRESSES_MAX]
            self._addresses = (index, found)
        return self._addresses[1]

    def signing_key_id(self) -> bytes:
        """Of the root that signs now; b"" while there is none."""
        root = self._view().active_root()
        return _octets(root.signing_key_id) if root else b""

    def joined(self, found: Enrolled) -> pb.JoinResponse:
        """What a new member gets."""
        return pb.JoinResponse(
            certificate=certificate(found.leaf),
            cluster=self.cluster(),
            acl_accessor_id=found.accessor_id,
            acl_secret=found.acl_secret,
        )


def certificate(leaf: Leaf) -> pb.Certificate:
    """A leaf as agents get it."""
    return pb.Certificate(
        chain_der=leaf.chain_der,
        spiffe_id=leaf.identity.uri,
        not_before_unix_s=int(leaf.issued.not_before.timestamp()),
        not_after_unix_s=int(leaf.issued.not_after.timestamp()),
        signing_key_id=_octets(leaf.signing_key_id),
    )


def _octets(colon_hex: str) -> bytes:
    return bytes.fromhex(colon_hex.replace(":", ""))
