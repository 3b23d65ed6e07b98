"""Files that are read up to a bound. Those that hold secrets: mode 0600, replaced whole or not at all."""

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import BinaryIO

from .errors import ConfigError, EnvironmentProblem
from .limits import PRIVATE_FILE_BYTES_MAX


def read_bounded(source: Path | BinaryIO, label: str, bytes_max: int = PRIVATE_FILE_BYTES_MAX) -> bytes:
    """The content of a file, or of one that is open and stays so; no more than `bytes_max` of it is read.

    `label` names it in messages ("--tls-ca /etc/weft/ca.pem"). Raises ConfigError when it is missing,
    unreadable or larger.
    """
    with _naming(label), source.open("rb") if isinstance(source, Path) else nullcontext(source) as file:
        data = file.read(bytes_max + 1)
    if len(data) > bytes_max:
        raise ConfigError(f"{label}: over {bytes_max} bytes; this is another file")
    return data


def read_private(
    path: Path, what: str, bytes_max: int = PRIVATE_FILE_BYTES_MAX, forbidden_mode: int = 0o077
) -> bytes:
    """The content of a file that only its owner may read, `bytes_max` of it at most.

    `what` names the content in messages ("credential"). `forbidden_mode` is of permission bits that must
    not be set. Raises ConfigError when the file is missing,
    unreadable, too large, not a regular file, or open to group or others.
    """
    label = f"{what} file {path}"
    with _naming(label), path.open("rb") as file:
        mode = os.fstat(file.fileno()).st_mode  # of the open file: the name may be swapped meanwhile
        if not stat.S_ISREG(mode):
            raise ConfigError(f"{label}: is not a regular file; give the path of one")
        if mode & forbidden_mode:
            raise ConfigError(
                f"{label}: others may read it (mode {stat.S_IMODE(mode):04o}); run: chmod 600 {path}"
            )
        return read_bounded(file, label, bytes_max)


@contextmanager
def _naming(label: str) -> Iterator[None]:
    """What the machine refuses is a ConfigError that says of which file."""
    try:
        yield
    except OSError as error:
        raise ConfigError(f"{label}: cannot be read ({error.strerror}); check the path") from error


def write_private(path: Path, data: bytes) -> None:
    """Writes `path` with mode 0600: after a crash it holds the old content or the new, never a part.

    Raises EnvironmentProblem when the machine does not allow it.
    """
    try:
        handle, scratch = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # 0600 from the start
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            Path(scratch).replace(path)
        except BaseException:
            Path(scratch).unlink(missing_ok=True)
            raise
        _sync_directory(path.parent)
    except OSError as error:
        raise EnvironmentProblem(
            f"cannot write {path} ({error.strerror}); make {path.parent} exist and writable"
        ) from error


def _sync_directory(directory: Path) -> None:
    """Without it the rename itself may be lost with the power."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
