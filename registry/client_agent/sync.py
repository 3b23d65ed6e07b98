"""Carries out the plan of anti-entropy: at each local change, and from time to time whatever happened.

Between two looks at the servers, what they have is known from what they were told. A look costs two reads;
a change costs a write for each service that it is about.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import quote

import structlog

from weft.clock import Clock
from weft.errors import WeftError

from ..catalog import watches
from ..catalog.feature_level import SERVER_SERVICE
from ..catalog.model import NODE_ALIVE_ID, PASSING, Node
from ..replica.port import Log
from .errors import NodeNameTaken, ServerRefused
from .local_view import body, held
from .plan import Held, Remove, Step, Tell, TellNode, after, plan
from .servers import Servers, Told
from .tokens import KeptTokens

log = structlog.get_logger(__name__)

BATCH_S = 0.05  # what changes within it is told together; below what a person or a test notices
AT_ONCE_MAX = 16  # calls under way: a thousand services after a start take a second, not twenty
RETRY_S = 0.5  # after the first failure; doubled after each that follows
RETRY_MAX_S = 15.0  # as in Consul
NOT_OURS = frozenset((NODE_ALIVE_ID,))
"""Whether the node is alive is what servers see, and not what the node says."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds between two looks at the servers: `interval_s`, and up to as much again by chance."""

    interval_s: float
    draw: Callable[[], float]

    def look_in_s(self) -> float:
        return self.interval_s * (1 + self.draw())

    def retry_in_s(self, failures: int) -> float:
        """Half to all of a time that doubles, so that agents do not come back together."""
        longest_s: float = min(RETRY_S * 2 ** min(failures - 1, 10), RETRY_MAX_S)
        return longest_s * (1 + self.draw()) / 2


class Sync:
    """Tells `servers` of `node` as `local` has it."""

    def __init__(
        self, local: Log, node: Node, servers: Servers, tokens: KeptTokens, clock: Clock, pace: Pace
    ) -> None:
        self._local = local
        self._node = node
        self._servers = servers
        self._tokens = tokens
        self._clock = clock
        self._pace = pace
        self._remote: Held | None = None  # None: not known
        self._look_at = 0.0
        self._failures = 0
        self._told_index = 0
        self._told = asyncio.Event()
        self._refused: set[str] = set()

    async def run(self) -> None:
        """For ever."""
        key = (watches.node(self._node.name),)
        while True:
            index = self._local.view().index
            try:
                await self._once()
            except WeftError as error:
                await self._failed(error)
                continue
            self._failures = 0
            self._told_index = index
            self._told.set()
            left_s = self._look_at - self._clock.monotonic()
            if left_s > 0:
                await self._local.wait(key, index, left_s)
                await asyncio.sleep(BATCH_S)

    async def told(self) -> None:
        """Returns once servers were told of all that is registered now, or refused it."""
        index = self._local.view().index
        while self._told_index < index:
            self._told.clear()
            await self._told.wait()

    async def _failed(self, error: WeftError) -> None:
        self._remote = None
        self._failures += 1
        pause_s = self._pace.retry_in_s(self._failures)
        if self._failures == 1 or isinstance(error, NodeNameTaken):
            log.warning("the servers are not told of this node", reason=str(error), retry_s=round(pause_s, 1))
        await asyncio.sleep(pause_s)

    async def _once(self) -> None:
        """Raises NoServers, OutcomeUnknown, ServerRefused, NodeNameTaken."""
        now = self._clock.monotonic()
        if self._remote is None or now >= self._look_at:
            self._remote = await self._look()
            self._look_at = now + self._pace.look_in_s()
        steps = plan(held(self._local.view(), self._node), self._remote, NOT_OURS)
        # The node comes first, what has gone second: whoever looks never sees an instance twice.
        for kind in (TellNode, Remove, Tell):
            await self._carry_out([step for step in steps if isinstance(step, kind)])

    async def _look(self) -> Held:
        name = quote(self._node.name, safe="")
        found = (await self._read(f"/v1/catalog/node/{name}")).json()
        checks = await self._read(f"/v1/health/node/{name}")
        if checks.headers.get("X-Consul-Results-Filtered-By-ACLs"):
            log.warning('the agent token may not read all of this node: give it service_prefix "" read')
        if found is None:
            return Held(None)
        remote = Held(found["Node"], found["Services"], {row["CheckID"]: row for row in checks.json()})
        self._check_name(remote)
        return remote

    async def _read(self, target: str) -> Told:
        told = await self._servers.ask("GET", target, self._tokens.own)
        if told.status != 200:
            raise ServerRefused("reading this node", told.status, told.body)
        return told

    def _check_name(self, remote: Held) -> None:
        """Raises NodeNameTaken for a server's node, and that of another machine which is alive."""
        assert remote.node is not None
        alive = remote.checks.get(NODE_ALIVE_ID)
        is_other = remote.node["ID"] not in ("", self._node.id)
        if SERVER_SERVICE in remote.services or (is_other and alive and alive["Status"] == PASSING):
            raise NodeNameTaken(
                f"--node-name {self._node.name}: another machine has it ({remote.node['Address']}, "
                f"id {remote.node['ID']}): give this one a name of its own, or stop that one"
            )

    async def _carry_out(self, steps: Sequence[Step]) -> None:
        """Some at once. What is refused stays as it is until the next look."""
        for begin in range(0, len(steps), AT_ONCE_MAX):
            some = steps[begin : begin + AT_ONCE_MAX]
            done = await asyncio.gather(*map(self._step, some), return_exceptions=True)
            for found in done:
                if isinstance(found, BaseException):
                    raise found
                if found:
                    assert self._remote is not None  # for the type checker
                    self._remote = after(self._remote, found)

    async def _step(self, step: Step) -> Step | None:
        """None where it was refused. Raises NoServers, OutcomeUnknown, ServerRefused."""
        path, given, token = self._call(step)
        told = await self._servers.ask("PUT", path, token, given)
        what = _named(step)
        if told.status == 200:
            self._refused.discard(what)
            return step
        refusal = ServerRefused(what, told.status, told.body)
        if told.status >= 500 or told.status == 429:
            raise refusal
        if what not in self._refused:  # once, and not at every look
            self._refused.add(what)
            log.warning("a server refuses what is registered here", reason=str(refusal))
        return None

    def _call(self, step: Step) -> tuple[str, dict[str, object], str]:
        """Path, body and token."""
        match step:
            case TellNode():
                return REGISTER, body(self._node), self._tokens.own
            case Tell(owner, service, checks):
                token = self._tokens.of_service(owner) if owner else self._tokens.own
                return REGISTER, body(self._node, service, checks), token
            case Remove(service_id, check_id):
                gone: dict[str, object] = {
                    "Node": self._node.name,
                    "ServiceID": service_id,
                    "CheckID": check_id,
                }
                return "/v1/catalog/deregister", gone, self._tokens.own


REGISTER = "/v1/catalog/register"


def _named(step: Step) -> str:
    match step:
        case TellNode():
            return "the node"
        case Tell(owner):
            return f"service {owner}" if owner else "checks of the node"
        case Remove(service_id, check_id):
            return f"removing {f'service {service_id}' if service_id else f'check {check_id}'}"
