"""A disk behind `registry.replica.disk.Disk` that forgets what was not synced.

`crash` keeps of each file what was synced and a random part of the rest: a prefix, possibly with
sectors zeroed. Creations, renames and removals that were not followed by `sync_names` are undone by
chance. Synced bytes are never touched: damage to them is done by tests on purpose.
"""

import errno
import random
from dataclasses import dataclass, field

SECTOR_BYTES = 512


@dataclass
class _Content:
    data: bytearray = field(default_factory=bytearray)
    synced: bytes = b""
    end: int = 0  # of what was appended; zeros behind it are reserved


class SimDisk:
    """`capacity_bytes` bounds all files together; None is endless."""

    def __init__(self, capacity_bytes: int | None = None) -> None:
        self.capacity_bytes = capacity_bytes
        self.files: dict[str, _Content] = {}
        self.fail_syncs = False
        self.reserves = False  # whether room is made ahead, as on a real disk
        self.calls: list[str] = []  # what was asked of the disk, in order
        self._durable: dict[str, _Content] = {}  # names as of the last sync_names

    # The port

    def names(self) -> list[str]:
        return sorted(self.files)

    def read(self, name: str) -> bytes:
        return bytes(self.files[name].data)

    def read_at(self, name: str, offset: int, size: int) -> bytes:
        return bytes(self.files[name].data[offset : offset + size])

    def create(self, name: str, *, log: bool = False) -> "SimFile":
        if name in self.files:
            raise OSError(errno.EEXIST, "exists")
        self.calls.append(f"create {name}")
        self.files[name] = _Content()
        return SimFile(self, self.files[name])

    def open(self, name: str) -> "SimFile":
        return SimFile(self, self.files[name])

    def rename(self, old: str, new: str) -> None:
        self.calls.append(f"rename {new}")
        self.files[new] = self.files.pop(old)

    def remove(self, name: str) -> None:
        self.calls.append(f"remove {name}")
        del self.files[name]

    def sync_names(self) -> None:
        self.calls.append("sync_names")
        self._durable = dict(self.files)

    # What tests do to it

    def used_bytes(self) -> int:
        return sum(len(content.data) for content in self.files.values())

    def room(self) -> int:
        """Bytes that still fit."""
        if self.capacity_bytes is None:
            return 1 << 40
        return max(0, self.capacity_bytes - self.used_bytes())

    def unsynced_bytes(self) -> int:
        return sum(len(content.data) - len(content.synced) for content in self.files.values())

    def crash(self, draw: random.Random) -> "SimDisk":
        """The disk as the next start finds it."""
        after = SimDisk(self.capacity_bytes)
        after.reserves = self.reserves
        for name in sorted(self.files.keys() | self._durable.keys()):
            now, then = self.files.get(name), self._durable.get(name)
            content = now if now is then or draw.random() < 0.5 else then
            if content is not None:
                kept = _after_crash(content, draw)
                after.files[name] = _Content(bytearray(kept), kept, len(kept))
        after.sync_names()
        return after


def _after_crash(content: _Content, draw: random.Random) -> bytes:
    synced, written = content.synced, bytes(content.data)
    if len(written) < len(synced):  # truncated, not synced: either length may come back
        return draw.choice((synced, written))
    kept = bytearray(written[: draw.randint(len(synced), len(written))])
    before = synced + bytes(len(kept) - len(synced))
    if draw.random() < 0.5:  # sectors were allotted, or reserved, but not all of them written
        for start in range(0, len(kept), SECTOR_BYTES):
            if draw.random() < 0.5:
                kept[start : start + SECTOR_BYTES] = before[start : start + SECTOR_BYTES]
    return bytes(kept)


class SimFile:
    def __init__(self, disk: SimDisk, content: _Content) -> None:
        self._disk = disk
        self._content = content

    def append(self, data: bytes) -> None:
        content = self._content
        taken = data[: self._disk.room() + len(content.data) - content.end]
        self._disk.calls.append("append")
        content.data[content.end : content.end + len(taken)] = taken
        content.end += len(taken)
        if len(taken) < len(data):
            raise OSError(errno.ENOSPC, "No space left on device")

    def sync(self) -> None:
        if self._disk.fail_syncs:
            raise OSError(errno.EIO, "Input/output error")
        self._disk.calls.append("sync")
        self._content.synced = bytes(self._content.data)

    def reserve(self, size: int) -> None:
        wanted = max(0, size - len(self._content.data)) if self._disk.reserves else 0
        taken = min(wanted, self._disk.room())
        self._content.data += bytes(taken)
        if taken < wanted:
            raise OSError(errno.ENOSPC, "No space left on device")

    def begin(self, data: bytes, done: object) -> bool:
        return False

    def truncate(self, size: int) -> None:
        del self._content.data[size:]
        self._content.end = min(self._content.end, size)

    def close(self) -> None:
        pass
