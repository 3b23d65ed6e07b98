"""The text of a join token: `weft-join.<id>.<secret>.<pin>`, what an operator hands to one new machine.

Each pin is the SHA-256 of the public key of a root of the servers (as RFC 7469, 2.4, pins keys), base64url
without padding. A joining agent says the secret only to a server that such a root vouches for, so whoever
sits between the two learns nothing, although the agent has no certificate of anybody yet.
"""

import hashlib
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass, field
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from weft.errors import ConfigError

PREFIX = "weft-join"  # lets scanners of repositories find one that was left there
PINS_MAX = 4  # roots of servers; a rotation has two
_TEXT = re.compile(
    rf"{PREFIX}\.(?P<id>[0-9a-f]{{16}})\.(?P<secret>[A-Za-z0-9_-]{{43}})"
    rf"(?P<pins>(?:\.[A-Za-z0-9_-]{{43}}){{1,{PINS_MAX}}})"
)


@dataclass(frozen=True, slots=True)
class JoinText:
    """What the text says. `pins` are SHA-256 digests."""

    id: str
    secret: str = field(repr=False)
    pins: tuple[bytes, ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ConfigError; the message never holds the text."""
        found = _TEXT.fullmatch(text.strip())
        if not found:
            raise ConfigError(
                "the join token is not one: copy the whole line that `weft join-token create` prints"
            )
        pins = tuple(urlsafe_b64decode(pin + "=") for pin in found["pins"].split(".")[1:])
        return cls(found["id"], found["secret"], pins)

    def __str__(self) -> str:
        return ".".join((PREFIX, self.id, self.secret, *map(_encoded, self.pins)))


def _encoded(digest: bytes) -> str:
    return urlsafe_b64encode(digest).rstrip(b"=").decode()


def pin(certificate: x509.Certificate) -> bytes:
    """SHA-256 of a certificate's public key (SubjectPublicKeyInfo, DER)."""
    spki = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(spki).digest()


def pins_of(roots_pem: str) -> tuple[bytes, ...]:
    """Of the servers' roots, as many as a text can have."""
    roots = x509.load_pem_x509_certificates(roots_pem.encode())
    return tuple(dict.fromkeys(map(pin, roots)))[:PINS_MAX]
