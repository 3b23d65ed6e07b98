"""registry.acl.caller: what is refused, in Consul's words, and what is left out of lists."""

import pytest

from registry.acl.access import Access
from registry.acl.authorizer import DENY_ALL, Authorizer
from registry.acl.caller import EVERYBODY, Caller, PermissionDenied, Sieve
from registry.acl.rules import parse_rules

WEB = Authorizer([parse_rules('service "web" { policy = "read" }')], default_allow=False)


def test_refusals_name_the_token_and_what_it_lacks() -> None:
    caller = Caller(WEB, "a-b-c")
    caller.require("service", "web", Access.READ)
    with pytest.raises(PermissionDenied) as refused:
        caller.require("service", "web", Access.WRITE)
    assert str(refused.value) == (
        "Permission denied: token with AccessorID 'a-b-c' lacks permission 'service:write' on \"web\""
    )
    with pytest.raises(PermissionDenied) as refused:
        caller.require("operator", "", Access.READ)
    assert str(refused.value) == (
        "Permission denied: token with AccessorID 'a-b-c' lacks permission 'operator:read'"
    )


def test_the_anonymous_token_is_explained() -> None:
    with pytest.raises(PermissionDenied) as refused:
        Caller(DENY_ALL, "", True).require("key", "foo", Access.READ)
    assert str(refused.value) == (
        "Permission denied: anonymous token lacks permission 'key:read' on \"foo\". The anonymous token is "
        "used implicitly when a request does not specify a token."
    )


def test_intentions_and_prefixes_are_asked_for_as_what_they_are() -> None:
    caller = Caller(WEB, "a")
    caller.require_intention("web", Access.READ)
    with pytest.raises(PermissionDenied, match="'intention:write' on \"web\""):
        caller.require_intention("web", Access.WRITE)
    with pytest.raises(PermissionDenied, match="'key:write' on \"a/\""):
        caller.require_all("key", "a/", Access.WRITE)


def test_a_sieve_notes_that_it_left_something_out() -> None:
    def readable(may: Authorizer, name: str) -> bool:
        return may.allows("service", name, Access.READ)

    sieve = Sieve(Caller(WEB, "a"))
    assert sieve.keep(["web"], readable) == ["web"]
    assert not sieve.left_out
    assert sieve.keep(["db", "web"], readable) == ["web"]
    assert sieve.left_out
    assert Sieve(EVERYBODY).keep(["db"], readable) == ["db"]
