"""Resources of a subscription as the registry would send them: service web, with upstream orders."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from weft.pb.mesh.v1 import mesh_pb2

TRUST_DOMAIN = "dc1.weft"
WEB_KEY = "dc1/node1/web-1"


def root_der(trust_domain: str = TRUST_DOMAIN) -> bytes:
    """A self-signed certificate; enough where nothing is verified with it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, trust_domain)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.DER)


def proxy(public_port: int = 20000, app_port: int = 8080) -> mesh_pb2.Resource:
    return mesh_pb2.Resource(
        name="proxy",
        version="1",
        proxy=mesh_pb2.Proxy(
            instance_key=WEB_KEY,
            service="web",
            service_id="web-1",
            datacenter="dc1",
            trust_domain=TRUST_DOMAIN,
            spiffe_id=spiffe_id("web"),
            public_address="127.0.0.1",
            public_port=public_port,
            app_address="127.0.0.1",
            app_port=app_port,
            protocol="grpc",
        ),
    )


def spiffe_id(service: str, trust_domain: str = TRUST_DOMAIN, datacenter: str = "dc1") -> str:
    return f"spiffe://{trust_domain}/ns/default/dc/{datacenter}/svc/{service}"


def rule(
    source: str, allow: bool, precedence: int = 9, trust_domain: str = TRUST_DOMAIN, datacenter: str = ""
) -> mesh_pb2.Intentions.Rule:
    return mesh_pb2.Intentions.Rule(
        id=f"{source}-to-web",
        source=source,
        source_trust_domain=trust_domain,
        source_datacenter=datacenter,
        allow=allow,
        precedence=precedence,
    )


def intentions(*rules: mesh_pb2.Intentions.Rule, default_allow: bool = False) -> mesh_pb2.Resource:
    body = mesh_pb2.Intentions(rules=rules, default_allow=default_allow)
    return mesh_pb2.Resource(name="intentions", version="1", intentions=body)


def bundle(*roots: bytes, trust_domain: str = TRUST_DOMAIN) -> mesh_pb2.Resource:
    body = mesh_pb2.TrustBundle(trust_domain=trust_domain, roots_der=roots or (root_der(trust_domain),))
    return mesh_pb2.Resource(name=f"bundle/{trust_domain}", version="1", bundle=body)


def revocations(*serials: int) -> mesh_pb2.Resource:
    leaves = [
        mesh_pb2.Revocations.Leaf(
            serial=serial.to_bytes((serial.bit_length() + 7) // 8, "big"), trust_domain=TRUST_DOMAIN
        )
        for serial in serials
    ]
    return mesh_pb2.Resource(name="revocations", version="1", revocations=mesh_pb2.Revocations(leaves=leaves))


def upstream(name: str = "orders", bind_port: int = 19000) -> mesh_pb2.Resource:
    return mesh_pb2.Resource(
        name=f"upstream/{name}",
        version="1",
        upstream=mesh_pb2.Upstream(
            name=name,
            datacenter="dc1",
            trust_domain=TRUST_DOMAIN,
            bind_address="127.0.0.1",
            bind_port=bind_port,
            protocol=mesh_pb2.PROTOCOL_GRPC,
            routes=[mesh_pb2.Route(name="default", splits=[split(target_id(name))])],
            default_target=target_id(name),
        ),
    )


def target_id(name: str) -> str:
    return f"{name}.default.default.dc1"


def split(target: str, weight: int = 10_000) -> mesh_pb2.Split:
    return mesh_pb2.Split(weight=weight, target=target)


def target(name: str = "orders") -> mesh_pb2.Resource:
    return mesh_pb2.Resource(
        name=f"target/{target_id(name)}",
        version="1",
        target=mesh_pb2.Target(
            id=target_id(name),
            service=name,
            datacenter="dc1",
            trust_domain=TRUST_DOMAIN,
            spiffe_id=spiffe_id(name),
        ),
    )


def endpoints(name: str = "orders", ports: Iterable[int] = (21000, 21001)) -> mesh_pb2.Resource:
    body = mesh_pb2.Endpoints(
        endpoints=[
            mesh_pb2.Endpoint(
                instance_key=f"dc1/node1/{name}-{port}",
                service_id=f"{name}-{port}",
                address="127.0.0.1",
                port=port,
                weight=1,
                healthy=True,
            )
            for port in ports
        ]
    )
    return mesh_pb2.Resource(name=f"endpoints/{target_id(name)}", version="1", endpoints=body)


def by_name(*resources: mesh_pb2.Resource) -> dict[str, mesh_pb2.Resource]:
    return {resource.name: resource for resource in resources}


def all_resources() -> dict[str, mesh_pb2.Resource]:
    """A complete and valid set."""
    return by_name(
        proxy(),
        intentions(rule("shop", allow=True)),
        bundle(),
        revocations(7),
        upstream(),
        target(),
        endpoints(),
    )
