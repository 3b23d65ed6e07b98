"""The management token: until there are access-control lists, whoever holds it may do everything (trap 1).

Only health and roots are answered without it. `weft dev` has none: it listens on loopback.
"""

import hashlib
import hmac
import re
from collections.abc import Mapping

from weft.errors import ConfigError

from .errors import TokenRefused, TokenUnknown

TOKEN_CHARS_MIN = 16  # a UUID has 36
TOKEN_CHARS_MAX = 256
METADATA_KEY = "x-consul-token"
"""gRPC call metadata that carries the token, as Consul's own gRPC interfaces have it."""

_TOKEN = re.compile(rf"[!-~]{{{TOKEN_CHARS_MIN},{TOKEN_CHARS_MAX}}}")
_ANONYMOUS = (
    "Permission denied: anonymous token lacks permission 'operator:write'. "
    "The anonymous token is used implicitly when a request does not specify a token."
)


class ManagementToken:
    """Knows a digest of the token, and compares in constant time. Raises ConfigError on a weak token."""

    def __init__(self, token: str) -> None:
        if not _TOKEN.fullmatch(token):
            raise ConfigError(
                f"management token: use {TOKEN_CHARS_MIN} to {TOKEN_CHARS_MAX} printable characters "
                "without spaces; make one with: uuidgen"
            )
        self._digest = _digest(token)

    def check(self, token: str) -> None:
        """Raises TokenRefused without a token, TokenUnknown with a wrong one."""
        if not token:
            raise TokenRefused(_ANONYMOUS)
        if not hmac.compare_digest(_digest(token), self._digest):
            raise TokenUnknown("ACL not found")


def token_of(query_token: str, headers: Mapping[str, str]) -> str:
    """The token of an HTTP request; "" without one. `?token=` comes first, then the two headers."""
    if query_token:
        return query_token
    if header := headers.get("X-Consul-Token"):
        return header
    scheme, _, rest = headers.get("Authorization", "").partition(" ")
    return rest.split(" ")[0] if scheme.lower() == "bearer" else ""


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
