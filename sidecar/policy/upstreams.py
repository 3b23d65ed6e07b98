"""Sans-IO. One upstream, and which targets it and its targets lead to."""

from collections.abc import Iterable, Iterator

from weft.pb.mesh.v1 import mesh_pb2

from ..errors import InvalidResource
from ..traffic import Address, Target, Upstream
from .fields import listen_address, protocol_of, socket_address
from .routes import routes_of


def upstream_of(name: str, upstream: mesh_pb2.Upstream) -> Upstream:
    """Raises InvalidResource."""
    resource = f"upstream/{name}"
    if upstream.name != name:
        raise InvalidResource(resource, f"is of destination {upstream.name[:80]!r}")
    return Upstream(
        name=upstream.name,
        listen=_listen(resource, upstream),
        routes=routes_of(resource, upstream),
        default_target=upstream.default_target,
        protocol=protocol_of(resource, upstream.protocol),
    )


def check_targets(upstreams: Iterable[Upstream], targets: dict[str, Target]) -> None:
    """Every target that something names must be there. Raises InvalidResource."""
    for upstream in upstreams:
        for target_id in named_targets(upstream):
            if target_id not in targets:
                raise InvalidResource(
                    f"target/{target_id}", f"is missing: 'upstream/{upstream.name}' leads to it"
                )
    for target in targets.values():
        for target_id in target.failover:
            if target_id not in targets:
                raise InvalidResource(f"target/{target_id}", f"is missing: {target.id!r} fails over to it")


def named_targets(upstream: Upstream) -> Iterator[str]:
    """The ids of all that it may send something to at first, with repetitions."""
    yield upstream.default_target
    for route in upstream.routes:
        yield from (split.target for split in route.splits)
        yield from (mirror.target for mirror in route.mirrors)


def _listen(resource: str, upstream: mesh_pb2.Upstream) -> Address:
    if upstream.bind_socket_path:
        return socket_address(resource, upstream.bind_socket_path, upstream.bind_socket_mode)
    return listen_address(resource, upstream.bind_address, upstream.bind_port)
