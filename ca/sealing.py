"""Sans-IO. The CA's private key, encrypted for the log by a key that only the operator holds.

AES-256-GCM (NIST SP 800-38D). The associated data binds cluster and key: what was sealed for another
cluster, or for another root, does not open. The log and its snapshots hold nothing else of the key.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from .errors import KeyUnusable

OPERATOR_KEY_BYTES = 32  # AES-256
NONCE_BYTES = 12  # SP 800-38D, 8.2: 96 bits, random; a key seals a handful of times, far below 2**32
SEALED_BYTES_MAX = 1024  # a P-256 key as PKCS#8 is 138 bytes, the tag 16
_FINGERPRINT_CHARS = 16


@dataclass(frozen=True, slots=True)
class OperatorKey:
    """32 secret bytes. Raises KeyUnusable on another length."""

    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.secret) != OPERATOR_KEY_BYTES:
            raise KeyUnusable(
                f"operator key: has {len(self.secret)} bytes, must have {OPERATOR_KEY_BYTES}; "
                "make one with: openssl rand -base64 32"
            )

    @property
    def fingerprint(self) -> str:
        """Names the key in messages and in the log; says nothing of it."""
        return hashlib.sha256(b"weft operator key\0" + self.secret).hexdigest()[:_FINGERPRINT_CHARS]


@dataclass(frozen=True, slots=True)
class SealedKey:
    """An encrypted signing key. `key_id` is the subject key identifier of its root, in hex."""

    key_id: str
    sealed_by: str  # fingerprint of the operator key
    nonce: bytes
    ciphertext: bytes = field(repr=False)


class Keyring:
    """The operator's keys: the first one seals, all of them open. Raises KeyUnusable without any.

    To change the key, every server is given the new one after the old, then before it, and at last alone.
    """

    def __init__(self, keys: Sequence[OperatorKey]) -> None:
        if not keys:
            raise KeyUnusable("operator key: none is given")
        self.keys = tuple(keys)
        self._first = keys[0]
        self._by_fingerprint = {key.fingerprint: key for key in keys}

    def seal(self, key: ec.EllipticCurvePrivateKey, cluster_id: str, key_id: str, nonce: bytes) -> SealedKey:
        """`nonce` is 12 random bytes, never used before."""
        plain = key.private_bytes(
            serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        sealed = AESGCM(self._first.secret).encrypt(nonce, plain, _binding(cluster_id, key_id))
        return SealedKey(key_id, self._first.fingerprint, nonce, sealed)

    def open(self, sealed: SealedKey, cluster_id: str) -> ec.EllipticCurvePrivateKey:
        """Raises KeyUnusable when the operator key is another one, or the key is not of this cluster."""
        operator = self._by_fingerprint.get(sealed.sealed_by)
        if operator is None:
            raise KeyUnusable(
                f"operator key: the CA's key is sealed by {sealed.sealed_by}, given is "
                f"{', '.join(self._by_fingerprint)}; give the operator key that this cluster was set up with"
            )
        try:
            plain = AESGCM(operator.secret).decrypt(
                sealed.nonce, sealed.ciphertext, _binding(cluster_id, sealed.key_id)
            )
            key = serialization.load_der_private_key(plain, password=None)
        except (InvalidTag, ValueError, TypeError):
            # The cause may quote the key, so it is not shown.
            raise KeyUnusable(
                f"the sealed CA key {sealed.key_id} is damaged or of another cluster; restore from a backup"
            ) from None
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise KeyUnusable(f"the sealed CA key {sealed.key_id} is not an EC key; restore from a backup")
        return key

    def is_current(self, sealed: SealedKey) -> bool:
        """Whether the key that seals now has sealed it; else it should be sealed again."""
        return sealed.sealed_by == self._first.fingerprint


def _binding(cluster_id: str, key_id: str) -> bytes:
    """Both are of a fixed alphabet without NUL, so no two pairs give the same bytes."""
    return b"\0".join((b"weft ca key 1", cluster_id.encode(), key_id.encode()))
