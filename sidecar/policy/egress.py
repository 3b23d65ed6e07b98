"""Sans-IO. Which destinations outside the mesh an application may reach."""

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from weft.pb.mesh.v1 import mesh_pb2

from ..errors import InvalidResource
from ..snapshot import Address, Egress, EgressRule
from .fields import check_count, listen_address

RULES_MAX = 65_536  # hosts of all rules; read through once per connection and destination
PORTS_MAX = 65_535
DEFAULT_RULE = "default"  # the name of what no rule names, where that is allowed

IpAddress = IPv4Address | IPv6Address


def egress_of(egress: mesh_pb2.Egress) -> Egress | None:
    """None where there is no forward proxy. Raises InvalidResource."""
    if not egress.bind_port:
        return None
    check_count("egress", "rules", len(egress.rules), RULES_MAX)
    return Egress(
        listen=listen_address("egress", egress.bind_address, egress.bind_port),
        default_allow=egress.default_allow,
        rules=tuple(_rule(rule) for rule in egress.rules),
    )


def _rule(rule: mesh_pb2.Egress.Rule) -> EgressRule:
    if not rule.host or any(not 0 < port <= PORTS_MAX for port in rule.ports):
        raise InvalidResource("egress", f"rule {rule.name[:80]!r} names no host, or a port out of range")
    return EgressRule(rule.name, rule.host.lower(), frozenset(rule.ports))


@dataclass(frozen=True, slots=True)
class Admitted:
    """A destination that may be reached. `by_name`: what speaks TLS there must ask for an admitted name."""

    rule: str
    by_name: bool


class EgressPolicy:
    """The rules of one snapshot. Names match rules of names, and addresses those of addresses: what a name
    resolves to is not looked at."""

    def __init__(self, egress: Egress | None) -> None:
        self._default = egress is not None and egress.default_allow
        self._names: list[EgressRule] = []
        self._networks: list[tuple[IPv4Network | IPv6Network, EgressRule]] = []
        for rule in egress.rules if egress is not None else ():
            network = _network(rule.host)
            if network is None:
                self._names.append(rule)
            else:
                self._networks.append((network, rule))

    def admit(self, host: str, port: int) -> Admitted | None:
        """None: it may not be reached."""
        address = _address(host)
        for rule in self._matching(host) if address is None else self._around(address):
            if not rule.ports or port in rule.ports:
                return Admitted(rule.name, by_name=address is None and not self._default)
        return Admitted(DEFAULT_RULE, by_name=False) if self._default else None

    def _matching(self, host: str) -> Iterator[EgressRule]:
        for rule in self._names:
            if host == rule.host or (rule.host[:2] == "*." and host.endswith(rule.host[1:])):
                yield rule

    def _around(self, address: IpAddress) -> Iterator[EgressRule]:
        for network, rule in self._networks:
            if address.version == network.version and address in network:
                yield rule


def destination(authority: bytes, default_port: int = 0) -> Address | None:
    """Host and port of an authority, the host as rules know it; None where it names none."""
    host, colon, port = authority.decode("latin-1").rpartition(":")
    if not colon or port.endswith("]"):
        host, port = authority.decode("latin-1"), str(default_port)
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and 0 < int(port) <= PORTS_MAX):
        return None
    host = host.lower().removesuffix(".")
    if host[:1] == "[":
        host = host[1:].removesuffix("]")
        if _address(host) is None:
            return None
    address = _address(host)
    return Address(str(address) if address else host, int(port)) if host and host.isascii() else None


def _address(host: str) -> IpAddress | None:
    try:
        found = ip_address(host)
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return mapped or found


def _network(host: str) -> IPv4Network | IPv6Network | None:
    try:
        return ip_network(host)
    except ValueError:
        return None
