"""What it takes to read or write a config entry (Consul's rules, and for kinds of our own what is alike)."""

from ..acl.access import Access
from ..acl.authorizer import Authorizer
from ..acl.caller import Caller
from ..catalog.model import SERVICE_INTENTIONS

_OPERATORS = ("proxy-defaults",)


def may(authorizer: Authorizer, kind: str, name: str, access: Access) -> bool:
    """Entries of a service go by the service, intentions by theirs, those of the whole mesh by `mesh`."""
    if kind == SERVICE_INTENTIONS:
        return authorizer.allows_intention(name, access)
    return authorizer.allows(*_resource(kind, name), access)


def require(caller: Caller, kind: str, name: str, access: Access) -> None:
    """Raises PermissionDenied."""
    if kind == SERVICE_INTENTIONS:
        caller.require_intention(name, access)
    else:
        caller.require(*_resource(kind, name), access)


def _resource(kind: str, name: str) -> tuple[str, str]:
    if kind.startswith("service-"):
        return "service", name
    return ("operator" if kind in _OPERATORS else "mesh"), ""
