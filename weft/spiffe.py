"""SPIFFE ids: of services, `spiffe://<trust domain>/ns/default/dc/<dc>/svc/<service>`, and of agents,
`spiffe://<trust domain>/agent/client/dc/<dc>/id/<node>`. Neither passes for the other.

Syntax follows the SPIFFE-ID specification, sections 2.1 (trust domain) and 2.2 (path).
"""

import re
from dataclasses import dataclass
from typing import Self

from .errors import UsageError

URI_BYTES_MAX = 2048  # SPIFFE-ID 2.3
_TRUST_DOMAIN = re.compile(r"[a-z0-9._-]{1,255}")
_SEGMENT = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._-]{1,128}")
_SERVICE = re.compile(
    r"spiffe://(?P<trust_domain>[^/]+)/ns/(?P<namespace>[^/]+)/dc/(?P<datacenter>[^/]+)/svc/(?P<service>[^/]+)"
)
_AGENT = re.compile(
    r"spiffe://(?P<trust_domain>[^/]+)/agent/client/dc/(?P<datacenter>[^/]+)/id/(?P<node>[^/]+)"
)


class InvalidSpiffeId(UsageError):
    """Expected. The text is not the SPIFFE id of a service, or of an agent, where one is asked for."""


@dataclass(frozen=True, slots=True)
class SpiffeId:
    """The identity of a service in one cluster."""

    trust_domain: str
    datacenter: str
    service: str
    namespace: str = "default"

    def __post_init__(self) -> None:
        _check(self.trust_domain, namespace=self.namespace, datacenter=self.datacenter, service=self.service)

    @classmethod
    def parse(cls, uri: str) -> Self:
        """Reads a URI SAN. Raises InvalidSpiffeId on anything but a service id."""
        found = _SERVICE.fullmatch(uri) if len(uri) <= URI_BYTES_MAX else None
        if not found:
            raise InvalidSpiffeId(f"{uri[:200]!r} is not the SPIFFE id of a service")
        return cls(**found.groupdict())

    @property
    def uri(self) -> str:
        return f"spiffe://{self.trust_domain}/ns/{self.namespace}/dc/{self.datacenter}/svc/{self.service}"

    def __str__(self) -> str:
        return self.uri


@dataclass(frozen=True, slots=True)
class AgentId:
    """The identity of a node's agent in one cluster, in Consul's form."""

    trust_domain: str
    datacenter: str
    node: str

    def __post_init__(self) -> None:
        _check(self.trust_domain, datacenter=self.datacenter, node=self.node)

    @classmethod
    def parse(cls, uri: str) -> Self:
        """Reads a URI SAN. Raises InvalidSpiffeId on anything but an agent's id."""
        found = _AGENT.fullmatch(uri) if len(uri) <= URI_BYTES_MAX else None
        if not found:
            raise InvalidSpiffeId(f"{uri[:200]!r} is not the SPIFFE id of an agent")
        return cls(**found.groupdict())

    @property
    def uri(self) -> str:
        return f"spiffe://{self.trust_domain}/agent/client/dc/{self.datacenter}/id/{self.node}"

    def __str__(self) -> str:
        return self.uri


def _check(trust_domain: str, **segments: str) -> None:
    """Raises InvalidSpiffeId."""
    if not _TRUST_DOMAIN.fullmatch(trust_domain):
        raise InvalidSpiffeId(f"trust domain {trust_domain!r}: use lower-case letters, digits, '.', '-', '_'")
    for name, segment in segments.items():
        if not _SEGMENT.fullmatch(segment):
            raise InvalidSpiffeId(f"{name} {segment!r}: use letters, digits, '.', '-', '_'")
