"""Which entry says what a proxy must do: the words of `compile`, traced back for people.

Keys name parts of the compiled view, values the places that they come from.
"""

from collections.abc import Iterator

from ..catalog.experiments import running
from ..catalog.model import Proxy
from ..catalog.state import State
from ..config_entries.inbound import ServiceFaults, ServiceRateLimits
from ..config_entries.routing import ServiceResolver, ServiceRouter, ServiceSplitter
from ..config_entries.service_defaults import ProxyDefaults, ServiceDefaults
from ..discovery_chain.chain import Chain, ResolverNode, RouterNode, SplitterNode, Target
from ..intentions.match import match_destination
from ..intentions.precedence import precedence
from .routes import DEFAULT

Origins = dict[str, list[str]]


def outbound_origins(state: State, proxy: Proxy, chain: Chain) -> Origins:
    """`route/<upstream>/<route>`, `split/<upstream>/<route>`, `target/<id>`, `use/<id>`."""
    found: Origins = {}
    node = chain.nodes[chain.start]
    if isinstance(node, RouterNode):
        router = f"{ServiceRouter.KIND}/{chain.service}"
        for at, choice in enumerate(node.choices):
            name = DEFAULT if choice.route is None else f"{chain.service}/{at}"
            said = f"{router} Routes[{at}]" if choice.route else f"{router}: what none of its routes takes"
            found[f"route/{chain.service}/{name}"] = [said]
            found[f"split/{chain.service}/{name}"] = list(_splitters(chain, choice.next))
    else:
        found[f"route/{chain.service}/{DEFAULT}"] = [f"there is no {ServiceRouter.KIND}/{chain.service}"]
        found[f"split/{chain.service}/{DEFAULT}"] = list(_splitters(chain, chain.start))
    redirects = [
        f"{kind}/{name} Redirect"
        for kind, name in sorted(chain.reads)
        if isinstance(entry := state.config(kind, name), ServiceResolver) and entry.redirect
    ]
    for target_id, target in chain.targets.items():
        found[f"target/{target_id}"] = [*redirects, *_resolved(chain, target)]
        found[f"use/{target_id}"] = list(dict.fromkeys(_uses(state, proxy, chain.service, target)))
    return found


def _splitters(chain: Chain, start: str) -> Iterator[str]:
    node = chain.nodes[start]
    if isinstance(node, SplitterNode):
        yield f"{ServiceSplitter.KIND}/{node.name.partition('.')[0].replace('%2E', '.')}"
        for share in node.shares:
            yield from _splitters(chain, share.next)


def _resolved(chain: Chain, target: Target) -> Iterator[str]:
    entry, leg = target.entry, target.leg
    if entry is None:
        return
    where = f"{entry.kind}/{entry.name}"
    if leg.subset:
        yield f"{where} Subsets[{leg.subset}]"
    if entry.balancer:
        yield f"{where} LoadBalancer"
    node = chain.nodes.get(f"resolver:{leg.id}")
    if isinstance(node, ResolverNode) and node.failover:
        yield f"{where} Failover"


def _uses(state: State, proxy: Proxy, upstream: str, target: Target) -> Iterator[str]:
    """From the widest to the narrowest, as `settings` merges them."""
    if state.config(ProxyDefaults.KIND, ProxyDefaults.ONLY_NAME):
        yield f"{ProxyDefaults.KIND}/{ProxyDefaults.ONLY_NAME}"
    own = state.config(ServiceDefaults.KIND, proxy.destination_service)
    said = own.upstreams if isinstance(own, ServiceDefaults) else None
    where = f"{ServiceDefaults.KIND}/{proxy.destination_service} UpstreamConfig"
    if said and said.defaults:
        yield f"{where}.Defaults"
    for service in (upstream, target.leg.service):
        if said and any(it.name == service for it in said.overrides):
            yield f"{where}.Overrides[{service}]"
        if any(
            it.destination_name == service and it.config_json not in (b"", b"{}") for it in proxy.upstreams
        ):
            yield f"registration of {proxy.destination_service}: Upstreams[{service}].Config"


def inbound_origins(state: State, service: str) -> Origins:
    """`intention/<id>`, `limit/<name>`, `fault/<name>`."""
    found: Origins = {}
    for row in match_destination(state, service).rows:
        found[f"intention/{row.id}"] = [
            f"intention {row.source} => {row.destination}, precedence {precedence(row)}"
        ]
    own = state.config(ServiceDefaults.KIND, service)
    level = own.rate_limits.instance_level if isinstance(own, ServiceDefaults) and own.rate_limits else None
    if level:
        where = f"{ServiceDefaults.KIND}/{service} RateLimits.InstanceLevel"
        found["limit/instance"] = [where]
        found |= {f"limit/instance/{at}": [f"{where}.Routes[{at}]"] for at, _ in enumerate(level.routes)}
    limits, faults = state.config(ServiceRateLimits.KIND, service), state.config(ServiceFaults.KIND, service)
    if isinstance(limits, ServiceRateLimits):
        found |= {f"limit/{it.name}": [f"{limits.kind}/{service} Limits"] for it in limits.limits}
    if isinstance(faults, ServiceFaults):
        found |= {f"fault/{it.name}": [f"{faults.kind}/{service} Faults"] for it in faults.faults}
    found |= {f"fault/{it.name}": [f"experiment {it.name}"] for it in running(state, service)}
    return found
