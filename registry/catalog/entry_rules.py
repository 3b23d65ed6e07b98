"""What every change of a config entry is held to: the index that it was decided by, and possible chains."""

from collections.abc import Iterator

from ..config_entries.entry import Entry
from ..discovery_chain.validate import ROUTING, check_chains
from ..errors import Conflict
from . import watches
from .model import SERVICE_INTENTIONS
from .state import State


def modify_index(state: State, kind: str, name: str) -> int:
    """What `cas` compares with: 0 where there is no entry."""
    if kind != SERVICE_INTENTIONS:
        row = state.config_entries.get((kind, name))
        return row.indexes.modify if row else 0
    has_any = next(state.intentions.prefix((name,)), None) is not None
    return state.index_of(watches.intention_destination(name)) if has_any else 0


def compare(state: State, kind: str, name: str, expected: int) -> None:
    """Raises Conflict unless the entry has the expected modify index."""
    found = modify_index(state, kind, name)
    if found != expected:
        raise Conflict(f"{kind}/{name} was changed at index {found}, not {expected}; read it again")


def check_routing(state: State, kind: str, name: str) -> None:
    """After the change of an entry. Raises ImpossibleChain when a chain contradicts itself now."""
    datacenter = state.cluster.datacenter if state.cluster else ""
    check_chains(kind, name, datacenter, state.config, _routing(state))


def _routing(state: State) -> Iterator[Entry]:
    for kind in ROUTING:
        for row in state.config_entries.prefix((kind,)):
            yield row.entry
