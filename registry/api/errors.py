"""What a request can be refused for. The texts are those that Consul's clients compare.

ApiError            expected: the caller's request
├── BadRequest      400
├── AclDisabled     401
├── Forbidden       403
├── NotFound        404
├── WrongMethod     405
├── BodyTooLarge    413
│   └── ValueTooLarge
├── TooMuch         413
├── EntryUnreadable   400
├── CasInvalid        500, as in Consul
├── NameTaken         500, as in Consul
├── NoSuchDatacenter  500, as in Consul
└── NoSuchPeer        500, as in Consul
"""

from collections.abc import Sequence

from weft.errors import UsageError


class ApiError(UsageError):
    """Expected. The request cannot be served; the message is the body."""


class BadRequest(ApiError):
    """Expected. A parameter, a path segment or the body is wrong."""


class AclDisabled(ApiError):
    """Expected. There is no access control here; py-consul and others go by the status."""

    def __init__(self) -> None:
        super().__init__("ACL support disabled")


class Forbidden(ApiError):
    """Expected. The caller may not do this."""


class NotFound(ApiError):
    """Expected. Nothing by that name or path."""


class WrongMethod(ApiError):
    """Expected. The path exists, with other methods."""

    def __init__(self, method: str, allowed: Sequence[str]) -> None:
        super().__init__(f"method {method} not allowed")
        self.allowed = tuple(allowed)


class BodyTooLarge(ApiError):
    """Expected. The body is over its bound."""

    TEXT = "Request body too large, max size: {limit} bytes"

    def __init__(self, limit_bytes: int, size_bytes: int) -> None:
        super().__init__(self.TEXT.format(limit=limit_bytes, size=size_bytes))


class ValueTooLarge(BodyTooLarge):
    """Expected. The value of a key is over its bound."""

    TEXT = (
        "Request body({size} bytes) too large, max size: {limit} bytes. See "
        "https://developer.hashicorp.com/docs/agent/config/config-files#kv_max_value_size."
    )


class TooMuch(ApiError):
    """Expected. A transaction with too many operations, or too large a value."""


class MissingParameter(ApiError):
    """Expected. A query parameter is required; Consul answers 500 here, and clients compare the text."""

    def __init__(self, name: str) -> None:
        super().__init__(f"required query parameter '{name}' not set")


class CasInvalid(ApiError):
    """Expected. `?cas=` or `?flags=` is no number; Consul answers 500 here."""

    def __init__(self, text: str) -> None:
        super().__init__(f'strconv.ParseUint: parsing "{text[:50]}": invalid syntax')


class EntryUnreadable(ApiError):
    """Expected. The body is not of the shape of a config entry."""


class NameTaken(ApiError):
    """Expected. Another prepared query has the name; Consul answers 500 here."""


class NoSuchDatacenter(ApiError):
    """Expected. `?dc=` names a datacenter that this registry does not know."""

    def __init__(self) -> None:
        super().__init__("No path to datacenter")


class NoSuchPeer(ApiError):
    """Expected. No server by that id or address."""

    def __init__(self, kind: str, value: str) -> None:
        super().__init__(f'{kind} "{value[:200]}" was not found in the Raft configuration')
