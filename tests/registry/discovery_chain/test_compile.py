"""Chains: what entries lead to, what contradicts itself, and that a change is judged as a whole would be."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.config_entries.entry import Entry
from registry.config_entries.errors import InvalidEntry
from registry.config_entries.kinds import entry_of
from registry.discovery_chain.chain import Chain, ResolverNode, RouterNode, SplitterNode
from registry.discovery_chain.compile import compile_chain
from registry.discovery_chain.validate import KINDS, ROUTING, check_chains
from registry.errors import ImpossibleChain

Entries = dict[tuple[str, str], Entry]


def _entries(*raw: dict[str, Any]) -> Entries:
    return {(it.kind, it.name): it for it in map(entry_of, raw)}


def _chain(entries: Entries, service: str = "a", protocol: str = "") -> Chain:
    return compile_chain(service, "dc1", lambda *key: entries.get(key), protocol=protocol)


def router(name: str, *destinations: dict[str, Any]) -> dict[str, Any]:
    return {"Kind": "service-router", "Name": name, "Routes": [{"Destination": it} for it in destinations]}


def splitter(name: str, **weights: float) -> dict[str, Any]:
    """Weights by service; `_v1` is a subset of its own."""
    legs = {key: {"ServiceSubset": key[1:]} if key[0] == "_" else {"Service": key} for key in weights}
    return {
        "Kind": "service-splitter",
        "Name": name,
        "Splits": [{"Weight": weight, **legs[key]} for key, weight in weights.items()],
    }


def resolver(name: str, *subsets: str, **fields: Any) -> dict[str, Any]:
    return {"Kind": "service-resolver", "Name": name, "Subsets": {it: {} for it in subsets}, **fields}


def defaults(name: str, protocol: str) -> dict[str, Any]:
    return {"Kind": "service-defaults", "Name": name, "Protocol": protocol}


def test_without_entries_calls_go_to_all_instances() -> None:
    chain = _chain({})
    assert chain.is_default
    assert list(chain.targets) == ["a.default.default.dc1"]
    assert chain.reads == {
        ("service-router", "a"), ("service-splitter", "a"), ("service-resolver", "a"),
        ("service-defaults", "a"), ("proxy-defaults", "global"),
    }  # fmt: skip


def test_router_then_splitter_then_resolver() -> None:
    chain = _chain(
        _entries(
            router("a", {"Service": "b"}, {"ServiceSubset": "v1"}),
            splitter("a", _v1=90, b=10),
            resolver("a", "v1", DefaultSubset="v1"),
        )
    )
    node = chain.nodes[chain.start]
    assert isinstance(node, RouterNode)
    assert [choice.next for choice in node.choices] == [
        "resolver:b.default.default.dc1",
        "resolver:v1.a.default.default.dc1",
        "splitter:a.default.default",
    ]
    assert chain.services == {"a", "b"}


def test_splitters_nest() -> None:
    chain = _chain(_entries(splitter("a", b=50, c=50), splitter("b", b=20, d=80)))
    assert {name for name in chain.nodes if name.startswith("splitter")} == {
        "splitter:a.default.default",
        "splitter:b.default.default",
    }
    assert {leg.split(".")[0] for leg in chain.targets} == {"b", "c", "d"}


def test_failover_keeps_the_subset_in_other_datacenters_and_drops_it_for_other_services() -> None:
    entries = _entries(
        resolver(
            "a", "v1", DefaultSubset="v1",
            Failover={"*": {"Targets": [{"Datacenter": "dc2"}, {"Service": "b"}, {"Service": "a"}]}},
        )
    )  # fmt: skip
    node = _chain(entries).nodes["resolver:v1.a.default.default.dc1"]
    assert isinstance(node, ResolverNode)
    assert node.failover == ("v1.a.default.default.dc2", "b.default.default.dc1")


def test_redirects_are_followed() -> None:
    chain = _chain(
        _entries(resolver("a", Redirect={"Service": "b"}), resolver("b", Redirect={"Datacenter": "dc2"}))
    )
    assert chain.start == "resolver:b.default.default.dc2"
    assert not chain.is_default


def test_a_caller_that_says_tcp_is_not_routed() -> None:
    entries = _entries(router("a", {"Service": "b"}))
    assert _chain(entries, protocol="tcp").start == "resolver:a.default.default.dc1"


def test_an_undeclared_protocol_permits_routing() -> None:
    assert _chain(_entries(splitter("a", b=100))).protocol == ""
    assert _chain(_entries(splitter("a", b=100), defaults("b", "grpc"))).protocol == "grpc"


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        ([splitter("a", b=100), defaults("a", "tcp")], 'uses a protocol "tcp" that does not permit'),
        ([router("a"), {"Kind": "proxy-defaults", "Config": {"protocol": "tcp"}}], 'uses a protocol "tcp"'),
        (
            [splitter("a", b=100), defaults("a", "http"), defaults("b", "grpc")],
            'uses inconsistent protocols; service "b" has "grpc" which is not "http"',
        ),
        ([splitter("a", b=100), splitter("b", a=100)], "detected circular reference: [splitter:a"),
        (
            [resolver("a", Redirect={"Service": "b"}), resolver("b", Redirect={"Service": "a"})],
            "circular resolver",
        ),
        ([splitter("a", _v1=100)], 'service "a" does not have a subset named "v1"'),
        (
            [router("a", {"Service": "b", "ServiceSubset": "x"})],
            'service "b" does not have a subset named "x"',
        ),
        (
            [router("a", {"Mirrors": [{"Service": "b", "ServiceSubset": "x"}]})],
            'service "b" does not have a subset named "x"',
        ),
        ([splitter(f"s{n}" if n else "a", **{f"s{n + 1}": 100}) for n in range(40)], "nests over"),
        (
            [resolver(f"s{n}" if n else "a", Redirect={"Service": f"s{n + 1}"}) for n in range(40)],
            "redirects",
        ),
    ],
)
def test_what_contradicts_itself_is_refused(entries: list[dict[str, Any]], says: str) -> None:
    with pytest.raises(ImpossibleChain) as refused:
        _chain(_entries(*entries))
    assert says in str(refused.value)


_names = st.sampled_from("abc")
_subsets = st.sampled_from(["", "v1"])
_legs = st.fixed_dictionaries({"Service": _names, "ServiceSubset": _subsets})
_any = st.one_of(
    st.builds(lambda name, legs: router(name, *legs), _names, st.lists(_legs, max_size=2)),
    st.builds(
        lambda name, leg: {"Kind": "service-splitter", "Name": name, "Splits": [{"Weight": 100, **leg}]},
        _names,
        _legs,
    ),
    st.builds(lambda name, subsets: resolver(name, *subsets), _names, st.sampled_from([(), ("v1",)])),
    st.builds(lambda name, to: resolver(name, "v1", Redirect={"Service": to}), _names, _names),
    st.builds(lambda name, to: resolver(name, Failover={"*": to}), _names, _legs),
    st.builds(defaults, _names, st.sampled_from(["tcp", "http", "grpc"])),
)


def _check(key: tuple[str, str], entries: Entries) -> None:
    routing = [it for it in entries.values() if it.kind in ROUTING]
    check_chains(*key, "dc1", lambda *of: entries.get(of), routing)


@settings(max_examples=300, deadline=None)
@given(st.lists(_any, max_size=8))
def test_a_change_is_refused_exactly_when_some_chain_would_be_impossible(
    changes: list[dict[str, Any]],
) -> None:
    """The oracle looks at every chain; the check only at those that the change has part in."""
    entries: Entries = {}
    for raw in changes:
        try:
            entry = entry_of(raw)
        except InvalidEntry:
            continue
        changed = {**entries, (entry.kind, entry.name): entry}
        impossible = any(_is_impossible(changed, name) for name in "abc")
        try:
            _check((entry.kind, entry.name), changed)
        except ImpossibleChain:
            assert impossible
        else:
            assert not impossible
            entries = changed
    assert set(ROUTING) <= set(KINDS)
    for name in "abc":
        _walk(_chain(entries, name))


def _is_impossible(entries: Entries, service: str) -> bool:
    try:
        _chain(entries, service)
    except ImpossibleChain:
        return True
    return False


def _walk(chain: Chain) -> None:
    """Every way ends at a target, and no way is a circle."""

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path
        node = chain.nodes[name]
        if isinstance(node, RouterNode):
            assert node.choices[-1].route is None
            for choice in node.choices:
                visit(choice.next, (*path, name))
        elif isinstance(node, SplitterNode):
            assert sum(share.split.hundredths for share in node.shares) == 10_000
            for share in node.shares:
                visit(share.next, (*path, name))
        else:
            assert {node.leg.id, *node.failover} <= set(chain.targets)

    visit(chain.start, ())
