"""Who this server is: `<data dir>/SERVER`, made at the first start.

The id is as old as the log: a server whose disk was emptied has forgotten its votes, so it must come back
as another one (trap 19). It is written last, so that an id without a log means that the log was taken away.
"""

import json
import uuid
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from weft.errors import DataDirProblem
from weft.files import write_private

from ..raft.config import ID_BYTES_MAX

_FILE = "SERVER"
_BYTES_MAX = 4096


@dataclass(frozen=True, slots=True)
class ServerFile:
    """`cluster_id` is "" until the server belongs to a cluster."""

    server_id: str
    cluster_id: str = ""

    def of_cluster(self, cluster_id: str) -> "ServerFile":
        return replace(self, cluster_id=cluster_id)

    def save(self, directory: Path) -> None:
        """Returns when it is durable. Raises EnvironmentProblem."""
        write_private(directory / _FILE, (json.dumps(asdict(self)) + "\n").encode())


def new_server_id(entropy: Callable[[int], bytes]) -> str:
    return str(uuid.UUID(bytes=entropy(16), version=4))


def cluster_id_of(server_ids: Iterable[str]) -> str:
    """The id that servers which bootstrap together agree on without a word."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, "weft-cluster:" + ",".join(sorted(server_ids))))


def load(directory: Path) -> ServerFile | None:
    """None before the first start. Raises DataDirProblem, OSError."""
    path = directory / _FILE
    if not path.exists():
        return None
    try:
        with path.open("rb") as file:
            found = ServerFile(**json.loads(file.read(_BYTES_MAX)))
        if not 0 < len(found.server_id) <= ID_BYTES_MAX or not isinstance(found.cluster_id, str):
            raise ValueError("the ids are no ids")
    except (ValueError, TypeError) as error:
        raise DataDirProblem(
            f"{path}: does not say who this server is ({error}); restore it from a backup"
        ) from error
    return found
