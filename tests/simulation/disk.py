"""A disk of append-only files whose unsynced bytes and names may be lost or torn by a crash.

What lies between `append` and the end of `sync` survives a crash only by chance, in order, the last
record possibly torn. The same holds for names that were created, renamed or removed before
`sync_names`. What is synced stays: `corrupt` breaks it on purpose, and a reader notices.

A record is one write with its checksum: `Record.intact` is whether the checksum would hold.
"""

import random
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Record:
    payload: Any  # never changed once written
    intact: bool = True


@dataclass(slots=True)
class File:
    records: list[Record] = field(default_factory=list)
    synced: int = 0  # that many records are safe


class Disk:
    """The files of one server; they outlive its process."""

    def __init__(self) -> None:
        self.files: dict[str, File] = {}
        self._durable_names: dict[str, File] = {}

    def create(self, name: str) -> None:
        self.files[name] = File()

    def append(self, name: str, *payloads: Any) -> None:
        self.files[name].records.extend(Record(payload) for payload in payloads)

    def sync(self, name: str) -> None:
        file = self.files[name]
        file.synced = len(file.records)

    def rename(self, old: str, new: str) -> None:
        self.files[new] = self.files.pop(old)

    def remove(self, name: str) -> None:
        self.files.pop(name, None)

    def sync_names(self) -> None:
        self._durable_names = dict(self.files)

    def durable(self, name: str) -> bool:
        """Whether the file will be found by this name, with all it holds, after a crash now."""
        file = self.files.get(name)
        return file is not None and self._durable_names.get(name) is file and file.synced == len(file.records)

    # Faults

    def crash(self, draw: random.Random) -> None:
        """Leaves what a restart finds."""
        found: dict[str, File] = {}
        for name in sorted(self.files.keys() | self._durable_names.keys()):
            now, then = self.files.get(name), self._durable_names.get(name)
            file = now if now is then or draw.random() < 0.5 else then
            # A file that only was to be renamed is found under one of its names.
            if file is not None and all(file is not other for other in found.values()):
                _lose_unsynced(file, draw)
                found[name] = file
        self.files = found
        self._durable_names = dict(found)

    def corrupt(self, name: str, position: int) -> None:
        """Flips bits of a synced record."""
        record = self.files[name].records[position]
        self.files[name].records[position] = Record(record.payload, intact=False)


def _lose_unsynced(file: File, draw: random.Random) -> None:
    unsynced = len(file.records) - file.synced
    if unsynced > 0:
        # All or nothing are as likely as something in between: page caches lose whole batches.
        kept = draw.choice((0, unsynced, draw.randint(0, unsynced)))
        torn = kept > 0 and draw.random() < 0.3
        del file.records[file.synced + kept :]
        if torn:
            file.records[-1] = Record(file.records[-1].payload, intact=False)
    file.synced = len(file.records)
