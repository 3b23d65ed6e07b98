"""A snapshot file: head, records, end. It gets its name only when it is whole and synced.

Record: bytes u32, CRC-32 u32, then the bytes. The end is a record length of 2**32-1, followed by the
number of records u64 and the CRC-32 of all record CRCs u32. Big-endian.
"""

import struct
import zlib
from collections.abc import Iterator, Sequence

from google.protobuf.message import DecodeError

from weft.pb.raft.v1 import raft_pb2 as pb

from ..raft.messages import SnapshotMeta
from .disk import Disk
from .frames import Damage
from .wire import meta_from_pb, meta_to_pb

SNAPSHOT_MAGIC = b"WEFTSNP1"
_RECORD = struct.Struct(">II")
_END = struct.Struct(">IQI")
_END_MARK = 0xFFFF_FFFF


class SnapshotWriter:
    """Writes `name`.tmp and renames it. Runs on a thread of its own; raises OSError."""

    def __init__(self, disk: Disk, name: str) -> None:
        self._disk = disk
        self._name = name
        self._count = 0
        self._crc = 0
        self._file = disk.create(f"{name}.tmp")
        self._file.append(SNAPSHOT_MAGIC)

    def write(self, records: Sequence[bytes]) -> None:
        parts: list[bytes] = []
        for record in records:
            head = _RECORD.pack(len(record), zlib.crc32(record))
            self._crc = zlib.crc32(head, self._crc)
            parts += (head, record)
        self._count += len(records)
        self._file.append(b"".join(parts))

    def finish(self) -> None:
        """Returns when the snapshot is durable under its name."""
        self._file.append(_END.pack(_END_MARK, self._count, self._crc))
        self._file.sync()
        self._file.close()
        self._disk.rename(f"{self._name}.tmp", self._name)
        self._disk.sync_names()

    def abort(self) -> None:
        """Gives up; harmless after `finish`."""
        self._file.close()
        if f"{self._name}.tmp" in self._disk.names():
            self._disk.remove(f"{self._name}.tmp")


def read_snapshot(data: bytes) -> Iterator[bytes]:
    """The records. Raises Damage: a snapshot under its name was whole once."""
    if not data.startswith(SNAPSHOT_MAGIC):
        raise Damage(0, "the head of the snapshot does not check")
    at, count, crc = len(SNAPSHOT_MAGIC), 0, 0
    while at + _RECORD.size <= len(data):
        size, record_crc = _RECORD.unpack_from(data, at)
        if size == _END_MARK:
            break
        record = data[at + _RECORD.size : at + _RECORD.size + size]
        if len(record) != size or zlib.crc32(record) != record_crc:
            raise Damage(at, "a record of the snapshot does not check")
        yield record
        crc = zlib.crc32(data[at : at + _RECORD.size], crc)
        count += 1
        at += _RECORD.size + size
    if data[at:] != _END.pack(_END_MARK, count, crc):
        raise Damage(at, "the end of the snapshot does not check")


def write_meta(meta: SnapshotMeta) -> bytes:
    """What a snapshot replaces: its first record."""
    return meta_to_pb(meta).SerializeToString(deterministic=True)


def read_meta(record: bytes) -> SnapshotMeta:
    """Raises Damage."""
    try:
        return meta_from_pb(pb.SnapshotMeta.FromString(record))
    except DecodeError as error:
        raise Damage(0, f"the first record does not say what it replaces ({error})") from error
