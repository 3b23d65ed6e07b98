"""The data directory: ours alone, of a version that we know, and open to nobody else.

    FORMAT     "weft data 2"; written last when a directory is set up
    LOCK       held with flock while a server runs
    SERVER     who this server is (`server_file`)
    log/       segments and snapshots (`wal`)

Every refusal is one DataDirProblem and leaves the directory as it was.
"""

import fcntl
import os
import stat
from pathlib import Path
from types import TracebackType
from typing import Self

from weft.errors import DataDirProblem

FORMAT = "weft data 2"
_FORMAT_FILE, _LOCK_FILE, _LOG = "FORMAT", "LOCK", "log"
_FORMAT_BYTES_MAX = 256
_SETTING_UP = (_LOCK_FILE, _LOG, "FORMAT.tmp", "lost+found")
"""What an empty directory may hold: what a crash leaves of setting one up, and what mkfs makes."""


class DataDir:
    """A locked data directory. `close` gives it up."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self._lock: int | None = lock

    @classmethod
    def open(cls, path: Path) -> Self:
        """Makes or checks the directory and locks it. Raises DataDirProblem."""
        try:
            return cls._open(path)
        except OSError as error:
            raise DataDirProblem(
                f"data directory {path}: {error.strerror or error}; give one that this user may write"
            ) from error

    @classmethod
    def _open(cls, path: Path) -> Self:
        if not path.exists():
            path.mkdir(mode=0o700, parents=True)
        check_rights(path)
        _check_content(path)
        directory = cls(path, lock_directory(path))
        try:
            directory._set_up()
        except BaseException:
            directory.close()
            raise
        return directory

    @property
    def log(self) -> Path:
        return self.path / _LOG

    def _set_up(self) -> None:
        self.log.mkdir(mode=0o700, exist_ok=True)
        marker = self.path / _FORMAT_FILE
        if not marker.exists():
            scratch = marker.with_suffix(".tmp")
            scratch.write_text(FORMAT + "\n")
            sync(scratch)
            scratch.rename(marker)
            sync(self.path)

    def close(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def check_rights(path: Path) -> None:
    """Raises DataDirProblem where other users may change it, or this one may not."""
    about = path.stat()
    if not stat.S_ISDIR(about.st_mode):
        raise DataDirProblem(f"data directory {path}: is not a directory; give the path of one")
    if about.st_uid not in (os.geteuid(), 0) or about.st_mode & 0o022:
        raise DataDirProblem(
            f"data directory {path}: other users may change it; "
            f"run: chown {os.geteuid()} {path}; chmod 700 {path}"
        )
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        raise DataDirProblem(
            f"data directory {path}: this user may not read and write it; mend its owner or mode"
        )


def _check_content(path: Path) -> None:
    marker = path / _FORMAT_FILE
    if marker.exists():
        with marker.open("rb") as file:
            found = file.read(_FORMAT_BYTES_MAX).decode("utf-8", "replace").strip()
        if found != FORMAT:
            raise DataDirProblem(
                f"data directory {path}: was written by another version ({found[:64]!r}, this one writes "
                f"{FORMAT!r}); use the Weft that wrote it, or another directory"
            )
        return
    if any((path / _LOG).glob("*")):
        raise DataDirProblem(
            f"data directory {path}: has a log but no {_FORMAT_FILE} file; restore it from a backup"
        )
    if strangers := sorted(it.name for it in path.iterdir() if it.name not in _SETTING_UP):
        raise DataDirProblem(
            f"data directory {path}: holds {strangers[0]!r} but no {_FORMAT_FILE} file, so it is not Weft's; "
            "give an empty directory, or a new one"
        )


def lock_directory(path: Path) -> int:
    """A descriptor that holds the lock until it is closed. Raises DataDirProblem, OSError."""
    lock = os.open(path / _LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise DataDirProblem(
            f"data directory {path}: another Weft process uses it; stop that one, or give another directory"
        ) from None
    return lock


def sync(path: Path) -> None:
    """Returns when the file or directory survives a loss of power. Raises OSError."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
