"""A cluster that has lost its majority for ever: one server that is left becomes a cluster of one.

One, and not all that are left: their logs may end differently, and nobody is there any more to say which
entries of the longer one count. Here all entries of the chosen server count as decided, and the others come
back empty and learn from it. The cluster gets a new id, so that lost servers that turn up with their old
disks are refused, and cannot go on beside it as the old cluster.

Works on the data directory of a server that is stopped.
"""

import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from google.protobuf.message import DecodeError

from weft.errors import DataDirProblem
from weft.pb.catalog.v1.command_pb2 import Command

from ..catalog.apply import apply
from ..catalog.snapshot import decode, encode
from ..catalog.state import State
from ..errors import LogCorrupt
from ..raft.config import NOBODY, Config, Member
from ..raft.messages import EntryKind, SnapshotMeta
from ..replica.home import Home
from ..replica.snapshots import write_meta
from ..replica.wal import Recovered


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a stopped server's log ends. Of several, take the one with the highest (term, index)."""

    server_id: str
    cluster_id: str
    term: int
    index: int
    members: tuple[Member, ...]


def standing(data_dir: Path) -> Standing:
    """Looks, and changes nothing but a torn tail. Raises DataDirProblem."""
    home = _opened(data_dir)
    try:
        found = home.recover()
        return Standing(
            home.server_id, home.cluster_id, found.last.term, found.last.index, _config(found).members
        )
    finally:
        home.close()


def recover(data_dir: Path, entropy: Callable[[int], bytes]) -> Standing:
    """Makes the server of this directory a cluster of its own. Raises DataDirProblem, UnknownCommand.

    May be run again where it was interrupted.
    """
    home = _opened(data_dir)
    try:
        found = home.recover()
        known = _config(found).get(home.server_id)
        if known is None or not found.last.index:
            raise DataDirProblem(
                f"data directory {data_dir}: this server was no member of its cluster, so take another one"
            )
        state, config = _state(found), Config((replace(known, voter=True),))
        home.enter(str(uuid.UUID(bytes=entropy(16), version=4)))
        _write(home, SnapshotMeta(found.last.index, found.last.term, config), state, found)
        return Standing(home.server_id, home.cluster_id, found.last.term, found.last.index, config.members)
    finally:
        home.close()


def _opened(data_dir: Path) -> Home:
    """Raises DataDirProblem, also while a server uses the directory."""
    if not (data_dir / "SERVER").exists():
        raise DataDirProblem(f"data directory {data_dir}: is not of a server; give that of `weft server`")
    return Home.open(data_dir)


def _config(found: Recovered) -> Config:
    """The newest that the log holds, committed or not: as a server takes it at its start."""
    config = found.snapshot.config if found.snapshot else NOBODY
    for entry in found.entries:
        if entry.kind is EntryKind.CONFIG:
            config = Config.decode(entry.data)
    return config


def _state(found: Recovered) -> State:
    """After all entries of the log. Raises LogCorrupt, UnknownCommand."""
    state = decode(found.rows) if found.snapshot and found.snapshot.index else State()
    for entry in found.entries:
        if entry.kind is not EntryKind.NORMAL:
            state = replace(state, index=entry.index)
            continue
        try:
            command = Command.FromString(entry.data)
        except DecodeError as error:
            raise LogCorrupt(f"the log entry {entry.index} is not a command; restore a backup") from error
        state = apply(state, command, entry.index).state
    return state


def _write(home: Home, meta: SnapshotMeta, state: State, found: Recovered) -> None:
    """The snapshot first: once it is there, the old log and the old members count no more."""
    writer = home.wal.snapshot_writer(meta.index)
    try:
        writer.write([write_meta(meta)])
        writer.write(list(encode(state)))
        writer.finish()
    finally:
        writer.abort()
    home.wal.restart_after(found.last)
    home.wal.drop_before(meta.index)
