"""The face towards our own application: a loopback listener for each upstream, and its routes."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..errors import NoRoute
from ..h2.block import NO_EXTRA, Block, Field, Head
from ..h2.outbox import Outbox
from ..policy.edits import Editor, editor_of
from ..policy.hashing import hash_of, header_names
from ..policy.retry import NO_POLICY, Budget
from ..policy.routing import Ruling
from ..policy.timeouts import TIMEOUT, read
from ..policy.upstreams import named_targets
from ..respond import ANSWERS
from ..snapshot import Upstream
from ..telemetry import Direction, Series, Telemetry
from ..traffic import Protocol, Route, Split
from .detect import Spoken
from .downstream import Downstream
from .exchange import Plan
from .http1_downstream import Http1Downstream
from .mirror import Mirror
from .pool import Pool
from .side import Side, is_grpc
from .start import Choice, Copied, Start, source_of
from .tcp import TcpDownstream

_NO_ROUTE = ANSWERS[NoRoute]


@dataclass(frozen=True, slots=True)
class Branch:
    """One split of a route, as it is taken."""

    pool: Pool
    series: Series
    request: Editor | None
    response: Editor | None


@dataclass(frozen=True, slots=True)
class Way:
    """A route as it is asked and taken. `branches` are those of the ruling's splits."""

    ruling: Ruling
    branches: Sequence[Branch]
    copied: Sequence[Copied]
    budget: Budget

    def is_plain(self) -> bool:
        """Whether a request needs nothing but an instance, once its side is known."""
        route = self.ruling.route
        return not (
            self.copied
            or route.timeout_s
            or route.idle_s
            or (route.retry is not None and route.retry.per_try_s)
            or any(branch.pool.hash or branch.pool.requests_max for branch in self.branches)
        )


class Outbound(Side):
    """A loopback listener on which the application reaches one upstream. Until it is configured, all goes
    to `pool`."""

    direction = Direction.OUTBOUND
    peer_kind = "app"

    def __init__(
        self, outbox: Outbox, pool: Pool, telemetry: Telemetry, source: str, mirror: Mirror | None = None
    ) -> None:
        super().__init__(outbox, pool, telemetry)
        self._source = source
        self._mirror = mirror or Mirror(outbox, telemetry, source)
        self._configured: object = None
        self._protocol = Protocol.HTTP2
        self._parsed_only = False  # routes read requests: bytes that do not parse are refused
        self._unrouted = telemetry.series(self.direction, source, pool.name)
        branch = Branch(pool, self._unrouted, None, None)
        whole = Route("", (Split(1, ""),))
        self._ways = [Way(Ruling(whole), (branch,), (), Budget(NO_POLICY))]

    def accept(self) -> asyncio.BaseProtocol:
        if self._protocol is Protocol.TCP:
            return TcpDownstream(self.outbox, self)
        if self._protocol in (Protocol.UNKNOWN, Protocol.HTTP):
            return self.sniff(self._choose)
        return super().accept()

    def _choose(self, found: Spoken) -> asyncio.Protocol | None:
        if found is Spoken.HTTP2:
            return Downstream(self.outbox, self)
        if found is Spoken.HTTP1 or self._protocol is Protocol.HTTP:
            return Http1Downstream(self.outbox, self)
        if self._parsed_only:
            self.counted.refuse("not_parsed")
            return None
        return TcpDownstream(self.outbox, self)

    def configure(self, upstream: Upstream, pools: Mapping[str, Pool]) -> None:
        """New routes, and the pools that they lead to."""
        named = [pools[target] for target in named_targets(upstream)]
        used = upstream, [(pool, pool.hash, bool(pool.requests_max)) for pool in named]
        if used == self._configured:  # what was decided stands
            return
        self._configured = used
        self.pool = pools[upstream.default_target]
        self.authority = upstream.name.encode()
        self._protocol = upstream.protocol
        self._parsed_only = any(route.match is not None for route in upstream.routes)
        self._unrouted = self.telemetry.series(
            self.direction, self._source, upstream.name, "", upstream.default_target
        )
        self._ways = [self._way(upstream, route, pools) for route in upstream.routes]
        self.epoch = object()
        self.read(self._names())

    def _way(self, upstream: Upstream, route: Route, pools: Mapping[str, Pool]) -> Way:
        ruling = Ruling(route)
        return Way(
            ruling,
            [self._branch(upstream, route, split, pools[split.target]) for split in ruling.splits],
            [
                Copied(pools[it.target], it.ppm, self._mirror.counters(upstream.name, it.target))
                for it in route.mirrors
                if it.ppm
            ],
            Budget(route.retry or NO_POLICY),
        )

    def _branch(self, upstream: Upstream, route: Route, split: Split, pool: Pool) -> Branch:
        return Branch(
            pool,
            self.telemetry.series(self.direction, self._source, upstream.name, route.name, split.target),
            editor_of(route.request_headers, split.request_headers),
            editor_of(route.response_headers, split.response_headers),
        )

    def _names(self) -> frozenset[bytes]:
        """The header names that decisions read or change: they must stand in the head."""
        names: frozenset[bytes] = frozenset()
        for way in self._ways:
            names |= way.ruling.matcher.reads
            names |= header_names([way.ruling.route.sticky, *(branch.pool.hash for branch in way.branches)])
            for branch in way.branches:
                names |= branch.request.names if branch.request is not None else frozenset()
        return names

    # --- deciding ------------------------------------------------------------------------------------

    def decide(self, conn: Downstream, head: Head) -> Plan:
        if head.method == b"CONNECT":  # a stream of bytes has nothing that a route could read
            return Plan(head.fields, self.pool, self._unrouted, grpc=False, head_only=False)
        for way in self._ways:
            if way.ruling.matcher.matches(head):
                return self._planned(conn, way, head)
        plan = Plan(head.fields, self.pool, self._unrouted, is_grpc(head), head_only=False)
        plan.refusal = _NO_ROUTE
        return plan

    def _planned(self, conn: Downstream, way: Way, head: Head) -> Plan:
        """What a hash reads of a request is in its head or its connection, so it is known here."""
        ruling = way.ruling
        fields = ruling.fields(head)
        timeout_s = read(head.value(TIMEOUT) or b"")
        if timeout_s:  # said anew with what is left of it
            fields = tuple(field for field in fields if field[0] != TIMEOUT)
        block, source = Block(head, NO_EXTRA), source_of(conn)
        side = ruling.hashed(block, source)
        branches = way.branches
        if side.key is not None:
            branches = [branches[ruling.side(side.key)]]
        choices = [
            Choice(self._plan(way, it, fields, head), hash_of(it.pool.hash, block, source)) for it in branches
        ]
        first = choices[0].plan
        if timeout_s or len(choices) > 1 or not way.is_plain():
            draw = self.pool.draw
            start = Start(
                ruling.route, choices, ruling.shares, side.cookie, draw, self._mirror, way.copied, timeout_s
            )
            first.begin = start.begin
        return first

    def _plan(self, way: Way, branch: Branch, fields: tuple[Field, ...], head: Head) -> Plan:
        if branch.request is not None:
            fields = branch.request.fields(fields)
        plan = Plan(fields, branch.pool, branch.series, is_grpc(head), head.method == b"HEAD")
        plan.deadlines = plan.grpc
        plan.budget = way.budget
        plan.editor = branch.response
        if (retry := way.ruling.route.retry) is not None:
            plan.retry = retry
            plan.replay_max = retry.body_bytes_max
        return plan
