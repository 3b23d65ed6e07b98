"""What the log needs of a disk, and the real one.

The port is as narrow as it is so that tests can stand a disk behind it that loses, tears or refuses
what was not synced. All methods raise OSError; `store` translates.
"""

import os
from pathlib import Path
from typing import Protocol

_FILE_MODE = 0o600


class File(Protocol):
    """A file that is only appended to."""

    def append(self, data: bytes) -> None:
        """Writes all of it at the end. May have written a part when it raises."""

    def sync(self) -> None:
        """Returns when everything appended survives a loss of power."""

    def truncate(self, size: int) -> None: ...

    def close(self) -> None:
        """May be called twice."""


class Disk(Protocol):
    """One flat directory."""

    def names(self) -> list[str]: ...

    def read(self, name: str) -> bytes: ...

    def read_at(self, name: str, offset: int, size: int) -> bytes:
        """At most `size` bytes from `offset` on; fewer only at the end."""

    def create(self, name: str) -> File:
        """A new, empty file; one of that name must not exist."""

    def open(self, name: str) -> File: ...

    def rename(self, old: str, new: str) -> None: ...

    def remove(self, name: str) -> None: ...

    def sync_names(self) -> None:
        """Returns when creations, renames and removals so far survive a loss of power."""


class DirectoryDisk:
    """A directory of the machine, files with mode 0600."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def names(self) -> list[str]:
        return sorted(entry.name for entry in self._path.iterdir())

    def read(self, name: str) -> bytes:
        return (self._path / name).read_bytes()

    def read_at(self, name: str, offset: int, size: int) -> bytes:
        with (self._path / name).open("rb", buffering=0) as file:
            file.seek(offset)
            return file.read(size)

    def create(self, name: str) -> File:
        return _DescriptorFile(self._path / name, os.O_CREAT | os.O_EXCL)

    def open(self, name: str) -> File:
        return _DescriptorFile(self._path / name, 0)

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

    def create(self, name: str) -> File:
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

    def truncate(self, size: int) -> None:
        del self._content[size:]

    def close(self) -> None:
        """Nothing is held."""


class _DescriptorFile:
    def __init__(self, path: Path, flags: int) -> None:
        self._handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | flags, _FILE_MODE)

    def append(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._handle, view) :]

    def sync(self) -> None:
        os.fdatasync(self._handle)

    def truncate(self, size: int) -> None:
        os.ftruncate(self._handle, size)

    def close(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
        self._handle = -1  # the number may soon be another file's
