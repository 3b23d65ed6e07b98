"""registry.acl.templates: rules that identities and templated policies stand for."""

import pytest

from registry.acl.access import Access
from registry.acl.authorizer import Authorizer
from registry.acl.rules import parse_rules
from registry.acl.templates import TEMPLATES, node_identity, service_identity, templated_policy
from registry.errors import InvalidCommand


@pytest.mark.parametrize("name", TEMPLATES)
def test_every_template_makes_valid_rules(name: str) -> None:
    template = TEMPLATES[name]
    assert parse_rules(template.rules("web" if template.takes_name else "")).labelled


@pytest.mark.parametrize(
    "name", ["", "Web", "a b", 'x" { policy = "write" } key_prefix "', "-a", "a-", "a\n", "ä"]
)
def test_a_name_can_say_nothing_but_a_name(name: str) -> None:
    for make in (service_identity, node_identity, lambda name: templated_policy("builtin/service", name)):
        with pytest.raises(InvalidCommand, match="lower-case letters"):
            make(name)


def test_templates_without_a_gap_take_no_name() -> None:
    with pytest.raises(InvalidCommand, match="takes no name"):
        templated_policy("builtin/dns", "web")


def test_an_unknown_template_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InvalidCommand, match="use one of builtin/api-gateway"):
        templated_policy("builtin/all", "")


def test_a_node_identity_registers_its_node() -> None:
    asked = Authorizer([node_identity("n1")], default_allow=False)
    assert asked.allows("node", "n1", Access.WRITE)
    assert not asked.allows("node", "n2", Access.READ)
    assert asked.allows("service", "web", Access.READ)
