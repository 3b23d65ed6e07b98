"""Sans-IO. An explanation as a document: for programs as it is, for people to be drawn as a tree."""

from collections.abc import Mapping, Sequence
from typing import Any

from ..admission import Delay, Distribution, Fault, RateLimit
from ..traffic import RetryPolicy, Route, Target
from .explain import Inward, Outward, Side, Spread, asks_of

Json = dict[str, Any]
Origins = Mapping[str, Sequence[str]]
"""What a part of the configuration is called -> the entries that say it; the registry's words."""


def outward_document(upstream: str, found: Outward, origins: Origins) -> Json:
    """Of the caller's side. Shares are percents, times seconds."""
    return {
        "Tried": [
            {
                "Route": it.name,
                "Asks": list(it.asks),
                "Matches": not it.lacks,
                "Lacks": it.lacks,
                "From": _said(origins, f"route/{upstream}/{it.name}"),
            }
            for it in found.tried
        ],
        "Route": _route(upstream, found.route, origins) if found.route else None,
        "Sides": [_side(it) for it in found.sides],
        "SplitFrom": _said(origins, f"split/{upstream}/{found.route.name}") if found.route else [],
        "Targets": {name: _spread(it, origins) for name, it in (found.spreads or {}).items()},
    }


def _said(origins: Origins, name: str) -> list[str]:
    return list(origins.get(name, ()))


def _route(upstream: str, route: Route, origins: Origins) -> Json:
    return {
        "Name": route.name,
        "From": _said(origins, f"route/{upstream}/{route.name}"),
        "TimeoutS": route.timeout_s,
        "IdleTimeoutS": route.idle_s,
        "Retry": _retry(route.retry),
        "PrefixRewrite": route.prefix_rewrite,
        "Mirrors": [{"Target": it.target, "Percent": it.ppm / 10_000} for it in route.mirrors],
    }


def _retry(policy: RetryPolicy | None) -> Json | None:
    if policy is None:
        return None
    return {
        "Attempts": policy.attempts_max,
        "On": sorted([*(it.value for it in policy.on), *map(str, policy.status_codes)]),
        "PerTryTimeoutS": policy.per_try_s,
        "BackoffS": [policy.backoff_base_s, policy.backoff_max_s],
        "BudgetPercent": policy.budget_percent,
        "BudgetMin": policy.budget_min,
    }


def _side(side: Side) -> Json:
    return {
        "Target": side.target,
        "Percent": round(side.share * 100, 2),
        "ByHash": side.by_hash,
        "Sent": [[name.decode("latin-1"), value.decode("latin-1")] for name, value in side.sent],
    }


def _spread(spread: Spread, origins: Origins) -> Json:
    target = spread.target
    return {
        "Service": target.service,
        "Subset": target.subset,
        "From": _said(origins, f"target/{target.id}"),
        "Balance": target.balance.value,
        "Policy": _policy(target),
        "PolicyFrom": _said(origins, f"use/{target.id}"),
        "Instances": [
            {
                "Instance": it.instance.key,
                "ServiceID": it.instance.service_id,
                "Address": str(it.instance.address),
                "Weight": it.instance.weight,
                "Takes": not it.out,
                "Out": it.out,
            }
            for it in spread.instances
        ],
        "ChosenByHash": spread.chosen,
        "Failover": list(target.failover),
        "Instead": spread.instead,
    }


def _policy(target: Target) -> Json:
    return {
        "ConnectTimeoutS": target.connect_timeout_s,
        "MaxConnections": target.connections_max,
        "MaxPendingRequests": target.pending_max,
        "MaxRequests": target.requests_max,
        "EjectedAfterFailures": target.ejection.consecutive_failures,
        "EjectedForS": target.ejection.base_s,
        "PanicPercent": target.panic_percent,
        "ByLocality": target.by_locality,
    }


def inward_document(found: Inward, origins: Origins) -> Json:
    """Of the side that is called."""
    name = next((it for it in origins if it.startswith("intention/") and it[10:] in found.reason), "")
    return {
        "Allowed": found.refused is None,
        "Refused": found.refused.value if found.refused else "",
        "Reason": found.reason,
        "From": _said(origins, name),
        "Path": found.path,
        "RateLimits": [_limit(it, origins) for it in found.limits],
        "Faults": [_fault(it, origins) for it in found.faults],
    }


def _limit(limit: RateLimit, origins: Origins) -> Json:
    return {
        "Name": limit.name,
        "Asks": list(asks_of(limit)),
        "RequestsPerSecond": limit.per_second,
        "Burst": limit.burst,
        "PerCaller": limit.per_caller,
        "From": _said(origins, f"limit/{limit.name}"),
    }


def _fault(fault: Fault, origins: Origins) -> Json:
    return {
        "Name": fault.name,
        "Asks": list(asks_of(fault)),
        "Percent": fault.ppm / 10_000,
        "Abort": {"HTTPStatus": fault.abort.http_status, "GRPCStatus": fault.abort.grpc_status}
        if fault.abort
        else None,
        "Delay": delay_told(fault.delay) if fault.delay else "",
        "BytesPerSecond": fault.bytes_per_second,
        "Reset": fault.reset,
        "EndsUnixS": fault.ends_s,
        "From": _said(origins, f"fault/{fault.name}"),
    }


def delay_told(delay: Delay) -> str:
    """In seconds."""
    match delay.distribution:
        case Distribution.FIXED:
            return f"{delay.fixed_s:g}s"
        case Distribution.UNIFORM:
            return f"uniform {delay.least_s:g}s to {delay.most_s:g}s"
        case Distribution.NORMAL:
            return f"normal {delay.mean_s:g}s +- {delay.deviation_s:g}s"
        case Distribution.EXPONENTIAL:
            return f"exponential, {delay.mean_s:g}s on average"
