"""The private keys of a registry: where they are kept, and that they belong to its catalog.

    <data dir>/keys/ca.key           signs the mesh's leaves
    <data dir>/keys/server.key       signs the registry's own certificate
    <data dir>/keys/server-root.pem  what sidecars pin

All are mode 0600. Without a data directory they end with the process.
"""

from dataclasses import dataclass
from pathlib import Path

from ca.provider import FileKey, KeyProvider, MemoryKey
from weft.errors import DataDirProblem

from .catalog.state import State
from .identity.errors import KeyMismatch

KEYS = "keys"


@dataclass(frozen=True, slots=True)
class Keys:
    """Keys of the CA and of the server root; the latter's certificate lies at `server_root` if anywhere."""

    ca: KeyProvider
    server: KeyProvider
    server_root: Path | None


def memory_keys() -> Keys:
    return Keys(MemoryKey(), MemoryKey(), None)


def file_keys(data_dir: Path, state: State) -> Keys:
    """Keys in a data directory whose log has made `state`.

    Raises KeyMismatch when the cluster is set up and one is missing: a new one would lock out every
    sidecar. Raises DataDirProblem when the directory cannot be made.
    """
    keys = data_dir / KEYS
    paths = [keys / name for name in ("ca.key", "server.key", "server-root.pem")]
    if state.cluster is not None:
        for path in paths:
            if not path.exists():
                raise KeyMismatch(f"{path} is missing: restore it from a backup of this data directory")
    try:
        keys.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise DataDirProblem(f"cannot make {keys} ({error.strerror}): make {data_dir} writable") from error
    return Keys(FileKey(paths[0]), FileKey(paths[1]), paths[2])
