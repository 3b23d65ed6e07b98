"""The face towards our own application: a loopback listener for each upstream."""

from ..h2.block import Head
from ..h2.outbox import Outbox
from ..telemetry import Direction, Telemetry
from .downstream import Downstream
from .exchange import Plan
from .pool import Pool
from .side import Side, is_grpc


class Outbound(Side):
    """A loopback listener on which the application reaches one upstream."""

    direction = Direction.OUTBOUND
    peer_kind = "app"

    def __init__(self, outbox: Outbox, pool: Pool, telemetry: Telemetry, source: str) -> None:
        super().__init__(outbox, pool, telemetry)
        self.series = telemetry.series(self.direction, source, pool.name)

    def decide(self, conn: Downstream, head: Head) -> Plan:
        return Plan(head.fields, self.pool, self.series, is_grpc(head), head.method == b"HEAD")
