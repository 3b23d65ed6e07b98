"""The credential of one service instance: what proves to the registry who a sidecar is.

Registration mints it and shows it once; the registry keeps only `secret_digest`.
"""

import hashlib
import re
from base64 import urlsafe_b64encode
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import orjson

from .errors import ConfigError
from .files import read_private, write_private
from .limits import INSTANCE_KEY_BYTES_MAX
from .spiffe import InvalidSpiffeId, SpiffeId

METADATA_KEY = "weft-credential"
"""gRPC call metadata that carries `<instance key> <secret>`."""

SECRET_ENTROPY_BYTES = 32
"""256 bits: a plain SHA-256 of it needs no salt and no stretching."""

ADDRESSES_MAX = 16
_INSTANCE_KEY = re.compile(r"[!-.0-~]+/[!-.0-~]+/[!-~]+")  # printable, no space; the id may hold '/'
_SECRET = re.compile(r"[A-Za-z0-9_-]{43}")
_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]{1,253}):([1-9][0-9]{0,4})")


@dataclass(frozen=True, slots=True)
class Credential:
    """Bound to `instance_key`, `<datacenter>/<node>/<service id>`.

    `registry_ca_pem` is the registry's own root, the only one accepted from it;
    `registry_addresses` are `host:port` of its gRPC listeners. Raises ConfigError on bad content.
    """

    instance_key: str
    secret: str = field(repr=False)
    registry_ca_pem: str = field(repr=False)
    registry_addresses: tuple[str, ...]
    trust_domain: str

    def __post_init__(self) -> None:
        check_instance_key(self.instance_key)
        _require(bool(_SECRET.fullmatch(self.secret)), "Secret", "is not one that the registry made")
        _require(
            "-----BEGIN CERTIFICATE-----" in self.registry_ca_pem, "RegistryCAPEM", "is not a PEM certificate"
        )
        _require(
            1 <= len(self.registry_addresses) <= ADDRESSES_MAX,
            "RegistryAddresses",
            f"needs 1 to {ADDRESSES_MAX} entries",
        )
        for address in self.registry_addresses:
            found = _ADDRESS.fullmatch(address)
            _require(
                bool(found and int(found[2]) < 65536),
                "RegistryAddresses",
                f"{address[:80]!r} is not host:port",
            )
        try:
            SpiffeId(self.trust_domain, "dc", "service")
        except InvalidSpiffeId as error:
            raise ConfigError(f"credential field TrustDomain: {error}") from error

    def metadata(self) -> tuple[str, str]:
        """The gRPC metadata entry of every call to the registry."""
        return METADATA_KEY, f"{self.instance_key} {self.secret}"

    def to_json(self) -> bytes:
        """The credential document. It holds the secret."""
        return orjson.dumps(
            {
                "InstanceKey": self.instance_key,
                "Secret": self.secret,
                "RegistryCAPEM": self.registry_ca_pem,
                "RegistryAddresses": list(self.registry_addresses),
                "TrustDomain": self.trust_domain,
            },
            option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE,
        )

    @classmethod
    def from_json(cls, document: bytes | str) -> Self:
        """Reads the document. Raises ConfigError naming the field; the message never holds the secret."""
        try:
            fields = orjson.loads(document)
        except orjson.JSONDecodeError as error:
            raise ConfigError(
                f"credential is not JSON (line {error.lineno}); register the service again"
            ) from None
        if not isinstance(fields, dict):
            raise ConfigError("credential is not a JSON object; register the service again")
        return cls(
            instance_key=_text(fields, "InstanceKey"),
            secret=_text(fields, "Secret"),
            registry_ca_pem=_text(fields, "RegistryCAPEM"),
            registry_addresses=_texts(fields, "RegistryAddresses"),
            trust_domain=_text(fields, "TrustDomain"),
        )

    def write(self, path: Path) -> None:
        """Writes the document with mode 0600. Raises EnvironmentProblem."""
        write_private(path, self.to_json())


def load(path: Path) -> Credential:
    """Reads a credential file. Raises ConfigError, also when others than its owner may read it."""
    document = read_private(path, "credential")
    try:
        return Credential.from_json(document)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def new_secret(entropy: bytes) -> str:
    """The secret made of SECRET_ENTROPY_BYTES fresh random bytes."""
    if len(entropy) != SECRET_ENTROPY_BYTES:
        raise ValueError(f"a secret is made of {SECRET_ENTROPY_BYTES} bytes, not {len(entropy)}")
    return urlsafe_b64encode(entropy).rstrip(b"=").decode()


def secret_digest(secret: str) -> bytes:
    """What the registry stores of a secret: SHA-256, 32 bytes. Compare with `hmac.compare_digest`."""
    return hashlib.sha256(secret.encode()).digest()


def parse_metadata(value: str) -> tuple[str, str]:
    """(instance key, secret) of the metadata entry. Raises ConfigError; the message holds neither."""
    if len(value) > INSTANCE_KEY_BYTES_MAX + 64:
        raise ConfigError(f"metadata {METADATA_KEY}: too long")
    key, separator, secret = value.partition(" ")
    if not separator or not _INSTANCE_KEY.fullmatch(key) or not _SECRET.fullmatch(secret):
        raise ConfigError(f"metadata {METADATA_KEY}: not '<instance key> <secret>'")
    return key, secret


def check_instance_key(key: str) -> None:
    """Raises ConfigError unless `key` reads `<datacenter>/<node>/<service id>`."""
    _require(
        len(key) <= INSTANCE_KEY_BYTES_MAX and bool(_INSTANCE_KEY.fullmatch(key)),
        "InstanceKey",
        f"{key[:80]!r} is not <datacenter>/<node>/<service id>",
    )


def _require(holds: bool, name: str, problem: str) -> None:
    if not holds:
        raise ConfigError(f"credential field {name}: {problem}; register the service again")


def _text(fields: dict[str, Any], name: str) -> str:
    value = fields.get(name)
    _require(isinstance(value, str), name, "is missing or not a string")
    return str(value)


def _texts(fields: dict[str, Any], name: str) -> tuple[str, ...]:
    values = fields.get(name)
    _require(isinstance(values, list), name, "is missing or not a list")
    _require(all(isinstance(value, str) for value in values or ()), name, "holds something else than strings")
    return tuple(values or ())
