"""Nodes, services and checks as bodies of `/v1/catalog/register` and `/v1/txn` name them."""

from dataclasses import replace

from ..agent.check_definition import read_definition
from ..agent.errors import Undecodable
from ..agent.fields import Fields
from ..agent.service_definition import Home, read_service
from ..catalog.model import CRITICAL, NO_DEFINITION, Check, CheckDefinition, Node, Proxy, Service
from .errors import NoSuchDatacenter

_ECHOED = (
    "CreateIndex",
    "ModifyIndex",
    "Namespace",
    "Partition",
    "PeerName",
    "LocallyRegisteredAsSidecar",
    "Locality",
)
"""What a client sends back that it was given once."""


def node(fields: Fields, datacenter: str, *, meta: str = "Meta") -> Node:
    """Raises Undecodable, NoSuchDatacenter."""
    for name in _ECHOED:
        fields.raw(name)
    if fields.text("Datacenter") not in ("", datacenter):
        raise NoSuchDatacenter
    return Node(
        name=fields.text("Node"),
        address=fields.text("Address"),
        datacenter=datacenter,
        id=fields.text("ID").lower(),
        tagged_addresses=fields.text_mapping("TaggedAddresses"),
        meta=fields.text_mapping(meta),
    )


def service(fields: Fields, home: Home) -> Service:
    """Raises Undecodable, InvalidDefinition."""
    for name in ("CreateIndex", "ModifyIndex", "PeerName", "LocallyRegisteredAsSidecar", "Datacenter"):
        fields.raw(name)
    spec = read_service(fields, home)
    if spec.sidecar or spec.checks:
        raise Undecodable("Service has no Check and no SidecarService here: register them beside it")
    row = spec.service
    return replace(row, proxy=None) if row.proxy == Proxy("") else row  # as those that are no proxy show it


def check(fields: Fields, node_name: str) -> Check:
    """Raises Undecodable, InvalidDefinition."""
    for name in (*_ECHOED, "ServiceName", "ServiceTags", "Interval", "Timeout"):
        fields.raw(name)
    name = fields.text("Name")
    return Check(
        node=fields.text("Node") or node_name,
        id=fields.text("CheckID") or fields.text("ID") or name,
        name=name,
        status=fields.text("Status") or CRITICAL,
        notes=fields.text("Notes"),
        output=fields.text("Output"),
        service_id=fields.text("ServiceID"),
        type=fields.text("Type"),
        exposed_port=fields.integer("ExposedPort"),
        definition=fields.child("Definition", _definition) or NO_DEFINITION,
    )


def _definition(fields: Fields) -> CheckDefinition:
    for name in ("IntervalDuration", "TimeoutDuration", "DeregisterCriticalServiceAfterDuration"):
        fields.raw(name)  # the same as those without "Duration", in the shape of old clients
    for name in ("ScriptArgs", "Args"):
        if fields.raw(name):  # an agent would run what its own operator never allowed
            raise Undecodable(f"{fields.path(name)}: script checks are registered with their agent only")
    return read_definition(fields)
