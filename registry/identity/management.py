"""The management token that an operator gives to every server: whoever holds it may do everything.

It is a row of the access control list like others, written by the leader, and it works before that and
without a leader, so that nobody is locked out of a cluster that has trouble. `weft dev` needs none.
"""

import hashlib
import hmac
import re
import uuid
from collections.abc import Mapping

from weft.errors import ConfigError

TOKEN_CHARS_MIN = 16  # a UUID has 36
TOKEN_CHARS_MAX = 256
METADATA_KEY = "x-consul-token"
"""gRPC call metadata that carries the token, as Consul's own gRPC interfaces have it."""

_TOKEN = re.compile(rf"[!-~]{{{TOKEN_CHARS_MIN},{TOKEN_CHARS_MAX}}}")


class ManagementToken:
    """Compares digests in constant time. Raises ConfigError on a weak token."""

    def __init__(self, token: str) -> None:
        if not _TOKEN.fullmatch(token):
            raise ConfigError(
                f"management token: use {TOKEN_CHARS_MIN} to {TOKEN_CHARS_MAX} printable characters "
                "without spaces; make one with: uuidgen"
            )
        self._token = token
        self._digest = _digest(token)

    def is_it(self, token: str) -> bool:
        return hmac.compare_digest(_digest(token), self._digest)

    @property
    def secret(self) -> str:
        """For the log, where it is sealed."""
        return self._token

    @property
    def accessor_id(self) -> str:
        """The same on every server, so that they all write one row."""
        return str(uuid.UUID(bytes=_digest("accessor\0" + self._token)[:16], version=4))


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
