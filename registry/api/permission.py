"""What each route asks of its caller. Every route has a `Guard`: one without does not type-check.

A guard either names what must be allowed before the handler runs, or says that the handler sees to it: lists
leave out what the caller may not read (`sieved`), and some writes know what they touch only from their body
(`inside`).
"""

from dataclasses import dataclass
from enum import Enum, auto

from ..acl.access import Access
from ..acl.caller import Caller


class How(Enum):
    """Who asks for permission."""

    OPEN = auto()  # nobody: what the route tells is for everyone
    BEFORE = auto()  # the server, before the handler runs
    SIEVED = auto()  # the handler, row by row
    INSIDE = auto()  # the handler, once it knows what it is about


class Label(Enum):
    """What names the one thing that is asked for."""

    NONE = auto()  # there is only one
    NAME = auto()  # the end of the path
    NODE = auto()  # this agent's node


@dataclass(frozen=True, slots=True)
class Guard:
    how: How
    resource: str = ""
    access: Access = Access.READ
    label: Label = Label.NONE

    def check(self, caller: Caller, name: str, node: str) -> None:
        """Raises PermissionDenied. `name` is the end of the path, `node` this agent's."""
        if self.how is How.BEFORE:
            labels = {Label.NONE: "", Label.NAME: name, Label.NODE: node}
            caller.require(self.resource, labels[self.label], self.access)


OPEN = Guard(How.OPEN)
SIEVED = Guard(How.SIEVED)
INSIDE = Guard(How.INSIDE)


def _needs(resource: str, access: Access, label: Label = Label.NONE) -> Guard:
    return Guard(How.BEFORE, resource, access, label)


ACL_READ = _needs("acl", Access.READ)
ACL_WRITE = _needs("acl", Access.WRITE)
AGENT_READ = _needs("agent", Access.READ, Label.NODE)
AGENT_WRITE = _needs("agent", Access.WRITE, Label.NODE)
EVENT_WRITE = _needs("event", Access.WRITE, Label.NAME)
KEYRING_READ = _needs("keyring", Access.READ)
KEYRING_WRITE = _needs("keyring", Access.WRITE)
MESH_READ = _needs("mesh", Access.READ)
MESH_WRITE = _needs("mesh", Access.WRITE)
NODE_WRITE = _needs("node", Access.WRITE, Label.NODE)
OPERATOR_READ = _needs("operator", Access.READ)
OPERATOR_WRITE = _needs("operator", Access.WRITE)
SERVICE_READ = _needs("service", Access.READ, Label.NAME)
SERVICE_WRITE = _needs("service", Access.WRITE, Label.NAME)
