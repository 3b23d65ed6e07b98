"""A snapshot as one file: a gzip tar of meta.json, state.bin and SHA256SUMS, as Consul lays it out.

state.bin is the text `WEFTSTATE1\\n`, then the records of `catalog.snapshot`, each after its length (u32,
big-endian). SHA256SUMS has a line for each of the other two, in the format of sha256sum(1). Reading checks
everything before it answers anything. All of it blocks: run it on a thread.
"""

import gzip
import hashlib
import io
import struct
import tarfile
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from typing import IO, Any, Self

import orjson

from ..catalog.limits import COMMAND_BYTES_MAX
from .errors import ArchiveInvalid

META, STATE, SUMS = "meta.json", "state.bin", "SHA256SUMS"
STATE_MAGIC = b"WEFTSTATE1\n"
META_VERSION = 1
STATE_BYTES_MAX = 4 * 1024**3  # 100,000 instances take below 100 MiB
ARCHIVE_BYTES_MAX = 1024**3  # as it travels, compressed
SMALL_BYTES_MAX = 64 * 1024  # meta.json, SHA256SUMS
RECORD_BYTES_MAX = COMMAND_BYTES_MAX  # a row came in a command, so it is smaller
SPOOL_BYTES = 8 * 1024 * 1024  # what is larger goes to a file in the directory for temporary files
BLOCK_BYTES = 256 * 1024
GZIP_LEVEL = 3
_LENGTH = struct.Struct(">I")


@dataclass(frozen=True, slots=True)
class Meta:
    """What meta.json says. `created_ms` is the wall clock, Unix milliseconds."""

    index: int
    term: int
    cluster_id: str
    datacenter: str
    trust_domain: str
    created_ms: int
    weft: str  # version of the program that wrote it
    records: int
    size: int  # of state.bin, bytes

    def to_json(self) -> bytes:
        named = {_json_name(name): value for name, value in asdict(self).items()}
        label = f"{self.term}-{self.index}-{self.created_ms}"
        document = {"Version": META_VERSION, "ID": label, **named}
        return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)

    @classmethod
    def from_json(cls, text: bytes) -> Self:
        """Raises ArchiveInvalid."""
        try:
            document = orjson.loads(text)
            if document["Version"] != META_VERSION:
                raise ArchiveInvalid(
                    f"{META} is of version {document['Version']}; this Weft reads {META_VERSION}"
                )
            values = {field.name: document[_json_name(field.name)] for field in fields(cls)}
        except (ValueError, KeyError, TypeError) as error:
            raise ArchiveInvalid(f"{META} does not say what a snapshot of Weft says ({error})") from None
        for field in fields(cls):
            if type(values[field.name]) is not field.type:
                raise ArchiveInvalid(f"{META}: {_json_name(field.name)} is not of type {field.type}")
        return cls(**values)


def _json_name(name: str) -> str:
    return {"cluster_id": "ClusterID"}.get(name) or "".join(part.capitalize() for part in name.split("_"))


class StateWriter:
    """Takes the records of a state, and then makes the archive of them."""

    def __init__(self) -> None:
        self._file: IO[bytes] = tempfile.SpooledTemporaryFile(SPOOL_BYTES)  # noqa: SIM115 (closed by `close`)
        self._sum = hashlib.sha256()
        self.records = 0
        self._append(STATE_MAGIC)

    def write(self, records: Sequence[bytes]) -> None:
        self.records += len(records)
        self._append(b"".join(part for record in records for part in (_LENGTH.pack(len(record)), record)))

    def _append(self, data: bytes) -> None:
        self._file.write(data)
        self._sum.update(data)

    @property
    def size(self) -> int:
        return self._file.tell()

    def pack(self, meta: Meta) -> IO[bytes]:
        """The archive, at its beginning. The caller closes it."""
        text, size = meta.to_json(), self.size
        sums = f"{hashlib.sha256(text).hexdigest()}  {META}\n{self._sum.hexdigest()}  {STATE}\n".encode()
        out: IO[bytes] = tempfile.SpooledTemporaryFile(SPOOL_BYTES)  # noqa: SIM115 (the caller's)
        moment = meta.created_ms // 1000
        self._file.seek(0)
        with (
            gzip.GzipFile(fileobj=out, mode="wb", compresslevel=GZIP_LEVEL, mtime=moment) as zipped,
            tarfile.open(fileobj=zipped, mode="w", format=tarfile.USTAR_FORMAT) as tar,
        ):
            for name, content, length in (
                (META, io.BytesIO(text), len(text)),
                (STATE, self._file, size),
                (SUMS, io.BytesIO(sums), len(sums)),
            ):
                entry = tarfile.TarInfo(name)
                entry.size, entry.mode, entry.mtime = length, 0o600, moment
                tar.addfile(entry, content)
        out.seek(0)
        return out

    def close(self) -> None:
        self._file.close()


class Archive:
    """An archive that has been checked. `close` gives up its scratch file."""

    def __init__(self, meta: Meta, state: IO[bytes]) -> None:
        self.meta = meta
        self._state = state

    def records(self) -> Iterator[bytes]:
        """The records of the state, in order."""
        self._state.seek(len(STATE_MAGIC))
        while head := self._state.read(_LENGTH.size):
            yield self._state.read(_LENGTH.unpack(head)[0])

    def close(self) -> None:
        self._state.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_archive(file: IO[bytes]) -> Archive:
    """Reads and checks all of `file`. Raises ArchiveInvalid."""
    small: dict[str, bytes] = {}
    sums: dict[str, str] = {}
    state: IO[bytes] = tempfile.SpooledTemporaryFile(SPOOL_BYTES)  # noqa: SIM115 (the archive's)
    try:
        with tarfile.open(fileobj=file, mode="r|gz") as tar:
            for entry in tar:
                if (
                    entry.name not in (META, STATE, SUMS)
                    or entry.name in (*small, *sums)
                    or not entry.isreg()
                ):
                    raise ArchiveInvalid(f"it holds {entry.name[:80]!r}, which no snapshot does")
                content: Any = tar.extractfile(entry)
                if entry.name == STATE:
                    sums[STATE] = _copy(content, state, STATE_BYTES_MAX, STATE)
                else:
                    into = io.BytesIO()
                    sums[entry.name] = _copy(content, into, SMALL_BYTES_MAX, entry.name)
                    small[entry.name] = into.getvalue()
        meta = _checked(small, sums, state)
    except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error) as error:
        state.close()
        raise ArchiveInvalid(f"it is not a whole gzip tar ({error}); save a snapshot again") from None
    except BaseException:
        state.close()
        raise
    return Archive(meta, state)


def _copy(content: IO[bytes], into: IO[bytes], bytes_max: int, name: str) -> str:
    """Copies, and answers the SHA-256."""
    found, size = hashlib.sha256(), 0
    while block := content.read(BLOCK_BYTES):
        size += len(block)
        if size > bytes_max:
            raise ArchiveInvalid(f"{name} has more than {bytes_max} bytes")
        found.update(block)
        into.write(block)
    return found.hexdigest()


def _checked(small: dict[str, bytes], sums: dict[str, str], state: IO[bytes]) -> Meta:
    for name in (META, STATE, SUMS):
        if name not in sums:
            raise ArchiveInvalid(f"{name} is missing from it")
    said = {name: digest for digest, _, name in (line.partition("  ") for line in _lines(small[SUMS]))}
    for name in (META, STATE):
        if said.get(name) != sums[name]:
            raise ArchiveInvalid(f"{name} is not what {SUMS} says; the file is damaged, use another one")
    meta = Meta.from_json(small[META])
    if (meta.records, meta.size) != _measure(state):
        raise ArchiveInvalid(f"{STATE} does not hold what {META} says")
    return meta


def _lines(text: bytes) -> list[str]:
    lines = text.decode("ascii", "replace").splitlines()
    if not all("  " in line for line in lines):
        raise ArchiveInvalid(f"{SUMS} is not in the format of sha256sum")
    return lines


def _measure(state: IO[bytes]) -> tuple[int, int]:
    """(records, bytes). Raises ArchiveInvalid where the records do not fill the file."""
    size = state.tell()
    state.seek(0)
    if state.read(len(STATE_MAGIC)) != STATE_MAGIC:
        raise ArchiveInvalid(f"{STATE} was not written by Weft; a snapshot of Consul cannot be restored")
    count, at = 0, len(STATE_MAGIC)
    while at < size:
        head = state.read(_LENGTH.size)
        length = _LENGTH.unpack(head)[0] if len(head) == _LENGTH.size else RECORD_BYTES_MAX + 1
        at += _LENGTH.size + length
        if length > RECORD_BYTES_MAX or at > size:
            raise ArchiveInvalid(f"{STATE} ends within a record")
        state.seek(at)
        count += 1
    return count, size
