"""DNS tells what the health API tells, whatever is in the catalog and whoever asks."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from hypothesis import given
from hypothesis import strategies as st
from multidict import MultiDict

from registry.acl.authorizer import Authorizer
from registry.acl.caller import Caller, Sieve
from registry.acl.rules import parse_rules
from registry.api import health
from registry.api.handling import Answer, Reading
from registry.api.query import Query
from registry.catalog import commands
from registry.dns.answer import Choices
from tests.support.catalog import World, check, node, proxy, service, stamp
from tests.support.dns import Resolver, rcode, texts

NAMES = ("web", "api", "web-sidecar-proxy")
TAGS = ("v1", "V2", "a.b")
HOSTS = ("n1", "n2", "n3")


class Row(NamedTuple):
    """One step: an instance is registered, or goes."""

    at: int
    name: str
    on: str
    address: str
    status: str
    node_status: str
    tags: tuple[str, ...]
    has_proxy: bool
    stays: bool


_rows = st.builds(
    Row,
    st.integers(0, 2),
    st.sampled_from(NAMES[:2]),
    st.sampled_from(HOSTS),
    st.sampled_from(["", "10.1.0.1", "10.1.0.2", "2001:db8::1"]),
    st.sampled_from(["passing", "warning", "critical"]),
    st.sampled_from(["passing", "passing", "warning", "critical"]),
    st.lists(st.sampled_from(TAGS), max_size=2, unique=True).map(tuple),
    st.booleans(),
    st.sampled_from([True, True, True, False]),
)
_policy = st.sampled_from(["read", "deny", "write"])
_rules = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["service", "service_prefix"]), st.sampled_from(["", *NAMES]), _policy),
        st.tuples(st.sampled_from(["node", "node_prefix"]), st.sampled_from(["", *HOSTS]), _policy),
    ),
    max_size=6,
)


@given(st.lists(st.lists(_rows, min_size=1, max_size=4), max_size=3), _rules, st.booleans(), st.booleans())
def test_dns_tells_what_the_health_api_tells(
    steps: list[list[Row]], rules: list[tuple[str, str, str]], default_allow: bool, only_passing: bool
) -> None:
    policy = "".join(f'{kind} "{label}" {{ policy = "{access}" }}\n' for kind, label, access in rules)
    caller = Caller(Authorizer([parse_rules(policy)], default_allow=default_allow))
    world = World.set_up()
    for at, name in enumerate(HOSTS):
        world.do(commands.register(stamp(), node(name, address=f"10.0.0.{at + 1}")))
    asked = Resolver(lambda: world.state, Choices(only_passing=only_passing), caller)
    for step in steps:  # one resolver sees every state: nothing that it remembers may outlive its truth
        for row in step:
            change(world, row)
        for name in NAMES:
            compare(world, caller, asked, only_passing, name, f"{name}.service.consul", health.service)
            compare(world, caller, asked, only_passing, name, f"{name}.connect.consul", health.connect)
            for tag in TAGS:
                full = f"{tag}.{name}.service.consul"
                compare(world, caller, asked, only_passing, name, full, health.service, tag)


def change(world: World, row: Row) -> None:
    name = f"{row.name}-{row.at}"
    if not row.stays:
        if world.state.services.get((row.on, name)):
            world.do(commands.deregister_services(stamp(), row.on, [name]))
        return
    instance = service(name, row.name, row.on, address=row.address, tags=row.tags)
    checks = [check(f"c-{name}", name, row.status, row.on), check("alive", "", row.node_status, row.on)]
    sidecar = [proxy(name, row.name, row.on)] if row.has_proxy else []
    world.register(instance, *sidecar, *checks, on=row.on)


def compare(
    world: World,
    caller: Caller,
    asked: Resolver,
    only_passing: bool,
    name: str,
    dns_name: str,
    handler: Callable[[Reading], Answer],
    tag: str = "",
) -> None:
    query = MultiDict({"tag": tag} if tag else {})
    if only_passing:
        query["passing"] = ""
    reading = Reading(world.state, Query(query), name, None, caller, Sieve(caller))  # type: ignore[arg-type]
    rows = [row for row in handler(reading).body if not is_critical(row)]
    addresses = {row["Service"]["Address"] or row["Node"]["Address"] for row in rows}
    for kind, wanted in (("A", without(addresses, ":")), ("AAAA", without(addresses, "."))):
        found = asked.ask(dns_name, kind)
        assert texts(found) == wanted
        assert rcode(found) == ("NOERROR" if rows else "NXDOMAIN")
    records = asked.ask(dns_name, "SRV")
    glue = {rrset.name: rrset[0].to_text() for rrset in records.additional}
    targets = {(glue[data.target], data.port, data.weight) for rrset in records.answer for data in rrset}
    assert targets == {
        (row["Service"]["Address"] or row["Node"]["Address"], row["Service"]["Port"], 1) for row in rows
    }


def is_critical(row: dict[str, Any]) -> bool:
    return any(it["Status"] == "critical" for it in row["Checks"])


def without(addresses: Iterable[str], mark: str) -> list[str]:
    return sorted(it for it in addresses if mark not in it)
