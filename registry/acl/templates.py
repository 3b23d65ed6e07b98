"""Policies that nobody writes: the built-in ones, those of identities, and templated ones.

Names and rules are Consul's, so that tokens made for it mean the same here.
"""

import re
from dataclasses import dataclass

from ..errors import InvalidCommand
from .rules import Rules, parse_rules

GLOBAL_MANAGEMENT_ID = "00000000-0000-0000-0000-000000000001"
GLOBAL_READ_ONLY_ID = "00000000-0000-0000-0000-000000000002"

_EVERYTHING = """\
acl = "{0}"
agent_prefix "" {{ policy = "{0}" }}
event_prefix "" {{ policy = "{0}" }}
key_prefix "" {{ policy = "{0}" }}
keyring = "{0}"
mesh = "{0}"
node_prefix "" {{ policy = "{0}" }}
operator = "{0}"
peering = "{0}"
query_prefix "" {{ policy = "{0}" }}
service_prefix "" {{ policy = "{0}" intentions = "{0}" }}
session_prefix "" {{ policy = "{0}" }}
"""


@dataclass(frozen=True, slots=True)
class BuiltIn:
    """A policy that is always there and cannot be changed."""

    id: str
    name: str
    description: str
    rules: str


BUILT_IN = (
    BuiltIn(
        GLOBAL_MANAGEMENT_ID,
        "global-management",
        "A policy that grants unlimited access",
        _EVERYTHING.format("write"),
    ),
    BuiltIn(
        GLOBAL_READ_ONLY_ID,
        "builtin/global-read-only",
        "A policy that grants unlimited read-only access",
        _EVERYTHING.format("read"),
    ),
)

_NAME = re.compile(r"[a-z0-9]([a-z0-9\-_]*[a-z0-9])?\Z")  # what identities may be of: nothing to quote
_NAME_CHARS_MAX = 256


@dataclass(frozen=True, slots=True)
class Template:
    """A policy with a gap. `takes_name`: `{name}` in it must be given."""

    name: str
    description: str
    text: str

    @property
    def takes_name(self) -> bool:
        return "{name}" in self.text

    def rules(self, name: str) -> str:
        """The text for one name. Raises InvalidCommand where the name could say more than a name."""
        if not self.takes_name:
            if name:
                raise InvalidCommand(f"TemplateVariables: {self.name} takes no name")
            return self.text
        return self.text.replace("{name}", identity_name(name, "TemplateVariables.Name"))


def identity_name(name: str, field: str) -> str:
    """`name`, which will stand in rules. Raises InvalidCommand, naming `field`."""
    if len(name) > _NAME_CHARS_MAX or not _NAME.match(name):
        raise InvalidCommand(
            f"{field}: {name[:64]!r} must be lower-case letters, digits, hyphens and underscores, and begin "
            "and end with a letter or digit"
        )
    return name


_SERVICE = """\
service "{name}" { policy = "write" }
service "{name}-sidecar-proxy" { policy = "write" }
service_prefix "" { policy = "read" }
node_prefix "" { policy = "read" }
"""
_NODE = """\
node "{name}" { policy = "write" }
service_prefix "" { policy = "read" }
"""
_DNS = """\
node_prefix "" { policy = "read" }
service_prefix "" { policy = "read" }
query_prefix "" { policy = "read" }
"""
_NOMAD_SERVER = """\
acl = "write"
agent_prefix "" { policy = "read" }
node_prefix "" { policy = "read" }
service_prefix "" { policy = "write" }
"""
_NOMAD_CLIENT = """\
agent_prefix "" { policy = "read" }
node_prefix "" { policy = "read" }
service_prefix "" { policy = "write" }
key_prefix "" { policy = "read" }
"""
_API_GATEWAY = """\
mesh = "read"
node_prefix "" { policy = "read" }
service_prefix "" { policy = "read" }
service "{name}" { policy = "write" }
"""

TEMPLATES = {
    template.name: template
    for template in (
        Template(
            "builtin/api-gateway", "Gives the token or role permissions for an API gateway", _API_GATEWAY
        ),
        Template("builtin/dns", "Gives the token or role permissions for DNS", _DNS),
        Template("builtin/node", "Gives the token or role permissions to register a node", _NODE),
        Template(
            "builtin/nomad-client", "Gives the token or role permissions of a Nomad client", _NOMAD_CLIENT
        ),
        Template(
            "builtin/nomad-server", "Gives the token or role permissions of a Nomad server", _NOMAD_SERVER
        ),
        Template(
            "builtin/service",
            "Gives the token or role permissions to register a service and discover others",
            _SERVICE,
        ),
    )
}


def service_identity(name: str) -> Rules:
    """What a token with this ServiceIdentity may do. Raises InvalidCommand."""
    return parse_rules(_SERVICE.replace("{name}", identity_name(name, "ServiceIdentities.ServiceName")))


def node_identity(name: str) -> Rules:
    """What a token with this NodeIdentity may do. Raises InvalidCommand."""
    return parse_rules(_NODE.replace("{name}", identity_name(name, "NodeIdentities.NodeName")))


def templated_policy(template: str, name: str) -> Rules:
    """What a TemplatedPolicy grants. Raises InvalidCommand."""
    found = TEMPLATES.get(template)
    if found is None:
        known = ", ".join(TEMPLATES)
        raise InvalidCommand(
            f"TemplatedPolicies.TemplateName: {template[:64]!r} is not known; use one of {known}"
        )
    return parse_rules(found.rules(name))
