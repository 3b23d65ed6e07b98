"""Watch indexes that outlive what they cover, so that a deletion moves the index of its readers.

A tombstone is an entry of `State.moved` whose rows are gone. The set of them is derived from the
tables and kept by age, so that expiry looks at the oldest only.
"""

from collections.abc import Iterator

from .model import SERVICE_INTENTIONS
from .state import State
from .watches import WatchKey


def is_covering(state: State, key: WatchKey) -> bool:
    """Whether rows that the key covers exist. Keys of whole tables always count as covering."""
    kind, *rest = key
    head = tuple(rest)
    match kind:
        case "node":
            return head in state.nodes
        case "service":
            return _has_any(state.services_by_name.prefix(head))
        case "connect":
            return _has_any(state.services_by_connect.prefix(head))
        case "instance":
            return state.instance(head[0]).rows is not None
        case "credential":
            return head in state.credentials
        case "config-entry":
            kind_name, _, entry_name = head[0].partition("/")
            if kind_name == SERVICE_INTENTIONS:
                return _has_any(state.intentions.prefix((entry_name,)))
            return (kind_name, entry_name) in state.config_entries
        case "experiments-on":
            return any(row.service == head[0] for row in state.experiments.values())
        case "session":
            return head in state.sessions
        case "kv":
            return head in state.kv
        case "kv-directory":
            return _has_any(state.kv_under(head[0]))
        case "intention-destination":
            return _has_any(state.intentions.prefix(head))
        case "intention-source":
            return _has_any(state.intentions_by_source.prefix(head))
        case _:
            return True


def _has_any(rows: Iterator[object]) -> bool:
    return next(rows, None) is not None
