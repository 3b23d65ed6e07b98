"""The routes of an upstream, from its chain: each ends at targets with weights."""

from typing import NamedTuple

from weft.pb.mesh.v1 import mesh_pb2 as pb

from ..config_entries.matching import HashPolicy, HeaderEdits
from ..config_entries.routing import RetryBackoff, RetryBudget, RouteDestination
from ..discovery_chain.chain import ALL, Chain, Choice, ResolverNode, RouterNode
from .matching import edits_of, hash_policy, match_of, ppm

DEFAULT = "default"
RETRY_ON_DEFAULT = ("connect-failure", "refused-stream", "unavailable")
"""Where a route says how often and not what: requests that surely or probably were not processed."""

BUDGET, BACKOFF = RetryBudget(), RetryBackoff()


class Leaf(NamedTuple):
    """A target that a splitter leads to, with its share of one and the edits on the way."""

    share: float
    target: str
    request: tuple[HeaderEdits | None, ...]
    response: tuple[HeaderEdits | None, ...]
    request_timeout_ms: int


def routes_of(chain: Chain) -> list[pb.Route]:
    """The last one matches everything."""
    node = chain.nodes[chain.start]
    if not isinstance(node, RouterNode):
        return [_route(chain, DEFAULT, Choice(None, chain.start))]
    return [
        _route(chain, DEFAULT if choice.route is None else f"{chain.service}/{at}", choice)
        for at, choice in enumerate(node.choices)
    ]


def default_target(chain: Chain) -> str:
    """Of what has no requests: where most of the calls go that no route matches."""
    node = chain.nodes[chain.start]
    start = node.choices[-1].next if isinstance(node, RouterNode) else chain.start
    return max(_leaves(chain, start), key=lambda leaf: leaf.share).target


def _route(chain: Chain, name: str, choice: Choice) -> pb.Route:
    leaves = _leaves(chain, choice.next)
    to = choice.route.destination if choice.route and choice.route.destination else RouteDestination()
    timeout_ms = to.request_timeout_ms or max(leaf.request_timeout_ms for leaf in leaves)
    mirrors = zip(to.mirrors, choice.mirrors, strict=True)
    return pb.Route(
        name=name,
        match=match_of(choice.route.match) if choice.route else None,
        splits=_splits(leaves),
        sticky=hash_policy(to.sticky or _sticky(chain, choice.next)),
        prefix_rewrite=to.prefix_rewrite,
        request_headers=edits_of(to.request_headers),
        response_headers=edits_of(to.response_headers),
        request_timeout_ms=timeout_ms,
        idle_timeout_ms=to.idle_timeout_ms,
        retry=_retry(to),
        mirrors=[pb.Mirror(target=target, ppm=ppm(it.percent)) for it, target in mirrors],
    )


def _leaves(chain: Chain, start: str) -> list[Leaf]:
    """Splitters within each other, as one."""
    node = chain.nodes[start]
    if isinstance(node, ResolverNode):
        return [Leaf(1.0, node.leg.id, (), (), node.entry.request_timeout_ms if node.entry else 0)]
    if isinstance(node, RouterNode):
        raise TypeError("a router is only where a chain starts")
    return [
        Leaf(
            share.split.hundredths / ALL * leaf.share,
            leaf.target,
            (share.split.request_headers, *leaf.request),
            (share.split.response_headers, *leaf.response),
            leaf.request_timeout_ms,
        )
        for share in node.shares
        for leaf in _leaves(chain, share.next)
    ]


def _sticky(chain: Chain, start: str) -> tuple[HashPolicy, ...]:
    node = chain.nodes[start]
    return node.sticky if not isinstance(node, ResolverNode | RouterNode) else ()


def _splits(leaves: list[Leaf]) -> list[pb.Split]:
    """Weights sum to ALL: what rounding leaves goes to those that lost most by it."""
    exact = [leaf.share * ALL for leaf in leaves]
    weights = [int(it + 1e-6) for it in exact]
    by_loss = sorted(range(len(exact)), key=lambda at: (weights[at] - exact[at], at))
    for at in by_loss[: ALL - sum(weights)]:
        weights[at] += 1
    return [
        pb.Split(
            weight=weight,
            target=leaf.target,
            request_headers=edits_of(*leaf.request),
            response_headers=edits_of(*leaf.response),
        )
        for weight, leaf in zip(weights, leaves, strict=True)
        if weight
    ]


def _retry(to: RouteDestination) -> pb.RetryPolicy | None:
    if not to.has_retries:
        return None
    on = [*to.retry_on, *(["connect-failure"] if to.retry_on_connect_failure else [])]
    if not on and not to.retry_on_status_codes:
        on = list(RETRY_ON_DEFAULT)
    budget, backoff = to.budget or BUDGET, to.backoff or BACKOFF
    return pb.RetryPolicy(
        attempts_max=1 + (to.num_retries or 1),
        on=dict.fromkeys(on),
        on_status_codes=to.retry_on_status_codes,
        per_try_timeout_ms=to.per_try_timeout_ms,
        backoff_base_ms=backoff.base_ms,
        backoff_max_ms=backoff.max_ms,
        budget_percent=budget.percent,
        budget_min=budget.least,
        body_bytes_max=to.retry_body_bytes,
    )
