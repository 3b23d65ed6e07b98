"""Sans-IO. What an audit log tells of."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from weft.pb.catalog.v1.command_pb2 import Command

DETAIL_CHARS_MAX = 512
"""Of one text of an event: what callers send ends up in it."""

DETAILS_MAX = 16


class Outcome(StrEnum):
    """How it ended."""

    DONE = "done"
    DENIED = "denied"  # the caller may not, or is not known
    REFUSED = "refused"  # the request itself is wrong
    FAILED = "failed"  # the registry could not
    UNKNOWN = "unknown"  # may or may not have been done: the caller went away, the leader changed


Detail = str | int | float | bool


@dataclass(frozen=True, slots=True)
class Event:
    """One line to be. `operation` is what was asked (`PUT /v1/kv/:key`, `chaos start`), `resource` what it
    was asked about. Secrets have no place in any field; texts are cut at DETAIL_CHARS_MAX."""

    operation: str
    outcome: Outcome
    resource: str = ""
    accessor_id: str = ""  # of the token; "" where there was none, or none that is known
    source: str = ""  # address of who asked; "" is this server itself
    index: int = 0  # of the write in the log
    request_id: str = ""  # of the command in the log, where one was made
    reason: str = ""  # why it was not done
    detail: Mapping[str, Detail] = field(default_factory=dict)
    command: Command | None = None  # what it led to: the line says its kind and whom it is about
