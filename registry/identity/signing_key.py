"""The CA's private key, opened from the replicated state with the operator's key."""

from cryptography.hazmat.primitives.asymmetric import ec

from ca.authority import key_identifier
from ca.sealing import Keyring, SealedKey

from ..catalog.state import State
from .errors import KeyMismatch


class SigningKey:
    """Opens the key in force once, and keeps it until another one is."""

    def __init__(self, keyring: Keyring) -> None:
        self.keyring = keyring
        self._open: tuple[SealedKey, ec.EllipticCurvePrivateKey] | None = None

    def of(self, state: State) -> ec.EllipticCurvePrivateKey:
        """The key of the active root.

        Raises KeyUnusable when the operator key is another one, KeyMismatch when the state has no key or
        root and key do not belong together.
        """
        sealed, root, cluster = state.ca().rows.key, state.active_root(), state.cluster
        if sealed is None or root is None or cluster is None:
            raise KeyMismatch("the CA has no key yet: wait until a leader has made its first root")
        if self._open and self._open[0] == sealed:
            return self._open[1]
        key = self.keyring.open(sealed, cluster.id)
        if key_identifier(key.public_key()).hex(":") != root.signing_key_id:
            raise KeyMismatch("the CA's key is not that of its active root: restore from a backup")
        self._open = (sealed, key)
        return key
