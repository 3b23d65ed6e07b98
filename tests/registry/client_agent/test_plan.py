"""Anti-entropy as a function: whatever both sides hold, the steps make the servers' side the agent's."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.client_agent.plan import Held, Json, Remove, Tell, TellNode, after, plan

ALIVE = "serfHealth"
NOT_OURS = frozenset((ALIVE,))
NODE: Json = {"ID": "1", "Address": "10.0.0.1", "Datacenter": "dc1", "TaggedAddresses": {}, "Meta": {}}


def service(name: str, **more: Any) -> Json:
    return {"ID": name, "Service": name, "Tags": [], "Port": 80, "CreateIndex": 1, "ModifyIndex": 2, **more}


def check(name: str, owner: str = "", status: str = "passing") -> Json:
    return {
        "CheckID": name,
        "Name": name,
        "ServiceID": owner,
        "Status": status,
        "Output": "",
        "ModifyIndex": 9,
    }


def holding(*rows: Json, node: Json | None = NODE) -> Held:
    return Held(
        node,
        {row["ID"]: row for row in rows if "Service" in row},
        {row["CheckID"]: row for row in rows if "CheckID" in row},
    )


def settled(local: Held, remote: Held) -> Held:
    for step in plan(local, remote, NOT_OURS):
        remote = after(remote, step)
    return remote


def test_nothing_is_done_where_both_sides_say_the_same() -> None:
    rows = (service("web"), check("c", "web"))
    known = tuple({**row, "ModifyIndex": 77, "Novel": "of a newer server"} for row in rows)
    assert plan(holding(*rows), holding(*known), NOT_OURS) == []


def test_the_virtual_address_is_the_servers_to_give() -> None:
    given = {"consul-virtual": {"Address": "240.0.0.1", "Port": 80}}
    assert plan(holding(service("web")), holding(service("web", TaggedAddresses=given)), NOT_OURS) == []
    lan = {"lan": {"Address": "10.0.0.1", "Port": 80}}
    both = holding(service("web", TaggedAddresses=given | lan))
    assert plan(holding(service("web", TaggedAddresses=lan)), both, NOT_OURS) == []
    assert plan(holding(service("web")), both, NOT_OURS) != []


def test_a_forgotten_node_comes_first_and_whole() -> None:
    local = holding(service("web"), check("c", "web"), check("disk"))
    first, *rest = plan(local, Held(None), NOT_OURS)
    assert first == TellNode(NODE)
    assert rest == [
        Tell("", None, (local.checks["disk"],)),
        Tell("web", local.services["web"], (local.checks["c"],)),
    ]


def test_a_changed_status_is_told_without_its_service() -> None:
    local = holding(service("web"), check("c", "web", "critical"))
    steps = plan(local, holding(service("web"), check("c", "web")), NOT_OURS)
    assert steps == [Tell("web", None, (local.checks["c"],))]


def test_what_is_not_here_is_removed_once() -> None:
    remote = holding(service("ghost"), check("of-ghost", "ghost"), check("stray"), check(ALIVE))
    steps = plan(holding(), remote, NOT_OURS)
    assert steps == [Remove(service_id="ghost"), Remove(check_id="stray")]


def test_whether_the_node_is_alive_is_the_servers_to_say() -> None:
    remote = holding(check(ALIVE, status="critical"))
    assert plan(holding(), remote, NOT_OURS) == []
    assert ALIVE in settled(holding(service("web")), remote).checks


def test_tags_are_the_catalogs_where_the_service_says_so() -> None:
    local = holding(service("web", EnableTagOverride=True, Tags=["mine"]))
    remote = holding(service("web", EnableTagOverride=True, Tags=["theirs"]))
    assert plan(local, remote, NOT_OURS) == []
    moved = holding(service("web", EnableTagOverride=True, Tags=["mine"], Port=81))
    (step,) = plan(moved, remote, NOT_OURS)
    assert isinstance(step, Tell)
    assert step.service is not None
    assert (step.service["Tags"], step.service["Port"]) == (["theirs"], 81)


def test_an_empty_field_and_a_missing_one_say_the_same() -> None:
    assert plan(holding(service("web", Meta={})), holding(service("web")), NOT_OURS) == []


NAMES = st.sampled_from(("a", "b", "c", "d"))
SERVICES = st.dictionaries(NAMES, st.builds(service, NAMES, Port=st.integers(1, 3)), max_size=4)


@st.composite
def sides(draw: st.DrawFn, *, known: bool) -> Held:
    services = {name: {**row, "ID": name} for name, row in draw(SERVICES).items()}
    owners = st.sampled_from(("", *services))
    checks = draw(
        st.dictionaries(NAMES, st.builds(check, NAMES, owners, st.sampled_from(("passing", "critical"))))
    )
    named = {name: {**row, "CheckID": name} for name, row in checks.items()}
    nodes = st.sampled_from((NODE, {**NODE, "Address": "10.9.9.9"}, *(() if known else (None,))))
    node = draw(nodes)
    return Held(node, services, named) if node else Held(None)


@given(local=sides(known=True), remote=sides(known=False))
def test_the_steps_make_both_sides_one(local: Held, remote: Held) -> None:
    end = settled(local, remote)
    assert end.node == local.node
    assert dict(end.services) == dict(local.services)
    assert dict(end.checks) == dict(local.checks)
    assert plan(local, end, NOT_OURS) == []


@pytest.mark.parametrize("gone", ["web", "api"])
def test_removing_a_service_takes_its_checks_along(gone: str) -> None:
    remote = holding(service("web"), service("api"), check("w", "web"), check("a", "api"), check("node"))
    left = after(remote, Remove(service_id=gone))
    assert gone not in left.services
    assert {row["ServiceID"] for row in left.checks.values()} == {"", "web", "api"} - {gone}


def test_what_is_open_while_an_instance_drains_is_not_overwritten() -> None:
    """Sidecars tell the servers, and there it stands; of other checks the output is the agent's."""
    taken_out = check("_service_maintenance:web", "web", "critical") | {"Type": "maintenance"}
    told = taken_out | {"Output": "2 requests open, 7 begun since"}
    assert plan(holding(service("web"), taken_out), holding(service("web"), told), NOT_OURS) == []
    other = check("c", "web")
    differing = holding(service("web"), other | {"Output": "else"})
    assert plan(holding(service("web"), other), differing, NOT_OURS) == [Tell("web", None, (other,))]
