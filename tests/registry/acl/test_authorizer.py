"""registry.acl.authorizer: Consul's precedence, against a slow reading of the same sentences."""

from hypothesis import given
from hypothesis import strategies as st

from registry.acl.access import LABELLED, Access, Grant
from registry.acl.authorizer import ALLOW_ALL, DENY_ALL, Authorizer
from registry.acl.rules import Rule, Rules, parse_rules
from registry.acl.templates import BUILT_IN, service_identity


def authorizer(*texts: str, default_allow: bool = False) -> Authorizer:
    return Authorizer([parse_rules(text) for text in texts], default_allow=default_allow)


def test_an_exact_rule_beats_any_prefix() -> None:
    asked = authorizer(
        'key_prefix "a" { policy = "write" } key "ab" { policy = "read" }',
        'key_prefix "abc" { policy = "deny" }',
    )
    assert asked.allows("key", "a", Access.WRITE)
    assert not asked.allows("key", "ab", Access.WRITE)
    assert asked.allows("key", "ab", Access.READ)
    assert asked.allows("key", "abx", Access.WRITE)
    assert not asked.allows("key", "abcd", Access.READ)


def test_deny_wins_between_policies() -> None:
    read, deny = 'service "web" { policy = "write" }', 'service "web" { policy = "deny" }'
    for order in ((read, deny), (deny, read)):
        assert not authorizer(*order, default_allow=True).allows("service", "web", Access.READ)


def test_write_wins_over_read_between_policies() -> None:
    asked = authorizer('operator = "read"', 'operator = "write"')
    assert asked.allows("operator", "", Access.WRITE)


def test_the_default_decides_where_no_rule_does() -> None:
    text = 'node "a" { policy = "read" }'
    assert not authorizer(text).allows("node", "b", Access.READ)
    assert authorizer(text, default_allow=True).allows("node", "b", Access.WRITE)
    assert not authorizer(text, default_allow=True).allows("node", "a", Access.WRITE)


def test_list_is_more_than_read_and_less_than_write() -> None:
    asked = authorizer('key_prefix "r/" { policy = "read" } key_prefix "l/" { policy = "list" }')
    assert not asked.allows("key", "r/x", Access.LIST)
    assert asked.allows("key", "l/x", Access.LIST)
    assert asked.allows("key", "l/x", Access.READ)
    assert not asked.allows("key", "l/x", Access.WRITE)


def test_a_whole_prefix_may_be_written_only_without_exceptions() -> None:
    asked = authorizer('key_prefix "a/" { policy = "write" } key "a/secret" { policy = "read" }')
    assert not asked.allows_all("key", Access.WRITE, "a/")
    assert asked.allows_all("key", Access.WRITE, "a/b/")
    assert asked.allows_all("key", Access.READ, "a/")
    assert not asked.allows_all("key", Access.READ, "")


def test_intentions_are_given_apart_from_writing_a_service() -> None:
    asked = authorizer(
        'service "web" { policy = "write" }', 'service "db" { policy = "deny" intentions = "write" }'
    )
    assert asked.allows_intention("web", Access.READ)
    assert not asked.allows_intention("web", Access.WRITE)
    assert asked.allows_intention("db", Access.WRITE)
    assert asked.allows_intention("*", Access.READ)
    assert not asked.allows_intention("*", Access.WRITE)
    everything = authorizer('service_prefix "" { policy = "read" intentions = "write" }')
    assert everything.allows_intention("*", Access.WRITE)


def test_management_may_do_all_and_read_only_may_read_all() -> None:
    management, read_only = (authorizer(policy.rules) for policy in BUILT_IN)
    for resource in (*LABELLED, "acl", "keyring", "mesh", "operator", "peering"):
        assert management.allows(resource, "x", Access.WRITE)
        assert read_only.allows(resource, "x", Access.READ)
        assert not read_only.allows(resource, "x", Access.WRITE)
    assert management.allows_intention("*", Access.WRITE)
    assert not read_only.allows_intention("*", Access.WRITE)


def test_a_service_identity_registers_itself_and_finds_others() -> None:
    asked = Authorizer([service_identity("web")], default_allow=False)
    assert asked.allows("service", "web", Access.WRITE)
    assert asked.allows("service", "web-sidecar-proxy", Access.WRITE)
    assert asked.allows("service", "db", Access.READ)
    assert not asked.allows("service", "db", Access.WRITE)
    assert asked.allows("node", "n1", Access.READ)
    assert not asked.allows_intention("web", Access.WRITE)
    assert not asked.allows("key", "a", Access.READ)


_labels = st.text("ab/", max_size=4)
_rules = st.lists(
    st.builds(
        Rule, st.sampled_from(["key", "service"]), _labels, st.booleans(), st.sampled_from(list(Grant))
    ),
    max_size=8,
)


def oracle(rules: list[Rule], resource: str, label: str, access: Access, *, default: bool) -> bool:
    here = [rule for rule in rules if rule.resource == resource]
    exact = [rule.grant for rule in here if not rule.is_prefix and rule.label == label]
    if exact:
        return max(exact).allows(access)
    fitting = [rule for rule in here if rule.is_prefix and label.startswith(rule.label)]
    if not fitting:
        return default
    longest = max(len(rule.label) for rule in fitting)
    return max(rule.grant for rule in fitting if len(rule.label) == longest).allows(access)


@given(_rules, st.sampled_from(["key", "service"]), _labels, st.sampled_from(list(Access)), st.booleans())
def test_decisions_follow_the_documentation(
    rules: list[Rule], resource: str, label: str, access: Access, default: bool
) -> None:
    half = len(rules) // 2
    asked = Authorizer([Rules(tuple(rules[:half])), Rules(tuple(rules[half:]))], default_allow=default)
    assert asked.allows(resource, label, access) == oracle(rules, resource, label, access, default=default)


@given(_rules, _labels, _labels, st.sampled_from(list(Access)), st.booleans())
def test_what_holds_for_all_holds_for_each(
    rules: list[Rule], prefix: str, rest: str, access: Access, default: bool
) -> None:
    asked = Authorizer([Rules(tuple(rules))], default_allow=default)
    if asked.allows_all("key", access, prefix):
        assert asked.allows("key", prefix + rest, access)
    if asked.allows("key", prefix, access):
        assert asked.allows_any("key", access)


def test_without_rules_only_the_default_speaks() -> None:
    assert ALLOW_ALL.allows("acl", "", Access.WRITE)
    assert ALLOW_ALL.allows_all("key", Access.WRITE)
    assert not DENY_ALL.allows("acl", "", Access.READ)
    assert not DENY_ALL.allows_any("service", Access.READ)
