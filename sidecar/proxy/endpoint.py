"""One instance as a pool sees it: our connections to it, and what waits for one."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..traffic import NOWHERE, Address, Locality

if TYPE_CHECKING:
    from .exchange import Exchange
    from .pool import Pool
    from .upstream import Upstream


@dataclass(slots=True, eq=False)
class Endpoint:
    """`weight` is at least 1. `pool` is the one that it was last configured in."""

    key: str
    address: Address
    weight: int = 1
    active: int = 0  # streams that are open to it
    conns: list["Upstream"] = field(default_factory=list)  # those that take new streams
    connecting: bool = False
    pending: dict["Exchange", None] = field(default_factory=dict)
    failing: bool = False  # it failed since its last success
    healthy: bool = True
    removed: bool = False
    locality: Locality = NOWHERE
    pool: "Pool" = field(init=False)
