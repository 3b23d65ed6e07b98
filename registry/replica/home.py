"""What a server has: its id, its cluster's, and its log; on disk, or in memory until the process ends."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from weft.errors import DataDirProblem

from ..errors import LogCorrupt
from .data_dir import DataDir
from .disk import DirectoryDisk, MemoryDisk
from .disk_writer import KernelWriter, ThreadWriter, disk_writer
from .server_file import ServerFile, load, new_server_id
from .wal import Recovered, Wal

T = TypeVar("T")


class Home:
    """`recover` before anything else. `close` gives the directory up."""

    def __init__(self, wal: Wal, who: ServerFile, directory: DataDir | None) -> None:
        self.wal = wal
        self._who = who
        self._directory = directory
        self._writer: KernelWriter | ThreadWriter | None = None

    @classmethod
    def in_memory(cls) -> "Home":
        return cls(Wal(MemoryDisk()), ServerFile(new_server_id(os.urandom)), None)

    @classmethod
    def open(cls, path: Path) -> "Home":
        """Locks the directory. Raises DataDirProblem."""
        directory = DataDir.open(path)
        try:
            who = _translated(path, lambda: load(path)) or ServerFile(new_server_id(os.urandom))
            return cls(Wal(DirectoryDisk(directory.log)), who, directory)
        except BaseException:
            directory.close()
            raise

    @property
    def server_id(self) -> str:
        return self._who.server_id

    @property
    def cluster_id(self) -> str:
        return self._who.cluster_id

    @property
    def durable(self) -> bool:
        return self._directory is not None

    def recover(self) -> Recovered:
        """Reads the log.

        Raises DataDirProblem (LogCorrupt included) or EnvironmentProblem; then the directory is given up.
        """
        try:
            return self._recover()
        except BaseException:
            self.close()
            raise

    def _recover(self) -> Recovered:
        if self._directory is None:
            return self.wal.recover()
        path = self._directory.path
        known = _translated(path, lambda: load(path))
        if known and not any(self._directory.log.iterdir()):
            raise DataDirProblem(
                f"data directory {path}: the log of server {known.server_id} is gone, and its votes with it; "
                "restore it from a backup, or remove the whole directory to come back as a new server"
            )
        found = _translated(path, self.wal.recover)
        if known is None:
            self._who.save(path)
        return found

    def write_in_background(self) -> None:
        """From now on the log is written while the event loop, in which this is called, goes on."""
        if isinstance(self.wal.disk, DirectoryDisk):
            self.wal.disk.writer = self._writer = disk_writer()

    def enter(self, cluster_id: str) -> None:
        """Remembers the cluster for good. Raises EnvironmentProblem."""
        self._who = self._who.of_cluster(cluster_id)
        if self._directory:
            self._who.save(self._directory.path)

    def close(self) -> None:
        self.wal.close()
        if self._writer:
            self._writer.close()
        if self._directory:
            self._directory.close()


def _translated(path: Path, work: Callable[[], T]) -> T:
    try:
        return work()
    except LogCorrupt as error:
        raise LogCorrupt(f"data directory {path}: {error}") from None
    except OSError as error:
        raise DataDirProblem(
            f"data directory {path}: {error.strerror or error}; mend it, then retry"
        ) from error
