"""registry.acl.rules: what policies may say."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.acl.access import Grant
from registry.acl.rules import RULES_MAX, InvalidRules, Rule, Rules, parse_rules


def test_hcl_and_json_say_the_same() -> None:
    hcl = """
    # the shop
    service "web" { policy = "write" intentions = "read" }
    service_prefix "" { policy = "read" }
    key_prefix "shop/" { policy = "list" }
    operator = "read"
    """
    json = """{
      "service": {"web": {"policy": "write", "intentions": "read"}},
      "service_prefix": {"": {"policy": "read"}},
      "key_prefix": {"shop/": {"policy": "list"}},
      "operator": "read"
    }"""
    assert parse_rules(hcl) == parse_rules(json)
    assert parse_rules(hcl) == Rules(
        labelled=(
            Rule("service", "web", False, Grant.WRITE, Grant.READ),
            Rule("service", "", True, Grant.READ),
            Rule("key", "shop/", True, Grant.LIST),
        ),
        plain=(("operator", Grant.READ),),
    )


def test_a_label_that_comes_twice_keeps_both_rules() -> None:
    rules = parse_rules('key "a" { policy = "read" }\nkey "a" { policy = "deny" }')
    assert [rule.grant for rule in rules.labelled] == [Grant.READ, Grant.DENY]


def test_no_rules_is_a_policy_too() -> None:
    assert parse_rules("") == Rules()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('services "a" { policy = "read" }', "'services' is no resource; use one of"),
        ('service "a" { policy = "list" }', 'service "a": the policy must be "read", "write" or "deny"'),
        ('key "a" { policy = "all" }', 'one of "read", "list", "write", "deny"'),
        ('key "a" { }', 'key "a": the policy must be'),
        ('key "a" { policy = "read" sentinel = "x" }', "'sentinel' is not known here"),
        ('key "a" { policy = "read" intentions = "read" }', "'intentions' is not known here"),
        ('service "a" { policy = "read" intentions = "all" }', 'service "a": intentions: the policy must be'),
        ('operator { policy = "read" }', "operator: the policy must be"),
        ('operator = "list"', "operator: the policy must be"),
        ('key = "read"', 'write key "<name>"'),
        ('key "a" = "read"', 'write { policy = "read" }'),
        ('namespace "a" { policy = "read" }', "no namespaces"),
        ("key {", "not valid HCL"),
        (f'key "{"a" * 600}" {{ policy = "read" }}', "over 512 characters"),
        ("".join(f'key "{n}" {{ policy = "read" }}\n' for n in range(RULES_MAX + 1))[:65_000], "Rules"),
    ],
)
def test_what_is_wrong_is_named(text: str, says: str) -> None:
    with pytest.raises(InvalidRules) as refused:
        parse_rules(text)
    assert says in str(refused.value)


@given(st.text(st.sampled_from('key_prfx sviceoat"{}=\n policy readwritedeny'), max_size=120))
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(InvalidRules):
        parse_rules(text)
