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


def full_route() -> mesh_pb2.Route:
    """One that says all that a route can say."""
    pb = mesh_pb2
    edits = pb.HeaderEdits(set={"x-a": "1"}, add={"x-b": "2"}, remove=["x-c"])
    return pb.Route(
        name="router/0",
        match=pb.HttpMatch(
            path_prefix="/api",
            headers=[
                pb.HeaderMatch(name="x-v", exact="2"),
                pb.HeaderMatch(name="x-w", regex="a+", invert=True),
            ],
            query=[pb.QueryMatch(name="q", present=True)],
            methods=["GET"],
        ),
        splits=[
            pb.Split(weight=9_000, target=target_id("orders"), request_headers=edits),
            pb.Split(weight=1_000, target=target_id("orders"), response_headers=edits),
        ],
        sticky=pb.HashPolicy(inputs=[pb.HashPolicy.Input(header="x-user", terminal=True)]),
        prefix_rewrite="/",
        request_headers=edits,
        response_headers=edits,
        request_timeout_ms=1500,
        idle_timeout_ms=2500,
        retry=pb.RetryPolicy(
            attempts_max=3,
            on=["unavailable", "5xx"],
            on_status_codes=[429],
            per_try_timeout_ms=250,
            backoff_base_ms=10,
            backoff_max_ms=100,
            budget_percent=10,
            budget_min=2,
            body_bytes_max=1000,
        ),
        mirrors=[pb.Mirror(target=target_id("orders"), ppm=1000)],
    )


def full_target() -> mesh_pb2.Target:
    """One that says all that a target can say."""
    pb = mesh_pb2
    made = target().target
    made.MergeFrom(
        pb.Target(
            balance=pb.Target.BALANCE_RING_HASH,
            hash=pb.HashPolicy(
                inputs=[
                    pb.HashPolicy.Input(
                        cookie="side", cookie_generate=True, cookie_ttl_s=60, cookie_path="/"
                    ),
                    pb.HashPolicy.Input(source_address=True),
                ]
            ),
            ring_size_min=2048,
            ring_size_max=4096,
            choice_count=3,
            ejection=pb.Ejection(interval_ms=1000, failure_percent=50, success_rate_stdev_milli=1900),
            max_connections=4,
            max_requests=100,
            failover=[target_id("orders"), target_id("stock")],
            prioritize_by_locality=True,
            slow_start_ms=30_000,
            panic_percent=30,
            health_check=pb.HealthCheck(http_path="/health", interval_ms=2000),
        )
    )
    return made


def full_resources() -> dict[str, mesh_pb2.Resource]:
    """As `all_resources`, with every field of routes and targets set."""
    found = all_resources()
    found |= by_name(target("stock"), endpoints("stock", (22000,)))
    found["proxy"].proxy.locality.CopyFrom(mesh_pb2.Locality(region="eu", zone="a"))
    routes = found["upstream/orders"].upstream.routes
    routes.insert(0, full_route())
    found[f"target/{target_id('orders')}"].target.CopyFrom(full_target())
    return found
