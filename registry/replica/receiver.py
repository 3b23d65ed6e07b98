"""A leader's snapshot on its way in: chunks into a scratch file, then checked, named and read (§7)."""

from google.protobuf.message import DecodeError

from ..catalog.snapshot import decode
from ..catalog.state import State
from ..errors import LogCorrupt
from ..raft.messages import InstallSnapshot, SnapshotMeta
from .disk import Disk, File
from .errors import PeerRefused
from .frames import Damage
from .snapshots import read_meta, read_snapshot
from .wal import snapshot_name

_SCRATCH = "incoming.tmp"


class Receiver:
    """One snapshot at a time. Blocking: runs on the log's thread."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._file: File | None = None

    def write(self, chunk: InstallSnapshot) -> None:
        """Raises OSError."""
        if chunk.offset == 0 or self._file is None:
            self.abort()
            self._file = self._disk.create(_SCRATCH)
        self._file.append(chunk.chunk)

    def finish(self, meta: SnapshotMeta) -> State:
        """The state, once the snapshot is durable under its name.

        Raises PeerRefused when the bytes do not check or are of another snapshot, OSError.
        """
        if self._file is None:
            raise PeerRefused("the leader ended a snapshot that it had not begun")
        self._file.sync()
        state = _read(self._disk.read(_SCRATCH), meta)
        self._file.close()
        self._file = None
        self._disk.rename(_SCRATCH, snapshot_name(meta.index))
        self._disk.sync_names()
        return state

    def abort(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
        if _SCRATCH in self._disk.names():
            self._disk.remove(_SCRATCH)


def _read(data: bytes, meta: SnapshotMeta) -> State:
    try:
        records = read_snapshot(data)
        found = read_meta(next(records, b""))
        if found != meta:
            raise PeerRefused(f"the leader sent the snapshot of {found.index} as that of {meta.index}")
        return decode(records)
    except (Damage, DecodeError, LogCorrupt) as error:
        raise PeerRefused(f"the leader's snapshot of {meta.index} does not check: {error}") from error
