"""Sans-IO. Keys and values below the prefix, as proto/weft/etcd/v1/log.proto describes them."""

import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence

from google.protobuf.message import DecodeError

from weft.pb.etcd.v1.log_pb2 import Batch as BatchPb
from weft.pb.etcd.v1.log_pb2 import Format, Server, Snapshot

from ...errors import LogCorrupt
from .limits import REQUEST_BYTES_MAX
from .order import Batch

FORMAT_VERSION = 1
_LENGTH = struct.Struct(">I")


class Keys:
    """Every key of one log."""

    def __init__(self, prefix: str) -> None:
        self._prefix = f"{prefix}/".encode()
        self.format = self._prefix + b"format"
        self.tail = self._prefix + b"tail"
        self.leader = self._prefix + b"leader"
        self.snapshot = self._prefix + b"snapshot"
        self.logs = self._prefix + b"log/"
        self.parts = self._prefix + b"part/"
        self.chunks = self._prefix + b"chunk/"
        self.servers = self._prefix + b"server/"

    def log(self, first_index: int) -> bytes:
        return self.logs + number(first_index)

    def first_index(self, key: bytes) -> int:
        """Of a `log/` key. Raises LogCorrupt."""
        digits = key.removeprefix(self.logs)
        if len(digits) != 20 or not digits.isdigit():
            raise LogCorrupt(f"etcd holds a key that is not of the log: {key!r}; restore a backup")
        return int(digits)

    def parts_of(self, index: int) -> bytes:
        return self.parts + number(index)

    def part(self, index: int, writer: int, position: int) -> bytes:
        return self.parts_of(index) + b"/%016x/" % writer + number(position)

    def chunks_of(self, index: int) -> bytes:
        return self.chunks + number(index) + b"/"

    def chunk(self, index: int, position: int) -> bytes:
        return self.chunks_of(index) + number(position)

    def server(self, server_id: str) -> bytes:
        return self.servers + server_id.encode()


def number(value: int) -> bytes:
    """Decimal with 20 digits: in the order of keys, numbers are in theirs."""
    return b"%020d" % value


def after_prefix(prefix: bytes) -> bytes:
    """The first key behind all that begin with `prefix`, which does not end with 0xff."""
    return prefix[:-1] + bytes([prefix[-1] + 1])


def tail_value(index: int) -> bytes:
    return b"%d" % index


def read_tail(value: bytes) -> int:
    """Raises LogCorrupt."""
    if not value.isdigit():
        raise LogCorrupt("etcd: the key `tail` does not hold a number; restore a backup")
    return int(value)


def batch_value(batch: Batch) -> bytes:
    """What is stored under the batch's first index."""
    if parts := parts_of(batch):
        return BatchPb(writer=batch.writer, parts=len(parts)).SerializeToString()
    return BatchPb(writer=batch.writer, commands=batch.commands).SerializeToString()


def parts_of(batch: Batch) -> list[bytes]:
    """The pieces of a command that no request can carry, which is alone in its batch; else none."""
    if len(batch.commands) != 1 or len(batch.commands[0]) <= REQUEST_BYTES_MAX:
        return []
    (command,) = batch.commands
    return [command[at : at + REQUEST_BYTES_MAX] for at in range(0, len(command), REQUEST_BYTES_MAX)]


def read_batch(value: bytes, key: bytes) -> BatchPb:
    """Raises LogCorrupt."""
    try:
        found = BatchPb.FromString(value)
    except DecodeError:
        raise LogCorrupt(f"etcd: {key!r} does not hold a batch of commands; restore a backup") from None
    if bool(found.commands) == bool(found.parts):
        raise LogCorrupt(f"etcd: {key!r} holds no commands; restore a backup")
    return found


def read_format(value: bytes) -> Format:
    """Raises LogCorrupt when the prefix belongs to something else or to a newer Weft."""
    try:
        found = Format.FromString(value)
    except DecodeError:
        found = Format()
    if found.version != FORMAT_VERSION:
        raise LogCorrupt(
            f"etcd: the log under this prefix has format {found.version}; "
            f"this Weft reads {FORMAT_VERSION}: use another prefix, or a Weft that knows it"
        )
    return found


def read_server(value: bytes) -> Server:
    """Raises LogCorrupt."""
    try:
        return Server.FromString(value)
    except DecodeError:
        raise LogCorrupt("etcd: a server's key does not say which server; delete it") from None


def read_snapshot(value: bytes) -> Snapshot:
    """Raises LogCorrupt."""
    try:
        return Snapshot.FromString(value)
    except DecodeError:
        raise LogCorrupt("etcd: the key `snapshot` does not describe one; restore a backup") from None


def pack(records: Iterable[bytes]) -> bytes:
    return b"".join(part for record in records for part in (_LENGTH.pack(len(record)), record))


def unpack(chunks: Sequence[bytes], meta: Snapshot) -> Iterator[bytes]:
    """The records of a whole snapshot. Raises LogCorrupt."""
    data = b"".join(chunks)
    if (len(chunks), len(data), zlib.crc32(data)) != (meta.chunks, meta.size, meta.crc):
        raise LogCorrupt(f"etcd: the snapshot of {meta.index} is not what was written; restore a backup")
    at = 0
    while at < len(data):
        (size,) = _LENGTH.unpack_from(data, at)
        at += _LENGTH.size
        yield data[at : at + size]
        at += size
