"""Sans-IO. One subscription's deltas: what the sidecar holds, what it was sent, what it still needs.

At most one delta is unacknowledged; whatever changes meanwhile is folded into the next one. A refused
delta is not sent again until the configuration has changed.
"""

from collections.abc import Mapping

from weft.errors import UsageError, WeftError
from weft.pb.mesh.v1.mesh_pb2 import Ack, Resource

from .deltas import Outgoing

ERROR_CHARS_MAX = 500  # of a sidecar's reason, for the log
HELD_MAX = 100_000  # resources in a Hello; a proxy has two per upstream and a few more


class ProtocolViolation(UsageError):
    """Expected. The sidecar broke the order of Hello, Delta, Ack."""


class TooManyStreams(WeftError):
    """Expected. One instance holds more subscriptions than a sidecar and its successor need."""


class Session:
    """State of one stream."""

    def __init__(self, held: Mapping[str, str]) -> None:
        if len(held) > HELD_MAX:
            raise ProtocolViolation(f"Hello.versions has more than {HELD_MAX} entries")
        self._held = dict(held)
        self._target: dict[str, str] = {}
        self._refused: dict[str, str] | None = None
        self._nonce = 0
        self.waiting = False  # for the Ack of the last delta

    def next(self, resources: Mapping[str, Resource], index: int) -> Outgoing | None:
        """What brings the sidecar to `resources`; None when it is there, or has not answered yet.

        The first delta is sent even when it is empty: it tells a sidecar that its cached snapshot holds.
        """
        target = {name: resource.version for name, resource in resources.items()}
        settled = target == self._held and self._nonce
        if self.waiting or settled or target == self._refused:
            return None
        changed = (it for name, it in resources.items() if self._held.get(name) != it.version)
        removed = sorted(self._held.keys() - target.keys())
        self._nonce += 1
        self._target, self.waiting = target, True
        return Outgoing(self._nonce, index, tuple(changed), tuple(removed))

    def holds(self, resources: Mapping[str, Resource]) -> bool:
        """Whether the sidecar has these, and no others."""
        return {name: resource.version for name, resource in resources.items()} == self._held

    def acked(self, ack: Ack) -> str:
        """Takes the answer to the last delta in; the reason when it was refused, else "".

        Raises ProtocolViolation.
        """
        if not self.waiting or ack.nonce != self._nonce:
            raise ProtocolViolation(f"Ack.nonce {ack.nonce} is not that of the last delta")
        self.waiting = False
        if ack.error:
            self._refused = self._target
            return ack.error[:ERROR_CHARS_MAX]
        self._held, self._refused = self._target, None
        return ""
