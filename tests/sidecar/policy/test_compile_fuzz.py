"""Whatever a resource says, compiling answers with a snapshot or InvalidResource, and nothing else."""

from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from sidecar.errors import InvalidResource
from sidecar.policy.compile import compile_snapshot
from sidecar.policy.upstreams import named_targets
from sidecar.snapshot import Snapshot
from tests.support import resources as make

BASE = make.full_resources()
TEXTS = st.one_of(
    st.text(max_size=20),
    st.sampled_from(["", "*", "127.0.0.1", "::1", "orders", "web", "/run/x", "a/b/c", make.spiffe_id("web")]),
)
VALUES: dict[int, st.SearchStrategy[Any]] = {
    FieldDescriptor.TYPE_STRING: TEXTS,
    FieldDescriptor.TYPE_BYTES: st.binary(max_size=40),
    FieldDescriptor.TYPE_BOOL: st.booleans(),
    FieldDescriptor.TYPE_UINT32: st.one_of(st.integers(0, 2**32 - 1), st.integers(0, 10)),
    FieldDescriptor.TYPE_INT32: st.integers(-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_DOUBLE: st.floats(),
    FieldDescriptor.TYPE_UINT64: st.integers(0, 2**64 - 1),
    FieldDescriptor.TYPE_INT64: st.integers(-(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_ENUM: st.integers(-1, 5),
}


def scramble(draw: st.DrawFn, message: Message) -> None:
    """Sets up to two fields of this message, or of one inside it, to something else."""
    fields: list[Any] = list(message.DESCRIPTOR.fields)
    for field in draw(st.lists(st.sampled_from(fields), max_size=2)):
        if field.type == FieldDescriptor.TYPE_MESSAGE:
            if field.message_type.GetOptions().map_entry:
                getattr(message, field.name)[draw(TEXTS)] = draw(TEXTS)
            elif field.is_repeated:
                items = getattr(message, field.name)
                scramble(draw, draw(st.sampled_from(list(items))) if items else items.add())
            else:
                scramble(draw, getattr(message, field.name))
        elif field.is_repeated:
            getattr(message, field.name).extend(draw(st.lists(VALUES[field.type], max_size=2)))
        else:
            setattr(message, field.name, draw(VALUES[field.type]))


@st.composite
def resources(draw: st.DrawFn) -> dict[str, Any]:
    found = {name: type(resource).FromString(resource.SerializeToString()) for name, resource in BASE.items()}
    for name in draw(st.lists(st.sampled_from(sorted(found)), max_size=3)):
        body = found[name].WhichOneof("body")
        scramble(draw, getattr(found[name], body) if body else found[name])
    return found


@given(resources())
def test_compiling_never_fails_otherwise(found: dict[str, Any]) -> None:
    try:
        snapshot = compile_snapshot(found, 1)
    except InvalidResource as refused:
        assert "\n" not in str(refused)
        return
    _check_sound(snapshot)


def _check_sound(snapshot: Snapshot) -> None:
    """What the switch takes for granted."""
    listeners = [snapshot.inbound.listen, *(upstream.listen for upstream in snapshot.upstreams.values())]
    assert len({str(listener) for listener in listeners}) == len(listeners)
    for address in (*listeners, snapshot.inbound.app):
        assert address.path.startswith("/") or (address.host and 0 < address.port < 65536)
    assert snapshot.bundles[snapshot.identity.trust_domain]
    for upstream in snapshot.upstreams.values():
        assert all(sum(split.weight for split in route.splits) == 10_000 for route in upstream.routes)
        assert all(target in snapshot.targets for target in named_targets(upstream))
    for target in snapshot.targets.values():
        assert target.ejection.consecutive_failures > 0 and target.connect_timeout_s > 0
        assert all(instance.weight > 0 for instance in target.instances)
        assert all(other in snapshot.targets for other in target.failover)
