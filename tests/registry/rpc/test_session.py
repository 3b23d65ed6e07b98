"""The delta protocol, without a network."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.rpc.session import ProtocolViolation, Session
from weft.pb.mesh.v1.mesh_pb2 import Ack, Resource


def resources(**versions: str) -> dict[str, Resource]:
    return {name: Resource(name=name, version=version) for name, version in versions.items()}


def test_the_first_delta_carries_what_a_cached_snapshot_lacks() -> None:
    delta = Session({"a": "1", "b": "1", "gone": "1"}).next(resources(a="1", b="2", c="1"), 7)
    assert delta is not None
    assert ([r.name for r in delta.upserts], list(delta.removed), delta.index) == (["b", "c"], ["gone"], 7)


def test_the_first_delta_comes_even_when_nothing_differs() -> None:
    delta = Session({"a": "1"}).next(resources(a="1"), 7)
    assert delta is not None
    assert (len(delta.upserts), len(delta.removed)) == (0, 0)


def test_at_most_one_delta_is_unacknowledged_and_changes_are_folded() -> None:
    session = Session({})
    first = session.next(resources(a="1"), 1)
    assert first is not None
    assert session.next(resources(a="2"), 2) is None
    assert session.next(resources(a="3", b="1"), 3) is None
    session.acked(Ack(nonce=first.nonce))
    second = session.next(resources(a="3", b="1"), 3)
    assert second is not None
    assert {r.name: r.version for r in second.upserts} == {"a": "3", "b": "1"}
    session.acked(Ack(nonce=second.nonce))
    assert session.next(resources(a="3", b="1"), 4) is None


def test_a_refused_delta_is_not_sent_again_until_something_changes() -> None:
    session = Session({})
    first = session.next(resources(a="1"), 1)
    assert first is not None
    assert session.acked(Ack(nonce=first.nonce, error="no")) == "no"
    assert session.next(resources(a="1"), 2) is None
    second = session.next(resources(a="2"), 3)
    assert second is not None
    assert [r.version for r in second.upserts] == ["2"]


@pytest.mark.parametrize("nonce", [0, 2])
def test_an_ack_of_another_delta_is_a_violation(nonce: int) -> None:
    session = Session({})
    session.next(resources(a="1"), 1)
    with pytest.raises(ProtocolViolation):
        session.acked(Ack(nonce=nonce))


def test_an_ack_without_a_delta_is_a_violation() -> None:
    with pytest.raises(ProtocolViolation):
        Session({}).acked(Ack(nonce=0))


versions = st.dictionaries(st.sampled_from("abcd"), st.sampled_from("12"))


@given(versions, st.lists(st.tuples(versions, st.booleans(), st.booleans()), max_size=12), versions)
def test_whatever_happens_the_sidecar_ends_with_the_last_configuration(
    held: dict[str, str], steps: list[tuple[dict[str, str], bool, bool]], last: dict[str, str]
) -> None:
    """Changes, acknowledgements and refusals in any order; the sidecar applies what it does not refuse."""
    session, proxy, nonce = Session(held), dict(held), 0
    pending: dict[str, str] | None = None
    for wanted, acknowledges, refuses in [*steps, (last, True, False), (last, True, False)]:
        delta = session.next(resources(**wanted), 1)
        if delta is not None:
            assert pending is None
            assert delta.nonce > nonce
            pending = {k: v for k, v in proxy.items() if k not in delta.removed}
            pending |= {r.name: r.version for r in delta.upserts}
            assert pending == wanted
            nonce = delta.nonce
        if acknowledges and pending is not None:
            session.acked(Ack(nonce=nonce, error="no" if refuses else ""))
            proxy = proxy if refuses else pending
            pending = None
    refused_last = bool(steps) and steps[-1][0] == last and proxy != last
    assert proxy == last or refused_last or any(refuses for _, _, refuses in steps)
