"""Intentions decide by the caller's proven identity, first match wins."""

import pytest

from sidecar.policy.authorize import Authorizer
from sidecar.snapshot import Rule
from weft.spiffe import SpiffeId

WEB = SpiffeId("dc1.weft", "dc1", "web")


def rule(source: str, allow: bool, trust_domain: str = "dc1.weft", datacenter: str = "") -> Rule:
    return Rule(f"{source}:{allow}", source, trust_domain, datacenter, allow)


@pytest.mark.parametrize("default", [True, False])
def test_without_a_match_the_default_decides(default: bool) -> None:
    verdict = Authorizer((rule("shop", not default),), default).decide(WEB)
    assert verdict.allowed is default
    assert verdict.reason == f"default {'allow' if default else 'deny'}"


def test_the_first_match_wins() -> None:
    verdict = Authorizer((rule("web", False), rule("*", True)), True).decide(WEB)
    assert verdict[:2] == (False, "intention web:False denies")
    assert Authorizer((rule("web", True), rule("*", False)), False).decide(WEB).allowed


def test_a_wildcard_covers_every_service() -> None:
    assert Authorizer((rule("*", True),), False).decide(WEB).allowed


@pytest.mark.parametrize("source", ["web", "*"])
def test_trap_08_a_rule_covers_only_its_own_trust_domain(source: str) -> None:
    """Dc2's `web` is another service than ours."""
    authorizer = Authorizer((rule(source, True),), False)
    assert not authorizer.decide(SpiffeId("dc2.weft", "dc1", "web")).allowed


def test_a_rule_with_a_datacenter_covers_only_that() -> None:
    authorizer = Authorizer((rule("web", True, datacenter="dc2"),), False)
    assert not authorizer.decide(WEB).allowed
    assert authorizer.decide(SpiffeId("dc1.weft", "dc2", "web")).allowed


def test_a_named_rule_speaks_of_the_default_namespace() -> None:
    other = SpiffeId("dc1.weft", "dc1", "web", namespace="other")
    assert not Authorizer((rule("web", True),), False).decide(other).allowed
    assert not Authorizer((rule("*", False),), True).decide(other).allowed
