"""Answers from a catalog: which records, for whom, and what is said where there are none."""

import re
from typing import Any

import dns.flags
import dns.message
import dns.rdatatype
import pytest

from registry.acl.authorizer import Authorizer
from registry.acl.caller import EVERYBODY, Caller
from registry.acl.rules import parse_rules
from registry.catalog import addresses, commands
from registry.catalog.model import TaggedAddress
from registry.catalog.state import State
from registry.config_entries.kinds import encoded, entry_of
from registry.dns import instances
from registry.dns.answer import Choices
from registry.dns.desk import Desk
from registry.dns.message import Transport
from tests.support.acl import acl_id
from tests.support.catalog import World, check, node, proxy, service, stamp
from tests.support.dns import NOW_S, Resolver, nobody, prepared, rcode, texts


@pytest.fixture
def world() -> World:
    """Two nodes; web three times, once with an address of its own, once with a warning, once critical."""
    found = World.set_up()
    found.register(service("web-1", "web", tags=("v1", "Blue")), check("c1", "web-1"))
    found.register(
        service("web-2", "web", on="n2", address="10.1.0.2", weight_passing=9, weight_warning=3),
        check("c2", "web-2", "warning", on="n2"),
        on="n2",
    )
    found.register(service("web-3", "web", address="10.1.0.3"), check("c3", "web-3", "critical"))
    found.register(proxy("web-1", "web"))
    found.register(service("consul", "consul"))
    return found


def resolver(world: World, **options: Any) -> Resolver:
    return Resolver(lambda: world.state, **options)


@pytest.mark.parametrize(
    "name",
    ["web.service.consul", "web.service.weft", "WEB.service.dc1.consul", "_web._tcp.service.consul"],
)
def test_a_service_is_its_passing_and_warning_instances(world: World, name: str) -> None:
    found = resolver(world).ask(name)
    assert texts(found) == ["10.0.0.1", "10.1.0.2"]
    assert found.flags & dns.flags.AA
    assert not found.flags & dns.flags.RA
    assert found.answer[0].ttl == 0


def test_only_passing_leaves_warnings_out(world: World) -> None:
    assert texts(resolver(world, choices=Choices(only_passing=True)).ask("web.service.consul")) == [
        "10.0.0.1"
    ]


def test_a_critical_node_takes_its_instances_out(world: World) -> None:
    world.register(check("node", status="critical"))
    assert texts(resolver(world).ask("web.service.consul")) == ["10.1.0.2"]


@pytest.mark.parametrize("name", ["v1.web.service.consul", "BLUE.web.service.consul", "_web._v1.consul"])
def test_tags_choose_whatever_their_case(world: World, name: str) -> None:
    assert texts(resolver(world).ask(name)) == ["10.0.0.1"]


def test_srv_names_the_node_or_the_address_with_weights_by_health(world: World) -> None:
    found = resolver(world).ask("web.service.consul", "SRV")
    assert texts(found) == ["1 1 8080 n1.node.dc1.consul.", "1 3 8080 0a010002.addr.dc1.consul."]
    glue = {rrset.name.to_text(): rrset[0].to_text() for rrset in found.additional}
    assert glue == {"n1.node.dc1.consul.": "10.0.0.1", "0a010002.addr.dc1.consul.": "10.1.0.2"}


def test_srv_targets_stay_in_the_domain_that_was_asked_and_can_be_asked_for(world: World) -> None:
    asked = resolver(world)
    for data in asked.ask("web.service.weft", "SRV").answer[0]:
        assert data.target.to_text().endswith(".dc1.weft.")
        assert len(texts(asked.ask(data.target.to_text()))) == 1


def test_connect_names_the_proxies(world: World) -> None:
    found = resolver(world).ask("web.connect.consul", "SRV")
    assert texts(found) == ["1 1 21000 n1.node.dc1.consul."]


def test_a_service_of_the_mesh_has_one_virtual_address(world: World) -> None:
    asked = resolver(world)
    assert rcode(asked.ask("web.virtual.consul")) == "NXDOMAIN"
    world.do(addresses.give_addresses(stamp()))
    for name in ("web.virtual.consul", "WEB.virtual.weft", "web.virtual.dc1.dc.consul"):
        assert texts(asked.ask(name)) == ["240.0.0.1"]
    for kind in ("AAAA", "SRV"):
        found = asked.ask("web.virtual.consul", kind)
        assert (rcode(found), texts(found)) == ("NOERROR", [])
    assert rcode(asked.ask("consul.virtual.consul")) == "NXDOMAIN"  # not in the mesh
    old = entry_of({"Kind": "service-resolver", "Name": "old"})
    world.do(commands.set_config_entry(stamp(), encoded(old)))
    assert texts(asked.ask("Old.virtual.consul")) == ["240.0.0.2"]


def test_a_node_is_its_address_and_its_meta(world: World) -> None:
    world.do(commands.register(stamp(), node(meta={"rack": "a1", "rfc1035-note": "plain"})))
    found = resolver(world).ask("N1.node.consul")
    assert texts(found) == ["10.0.0.1"]
    assert texts(found, "additional") == ['"plain"', '"rack=a1"']
    assert texts(resolver(world).ask("n1.node.consul", "TXT")) == ['"plain"', '"rack=a1"']
    assert texts(resolver(world).ask("n1.node.consul", "ANY")) == ['"plain"', '"rack=a1"', "10.0.0.1"]


def test_long_meta_is_one_record_of_several_strings(world: World) -> None:
    world.do(commands.register(stamp(), node(meta={"k": "x" * 300})))
    (text,) = texts(resolver(world).ask("n1.node.consul", "TXT"))
    assert re.sub('[" ]', "", text) == "k=" + "x" * 300


def test_an_upper_case_name_is_found_too(world: World) -> None:
    world.register(service("Legacy-1", "Legacy", address="10.1.0.9"))
    assert texts(resolver(world).ask("legacy.service.consul")) == ["10.1.0.9"]
    assert texts(resolver(world).ask("leGAcy.service.consul")) == ["10.1.0.9"]


def test_ipv6_is_aaaa_and_nodata_for_a(world: World) -> None:
    world.register(service("six", address="2001:db8::1"))
    asked = resolver(world)
    assert texts(asked.ask("six.service.consul", "AAAA")) == ["2001:db8::1"]
    assert texts(asked.ask("six.service.consul", "ANY")) == ["2001:db8::1"]
    none = asked.ask("six.service.consul", "A")
    assert (rcode(none), texts(none)) == ("NOERROR", [])
    assert none.authority[0].rdtype == dns.rdatatype.SOA
    (srv,) = asked.ask("six.service.consul", "SRV").answer[0]
    assert srv.target.to_text() == "20010db8000000000000000000000001.addr.dc1.consul."
    assert texts(asked.ask(srv.target.to_text(), "AAAA")) == ["2001:db8::1"]


def test_tagged_addresses_answer_for_the_other_family(world: World) -> None:
    tagged = {"lan_ipv4": TaggedAddress("10.9.9.9", 1), "lan_ipv6": TaggedAddress("2001:db8::9", 1)}
    world.register(service("dual", address="10.9.9.9", tagged_addresses=tagged))
    assert texts(resolver(world).ask("dual.service.consul", "A")) == ["10.9.9.9"]
    assert texts(resolver(world).ask("dual.service.consul", "AAAA")) == ["2001:db8::9"]


def test_a_host_name_is_an_alias_and_a_target(world: World) -> None:
    world.register(service("ext", address="db.example.com"))
    assert texts(resolver(world).ask("ext.service.consul")) == ["db.example.com."]
    assert texts(resolver(world).ask("ext.service.consul", "SRV")) == ["1 1 8080 db.example.com."]
    world.register(service("ext-2", "ext", address="10.1.1.1"))
    assert texts(resolver(world).ask("ext.service.consul")) == ["10.1.1.1"]  # an alias stands alone


def test_a_name_that_dns_cannot_say_is_replaced_by_its_address(world: World) -> None:
    long = "n" * 100
    world.register(service("far", on=long), on=long)
    assert texts(resolver(world).ask("far.service.consul", "SRV")) == ["1 1 8080 0a000001.addr.dc1.consul."]


@pytest.mark.parametrize(
    "name",
    [
        "nobody.service.consul",
        "v9.web.service.consul",
        "web.service.dc2.consul",
        "n9.node.consul",
        "0a00.addr.consul",
        "web.virtual.consul",
        "web.query.consul",
        "x.y.consul",
    ],
)
def test_what_is_not_there_is_nxdomain_with_the_soa(world: World, name: str) -> None:
    found = resolver(world).ask(name)
    assert (rcode(found), texts(found)) == ("NXDOMAIN", [])
    (authority,) = found.authority
    assert authority.name.to_text() == "consul."
    assert authority[0].minimum == 0


def test_a_service_without_a_healthy_instance_is_not_there(world: World) -> None:
    world.register(service("down"), check("c9", "down", "critical"))
    assert rcode(resolver(world).ask("down.service.consul")) == "NXDOMAIN"


@pytest.mark.parametrize("name", ["service.consul", "dc1.consul", "node.dc1.consul"])
def test_a_name_that_others_end_in_exists(world: World, name: str) -> None:
    """Resolvers that ask label by label would stop at NXDOMAIN (RFC 8020, RFC 9156)."""
    found = resolver(world).ask(name)
    assert (rcode(found), texts(found)) == ("NOERROR", [])


def test_soa_and_ns(world: World) -> None:
    found = resolver(world).ask("consul", "SOA")
    serial = int(NOW_S + 3600)
    assert texts(found) == [f"ns.consul. hostmaster.consul. {serial} 3600 600 86400 0"]
    servers = resolver(world).ask("weft", "NS")
    assert texts(servers) == ["n1.node.dc1.weft."]
    assert texts(servers, "additional") == ["10.0.0.1"]
    assert texts(resolver(world).ask("ns.consul")) == ["10.0.0.1"]
    assert texts(resolver(world).ask("consul", "A")) == []


def test_ptr_names_the_node_and_where_there_is_none_the_services(world: World) -> None:
    asked = resolver(world)
    assert texts(asked.ask("1.0.0.10.in-addr.arpa", "PTR")) == ["n1.node.dc1.consul.", "n2.node.dc1.consul."]
    assert texts(asked.ask("2.0.1.10.in-addr.arpa", "PTR")) == ["web.service.dc1.consul."]
    assert rcode(asked.ask("9.9.9.10.in-addr.arpa", "PTR")) == "NXDOMAIN"
    assert rcode(asked.ask("10.in-addr.arpa", "PTR")) == "NOERROR"
    world.register(service("six", address="2001:db8::1"))
    name = ".".join(reversed("20010db8000000000000000000000001")) + ".ip6.arpa"
    assert texts(asked.ask(name, "PTR")) == ["six.service.dc1.consul."]


@pytest.mark.parametrize("name", ["example.com", "consul.example.com", "."])
def test_foreign_names_are_refused(world: World, name: str) -> None:
    found = resolver(world).ask(name)
    assert rcode(found) == "REFUSED"
    assert not found.flags & dns.flags.AA


def test_before_the_cluster_has_a_name_nothing_is_known() -> None:
    assert rcode(Resolver(State).ask("web.service.consul")) == "SERVFAIL"


def test_the_order_is_random_and_given_by_the_draw(world: World) -> None:
    def firsts(seed: int) -> list[str]:
        asked = resolver(world, seed=seed)
        return [asked.ask("web.service.consul").answer[0][0].to_text() for _ in range(40)]

    assert set(firsts(1)) == {"10.0.0.1", "10.1.0.2"}
    assert firsts(1) == firsts(1)
    assert firsts(1) != firsts(2)


def test_ttls_are_the_operators(world: World) -> None:
    asked = resolver(world, choices=Choices(node_ttl_s=5, service_ttl_s=7))
    assert asked.ask("n1.node.consul").answer[0].ttl == 5
    found = asked.ask("web.service.consul", "SRV")
    assert {rrset.ttl for rrset in (*found.answer, *found.additional)} == {7}


def limited(rules: str) -> Caller:
    return Caller(Authorizer([parse_rules(rules)], default_allow=False))


ALL = 'service_prefix "" { policy = "read" } node_prefix "" { policy = "read" }'
RIGHTS = {
    "": [],
    'service "web" { policy = "read" }': [],
    'node_prefix "" { policy = "read" }': [],
    'service "web" { policy = "read" } node "n2" { policy = "read" }': ["10.1.0.2"],
    ALL: ["10.0.0.1", "10.1.0.2"],
    ALL + ' service "web" { policy = "deny" }': [],
}


@pytest.mark.parametrize("rules", RIGHTS)
def test_an_instance_is_told_to_who_may_read_service_and_node(world: World, rules: str) -> None:
    asked = resolver(world, caller=limited(rules))
    found = asked.ask("web.service.consul")
    assert texts(found) == RIGHTS[rules]
    assert rcode(found) == ("NOERROR" if RIGHTS[rules] else "NXDOMAIN")
    assert len(texts(asked.ask("web.service.consul", "SRV"))) == len(RIGHTS[rules])


def test_nodes_servers_and_reverse_names_are_kept_from_who_may_not_read_them(world: World) -> None:
    asked = resolver(world, caller=limited('node "n2" { policy = "read" }'))
    assert rcode(asked.ask("n1.node.consul")) == "NXDOMAIN"
    assert texts(asked.ask("n2.node.consul")) == ["10.0.0.1"]
    assert texts(asked.ask("1.0.0.10.in-addr.arpa", "PTR")) == ["n2.node.dc1.consul."]
    assert rcode(asked.ask("2.0.1.10.in-addr.arpa", "PTR")) == "NXDOMAIN"
    assert texts(asked.ask("consul", "NS")) == []


def test_what_is_remembered_of_one_caller_is_not_told_to_another(world: World) -> None:
    callers = [limited(ALL), limited(""), limited(ALL)]
    asked = Desk(
        Choices(),
        lambda: world.state,
        lambda _: callers.pop(0),
        nobody,
        lambda: NOW_S,
        lambda: 0.5,
        recursion=False,
    )
    query = dns.message.make_query("web.service.consul", "A").to_wire()
    answers = [asked.take(query, Transport.TCP) for _ in range(3)]
    found = [texts(dns.message.from_wire(it)) for it in answers if isinstance(it, bytes)]
    assert found == [["10.0.0.1", "10.1.0.2"], [], ["10.0.0.1", "10.1.0.2"]]


def test_instances_are_remembered_within_bounds(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instances, "INSTANCES_KEPT_MAX", 3)
    world.register(service("api-1", "api"), service("api-2", "api", address="10.1.0.7"))
    kept, may = instances.Instances(), EVERYBODY.may
    for name in ("web", "api", "nobody", "api", "web"):
        assert len(kept.readable(world.state, name, may)) == (0 if name == "nobody" else 2)
        assert kept._count == sum(len(it.rows) for it in kept._kept.values()) <= 3


def test_a_prepared_query_answers_as_it_was_prepared(world: World) -> None:
    world.do(prepared("web", {"Tags": ["v1"]}, ttl="7s"))
    found = resolver(world).ask("web.query.consul")
    assert (texts(found), found.answer[0].ttl) == (["10.0.0.1"], 7)
    assert texts(resolver(world).ask("web.query.dc1.weft", "SRV")) == ["1 1 8080 n1.node.dc1.weft."]
    assert rcode(resolver(world).ask("other.query.consul")) == "NXDOMAIN"
    assert rcode(resolver(world).ask("web.query.dc2.consul")) == "NXDOMAIN"
    assert rcode(resolver(world).ask("query.consul")) == "NOERROR"


def test_a_query_that_ignores_a_check_tells_what_it_makes_critical(world: World) -> None:
    world.do(prepared("web", {"IgnoreCheckIDs": ["c3"]}))
    assert "10.1.0.3" in texts(resolver(world).ask("web.query.consul"))


def test_a_template_takes_any_name_that_begins_so(world: World) -> None:
    world.do(prepared("", {"Service": "${match(2)}", "Tags": ["${match(1)}"]}, template=r"^(.+)\.(.+)$"))
    assert texts(resolver(world).ask("v1.web.query.consul")) == ["10.0.0.1"]
    assert rcode(resolver(world).ask("v2.web.query.consul")) == "NXDOMAIN"


def test_the_nearest_come_first_and_in_order(world: World) -> None:
    world.do(prepared("web", {"Near": "n2"}))
    for seed in range(5):
        found = resolver(world, seed=seed).ask("web.query.consul", transport=Transport.TCP)
        assert next(data.to_text() for rrset in found.answer for data in rrset) == "10.1.0.2"


def test_a_query_has_the_rights_of_its_own_token(world: World) -> None:
    """A token that is gone may nothing."""
    world.do(prepared("web", {}, owner=acl_id(1)))
    found = resolver(world, caller=limited(""), owner=lambda _state, _id: EVERYBODY).ask("web.query.consul")
    assert texts(found) == ["10.0.0.1", "10.1.0.2"]
    assert rcode(resolver(world).ask("web.query.consul")) == "NXDOMAIN"
