"""The private keys of a registry: where they are kept, and that they belong to its catalog.

    <data dir>/keys/operator.key     seals the CA's key in the log, unless the operator holds one elsewhere
    <data dir>/keys/server.key       signs the registry's own certificate
    <data dir>/keys/server-root.pem  what sidecars pin

All are mode 0600. Without a data directory they end with the process. The key that signs the mesh's
leaves lies in the log, encrypted (ca/sealing.py). `ca.key` is where it lay before; it is taken into the
log and then removed.
"""

from collections.abc import MutableMapping
from dataclasses import dataclass
from pathlib import Path

from ca import operator_key
from ca.errors import KeyUnusable
from ca.provider import FileKey, KeyProvider, MemoryKey
from ca.sealing import Keyring
from weft.errors import DataDirProblem

from .catalog.state import State
from .identity.errors import KeyMismatch

KEYS = "keys"


@dataclass(frozen=True, slots=True)
class Keys:
    """The operator's keys, and the server root's with its certificate at `server_root`, if anywhere."""

    operator: Keyring
    server: KeyProvider
    server_root: Path | None
    adopted: Path | None = None  # a CA key from before keys were in the log

    def forget_adopted(self) -> None:
        """Removes the file once its key is in the log. Raises DataDirProblem."""
        if self.adopted is not None:
            try:
                self.adopted.unlink(missing_ok=True)
            except OSError as error:
                raise DataDirProblem(f"cannot remove {self.adopted} ({error.strerror})") from error


def memory_keys(environment: MutableMapping[str, str], operator_file: Path | None) -> Keys:
    """Raises KeyUnusable when the operator gives a key that cannot be used."""
    keyring = operator_key.find(environment, operator_file) or operator_key.in_memory()
    return Keys(keyring, MemoryKey(), None)


def cluster_keys(environment: MutableMapping[str, str], operator_file: Path | None) -> Keys:
    """Keys of a member of a cluster, which keeps no key in its data directory. Raises KeyUnusable."""
    keyring = operator_key.find(environment, operator_file)
    if keyring is None:
        raise KeyUnusable(
            "no operator key: give every server of the cluster the same one with --ca-key-file; "
            "make it with: openssl rand -base64 32"
        )
    return Keys(keyring, MemoryKey(), None)


def file_keys(
    data_dir: Path, state: State, environment: MutableMapping[str, str], operator_file: Path | None
) -> Keys:
    """Keys in a data directory whose log has made `state`.

    Raises KeyMismatch when the cluster is set up and one is missing: a new one would lock out every
    sidecar. Raises KeyUnusable, and DataDirProblem when the directory cannot be made.
    """
    keys = data_dir / KEYS
    ours, legacy = keys / "operator.key", keys / "ca.key"
    given = operator_key.find(environment, operator_file)
    sealed = state.ca().rows.key is not None
    needed = [keys / "server.key", keys / "server-root.pem"]
    if sealed and given is None:
        needed.append(ours)
    if not sealed and state.active_root():
        needed.append(legacy)
    for path in needed:
        if state.cluster is not None and not path.exists():
            raise KeyMismatch(f"{path} is missing: restore it from a backup of this data directory")
    try:
        keys.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise DataDirProblem(f"cannot make {keys} ({error.strerror}): make {data_dir} writable") from error
    keyring = given or (operator_key.read_file(ours) if ours.exists() else operator_key.write_file(ours))
    adopted = legacy if legacy.exists() and state.cluster is not None else None
    return Keys(keyring, FileKey(needed[0]), needed[1], adopted)
