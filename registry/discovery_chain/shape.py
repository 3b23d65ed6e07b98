"""The JSON of a chain, as Consul's clients read it."""

from typing import Any

from weft.durations import format_duration

from ..config_entries.routing import ServiceResolver
from ..config_entries.schema import show
from .chain import Chain, Node, RouterNode, SplitterNode, Target

Json = dict[str, Any]


def shape(chain: Chain, trust_domain: str, *, connect_timeout_ms: int = 0) -> Json:
    """`connect_timeout_ms` is what the caller says instead of the resolvers, unless it is 0."""
    said = connect_timeout_ms
    return {
        "ServiceName": chain.service,
        "Namespace": "default",
        "Partition": "default",
        "Datacenter": chain.datacenter,
        "Default": chain.is_default,
        "Protocol": chain.protocol,
        "ServiceMeta": {},
        "StartNode": chain.start,
        "Nodes": {name: _node(node, said) for name, node in sorted(chain.nodes.items())},
        "Targets": {name: _target(it, trust_domain, said) for name, it in sorted(chain.targets.items())},
    }


def _node(node: Node, said_ms: int) -> Json:
    if isinstance(node, RouterNode):
        routes = [
            {"Definition": show(it.route) if it.route else _CATCH_ALL, "NextNode": it.next}
            for it in node.choices
        ]
        return {"Type": "router", "Name": node.name, "Routes": routes}
    if isinstance(node, SplitterNode):
        splits = [
            {"Definition": {"Weight": 0} | show(it.split), "Weight": it.split.weight, "NextNode": it.next}
            for it in node.shares
        ]
        return {"Type": "splitter", "Name": node.name, "Splits": splits}
    resolver: Json = {
        "Default": node.entry is None,
        "ConnectTimeout": _duration(said_ms or node.connect_timeout_ms),
        "Target": node.leg.id,
    }
    if node.entry and node.entry.request_timeout_ms:
        resolver["RequestTimeout"] = _duration(node.entry.request_timeout_ms)
    if node.failover:
        resolver["Failover"] = {"Targets": list(node.failover)}
    shown = {"Type": "resolver", "Name": node.leg.id, "Resolver": resolver}
    return shown | _balancer(node.entry)


_CATCH_ALL: Json = {"Match": {"HTTP": {"PathPrefix": "/"}}, "Destination": {}}


def _balancer(entry: ServiceResolver | None) -> Json:
    return {"LoadBalancer": show(entry.balancer)} if entry and entry.balancer else {}


def _target(target: Target, trust_domain: str, said_ms: int) -> Json:
    leg, entry = target.leg, target.entry
    subset = entry.subsets.get(leg.subset) if entry else None
    prefix = f"{leg.subset}." if leg.subset else ""
    sni = f"{prefix}{leg.service}.default.{leg.datacenter}.internal.{trust_domain}"
    return {
        "ID": leg.id,
        "Service": leg.service,
        "ServiceSubset": leg.subset,
        "Namespace": "default",
        "Partition": "default",
        "Datacenter": leg.datacenter,
        "MeshGateway": {},
        "Subset": show(subset) if subset else {},
        "ConnectTimeout": _duration(said_ms or target.connect_timeout_ms),
        "SNI": sni,
        "Name": sni,
    }


def _duration(ms: int) -> str:
    return format_duration(ms / 1000)
