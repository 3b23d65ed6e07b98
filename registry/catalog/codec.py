"""Rows to protobuf and back, as commands bring them: the one place that knows both shapes."""

from collections.abc import Iterable, Mapping

from ca.sealing import SealedKey
from weft.pb.catalog.v1 import state_pb2 as pb

from .model import (
    NO_DEFINITION,
    AutopilotConfig,
    CaRoot,
    CaSettings,
    Check,
    CheckDefinition,
    Cluster,
    Indexes,
    Intention,
    Node,
    Proxy,
    Service,
    TaggedAddress,
    Upstream,
)
from .sharing import RECENT, Sharing

_DEFINITION_FIELDS = tuple(CheckDefinition.__dataclass_fields__)
_UPSTREAM_FIELDS = tuple(Upstream.__dataclass_fields__)


def serial_bytes(serial: int) -> bytes:
    """Big-endian without a leading zero octet; one zero octet for 0."""
    return serial.to_bytes(max(1, (serial.bit_length() + 7) // 8), "big")


def _indexes(row: Indexes) -> pb.Indexes | None:
    return pb.Indexes(create=row.create, modify=row.modify) if row.modify else None


def _read_indexes(row: pb.Indexes) -> Indexes:
    return Indexes(row.create, row.modify)


def _sorted(pairs: Mapping[str, str]) -> dict[str, str]:
    return dict(sorted(pairs.items()))


def cluster_to_pb(row: Cluster) -> pb.Cluster:
    return pb.Cluster(id=row.id, datacenter=row.datacenter, trust_domain=row.trust_domain)


def cluster_from_pb(row: pb.Cluster) -> Cluster:
    return Cluster(row.id, row.datacenter, row.trust_domain)


def node_to_pb(row: Node) -> pb.Node:
    return pb.Node(
        name=row.name,
        id=row.id,
        address=row.address,
        datacenter=row.datacenter,
        tagged_addresses=row.tagged_addresses,
        meta=row.meta,
        indexes=_indexes(row.indexes),
    )


def node_from_pb(row: pb.Node, shared: Sharing = RECENT) -> Node:
    return Node(
        name=shared.text(row.name),
        address=row.address,
        datacenter=shared.text(row.datacenter),
        id=row.id,
        tagged_addresses=_shared_pairs(row.tagged_addresses, shared),
        meta=_shared_pairs(row.meta, shared),
        indexes=shared.indexes(row.indexes.create, row.indexes.modify),
    )


def service_to_pb(row: Service) -> pb.Service:
    return pb.Service(
        node=row.node,
        id=row.id,
        name=row.name,
        kind=row.kind,
        tags=row.tags,
        address=row.address,
        port=row.port,
        socket_path=row.socket_path,
        tagged_addresses={
            name: pb.TaggedAddress(address=tagged.address, port=tagged.port)
            for name, tagged in row.tagged_addresses.items()
        },
        meta=row.meta,
        weight_passing=row.weight_passing,
        weight_warning=row.weight_warning,
        enable_tag_override=row.enable_tag_override,
        connect_native=row.connect_native,
        proxy=_proxy_to_pb(row.proxy) if row.proxy else None,
        datacenter=row.datacenter,
        locality_json=row.locality_json,
        indexes=_indexes(row.indexes),
    )


def service_from_pb(row: pb.Service, shared: Sharing = RECENT) -> Service:
    text = shared.text
    return Service(
        node=text(row.node),
        id=text(row.id),
        name=text(row.name),
        datacenter=text(row.datacenter),
        kind=text(row.kind),
        tags=shared.texts(tuple(row.tags)),
        address=text(row.address),
        port=row.port,
        socket_path=row.socket_path,
        tagged_addresses=_tagged_from_pb(row) if row.tagged_addresses else _NO_ADDRESSES,
        meta=_shared_pairs(row.meta, shared),
        weight_passing=row.weight_passing,
        weight_warning=row.weight_warning,
        enable_tag_override=row.enable_tag_override,
        connect_native=row.connect_native,
        proxy=_proxy_from_pb(row.proxy) if row.HasField("proxy") else None,
        locality_json=row.locality_json,
        indexes=shared.indexes(row.indexes.create, row.indexes.modify),
    )


_NO_ADDRESSES: Mapping[str, TaggedAddress] = {}


def _tagged_from_pb(row: pb.Service) -> dict[str, TaggedAddress]:
    return {
        name: TaggedAddress(tagged.address, tagged.port)
        for name, tagged in sorted(row.tagged_addresses.items())
    }


def _shared_pairs(pairs: Mapping[str, str], shared: Sharing) -> Mapping[str, str]:
    return shared.pairs(tuple(sorted(pairs.items())) if pairs else ())


def _proxy_to_pb(row: Proxy) -> pb.Proxy:
    return pb.Proxy(
        destination_service=row.destination_service,
        destination_service_id=row.destination_service_id,
        local_address=row.local_address,
        local_port=row.local_port,
        local_socket_path=row.local_socket_path,
        mode=row.mode,
        config_json=row.config_json,
        upstreams=[
            pb.Upstream(**{name: getattr(upstream, name) for name in _UPSTREAM_FIELDS})
            for upstream in row.upstreams
        ],
        rest_json=row.rest_json,
    )


def _proxy_from_pb(row: pb.Proxy) -> Proxy:
    return Proxy(
        destination_service=row.destination_service,
        destination_service_id=row.destination_service_id,
        local_address=row.local_address,
        local_port=row.local_port,
        local_socket_path=row.local_socket_path,
        mode=row.mode,
        config_json=row.config_json,
        upstreams=tuple(
            Upstream(**{name: getattr(upstream, name) for name in _UPSTREAM_FIELDS})
            for upstream in row.upstreams
        ),
        rest_json=row.rest_json,
    )


def check_to_pb(row: Check) -> pb.Check:
    definition = None
    if row.definition != NO_DEFINITION:
        definition = pb.CheckDefinition(
            **{name: getattr(row.definition, name) for name in _DEFINITION_FIELDS}
        )
    return pb.Check(
        node=row.node,
        id=row.id,
        name=row.name,
        status=row.status,
        notes=row.notes,
        output=row.output,
        service_id=row.service_id,
        service_name=row.service_name,
        service_tags=row.service_tags,
        type=row.type,
        exposed_port=row.exposed_port,
        definition=definition,
        indexes=_indexes(row.indexes),
    )


def check_from_pb(row: pb.Check, shared: Sharing = RECENT) -> Check:
    text = shared.text
    definition = NO_DEFINITION
    if row.HasField("definition"):
        definition = shared.definition(row.definition.SerializeToString(deterministic=True))
    return Check(
        node=text(row.node),
        id=text(row.id),
        name=text(row.name),
        status=text(row.status),
        notes=row.notes,
        output=row.output,
        service_id=text(row.service_id),
        service_name=text(row.service_name),
        service_tags=shared.texts(tuple(row.service_tags)),
        type=text(row.type),
        exposed_port=row.exposed_port,
        definition=definition,
        indexes=shared.indexes(row.indexes.create, row.indexes.modify),
    )


def intention_to_pb(row: Intention) -> pb.Intention:
    return pb.Intention(
        id=row.id,
        source=row.source,
        destination=row.destination,
        allow=row.allow,
        description=row.description,
        meta=row.meta,
        created_ms=row.created_ms,
        updated_ms=row.updated_ms,
        permissions_json=row.permissions_json,
        indexes=_indexes(row.indexes),
    )


def intention_from_pb(row: pb.Intention) -> Intention:
    return Intention(
        source=row.source,
        destination=row.destination,
        allow=row.allow,
        id=row.id,
        description=row.description,
        meta=_sorted(row.meta),
        created_ms=row.created_ms,
        updated_ms=row.updated_ms,
        permissions_json=row.permissions_json,
        indexes=_read_indexes(row.indexes),
    )


def root_to_pb(row: CaRoot) -> pb.Root:
    return pb.Root(
        id=row.id,
        name=row.name,
        serial_number=row.serial_number,
        signing_key_id=row.signing_key_id,
        trust_domain=row.trust_domain,
        not_before_ms=row.not_before_ms,
        not_after_ms=row.not_after_ms,
        certificate_der=row.certificate_der,
        intermediates_der=row.intermediates_der,
        active=row.active,
        key_type=row.key_type,
        key_bits=row.key_bits,
        indexes=_indexes(row.indexes),
    )


def root_from_pb(row: pb.Root) -> CaRoot:
    return CaRoot(
        id=row.id,
        name=row.name,
        trust_domain=row.trust_domain,
        certificate_der=row.certificate_der,
        serial_number=row.serial_number,
        signing_key_id=row.signing_key_id,
        not_before_ms=row.not_before_ms,
        not_after_ms=row.not_after_ms,
        intermediates_der=tuple(row.intermediates_der),
        active=row.active,
        key_type=row.key_type,
        key_bits=row.key_bits,
        indexes=_read_indexes(row.indexes),
    )


def roots_to_pb(rows: Iterable[CaRoot]) -> list[pb.Root]:
    return [root_to_pb(row) for row in rows]


def settings_to_pb(row: CaSettings) -> pb.CaSettings:
    return pb.CaSettings(
        leaf_ttl_ms=row.leaf_ttl_ms, root_ttl_ms=row.root_ttl_ms, csr_per_s_max=row.csr_per_s_max
    )


def settings_from_pb(row: pb.CaSettings) -> CaSettings:
    return CaSettings(row.leaf_ttl_ms, row.root_ttl_ms, row.csr_per_s_max)


def sealed_to_pb(row: SealedKey) -> pb.SealedKey:
    return pb.SealedKey(
        key_id=row.key_id, sealed_by=row.sealed_by, nonce=row.nonce, ciphertext=row.ciphertext
    )


def sealed_from_pb(row: pb.SealedKey) -> SealedKey:
    return SealedKey(row.key_id, row.sealed_by, row.nonce, row.ciphertext)


def autopilot_to_pb(row: AutopilotConfig) -> pb.Autopilot:
    return pb.Autopilot(
        cleanup_dead_servers=row.cleanup_dead_servers,
        last_contact_threshold_ms=row.last_contact_threshold_ms,
        max_trailing_logs=row.max_trailing_logs,
        min_quorum=row.min_quorum,
        server_stabilization_ms=row.server_stabilization_ms,
        indexes=_indexes(row.indexes),
    )


def autopilot_from_pb(row: pb.Autopilot) -> AutopilotConfig:
    return AutopilotConfig(
        cleanup_dead_servers=row.cleanup_dead_servers,
        last_contact_threshold_ms=row.last_contact_threshold_ms,
        max_trailing_logs=row.max_trailing_logs,
        min_quorum=row.min_quorum,
        server_stabilization_ms=row.server_stabilization_ms,
        indexes=_read_indexes(row.indexes),
    )
