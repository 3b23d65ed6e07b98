"""Sans-IO. What would become of a request, and why: the decisions of the switch, told.

Everything is asked of the objects that the switch asks (`Ruling`, `arrive`, `Presence`, the balancers), over
a snapshot as the switch gets it. Chance is told as shares; live load and ejections are not known here.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from weft.spiffe import SpiffeId

from ..admission import Fault, RateLimit
from ..h2.block import NO_EXTRA, Block, Field, Head
from ..h2.fields import request_head
from ..snapshot import Snapshot
from ..traffic import Instance, Locality, Protocol, Route, Target, Upstream
from .arrival import Refused, arrive, is_strict, those_for
from .authorize import Authorizer
from .balancers import HASHED, balancer_for
from .edits import editor_of
from .hashing import hash_of
from .match import Matcher
from .presence import Presence
from .routing import Ruling

LOOPBACK = "127.0.0.1"  # where the application calls from


@dataclass(frozen=True, slots=True)
class Tried:
    """A route that was asked. `asks`: all that it wants; `lacks`: what the request does not have, "" where it
    matches."""

    name: str
    asks: tuple[str, ...]
    lacks: str


@dataclass(frozen=True, slots=True)
class Standing:
    """An instance of a target. `out`: why it takes nothing, "" where it does."""

    instance: Instance
    out: str = ""


@dataclass(frozen=True, slots=True)
class Spread:
    """A target, and who of it takes requests. `chosen` is the instance that a hash leads to, "" where
    chance or load decides; `instead` the fail-over target that takes its requests, "" where it needs none."""

    target: Target
    instances: tuple[Standing, ...]
    chosen: str = ""
    instead: str = ""

    @property
    def live(self) -> list[Instance]:
        return [it.instance for it in self.instances if not it.out]


@dataclass(frozen=True, slots=True)
class Side:
    """A split that the request may take, with the share of requests that do: 1.0 where its hash says so."""

    share: float
    by_hash: bool
    target: str
    sent: tuple[Field, ...]  # the head that goes to the peer


@dataclass(frozen=True, slots=True)
class Outward:
    """On the caller's side. `route` None: none matched (404, UNIMPLEMENTED)."""

    tried: tuple[Tried, ...]
    route: Route | None
    sides: tuple[Side, ...] = ()
    spreads: Mapping[str, Spread] | None = None  # by target id, fail-over targets too


@dataclass(frozen=True, slots=True)
class Inward:
    """On the side of who is called. `refused` None: let through, as far as limits and faults allow."""

    refused: Refused | None
    reason: str
    path: str  # in its one spelling
    limits: tuple[RateLimit, ...] = ()
    faults: tuple[Fault, ...] = ()


def request(method: str, path: str, headers: Sequence[tuple[str, str]], authority: str) -> Head:
    """The head of a request. Raises StreamFault where it is malformed."""
    pseudo = ((":method", method), (":scheme", "http"), (":path", path), (":authority", authority))
    fields = [*pseudo, *((name.lower(), value) for name, value in headers)]
    return request_head(tuple((name.encode(), value.encode()) for name, value in fields))


def outward(snapshot: Snapshot, upstream: Upstream, head: Head, source: str = LOOPBACK) -> Outward:
    """Of a request that the application sends to `upstream`. `source` is the application's address."""
    if upstream.protocol is Protocol.TCP:
        side = Side(1.0, False, upstream.default_target, head.fields)
        spreads = _spreads(snapshot, (upstream.default_target,), head, source)
        return Outward((), Route("", ()), (side,), spreads)
    tried = []
    for ruling in map(Ruling, upstream.routes):
        lacks = ruling.matcher.lacks(head)
        tried.append(Tried(ruling.route.name, ruling.matcher.asks, lacks))
        if not lacks:
            sides = tuple(_sides(ruling, head, source))
            spreads = _spreads(snapshot, [it.target for it in sides], head, source)
            return Outward(tuple(tried), ruling.route, sides, spreads)
    return Outward(tuple(tried), None)


def _sides(ruling: Ruling, head: Head, source: str) -> Iterator[Side]:
    key = ruling.hashed(Block(head, NO_EXTRA), source).key
    splits = ruling.splits if key is None else [ruling.splits[ruling.side(key)]]
    total = sum(it.weight for it in splits)
    fields = ruling.fields(head)
    for split in splits:
        editor = editor_of(ruling.route.request_headers, split.request_headers)
        sent = editor.fields(fields) if editor is not None else fields
        yield Side(split.weight / total, key is not None, split.target, sent)


# --- who takes it --------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Present:
    """An instance as a pool has it just after it was told of it."""

    key: str
    share: int
    weight: int
    healthy: bool
    locality: Locality
    sick: bool = False
    joined_at: float = float("-inf")
    failures: int = 0
    active: int = 0
    opened: int = 0


def _spreads(snapshot: Snapshot, wanted: Sequence[str], head: Head, source: str) -> dict[str, Spread]:
    """Of these targets, and of those that they fail over to."""
    found: dict[str, Spread] = {}
    for target_id in wanted:
        target = snapshot.targets[target_id]
        for name in target.failover:
            found.setdefault(name, _spread(snapshot, snapshot.targets[name], head, source, ()))
    for target_id in wanted:
        target = snapshot.targets[target_id]
        helpers = [it for it in target.failover if found[it].live]
        found[target_id] = _spread(snapshot, target, head, source, helpers)
    return found


def _spread(snapshot: Snapshot, target: Target, head: Head, source: str, helpers: Sequence[str]) -> Spread:
    present = [_Present(it.key, it.weight, it.weight, it.healthy, it.locality) for it in target.instances]
    presence = Presence()
    presence.obey(target, snapshot.locality, [it.key for it in present])
    live = presence.live(present, bool(helpers), 0.0)
    taking = {it.key for it in live}
    standings = tuple(
        Standing(it, "" if it.key in taking else _why_out(it, snapshot.locality)) for it in target.instances
    )
    instead = helpers[0] if helpers and not live else ""
    return Spread(target, standings, _chosen(target, live, head, source), instead)


def _why_out(instance: Instance, here: Locality) -> str:
    if not instance.healthy:
        return "not healthy"
    where = "zone" if instance.locality.region == here.region else "region"
    return f"nearer instances take the requests: its {where} is another"


def _chosen(target: Target, live: list[_Present], head: Head, source: str) -> str:
    if target.balance not in HASHED or not live:
        return ""
    key = hash_of(target.hash, Block(head, NO_EXTRA), source).key
    balancer = balancer_for(target, None, _never)
    if key is None or balancer is None:
        return ""
    balancer.plan(live)
    return balancer.pick(live, key).key


def _never() -> float:
    raise AssertionError("a hash leaves nothing to chance")


# --- who is let in -------------------------------------------------------------------------------------


def inward(called: Snapshot, caller: SpiffeId, fields: Sequence[Field], wall: float) -> Inward:
    """Of a request that arrives at an instance with the configuration `called`. `wall` is Unix seconds;
    faults that have ended by then are left out."""
    inbound = called.inbound
    admission = inbound.admission
    verdict = Authorizer(inbound.rules, inbound.default_allow, admission).decide(caller)
    head = request_head(tuple(fields))
    found = arrive(verdict, head, caller.service, wall, admission.paths, is_strict(admission))
    path = found.head.path.decode("latin-1")
    if found.refused is not None:
        return Inward(found.refused, found.reason, path)
    limits = those_for(_matched(admission.limits), found.head, caller.service)
    faults = those_for(_matched(admission.faults), found.head, caller.service)
    ahead = tuple(it for it in faults if it.ends_s > wall and it.ppm)
    return Inward(None, found.reason, path, tuple(limits), ahead)


def _matched(rules: Sequence[Any]) -> list[tuple[Any, Matcher]]:
    return [(it, Matcher(it.match)) for it in rules]


def asks_of(rule: RateLimit | Fault) -> tuple[str, ...]:
    """What a limit or a fault wants of a request."""
    return Matcher(rule.match).asks
