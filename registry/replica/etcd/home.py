"""The data directory of a server whose log is in etcd: who it is, and that no other process is it."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from weft.errors import DataDirProblem

from ..data_dir import DataDir
from ..server_file import ServerFile, load, new_server_id


@dataclass(frozen=True, slots=True)
class Home:
    """`release` gives the directory up."""

    server_id: str
    release: Callable[[], None]


def nowhere() -> Home:
    """A server whose id ends with the process."""
    return Home(new_server_id(os.urandom), lambda: None)


def open_home(path: Path) -> Home:
    """Locks the directory. Raises DataDirProblem, also when it holds a log of its own."""
    directory = DataDir.open(path)
    try:
        if any(directory.log.iterdir()):
            raise DataDirProblem(
                f"data directory {path}: holds a log of its own, which would not be read with --consensus; "
                "give another directory"
            )
        who = load(path)
        if who is None:
            who = ServerFile(new_server_id(os.urandom))
            who.save(path)
        return Home(who.server_id, directory.close)
    except OSError as error:
        directory.close()
        raise DataDirProblem(f"data directory {path}: {error.strerror or error}") from error
    except BaseException:
        directory.close()
        raise
