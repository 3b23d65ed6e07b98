"""404, 405 and OPTIONS come from the one route table: reference section 1."""

import pytest

from registry.api.errors import NotFound, WrongMethod
from registry.api.permission import How
from registry.api.route import Needs
from registry.api.routes import ROUTES, Table
from tests.support.registry import Client

TABLE = Table(ROUTES)


def test_no_route_is_listed_twice() -> None:
    assert len({(route.method, route.path) for route in ROUTES}) == len(ROUTES)


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_every_route_is_found_by_its_own_path(route: object) -> None:
    prefix, colon, _ = route.path.partition(":")  # type: ignore[attr-defined]
    found, name = TABLE.route(route.method, prefix + ("a/b" if colon else ""))  # type: ignore[attr-defined]
    assert found is route
    assert name == ("a/b" if colon else "")


def test_reads_change_nothing_and_writes_take_a_body() -> None:
    changing = (Needs.BODY, Needs.UPLOAD)
    assert {route.method for route in ROUTES if route.needs in changing} == {"PUT", "DELETE", "POST"}
    reads = [route for route in ROUTES if route.needs not in changing]
    # Consul takes the overrides of a compilation as a body.
    by_post = {route.path for route in reads if route.method != "GET"}
    assert by_post == {"/v1/discovery-chain/:service"}


OPEN = {
    "/",
    "/v1/acl/bootstrap",  # who may call it is what it decides: once
    "/v1/acl/login",  # the bearer's token is what it judges
    "/v1/acl/replication",
    "/v1/agent/connect/ca/roots",
    "/v1/catalog/datacenters",
    "/v1/connect/ca/roots",
    "/v1/join",  # the join token is the proof
    "/v1/openapi.json",  # what there is to be asked, and nothing of what is known
    "/v1/status/leader",
    "/v1/status/peers",
}


def test_trap_01_only_these_are_answered_without_asking_the_access_control_list() -> None:
    assert {route.path for route in ROUTES if route.guard.how is How.OPEN} == OPEN


def test_a_guard_that_asks_before_says_what_for() -> None:
    for route in ROUTES:
        assert (route.guard.how is How.BEFORE) == bool(route.guard.resource), route.path


def test_an_unknown_path_is_told_from_one_without_v1() -> None:
    with pytest.raises(NotFound, match=r"not a recognized HTTP API endpoint\n$"):
        TABLE.find("/v1/nothing")
    with pytest.raises(NotFound, match=r"ensure the path starts with '/v1/'\n$"):
        TABLE.find("/nothing")


def test_a_wrong_method_names_the_right_ones() -> None:
    with pytest.raises(WrongMethod, match=r"^method POST not allowed$") as refusal:
        TABLE.route("POST", "/v1/connect/intentions/exact")
    assert refusal.value.allowed == ("DELETE", "GET", "PUT")


async def test_the_listener_answers_from_the_table(client: Client) -> None:
    status, headers, body = await client.call("POST", "/v1/agent/services")
    assert (status, headers["Allow"], body) == (405, "OPTIONS,GET", b"method POST not allowed")
    status, headers, body = await client.call("OPTIONS", "/v1/connect/intentions/exact")
    assert (status, headers["Allow"], body) == (200, "OPTIONS,DELETE,GET,PUT", b"")
    status, headers, body = await client.call("GET", "/v1/nothing/x")
    assert (status, body) == (404, b"Invalid URL path: not a recognized HTTP API endpoint\n")
    assert headers["Content-Type"] == "text/plain; charset=utf-8"
    assert (await client.call("GET", "/"))[0] == 200


async def test_unprintable_characters_in_a_path_are_refused(client: Client) -> None:
    assert (await client.call("GET", "/v1/health/service/a%01b"))[0] == 400
