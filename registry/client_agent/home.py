"""The agent's data directory: its lock, the node's id, and folders and files of others.

FORMAT      "weft agent 1"
LOCK        held with flock while an agent runs
node-id     a UUID, made at the first start: a node that comes back is the same one
services/   registrations (`store`)
tokens.json what they are registered with (`tokens`)
"""

import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Self

from weft.errors import DataDirProblem
from weft.files import write_private

from ..replica.data_dir import check_rights, lock_directory

FORMAT = "weft agent 1"
_FORMAT_FILE, _ID_FILE = "FORMAT", "node-id"
_SETTING_UP = ("LOCK", "lost+found")
_SMALL_BYTES_MAX = 256


class Home:
    """A locked directory. `close` gives it up."""

    def __init__(self, path: Path, lock: int, node_id: str) -> None:
        self.path = path
        self.node_id = node_id
        self._lock: int | None = lock

    @classmethod
    def open(cls, path: Path, entropy: Callable[[int], bytes]) -> Self:
        """Makes or checks the directory and locks it. Raises DataDirProblem, EnvironmentProblem."""
        try:
            if not path.exists():
                path.mkdir(mode=0o700, parents=True)
            check_rights(path)
            _check_format(path)
            lock = lock_directory(path)
        except OSError as error:
            raise DataDirProblem(
                f"data directory {path}: {error.strerror or error}; give one that this user may write"
            ) from error
        try:
            return cls(path, lock, _set_up(path, entropy))
        except BaseException:
            os.close(lock)
            raise

    def close(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _check_format(path: Path) -> None:
    found = _read_small(path / _FORMAT_FILE)
    if found not in ("", FORMAT):
        raise DataDirProblem(
            f"data directory {path}: is not an agent's of this version ({found[:64]!r}, this one writes "
            f"{FORMAT!r}); give another directory"
        )
    strangers = sorted(it.name for it in path.iterdir() if it.name not in _SETTING_UP)
    if not found and [it for it in strangers if not it.startswith(f".{_FORMAT_FILE}")]:
        raise DataDirProblem(
            f"data directory {path}: holds {strangers[0]!r} but no {_FORMAT_FILE} file, so it is not Weft's; "
            "give an empty directory, or a new one"
        )


def _set_up(path: Path, entropy: Callable[[int], bytes]) -> str:
    """The node's id. The format comes first: what has it is ours, whatever else is missing."""
    if not (path / _FORMAT_FILE).exists():
        write_private(path / _FORMAT_FILE, FORMAT.encode() + b"\n")
    file = path / _ID_FILE
    found = _read_small(file)
    if not found:
        found = str(uuid.UUID(bytes=entropy(16), version=4))
        write_private(file, found.encode() + b"\n")
    try:
        return str(uuid.UUID(found))
    except ValueError:
        raise DataDirProblem(f"{file}: is not a UUID; delete it, and the node gets a new one") from None


def _read_small(path: Path) -> str:
    """ "" where there is no such file."""
    try:
        with path.open("rb") as file:
            return file.read(_SMALL_BYTES_MAX).decode("utf-8", "replace").strip()
    except FileNotFoundError:
        return ""
