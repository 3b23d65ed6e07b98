"""registry.acl.resolve: from a token to what it may do, and how long an answer serves."""

import pytest

from ca.sealing import OperatorKey
from registry.acl.access import Access
from registry.acl.model import (
    ANONYMOUS_ACCESSOR,
    Grants,
    NodeIdentity,
    Policy,
    Role,
    ServiceIdentity,
    TemplatedPolicy,
    Token,
)
from registry.acl.resolve import Resolved, Resolver
from registry.acl.secrets import SecretBox
from registry.acl.tables import AclTables
from registry.acl.templates import GLOBAL_MANAGEMENT_ID

BOX = SecretBox((OperatorKey(b"k" * 32),), "cluster")


def token(secret: str, grants: Grants, *, expires_ms: int = 0) -> Token:
    accessor = f"accessor of {secret}"
    return Token(accessor, BOX.seal(secret, accessor, b"\0" * 12), grants=grants, expires_ms=expires_ms)


def policy(name: str, rules: str, *datacenters: str) -> Policy:
    return Policy(f"id of {name}", name, rules=rules, datacenters=datacenters)


def resolve(tables: AclTables, secret: str, *, resolver: Resolver | None = None, now_ms: int = 0) -> Resolved:
    found = (resolver or Resolver("dc1", default_allow=False)).by_secret(tables, BOX, secret, now_ms)
    assert found is not None
    return found


def test_an_unknown_secret_is_nobody() -> None:
    assert Resolver("dc1", default_allow=True).by_secret(AclTables(), BOX, "who", 0) is None


@pytest.mark.parametrize("secret", ["", "anonymous"])
def test_no_secret_is_the_anonymous_token(secret: str) -> None:
    found = resolve(AclTables(), secret)
    assert found.is_anonymous
    assert not found.may.allows("node", "a", Access.READ)
    tables = (
        AclTables()
        .with_policy(policy("nodes", 'node_prefix "" { policy = "read" }'))
        .with_token(Token(ANONYMOUS_ACCESSOR, grants=Grants(policies=("id of nodes",))))
    )
    assert resolve(tables, secret).may.allows("node", "a", Access.READ)


def test_a_token_has_what_it_leads_to_by_any_way() -> None:
    tables = (
        AclTables()
        .with_policy(policy("keys", 'key_prefix "app/" { policy = "write" }'))
        .with_policy(policy("ops", 'operator = "read"'))
        .with_role(Role("r1", "role", grants=Grants(("id of ops",), (), (ServiceIdentity("web"),))))
        .with_token(
            token(
                "s",
                Grants(
                    policies=("id of keys", "gone"),
                    roles=("r1", "gone"),
                    node_identities=(NodeIdentity("n1", "dc1"), NodeIdentity("n2", "dc2")),
                    templated_policies=(TemplatedPolicy("builtin/dns"),),
                ),
            )
        )
    )
    may = resolve(tables, "s").may
    assert may.allows("key", "app/x", Access.WRITE)
    assert may.allows("operator", "", Access.READ)
    assert may.allows("service", "web", Access.WRITE)
    assert may.allows("node", "n1", Access.WRITE)
    assert not may.allows("node", "n2", Access.WRITE)
    assert may.allows("query", "q", Access.READ)
    assert not may.allows("acl", "", Access.READ)


def test_policies_and_identities_of_other_datacenters_do_not_count() -> None:
    tables = (
        AclTables()
        .with_policy(policy("far", 'operator = "write"', "dc2"))
        .with_token(
            token("s", Grants(("id of far",), service_identities=(ServiceIdentity("web", ("dc2",)),)))
        )
    )
    assert not resolve(tables, "s").may.allows("operator", "", Access.READ)
    assert not resolve(tables, "s").may.allows("service", "web", Access.READ)


def test_the_management_policy_is_there_without_being_written() -> None:
    tables = AclTables().with_token(token("s", Grants((GLOBAL_MANAGEMENT_ID,))))
    assert resolve(tables, "s").may.allows("acl", "", Access.WRITE)


def test_a_token_ends_when_its_time_is_over() -> None:
    tables = AclTables().with_token(token("s", Grants((GLOBAL_MANAGEMENT_ID,)), expires_ms=1000))
    resolver = Resolver("dc1", default_allow=False)
    assert resolver.by_secret(tables, BOX, "s", 999) is not None
    assert resolver.by_secret(tables, BOX, "s", 1000) is None


def test_an_answer_serves_until_a_row_that_it_was_made_of_changes() -> None:
    resolver = Resolver("dc1", default_allow=False)
    tables = (
        AclTables()
        .with_policy(policy("p", 'operator = "read"'))
        .with_role(Role("r", "r", grants=Grants(("id of p",))))
        .with_token(token("s", Grants(roles=("r",))))
    )
    first = resolve(tables, "s", resolver=resolver)
    unrelated = tables.with_policy(policy("other", 'acl = "write"'))
    assert resolve(unrelated, "s", resolver=resolver).may is first.may
    changed = tables.with_policy(policy("p", 'operator = "write"'))
    assert resolve(changed, "s", resolver=resolver).may.allows("operator", "", Access.WRITE)
    without = tables.without_role("r")
    assert not resolve(without, "s", resolver=resolver).may.allows("operator", "", Access.READ)
    assert resolver.by_secret(tables.without_token("accessor of s"), BOX, "s", 0) is None
