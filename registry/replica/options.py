"""How a member of a cluster runs."""

from dataclasses import dataclass
from pathlib import Path

from . import limits
from .peer_tls import Material


@dataclass(frozen=True, slots=True)
class Options:
    """`listen` is `host:port` for the other servers, port 0 takes a free one; `advertise` is where they
    find this one, "" for where it listens. `tick_s` and `election_ticks` are the same on every server.

    Without `data_dir` everything ends with the process, the server's id included.
    """

    data_dir: Path | None
    listen: str
    tls: Material
    datacenter: str
    advertise: str = ""
    tick_s: float = limits.TICK_S
    election_ticks: int = limits.ELECTION_TICKS
    snapshot_after_bytes: int = limits.SNAPSHOT_AFTER_BYTES
