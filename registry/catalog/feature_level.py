"""Which commands every server of the cluster can apply: what decides when a new kind is proposed (trap 21).

Each server writes the newest level that it knows into its own entry of the service `consul`. The entries are
in the log, so leaders decide by the same rows: a command that came with a newer level is refused until the
last server has been upgraded, and no server meets one that would halt it.
"""

from collections.abc import Iterable

from weft.pb.catalog.v1.command_pb2 import Command

from ..errors import InvalidCommand
from .state import State

SERVER_SERVICE = "consul"  # servers list themselves under Consul's name, which clients look for
ID_META, LEVEL_META = "server_id", "command_level"

FIRST_LEVEL = 3
"""What a server knows that says nothing: the level of the first version that ran as a cluster."""


def feature_level(state: State, server_ids: Iterable[str]) -> int:
    """The newest level that all of these servers know."""
    rows = state.services_by_name.prefix((SERVER_SERVICE,))
    known = {row.meta.get(ID_META, ""): row.meta.get(LEVEL_META, "") for row in rows}
    return min((_level(known.get(server_id, "")) for server_id in server_ids), default=FIRST_LEVEL)


def refuse_too_new(state: State, server_ids: Iterable[str], command: Command) -> None:
    """Raises InvalidCommand when one of the servers could not apply the command."""
    if command.version <= FIRST_LEVEL:
        return
    level = feature_level(state, server_ids)
    if command.version > level:
        raise InvalidCommand(
            f"this needs level {command.version} of every server, but one of them knows level {level}: "
            "upgrade all servers, then retry"
        )


def _level(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else FIRST_LEVEL
