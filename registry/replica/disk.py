"""What the log needs of a disk, and the real one.

The port is as narrow as it is so that tests can stand a disk behind it that loses, tears or refuses
what was not synced. All methods raise OSError; `store` translates.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

_FILE_MODE = 0o600


class File(Protocol):
    """A file that is only appended to."""

    def append(self, data: bytes) -> None:
        """Writes all of it at the end. May have written a part when it raises."""

    def sync(self) -> None:
        """Returns when everything appended survives a loss of power."""

    def reserve(self, size: int) -> None:
        """Makes room up to `size` bytes, of zeros: appending there changes nothing of the file but data."""

    def begin(self, data: bytes, done: "Written") -> bool:
        """Begins to append, and to sync, without waiting; False when that cannot be done here."""

    def truncate(self, size: int) -> None: ...

    def close(self) -> None:
        """May be called twice."""


Written = Callable[[int], None]
"""Told, on the event loop, how many bytes are durable, or minus an errno."""


class Disk(Protocol):
    """One flat directory."""

    def names(self) -> list[str]: ...

    def read(self, name: str) -> bytes: ...

    def read_at(self, name: str, offset: int, size: int) -> bytes:
        """At most `size` bytes from `offset` on; fewer only at the end."""

    def create(self, name: str, *, log: bool = False) -> File:
        """A new, empty file; one of that name must not exist. `log`: that `begin` may work."""

    def open(self, name: str) -> File:
        """A file of the log."""

    def rename(self, old: str, new: str) -> None: ...

    def remove(self, name: str) -> None: ...

    def sync_names(self) -> None:
        """Returns when creations, renames and removals so far survive a loss of power."""


class Writer(Protocol):
    """Writes in the background. `DiskWriter` is one."""

    def write(self, handle: int, data: bytes, offset: int, done: Written) -> None: ...


class DirectoryDisk:
    """A directory of the machine, files with mode 0600. With a `writer`, files of the log can be appended to
    while the event loop goes on."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.writer: Writer | None = None

    def names(self) -> list[str]:
        return sorted(entry.name for entry in self._path.iterdir())

    def read(self, name: str) -> bytes:
        return (self._path / name).read_bytes()

    def read_at(self, name: str, offset: int, size: int) -> bytes:
        with (self._path / name).open("rb", buffering=0) as file:
            file.seek(offset)
            return file.read(size)

    def create(self, name: str, *, log: bool = False) -> File:
        synchronous = os.O_DSYNC if log else 0
        return _DescriptorFile(self, self._path / name, os.O_CREAT | os.O_EXCL | synchronous)

    def open(self, name: str) -> File:
        return _DescriptorFile(self, self._path / name, os.O_DSYNC)

    def rename(self, old: str, new: str) -> None:
        (self._path / old).rename(self._path / new)

    def remove(self, name: str) -> None:
        (self._path / name).unlink()

    def sync_names(self) -> None:
        handle = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


class MemoryDisk:
    """A directory that ends with the process."""

    def __init__(self) -> None:
        self._files: dict[str, bytearray] = {}

    def names(self) -> list[str]:
        return sorted(self._files)

    def read(self, name: str) -> bytes:
        return bytes(self._files[name])

    def read_at(self, name: str, offset: int, size: int) -> bytes:
        return bytes(self._files[name][offset : offset + size])

    def create(self, name: str, *, log: bool = False) -> File:
        self._files[name] = bytearray()
        return _MemoryFile(self._files[name])

    def open(self, name: str) -> File:
        return _MemoryFile(self._files[name])

    def rename(self, old: str, new: str) -> None:
        self._files[new] = self._files.pop(old)

    def remove(self, name: str) -> None:
        del self._files[name]

    def sync_names(self) -> None:
        """What is in memory is as durable as it gets."""


class _MemoryFile:
    def __init__(self, content: bytearray) -> None:
        self._content = content

    def append(self, data: bytes) -> None:
        self._content += data

    def sync(self) -> None:
        """As `MemoryDisk.sync_names`."""

    def reserve(self, size: int) -> None:
        """There is nothing to gain."""

    def begin(self, data: bytes, done: Written) -> bool:
        return False

    def truncate(self, size: int) -> None:
        del self._content[size:]

    def close(self) -> None:
        """Nothing is held."""


class _DescriptorFile:
    """Files of the log are open with O_DSYNC: a write has returned when it is durable, so one call does what
    would be a write and a sync."""

    def __init__(self, disk: DirectoryDisk, path: Path, flags: int) -> None:
        self._disk = disk
        self._handle = os.open(path, os.O_WRONLY | os.O_CLOEXEC | flags, _FILE_MODE)
        self._end = self._reserved = os.fstat(self._handle).st_size

    def append(self, data: bytes) -> None:
        self._end += self._write(data, self._end)

    def _write(self, data: bytes, offset: int) -> int:
        view = memoryview(data)
        while view:
            size = os.pwrite(self._handle, view, offset)
            view, offset = view[size:], offset + size
        return len(data)

    def sync(self) -> None:
        os.fdatasync(self._handle)

    def reserve(self, size: int) -> None:
        start = max(self._end, self._reserved)
        if size > start:
            self._write(bytes(size - start), start)
            self._reserved = size

    def begin(self, data: bytes, done: Written) -> bool:
        writer, end = self._disk.writer, self._end
        if writer is None or end + len(data) > self._reserved:
            return False

        def written(result: int) -> None:
            if result == len(data):
                self._end = end + result
            done(result)

        writer.write(self._handle, data, end, written)
        return True

    def truncate(self, size: int) -> None:
        os.ftruncate(self._handle, size)
        self._end = self._reserved = size

    def close(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
        self._handle = -1  # the number may soon be another file's
