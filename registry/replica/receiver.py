"""A leader's snapshot on its way in: chunks into a scratch file, then checked, read and named (§7)."""

from ..catalog.snapshot import decode_steps
from ..catalog.state import State
from ..errors import LogCorrupt
from ..raft.messages import InstallSnapshot, SnapshotMeta
from . import limits
from .disk import Disk, File
from .errors import PeerRefused
from .frames import Damage
from .slicing import in_slices
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

    def records(self, meta: SnapshotMeta) -> list[bytes]:
        """What makes the state: `decoded` reads it.

        Raises PeerRefused when the bytes do not check or are of another snapshot, OSError.
        """
        if self._file is None:
            raise PeerRefused("the leader ended a snapshot that it had not begun")
        self._file.sync()
        return _checked(self._disk.read(_SCRATCH), meta)

    def keep(self, meta: SnapshotMeta) -> None:
        """Returns when the snapshot is durable under its name. Raises OSError."""
        if self._file is not None:
            self._file.close()
            self._file = None
        self._disk.rename(_SCRATCH, snapshot_name(meta.index))
        self._disk.sync_names()

    def abort(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
        if _SCRATCH in self._disk.names():
            self._disk.remove(_SCRATCH)


def _checked(data: bytes, meta: SnapshotMeta) -> list[bytes]:
    try:
        records = read_snapshot(data)
        found = read_meta(next(records, b""))
        if found != meta:
            raise PeerRefused(f"the leader sent the snapshot of {found.index} as that of {meta.index}")
        return list(records)
    except Damage as error:
        raise _refused(meta, error) from error


async def decoded(records: list[bytes], meta: SnapshotMeta) -> State:
    """The state, made between the turns of the event loop. Raises PeerRefused."""
    try:
        return await in_slices(decode_steps(records), limits.SNAPSHOT_SLICE_S)
    except LogCorrupt as error:
        raise _refused(meta, error) from error


def _refused(meta: SnapshotMeta, error: Exception) -> PeerRefused:
    return PeerRefused(f"the leader's snapshot of {meta.index} does not check: {error}")
