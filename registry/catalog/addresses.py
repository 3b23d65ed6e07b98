"""Virtual addresses: the command from which on services have them.

Servers that do not know it would give none where others do, and the states would differ: so it is a command
of its own, of a level that every server has to know, and not a part of registering.
"""

from collections.abc import Generator, Iterator

from weft.pb.catalog.v1 import command_pb2 as pb

from .address_draft import ROUTED
from .commands import ADDRESSES_LEVEL, Stamp
from .draft import Draft
from .state import State

ROWS_PER_STEP = 64
"""Between two steps: below a millisecond."""


def give_addresses(stamp: Stamp) -> pb.Command:
    """From now on services of the mesh have virtual addresses. Done before: changes nothing."""
    command = pb.Command(version=ADDRESSES_LEVEL, time_ms=stamp.time_ms, request_id=stamp.request_id)
    command.give_addresses.SetInParent()
    return command


def give(draft: Draft, _command: pb.GiveAddresses) -> Generator[None, None, str]:
    """In the order of names, those with endpoints first."""
    if draft.state.addressing:
        return ""
    draft.start_addressing()
    for count, name in enumerate(_names(draft.state), 1):
        draft.settle_address(name)
        draft.touch_endpoints(name)
        if not count % ROWS_PER_STEP:
            yield
    return ""


def _names(state: State) -> Iterator[str]:
    """Each as often as it has endpoints and entries: what has an address keeps it."""
    last = ""
    for row in state.services_by_connect.values():
        if row.connects_to != last:
            last = row.connects_to
            yield last
    for kind in ROUTED:
        yield from (row.name for row in state.config_entries.prefix((kind,)))
