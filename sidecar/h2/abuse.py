"""Bounds on what costs us more than it costs the peer (CVE-2023-44487, CVE-2019-9511 to 9518).

Each kind of event fills its own bucket, which leaks once a second. Over the brim the connection ends with
ENHANCE_YOUR_CALM; well before, it gets little of our time (`restless`): who is cut off at once comes again at
once, and a slow flood costs nobody else. The numbers leave room for what real clients do: a thousand calls
cancelled at once, a keepalive or bandwidth-probe PING with every window update.
"""

from .errors import ConnectionFault, ErrorCode

RESETS_MAX, RESETS_PER_S = 4000, 400  # streams that the peer opened and reset, or that were malformed
CONTROL_MAX, CONTROL_PER_S = 1000, 500  # PING and SETTINGS: each makes us answer
EMPTY_MAX, EMPTY_PER_S = 1000, 500  # frames that say nothing: empty DATA, PRIORITY, unknown types
# A broken rule costs as much as so many resets: sound peers break none, while they may cancel thousands.
FAULT_COST = 8
# From these levels on a caller is restless. Cancelling more at once is allowed, and takes a little longer.
RESTLESS_RESETS, RESTLESS_CONTROL, RESTLESS_EMPTY = 512, 100, 100
# A peer's sidecar cancels for many, but rolls its connection before it has reset so many (`proxy.upstream`).
SHARED_RESTLESS_RESETS = RESETS_MAX // 2
# Pieces of so few octets, and windows for so few while an answer waits, move next to nothing and cost as much
# as any at every hop (CVE-2019-9511). Sound callers have some, so nobody is cut off for them: who has many in
# a second gets little time, and the next hop is not overrun, where all callers' frames stand in one line.
DRIBBLE_BYTES = 8
RESTLESS_DRIBBLES, DRIBBLES_PER_S = 1000, 2000
SETTINGS_COST = 8  # in `control`: each goes through all open streams, and clients send a few in a minute
SETTINGS_BYTES_PER_COST = 64  # and each is read: one frame can hold 2,730
CONTINUATIONS_MAX = 32  # frames of one header block
CONTINUATIONS_S = 10  # from its HEADERS to END_HEADERS; nothing else may come in between (slow headers)
STRAGGLERS_MAX = 4  # frames after our RST_STREAM that are nobody's fault: 1xx, head, trailers, reset
INFORMATIONAL_MAX = 32  # 1xx heads of one response: they are not flow-controlled
BLOCK_BYTES_MAX = 128 * 1024  # of one header block as encoded; a list of 64 KiB is never longer
BLOCK_PER_LIST = 2  # where larger lists are taken; and so many octets in each of their frames, on average:
CONTINUATION_BYTES = 4096


class Abuse:
    """The buckets of one connection."""

    __slots__ = ("control", "dribbles", "dribbles_calm", "empty", "resets", "resets_calm", "restless")

    def __init__(self) -> None:
        self.resets = self.control = self.empty = self.dribbles = 0
        self.resets_calm, self.dribbles_calm = RESTLESS_RESETS, RESTLESS_DRIBBLES  # more make it restless
        self.restless = False

    def reset(self, cost: int = 1) -> None:
        self.resets += cost
        if self.resets > self.resets_calm:
            self.restless = True
        if self.resets > RESETS_MAX:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "too many streams reset")

    def controlled(self, cost: int = 1) -> None:
        self.control += cost
        if self.control > RESTLESS_CONTROL:
            self.restless = True
        if self.control > CONTROL_MAX:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "too many PING or SETTINGS frames")

    def said_nothing(self) -> None:
        self.empty += 1
        if self.empty > RESTLESS_EMPTY:
            self.restless = True
        if self.empty > EMPTY_MAX:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "too many empty frames")

    def dribbled(self) -> None:
        self.dribbles += 1
        if self.dribbles > self.dribbles_calm:
            self.restless = True

    def second_passed(self) -> None:
        """The buckets leak."""
        self.dribbles = max(0, self.dribbles - DRIBBLES_PER_S)
        self.resets = max(0, self.resets - RESETS_PER_S)
        self.control = max(0, self.control - CONTROL_PER_S)
        self.empty = max(0, self.empty - EMPTY_PER_S)
        self.restless = (
            self.resets > self.resets_calm
            or self.control > RESTLESS_CONTROL
            or self.empty > RESTLESS_EMPTY
            or self.dribbles > self.dribbles_calm
        )
