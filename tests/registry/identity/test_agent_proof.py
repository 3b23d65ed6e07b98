"""Which certificate is an agent's: told from the chain itself, whatever TLS has let through."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from ca.authority import cross_sign, issue_leaf_for_key, new_root
from ca.bundle import chain_to_pem
from registry.catalog import commands
from registry.catalog.state import State
from registry.identity.agent_proof import AgentProof
from registry.identity.errors import Unauthenticated
from registry.identity.rotation import root_row
from tests.support.catalog import CLUSTER, World, stamp
from weft.spiffe import AgentId, SpiffeId

NOW = datetime(2030, 1, 1, tzinfo=UTC)
DOMAIN = CLUSTER.trust_domain
AGENT = AgentId(DOMAIN, "dc1", "vm-1")
Key = ec.EllipticCurvePrivateKey


@dataclass
class At:
    """A clock that stands."""

    moment: datetime = NOW

    def wall(self) -> float:
        return self.moment.timestamp()

    def monotonic(self) -> float:
        return 0.0


def key() -> Key:
    return ec.generate_private_key(ec.SECP256R1())


OWN_KEY, OTHER_KEY = key(), key()
OWN = new_root(DOMAIN, OWN_KEY, 1, NOW)
OTHER = new_root(DOMAIN, OTHER_KEY, 2, NOW)  # says the same of itself, by another key
FOREIGN = new_root("other.weft", OTHER_KEY, 3, NOW)


def shown(
    root: x509.Certificate, by: Key, identity: AgentId | SpiffeId, *more: x509.Certificate
) -> dict[str, list[bytes]]:
    """What grpc tells of who shows a leaf of this root."""
    leaf = issue_leaf_for_key(root, by, key().public_key(), identity, 7, NOW, timedelta(hours=1))
    rest = b"".join(it.public_bytes(Encoding.PEM) for it in more)
    return {"x509_pem_cert": [chain_to_pem([leaf.leaf_der])], "x509_pem_cert_chain": [rest] if rest else []}


def state(*roots: x509.Certificate) -> State:
    world = World.set_up()
    rows = [root_row(DOMAIN, root, ()) for root in roots]
    if rows:
        world.do(commands.set_roots(stamp(), rows[:1], 0))
    return world.state


def proof(of: State, at: datetime = NOW) -> AgentProof:
    return AgentProof(lambda: of, At(at))


def test_an_agents_certificate_under_the_clusters_root_is_one() -> None:
    peer = proof(state(OWN)).agent(shown(OWN, OWN_KEY, AGENT))
    assert (peer.identity, peer.serial) == (AGENT, 7)


REFUSED: dict[str, Callable[[], dict[str, list[bytes]]]] = {
    "trap 8: another root that names this domain": lambda: shown(OTHER, OTHER_KEY, AGENT),
    "trap 8: its root sent along": lambda: shown(OTHER, OTHER_KEY, AGENT, OTHER),
    "trap 8: another domain": lambda: shown(FOREIGN, OTHER_KEY, AgentId("other.weft", "dc1", "vm-1")),
    "trap 3: a service": lambda: shown(OWN, OWN_KEY, SpiffeId(DOMAIN, "dc1", "vm-1")),
    "another datacenter": lambda: shown(OWN, OWN_KEY, AgentId(DOMAIN, "dc2", "vm-1")),
    "trap 1: none at all": dict,
}


@pytest.mark.parametrize("which", REFUSED)
def test_trap_08_anything_else_is_none(which: str) -> None:
    with pytest.raises(Unauthenticated):
        proof(state(OWN)).agent(REFUSED[which]())


@pytest.mark.parametrize("moment", [NOW - timedelta(days=1), NOW + timedelta(hours=2)])
def test_trap_07_one_that_is_not_valid_now_is_none(moment: datetime) -> None:
    with pytest.raises(Unauthenticated):
        proof(state(OWN), moment).agent(shown(OWN, OWN_KEY, AGENT))


def test_a_leaf_of_the_next_root_is_known_by_the_one_before() -> None:
    crossed = cross_sign(OTHER, OWN, OWN_KEY, 9, NOW)
    assert proof(state(OWN)).agent(shown(OTHER, OTHER_KEY, AGENT, crossed)).identity == AGENT


def test_without_a_root_nobody_is_an_agent_and_tls_has_a_root_all_the_same() -> None:
    nobody = proof(state())
    assert x509.load_pem_x509_certificate(nobody.roots_pem()).subject != OWN.subject
    with pytest.raises(Unauthenticated):
        nobody.agent(shown(OWN, OWN_KEY, AGENT))


def test_trap_09_other_roots_are_seen_at_the_next_look() -> None:
    found = [state(OWN)]
    judge = AgentProof(lambda: found[0], At())
    before = judge.roots_pem()
    judge.agent(shown(OWN, OWN_KEY, AGENT))
    world = World.set_up()
    for epoch, root in enumerate((OWN, OTHER)):
        world.do(commands.set_roots(stamp(), [root_row(DOMAIN, root, ())], epoch))
    found[0] = world.state
    assert judge.roots_pem() != before
    with pytest.raises(Unauthenticated):
        judge.agent(shown(OWN, OWN_KEY, AGENT))


def test_trap_01_what_is_not_recorded_is_not_in_force() -> None:
    judge = proof(state(OWN))
    assert not judge.in_force(judge.agent(shown(OWN, OWN_KEY, AGENT)))
