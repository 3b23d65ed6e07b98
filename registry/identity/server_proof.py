"""How a server proves to another that it is one, where they meet on the listener that sidecars use.

All servers of a cluster hold the operator's key; what is shown is derived from it (HKDF, RFC 5869) for this
purpose and this cluster alone, and only over TLS to a server that has proven its name.
"""

import hmac
from collections.abc import Callable

from ca.sealing import Keyring

from ..acl.secrets import derive
from ..catalog.state import State
from ..errors import NotReady

METADATA_KEY = "weft-server"
_PURPOSE = b"weft server proof 1"


class ServerProof:
    """Of the cluster in `view`; as with tokens, the first key is shown, and each is accepted."""

    def __init__(self, keyring: Keyring, view: Callable[[], State]) -> None:
        self._keyring = keyring
        self._view = view
        self._known: tuple[str, ...] = ()

    def metadata(self) -> tuple[str, str]:
        """What goes into the metadata of a call. Raises NotReady before the cluster is named."""
        return METADATA_KEY, self._secrets()[0]

    def is_it(self, said: str) -> bool:
        """Raises NotReady before the cluster is named."""
        matches = [hmac.compare_digest(known.encode(), said.encode()) for known in self._secrets()]
        return any(matches)

    def _secrets(self) -> tuple[str, ...]:
        if not self._known:
            cluster = self._view().cluster
            if cluster is None:
                raise NotReady("the cluster is not named yet; retry later")
            self._known = tuple(derive(key, cluster.id, _PURPOSE).hex() for key in self._keyring.keys)
        return self._known
