"""What it takes to be shown a row of a list (Consul's rules): what `Sieve.keep` asks."""

from ..acl.access import Access
from ..acl.authorizer import Authorizer
from ..catalog.model import Check, Intention, Node, Service, ServiceEntry


def node_name(may: Authorizer, name: str) -> bool:
    return may.allows("node", name, Access.READ)


def service_name(may: Authorizer, name: str) -> bool:
    return may.allows("service", name, Access.READ)


def node(may: Authorizer, row: Node) -> bool:
    return node_name(may, row.name)


def service(may: Authorizer, row: Service) -> bool:
    return service_name(may, row.name)


def entry(may: Authorizer, row: ServiceEntry) -> bool:
    """An instance is shown with its node, so both must be readable."""
    return node_name(may, row.node.name) and service_name(may, row.service.name)


def check(may: Authorizer, row: Check) -> bool:
    """A check of a service goes by the service, one of a node by the node; health says both."""
    return node_name(may, row.node) and (not row.service_id or service_name(may, row.service_name))


def intention(may: Authorizer, row: Intention) -> bool:
    """Shown to who may read either end."""
    return any(may.allows_intention(name, Access.READ) for name in (row.destination, row.source))
