"""Token secrets in the log: found by a keyed code, returned by opening what is sealed (trap 28).

Both keys are derived from the operator's key with HKDF (RFC 5869), one purpose each, so that who reads the
log or a snapshot can neither use a token nor test a guess of one.
"""

import hashlib
import hmac
from collections.abc import Iterator

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ca.errors import KeyUnusable
from ca.sealing import NONCE_BYTES, OPERATOR_KEY_BYTES, OperatorKey

from .model import SealedSecret

SECRET_CHARS_MAX = 256
SEALED_BYTES_MAX = 4 * SECRET_CHARS_MAX + 16  # UTF-8, and the tag of AES-GCM
CODE_BYTES = hashlib.sha256().digest_size


class SecretBox:
    """The operator's keys as tokens need them: the first one seals and codes, the others only read."""

    def __init__(self, keys: tuple[OperatorKey, ...], cluster_id: str) -> None:
        """Raises KeyUnusable without a key."""
        if not keys:
            raise KeyUnusable("operator key: none is given")
        self._sealing = {key.fingerprint: derive(key, cluster_id, b"weft acl seal 1") for key in keys}
        self._coding = [derive(key, cluster_id, b"weft acl code 1") for key in keys]
        self._first = keys[0].fingerprint

    def seal(self, secret: str, accessor_id: str, nonce: bytes) -> SealedSecret:
        """`nonce` is 12 random bytes, never used before."""
        assert len(nonce) == NONCE_BYTES
        sealer = AESGCM(self._sealing[self._first])
        ciphertext = sealer.encrypt(nonce, secret.encode(), accessor_id.encode())
        return SealedSecret(_code(self._coding[0], secret), self._first, nonce, ciphertext)

    def codes(self, secret: str) -> Iterator[bytes]:
        """What the row of this secret may be found by: one code per operator key, the newest first."""
        for key in self._coding:
            yield _code(key, secret)

    def open(self, sealed: SealedSecret, accessor_id: str) -> str:
        """The secret. Raises KeyUnusable when it was sealed with a key that is not given any more."""
        key = self._sealing.get(sealed.sealed_by)
        if key is None:
            raise KeyUnusable(
                f"operator key: token {accessor_id} is sealed by {sealed.sealed_by}, which is not given; "
                "give that key too, after the one in use"
            )
        try:
            return AESGCM(key).decrypt(sealed.nonce, sealed.ciphertext, accessor_id.encode()).decode()
        except (InvalidTag, ValueError):
            raise KeyUnusable(f"token {accessor_id} is damaged or of another cluster") from None


def derive(key: OperatorKey, cluster_id: str, purpose: bytes) -> bytes:
    """A key for one purpose in one cluster (HKDF with SHA-256)."""
    derivation = HKDF(hashes.SHA256(), OPERATOR_KEY_BYTES, salt=cluster_id.encode(), info=purpose)
    return derivation.derive(key.secret)


def _code(key: bytes, secret: str) -> bytes:
    return hmac.digest(key, secret.encode(), "sha256")
