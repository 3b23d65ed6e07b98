"""Sans-IO. One end of a conversation between servers: what may be said when, as typed messages.

The caller opens, the called server answers with Opened or Closing; then Raft messages and calls go one way
and answers the other. Either side may close. What may arrive is a table; anything else ends the connection.
"""

from enum import Enum, auto

from google.protobuf.message import DecodeError

from weft.pb.raft.v1 import raft_pb2 as pb

from . import limits
from .errors import PeerRefused
from .lanes import Inbox, Kind, Lane, Outbox

Said = pb.Opening | pb.Opened | pb.Closing | pb.Message | pb.Call | pb.Answer

_TYPES: dict[int, type[Said]] = {
    Kind.OPENING: pb.Opening,
    Kind.OPENED: pb.Opened,
    Kind.CLOSING: pb.Closing,
    Kind.MESSAGE: pb.Message,
    Kind.CALL: pb.Call,
    Kind.ANSWER: pb.Answer,
}


class Phase(Enum):
    """Of one end; the other is in the opposite one."""

    CALLED = auto()  # nothing was said yet
    CALLING = auto()  # an Opening is on its way
    SERVING = auto()
    SENDING = auto()


MAY_ARRIVE: dict[Phase, frozenset[int]] = {
    Phase.CALLED: frozenset({Kind.OPENING}),
    Phase.CALLING: frozenset({Kind.OPENED, Kind.CLOSING}),
    Phase.SERVING: frozenset({Kind.MESSAGE, Kind.CALL, Kind.CLOSING}),
    Phase.SENDING: frozenset({Kind.ANSWER, Kind.CLOSING}),
}

_LANE_OF_MESSAGE = {"append": Lane.WORK, "install_snapshot": Lane.BULK}


class Session:
    """`outbox` is what is to be sent; `receive` says what arrived."""

    def __init__(self, phase: Phase) -> None:
        self.phase = phase
        self.outbox = Outbox()
        self._inbox = Inbox(limits.OPENING_BYTES_MAX)

    def receive(self, data: bytes) -> list[Said]:
        """What these bytes complete, in order. Raises PeerRefused when the other side breaks the rules."""
        said: list[Said] = []
        for kind, body in self._inbox.receive(data):
            if kind not in MAY_ARRIVE[self.phase]:
                raise PeerRefused(
                    f"{Kind(kind).name.lower()} is out of place here; run the same version on every server"
                )
            try:
                said.append(_TYPES[kind].FromString(body))
            except DecodeError as error:
                raise PeerRefused(f"a message does not decode ({error}); run the same version") from None
            if self.phase is Phase.CALLING:
                self._go_on(Phase.SENDING)
        return said

    # The called side

    def accept(self, opened: pb.Opened) -> None:
        """Answers the Opening."""
        self._go_on(Phase.SERVING)
        self.outbox.put(Lane.BEAT, Kind.OPENED, opened.SerializeToString())

    def answer(self, answer: pb.Answer) -> None:
        self.outbox.put(Lane.WORK, Kind.ANSWER, answer.SerializeToString())

    # The calling side

    def open(self, opening: pb.Opening) -> None:
        self.outbox.put(Lane.BEAT, Kind.OPENING, opening.SerializeToString())

    def send(self, message: pb.Message) -> bool:
        """False when so much waits that the message is dropped, as a network would do."""
        outbox = self.outbox
        if outbox.waiting >= limits.LINK_MESSAGES_MAX or outbox.waiting_bytes >= limits.LINK_BYTES_MAX:
            return False
        lane = _LANE_OF_MESSAGE.get(message.WhichOneof("body") or "", Lane.BEAT)
        outbox.put(lane, Kind.MESSAGE, message.SerializeToString())
        return True

    def call(self, call: pb.Call) -> bool:
        """False when too much waits; then nothing is sent."""
        if self.outbox.waiting_bytes >= limits.LINK_BYTES_MAX:
            return False
        self.outbox.put(Lane.WORK, Kind.CALL, call.SerializeToString())
        return True

    def withdraw_calls(self) -> int:
        """Takes back the newest calls that have not begun to leave; answers how many."""
        return self.outbox.withdraw(Lane.WORK, Kind.CALL)

    # Either side

    def close(self, reason: str) -> None:
        """Nothing that waits is sent any more but the reason."""
        self.outbox.clear()
        told = pb.Closing(reason=reason[: limits.REASON_CHARS_MAX])
        self.outbox.put(Lane.BEAT, Kind.CLOSING, told.SerializeToString())

    def _go_on(self, phase: Phase) -> None:
        self.phase = phase
        self._inbox.size_max = limits.PEER_MESSAGE_BYTES_MAX
