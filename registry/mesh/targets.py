"""A target: a set of instances and how it is used."""

from weft.pb.mesh.v1 import mesh_pb2 as pb
from weft.spiffe import SpiffeId

from ..catalog.model import Cluster
from ..config_entries.routing import LoadBalancer, PrioritizeByLocality, ServiceResolver
from ..config_entries.service_defaults import Limits, PassiveHealthCheck, ProxyDefaults, UpstreamConfig
from ..discovery_chain.chain import CONNECT_TIMEOUT_MS, Chain, ResolverNode, Target
from .matching import hash_policy, health_check

_BALANCE = {
    "": pb.Target.BALANCE_LEAST_REQUEST,
    "least_request": pb.Target.BALANCE_LEAST_REQUEST,
    "round_robin": pb.Target.BALANCE_ROUND_ROBIN,
    "random": pb.Target.BALANCE_RANDOM,
    "ring_hash": pb.Target.BALANCE_RING_HASH,
    "maglev": pb.Target.BALANCE_MAGLEV,
}
NEVER = 10_000  # failures in a row that nothing reaches: what a check that is switched off waits for
EJECTION_FAILURES = 5
EJECTION_BASE_MS, EJECTION_MAX_MS = 30_000, 300_000


def target_of(
    cluster: Cluster, target: Target, chain: Chain, told: UpstreamConfig, shared: ProxyDefaults | None
) -> pb.Target:
    """`told` is what the proxy was told of it. A target of another datacenter whose trust domain is not known
    is named in this one's, and has no instances."""
    leg, entry = target.leg, target.entry
    balancer = (entry and entry.balancer) or LoadBalancer()
    ring, least, limits = balancer.ring_hash, balancer.least_request, told.limits or Limits()
    node = chain.nodes.get(f"resolver:{leg.id}")
    passive = told.passive or PassiveHealthCheck()
    return pb.Target(
        id=leg.id,
        service=leg.service,
        subset=leg.subset,
        datacenter=leg.datacenter,
        trust_domain=cluster.trust_domain,
        spiffe_id=SpiffeId(cluster.trust_domain, leg.datacenter, leg.service).uri,
        balance=_BALANCE[told.balance or balancer.policy],
        hash=hash_policy(balancer.hash_policies),
        ring_size_min=ring.minimum if ring else 0,
        ring_size_max=ring.maximum if ring else 0,
        choice_count=least.choice_count if least else 0,
        connect_timeout_ms=told.connect_timeout_ms or _connect_timeout_ms(entry),
        ejection=_ejection(passive),
        max_connections=limits.max_connections,
        max_pending_requests=limits.max_pending,
        max_requests=limits.max_requests,
        failover=node.failover if isinstance(node, ResolverNode) else (),
        prioritize_by_locality=_by_locality(entry, shared),
        slow_start_ms=balancer.slow_start_ms,
        panic_percent=passive.panic_percent,
        health_check=health_check(told.active),
    )


def _connect_timeout_ms(entry: ServiceResolver | None) -> int:
    return (entry and entry.connect_timeout_ms) or CONNECT_TIMEOUT_MS


def _by_locality(entry: ServiceResolver | None, shared: ProxyDefaults | None) -> bool:
    """The resolver's word, else that of proxy-defaults."""
    own = entry.locality if entry else None
    said = own if own and own.mode else (shared and shared.locality) or PrioritizeByLocality()
    return said.mode == "failover"


def _ejection(said: PassiveHealthCheck) -> pb.Ejection:
    base_ms = said.base_ejection_ms or EJECTION_BASE_MS
    in_a_row = said.consecutive_5xx or said.max_failures
    return pb.Ejection(
        consecutive_failures=NEVER if said.enforcing_5xx == 0 else in_a_row or EJECTION_FAILURES,
        base_ejection_ms=base_ms,
        max_ejection_ms=said.max_ejection_ms or max(base_ms, EJECTION_MAX_MS),
        max_ejection_percent=said.max_ejection_percent,
        interval_ms=said.interval_ms,
        consecutive_gateway_failures=0 if said.enforcing_gateway == 0 else said.consecutive_gateway,
        success_rate_stdev_milli=round(said.success_rate_stdev * 1000),
        success_rate_min_hosts=said.success_rate_min_hosts,
        success_rate_min_requests=said.success_rate_min_requests,
        failure_percent=said.failure_percent,
        failure_percent_min_requests=said.failure_percent_min_requests,
    )
