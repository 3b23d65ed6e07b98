"""Sans-IO. The fields of a resource, checked one by one into the snapshot's types."""

import re
from ipaddress import ip_address

from cryptography import x509

from weft.limits import BUNDLE_ROOTS_MAX, CERTIFICATE_BYTES_MAX, INSTANCE_KEY_BYTES_MAX
from weft.pb.mesh.v1 import mesh_pb2
from weft.spiffe import InvalidSpiffeId, SpiffeId

from ..admission import Permission, Requirement
from ..errors import InvalidResource
from ..snapshot import Address, Protocol, Rule

ANY_SERVICE = "*"
PORT_MAX = 65535
KEY_ID_BYTES_MAX = 64  # a SHA-512; RFC 5280, 4.2.1.2 suggests SHA-1
SERIAL_BYTES_MAX = 20  # RFC 5280 section 4.1.2.2
UNIX_PATH_BYTES_MAX = 107  # sun_path of Linux, less its terminating NUL
SOCKET_MODES = range(0o1000)
PROTOCOLS: dict[int, Protocol] = {
    mesh_pb2.PROTOCOL_UNSPECIFIED: Protocol.UNKNOWN,
    mesh_pb2.PROTOCOL_TCP: Protocol.TCP,
    mesh_pb2.PROTOCOL_HTTP: Protocol.HTTP,
    mesh_pb2.PROTOCOL_HTTP2: Protocol.HTTP2,
    mesh_pb2.PROTOCOL_GRPC: Protocol.GRPC,
}
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9])?")


def check_count(resource: str, what: str, count: int, count_max: int) -> None:
    if count > count_max:
        raise InvalidResource(resource, f"has {count} {what}, the most is {count_max}")


def listen_address(resource: str, host: str, port: int) -> Address:
    """A TCP address to bind: an IP address, because a name could resolve to an unexpected one."""
    try:
        ip_address(host)
    except ValueError:
        raise InvalidResource(resource, f"address {host[:80]!r} to listen on is not an IP address") from None
    return Address(host=host, port=_port(resource, port))


def peer_address(resource: str, host: str, port: int) -> Address:
    """A TCP address to connect to: an IP address or a host name."""
    if not _HOST.fullmatch(host):
        try:
            ip_address(host)
        except ValueError:
            raise InvalidResource(resource, f"address {host[:80]!r} is neither IP nor host name") from None
    return Address(host=host, port=_port(resource, port))


def socket_address(resource: str, path: str, mode: int = 0) -> Address:
    """A Unix socket. `mode` 0 is the default of the snapshot (0600)."""
    if not path.startswith("/") or "\0" in path or len(path.encode()) > UNIX_PATH_BYTES_MAX:
        raise InvalidResource(
            resource, f"socket path {path[:80]!r} is not absolute or over {UNIX_PATH_BYTES_MAX} bytes"
        )
    if mode not in SOCKET_MODES:
        raise InvalidResource(resource, f"socket mode {mode:o} is not one of 000 to 777")
    return Address(path=path, mode=mode) if mode else Address(path=path)


def app_address(proxy: mesh_pb2.Proxy) -> Address:
    """Where the application behind this proxy is."""
    if proxy.app_socket_path:
        return socket_address("proxy", proxy.app_socket_path)
    return peer_address("proxy", proxy.app_address, proxy.app_port)


def protocol_of(resource: str, value: int) -> Protocol:
    """Raises InvalidResource where a newer registry says what we cannot do."""
    if value not in PROTOCOLS:
        raise InvalidResource(resource, f"protocol {value} is unknown to this version; upgrade the sidecar")
    return PROTOCOLS[value]


def proxy_identity(proxy: mesh_pb2.Proxy) -> SpiffeId:
    """The proxy's own id, which must say what its other fields say."""
    check_key("proxy", proxy.instance_key)
    identity = identity_of("proxy", proxy.spiffe_id)
    said = (proxy.trust_domain, proxy.datacenter, proxy.service)
    if (identity.trust_domain, identity.datacenter, identity.service) != said:
        raise InvalidResource("proxy", f"SPIFFE id {identity} is not that of {'/'.join(said)[:200]!r}")
    return identity


def identity_of(resource: str, uri: str) -> SpiffeId:
    try:
        return SpiffeId.parse(uri)
    except InvalidSpiffeId as error:
        raise InvalidResource(resource, f"has a bad SPIFFE id: {error}") from error


def check_key(resource: str, key: str) -> None:
    if not key or len(key.encode()) > INSTANCE_KEY_BYTES_MAX or key.count("/") < 2:
        raise InvalidResource(resource, f"instance key {key[:80]!r} is not <datacenter>/<node>/<service id>")


def rule_of(
    rule: mesh_pb2.Intentions.Rule, permissions: tuple[Permission, ...] = (), jwt: Requirement = ()
) -> Rule:
    """One intention. Its source must be nameable as an identity, or the rule could never match."""
    source = "any" if rule.source == ANY_SERVICE else rule.source
    try:
        SpiffeId(rule.source_trust_domain, rule.source_datacenter or "any", source)
    except InvalidSpiffeId as error:
        raise InvalidResource("intentions", f"rule {rule.id[:80]!r}: source {error}") from error
    return Rule(
        id=rule.id,
        source=rule.source,
        trust_domain=rule.source_trust_domain,
        datacenter=rule.source_datacenter,
        allow=rule.allow,
        permissions=permissions,
        jwt=jwt,
    )


def bundle_roots(domain: str, bundle: mesh_pb2.TrustBundle) -> tuple[bytes, ...]:
    """The roots of one trust domain, DER. They are parsed here so that a bad one never reaches TLS."""
    name = f"bundle/{domain}"
    if bundle.trust_domain != domain:
        raise InvalidResource(name, f"is of trust domain {bundle.trust_domain[:80]!r}")
    check_count(name, "roots", len(bundle.roots_der), BUNDLE_ROOTS_MAX)
    if not bundle.roots_der:
        raise InvalidResource(name, "has no roots")
    for root in bundle.roots_der:
        _check_root(name, root)
    return tuple(bundle.roots_der)


def signing_key_id(bundle: mesh_pb2.TrustBundle) -> bytes:
    """Which root signs new leaves."""
    if len(bundle.signing_key_id) > KEY_ID_BYTES_MAX:
        raise InvalidResource(
            f"bundle/{bundle.trust_domain}", f"has a key identifier over {KEY_ID_BYTES_MAX} bytes"
        )
    return bundle.signing_key_id


def serial_of(leaf: mesh_pb2.Revocations.Leaf) -> int:
    if not 0 < len(leaf.serial) <= SERIAL_BYTES_MAX or not leaf.trust_domain:
        raise InvalidResource(
            "revocations", f"a leaf needs a trust domain and a serial of 1 to {SERIAL_BYTES_MAX} bytes"
        )
    return int.from_bytes(leaf.serial, "big")


def _port(resource: str, port: int) -> int:
    if not 0 < port <= PORT_MAX:
        raise InvalidResource(resource, f"port {port} is not one of 1 to {PORT_MAX}")
    return port


def _check_root(name: str, root: bytes) -> None:
    if len(root) > CERTIFICATE_BYTES_MAX:
        raise InvalidResource(name, f"has a root over {CERTIFICATE_BYTES_MAX} bytes")
    try:
        x509.load_der_x509_certificate(root)
    except ValueError as error:
        raise InvalidResource(name, "has a root that is not a DER certificate") from error
