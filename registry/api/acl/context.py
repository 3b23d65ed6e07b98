"""What the handlers of `/v1/acl/*` have in common."""

from ...acl.tables import AclTables
from ...identity.admission import Admission
from ..errors import AclDisabled, NotFound
from ..handling import Call
from .bodies import new_id


def enabled(call: Call) -> Admission:
    """Raises AclDisabled where there is no access control."""
    if call.parts.admission is None:
        raise AclDisabled
    return call.parts.admission


def tables(call: Call) -> AclTables:
    return call.parts.log.view().acl


def fresh_id(call: Call) -> str:
    return new_id(call.parts.entropy(16))


def missing(kind: str) -> NotFound:
    return NotFound(f"Requested {kind} does not exist: ACL not found")
