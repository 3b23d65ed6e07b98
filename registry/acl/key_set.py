"""Keys that bearers' tokens are checked with: given in PEM, or told by a URL as a JSON Web Key Set.

RFC 7517.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import jwt
import orjson
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from weft.errors import UsageError

from ..errors import InvalidCommand

KEYS_MAX = 32  # of a set; identity providers have a handful while they rotate
RSA_BITS_MIN = 2048  # NIST SP 800-131A
URL_CHARS_MAX = 2048
PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey
DISCOVERY_PATH = "/.well-known/openid-configuration"  # OpenID Connect Discovery 1.0, section 4


class UnusableAnswer(UsageError):
    """Expected. What a URL answered is no key set, or no description of a provider."""


@dataclass(frozen=True, slots=True)
class RemoteKeys:
    """Where a method's keys are. `ca_pem` is the only root that the URL may show; "": the machine's."""

    url: str
    ca_pem: str
    discovered: bool  # the URL is a provider's, which says where its keys are


def read_pem(text: str, where: str) -> PublicKey:
    """Raises InvalidCommand."""
    try:
        key = load_pem_public_key(text.encode())
    except (ValueError, UnsupportedAlgorithm):
        raise InvalidCommand(f"{where}: is not a public key in PEM") from None
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < RSA_BITS_MIN:
        raise InvalidCommand(f"{where}: RSA keys must have {RSA_BITS_MIN} bits or more")
    if not isinstance(key, PublicKey):
        raise InvalidCommand(f"{where}: use an RSA, EC or Ed25519 key")
    return key


def read_remote(url: str, ca_pem: str, *, discovered: bool) -> RemoteKeys:
    """Raises InvalidCommand."""
    name = "OIDCDiscoveryURL" if discovered else "JWKSURL"
    try:
        parts = urlsplit(url)
        sound = parts.scheme == "https" and bool(parts.hostname) and parts.port != 0
    except ValueError:
        sound = False
    if not sound or len(url) > URL_CHARS_MAX or parts.username or parts.fragment:
        raise InvalidCommand(f"Config.{name}: must be an https:// URL")
    if ca_pem:
        try:
            x509.load_pem_x509_certificates(ca_pem.encode())
        except ValueError:
            certificate = "OIDCDiscoveryCACert" if discovered else "JWKSCACert"
            raise InvalidCommand(f"Config.{certificate}: is no certificate in PEM") from None
    return RemoteKeys(url, ca_pem, discovered)


def discovered_url(body: bytes, url: str) -> str:
    """Where the provider at `url` has its keys. Raises UnusableAnswer."""
    document = _object(body)
    if document.get("issuer") != url:
        raise UnusableAnswer("the provider calls itself by another name (issuer) than its URL")
    found = document.get("jwks_uri")
    try:
        return read_remote(found if isinstance(found, str) else "", "", discovered=False).url
    except InvalidCommand:
        raise UnusableAnswer("the provider names no https:// URL of its keys (jwks_uri)") from None


def read_key_set(body: bytes) -> tuple[PublicKey, ...]:
    """The public keys for signatures; what is of another kind or too weak is left out.

    Raises UnusableAnswer.
    """
    rows = _object(body).get("keys")
    if not isinstance(rows, list) or len(rows) > KEYS_MAX:
        raise UnusableAnswer(f"no key set of at most {KEYS_MAX} keys")
    keys = tuple(key for row in rows if (key := _key(row)) is not None)
    if not keys:
        raise UnusableAnswer("the key set has no key that tokens could be checked with")
    return keys


def _key(row: Any) -> PublicKey | None:
    if not isinstance(row, dict) or row.get("use", "sig") != "sig":
        return None
    try:
        key = jwt.PyJWK(row).key
    except (jwt.PyJWTError, ValueError, TypeError):
        return None
    is_weak = isinstance(key, rsa.RSAPublicKey) and key.key_size < RSA_BITS_MIN
    return key if isinstance(key, PublicKey) and not is_weak else None


def _object(body: bytes) -> Mapping[str, Any]:
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, dict):
        raise UnusableAnswer("the answer is no JSON object")
    return found
