"""What is encoded once reads like what protobuf itself writes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.rpc import deltas
from registry.rpc.deltas import DeltaEncoder, Outgoing
from weft.pb.mesh.v1.mesh_pb2 import Delta, Resource, Revocations


def resource(name: str, size: int) -> Resource:
    leaves = [Revocations.Leaf(serial=b"s" * size)]
    return Resource(name=name, version=f"{name}-{size}", revocations=Revocations(leaves=leaves))


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 20_000)), max_size=4),
    st.lists(st.text(max_size=5), max_size=3),
    st.integers(0, 2**64 - 1),
)
def test_a_delta_reads_as_it_was_meant(
    upserts: list[tuple[str, int]], removed: list[str], number: int
) -> None:
    encoder = DeltaEncoder()
    outgoing = Outgoing(number, number, tuple(resource(*each) for each in upserts), tuple(removed))
    meant = Delta(nonce=number, index=number, upserts=outgoing.upserts, removed=removed)
    for _ in range(2):  # the second time from what was kept
        assert Delta.FromString(encoder(outgoing)) == meant


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deltas, "ENCODED_BYTES_MAX", 1000)
    encoder = DeltaEncoder()
    for size in range(1, 200):
        encoder(Outgoing(1, 1, (resource("a", size),), ()))
        assert sum(map(len, encoder._encoded.values())) == encoder._bytes <= 1000
