"""Where an authority's private key lives: the door that an external key service will also fit.

The rules only ever call `sign` on what a provider answers, so a key may stay inside a device.
"""

from pathlib import Path
from typing import Protocol

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from weft.errors import ConfigError
from weft.files import read_private, write_private

from .errors import KeyUnusable


class KeyProvider(Protocol):
    """Holds one signing key, P-256."""

    def key(self) -> ec.EllipticCurvePrivateKey:
        """The key, made at the first call. The same key ever after. Raises KeyUnusable."""
        ...


class MemoryKey:
    """A key that ends with the process."""

    def __init__(self) -> None:
        self._key: ec.EllipticCurvePrivateKey | None = None

    def key(self) -> ec.EllipticCurvePrivateKey:
        if self._key is None:
            self._key = ec.generate_private_key(ec.SECP256R1())
        return self._key


class FileKey:
    """A key in a file of mode 0600 (PKCS#8, PEM). Its directory must exist."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._key: ec.EllipticCurvePrivateKey | None = None

    def key(self) -> ec.EllipticCurvePrivateKey:
        if self._key is None:
            self._key = self._load() if self._path.exists() else self._make()
        return self._key

    def _load(self) -> ec.EllipticCurvePrivateKey:
        try:
            key = serialization.load_pem_private_key(read_private(self._path, "CA key"), password=None)
        except ConfigError as error:
            raise KeyUnusable(str(error)) from error
        except (ValueError, TypeError) as error:
            # The cause may quote the file, so it is not shown.
            raise KeyUnusable(
                f"CA key file {self._path}: not a private key; restore it from backup"
            ) from error
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
            raise KeyUnusable(f"CA key file {self._path}: not a P-256 key; restore the right one")
        return key

    def _make(self) -> ec.EllipticCurvePrivateKey:
        key = ec.generate_private_key(ec.SECP256R1())
        write_private(self._path, private_pem(key))
        return key


def private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """PKCS#8 PEM, unencrypted."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
