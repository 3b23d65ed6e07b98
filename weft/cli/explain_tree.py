"""An explanation drawn as a tree."""

from collections.abc import Iterator, Sequence
from typing import Any

Json = dict[str, Any]
Node = tuple[str, list[Any]]  # a line, and the nodes under it
_ANSWERS = {"denied": "403", "unproven": "401", "ambiguous": "400"}


def tree(document: Json) -> Iterator[str]:
    """Lines for people."""
    asked = document["Request"]
    yield f"{document['Source']} -> {document['Destination']}: {asked['Method']} {asked['Path']}"
    yield from _drawn([*_routing(document), *_sides(document)])


def _drawn(nodes: Sequence[Node], lead: str = "") -> Iterator[str]:
    for at, (line, under) in enumerate(nodes):
        is_last = at == len(nodes) - 1
        yield f"{lead}{'`- ' if is_last else '|- '}{line}"
        yield from _drawn(under, lead + ("   " if is_last else "|  "))


def _from(places: Sequence[str]) -> str:
    return f"  [{'; '.join(places)}]" if places else ""


def _routing(document: Json) -> Iterator[Node]:
    for it in document["Tried"]:
        if not it["Matches"]:
            yield f"route {it['Route']}: no, it asks that {it['Lacks']}{_from(it['From'])}", []
    route = document["Route"]
    if route is None:
        yield "no route takes it: 404, or UNIMPLEMENTED", []
        return
    asks: list[str] = next((it["Asks"] for it in document["Tried"] if it["Matches"]), [])
    why = f"because {' and '.join(asks)}" if asks else "it takes every request"
    name = f"route {route['Name']}: yes, {why}" if route["Name"] else "a stream of bytes: no routes"
    yield f"{name}{_from(route['From'])}", [*_of_route(route)]


def _of_route(route: Json) -> Iterator[Node]:
    if route["TimeoutS"]:
        yield f"time-out {route['TimeoutS']:g} s for all attempts", []
    if route["IdleTimeoutS"]:
        yield f"ends after {route['IdleTimeoutS']:g} s without a byte", []
    if retry := route["Retry"]:
        per_try = f", {retry['PerTryTimeoutS']:g} s each" if retry["PerTryTimeoutS"] else ""
        budget = f"{retry['BudgetPercent']} % of active requests or {retry['BudgetMin']}"
        yield f"{retry['Attempts']} attempts{per_try}, on {', '.join(retry['On'])}; budget {budget}", []
    if route["PrefixRewrite"]:
        yield f"prefix rewritten to {route['PrefixRewrite']}", []
    for mirror in route["Mirrors"]:
        yield f"mirrored to {mirror['Target']}: {mirror['Percent']:g} %", []


def _sides(document: Json) -> Iterator[Node]:
    for side in document["Sides"]:
        target = document["Targets"][side["Target"]]
        share = "by its hash" if side["ByHash"] else f"{side['Percent']:g} % of requests"
        origin = [*document["SplitFrom"], *target["From"]]
        under = [*_target(document, target), _arrival(document["Arrivals"][side["Target"]])]
        yield f"{share} to {side['Target']}{_from(origin)}", under


def _target(document: Json, target: Json) -> Iterator[Node]:
    policy = target["Policy"]
    limits = [f"{word} {policy[key]}" for key, word in _LIMITS.items() if policy[key]]
    told = f"{target['Balance']}, connect within {policy['ConnectTimeoutS']:g} s, out for "
    told += f"{policy['EjectedForS']:g} s after {policy['EjectedAfterFailures']} failures in a row"
    yield f"balance {told}{_from(target['PolicyFrom'])}", [(it, []) for it in limits]
    rows: list[Node] = [(_instance(it, target["ChosenByHash"]), []) for it in target["Instances"]]
    taking = sum(it["Takes"] for it in target["Instances"])
    yield f"instances: {taking} of {len(rows)} take requests", rows
    if target["Instead"]:
        other = document["Targets"][target["Instead"]]
        under: list[Node] = [(_instance(it, ""), []) for it in other["Instances"]]
        yield f"fails over to {target['Instead']}{_from(target['From'])}", under
    elif not taking:
        yield "nobody can answer: 503, or UNAVAILABLE", []


_LIMITS = {"MaxConnections": "connections:", "MaxPendingRequests": "waiting:", "MaxRequests": "under way:"}


def _instance(it: Json, chosen: str) -> str:
    told = f"{it['ServiceID']} at {it['Address']}"
    if not it["Takes"]:
        return f"{told}: left out, {it['Out']}"
    return f"{told}: chosen by hash" if chosen == it["Instance"] else f"{told}: takes requests"


def _arrival(found: Json) -> Node:
    if "Unknown" in found:
        return f"what {found['Service']} makes of it is not known: {found['Unknown']}", []
    if not found["Allowed"]:
        status = _ANSWERS[found["Refused"]]
        return f"refused by {found['Service']} ({status}): {found['Reason']}{_from(found['From'])}", []
    under: list[Node] = [(_limit(it), []) for it in found["RateLimits"]]
    under += [(_fault(it), []) for it in found["Faults"]]
    said = f"let in by {found['Service']} as {found['Path']}: {found['Reason']}"
    return f"{said}{_from(found['From'])}", under


def _limit(it: Json) -> str:
    each = " for each caller" if it["PerCaller"] else ""
    rate = f"{it['RequestsPerSecond']:g} requests/s, {it['Burst']:g} at once{each}"
    return f"rate limit {it['Name']}: {rate}{_from(it['From'])}"


def _fault(it: Json) -> str:
    does = [
        f"delay {it['Delay']}" if it["Delay"] else "",
        f"abort {it['Abort']['HTTPStatus']} / gRPC {it['Abort']['GRPCStatus']}" if it["Abort"] else "",
        "reset" if it["Reset"] else "",
        f"{it['BytesPerSecond']} bytes/s" if it["BytesPerSecond"] else "",
    ]
    return f"fault {it['Name']} on {it['Percent']:g} %: {', '.join(filter(None, does))}{_from(it['From'])}"
