"""Fields of the rows that lists of the HTTP API answer, by the names that they have in JSON."""

from .fields import TEXT_MAP, TEXTS, ListOf, MapOf, struct

_INDEXES = "CreateIndex ModifyIndex"
_ADDRESSES = MapOf(struct(text="Address", number="Port"))
_WEIGHTS = struct(number="Passing Warning")
_GATEWAY = struct(text="Mode")
_UPSTREAM = struct(
    text="DestinationType DestinationName DestinationNamespace DestinationPeer Datacenter LocalBindAddress "
    "LocalBindSocketPath LocalBindSocketMode",
    number="LocalBindPort",
    MeshGateway=_GATEWAY,
)
_PROXY = struct(
    text="DestinationServiceName DestinationServiceID LocalServiceAddress LocalServiceSocketPath Mode",
    number="LocalServicePort",
    MeshGateway=_GATEWAY,
    Upstreams=ListOf(_UPSTREAM),
)
_CONNECT = struct(flag="Native")
_LOCALITY = struct(text="Region Zone")

NODE = struct(text="ID Node Address Datacenter", number=_INDEXES, TaggedAddresses=TEXT_MAP, Meta=TEXT_MAP)

CHECK = struct(
    text="Node CheckID Name Status Notes Output ServiceID ServiceName Type Interval Timeout",
    number=f"ExposedPort {_INDEXES}",
    ServiceTags=TEXTS,
)

SERVICE = struct(
    text="Kind ID Service Address SocketPath Datacenter PeerName",
    number=f"Port {_INDEXES}",
    flag="EnableTagOverride",
    Tags=TEXTS,
    Meta=TEXT_MAP,
    TaggedAddresses=_ADDRESSES,
    Weights=_WEIGHTS,
    Proxy=_PROXY,
    Connect=_CONNECT,
    Locality=_LOCALITY,
)

HEALTH_ENTRY = struct(Node=NODE, Service=SERVICE, Checks=ListOf(CHECK))

CATALOG_SERVICE = struct(
    text="ID Node Address Datacenter ServiceKind ServiceID ServiceName ServiceAddress ServiceSocketPath",
    number=f"ServicePort {_INDEXES}",
    flag="ServiceEnableTagOverride",
    TaggedAddresses=TEXT_MAP,
    NodeMeta=TEXT_MAP,
    ServiceTags=TEXTS,
    ServiceMeta=TEXT_MAP,
    ServiceTaggedAddresses=_ADDRESSES,
    ServiceWeights=_WEIGHTS,
    ServiceProxy=_PROXY,
    ServiceConnect=_CONNECT,
    ServiceLocality=_LOCALITY,
)

INTENTION = struct(
    text="ID Description SourceNS SourceName SourcePartition SourcePeer DestinationNS DestinationName "
    "DestinationPartition SourceType Action CreatedAt UpdatedAt",
    number=f"Precedence {_INDEXES}",
    Meta=TEXT_MAP,
)

CONFIG_ENTRY = struct(text="Kind Name Namespace Partition", number=_INDEXES, Meta=TEXT_MAP)

MEMBER = struct(text="Name Addr", number="Port Status", Tags=TEXT_MAP)

IDENTITY = struct(value=TEXT_MAP, list=MapOf(TEXTS))
"""What a login brings, for selectors of binding rules."""
