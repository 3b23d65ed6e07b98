"""One instance as a pool sees it: our connections to it, and what waits for one."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..h2.outbox import NEVER
from ..traffic import NOWHERE, Address, Locality

if TYPE_CHECKING:
    from .exchange import Exchange
    from .pool import Pool
    from .upstream import Upstream


@dataclass(slots=True, eq=False, kw_only=True)
class Lane:
    """Connections whose streams stand behind each other's, and what waits for one of them."""

    conns: list["Upstream"] = field(default_factory=list)  # those that take new streams
    connecting: bool = False
    pending: dict["Exchange", None] = field(default_factory=dict)
    later: bool = False  # what waits is sent on in the next turn of the loop


@dataclass(slots=True, eq=False)
class Endpoint(Lane):
    """Itself it is the lane that callers share; `aside` takes what a caller has beyond its part of that
    (`Connection.crowd`). `weight` is at least 1. `pool` is the one that it was last configured in."""

    key: str
    address: Address
    share: int = 1  # its weight as configured
    weight: int = 1  # as it counts now: less while it starts slowly
    active: int = 0  # streams that are open to it
    aside: Lane = field(default_factory=Lane)
    failing: bool = False  # it failed since its last success
    healthy: bool = True  # by the registry
    sick: bool = False  # by our own checks
    joined_at: float = NEVER  # when it came to a pool that was there already
    failures: int = 0  # ever
    opened_before: int = 0  # requests sent on connections that are gone
    removed: bool = False
    locality: Locality = NOWHERE
    pool: "Pool" = field(init=False)

    @property
    def opened(self) -> int:
        """Requests ever sent to it. Counted by stream ids, so that counting costs nothing."""
        return self.opened_before + sum(upstream.opened for upstream in self.all_conns())

    @property
    def lanes(self) -> tuple[Lane, Lane]:
        return self, self.aside

    def all_conns(self) -> list["Upstream"]:
        """Those of both lanes."""
        return self.conns + self.aside.conns
