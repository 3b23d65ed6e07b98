"""The URL of a log in etcd.

    etcd://host[:port][,host[:port]...][/prefix][?option=value&...]      on loopback
    etcds://[user@]host[:port],...                                       over TLS

Options: `ca`, `cert`, `key` (PEM files; without `ca` the system's roots), `password-file`,
`plaintext=allow` (etcd:// to another machine), `compaction=leave` (somebody else compacts this etcd).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import parse_qsl, unquote

from weft.errors import ConfigError
from weft.files import read_private

DEFAULT_PORT = 2379
DEFAULT_PREFIX = "weft"
ENDPOINTS_MAX = 16
PREFIX_BYTES_MAX = 200
FILE_BYTES_MAX = 1024 * 1024
_OPTIONS = ("ca", "cert", "key", "password-file", "plaintext", "compaction")
_PREFIX = re.compile(r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,252})|\[[0-9A-Fa-f:.]+\]")


@dataclass(frozen=True, slots=True)
class Tls:
    """PEM. Empty: the system's roots, no certificate of our own."""

    roots: bytes = b""
    certificate: bytes = b""
    key: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class EtcdAddress:
    """Where the log is, and as whom to open it."""

    endpoints: tuple[str, ...]  # host:port
    prefix: str  # without slashes at its ends
    tls: Tls | None = None
    user: str = ""
    password: str = field(default="", repr=False)
    compacts: bool = True

    def __str__(self) -> str:
        return f"{'etcds' if self.tls else 'etcd'}://{','.join(self.endpoints)}/{self.prefix}"


def parse(url: str) -> EtcdAddress:
    """Reads the URL and the files that it names. Raises ConfigError, which never repeats a password."""
    scheme, _, rest = url.partition("://")
    if scheme not in ("etcd", "etcds") or not rest:
        raise ConfigError("--consensus: write etcd://host:port/prefix or etcds://host:port/prefix")
    if "#" in rest or not unquote(rest).isprintable():
        raise ConfigError("--consensus: '#' and control characters have no meaning here; leave them out")
    rest, _, query = rest.partition("?")
    authority, _, path = rest.partition("/")
    user, _, hosts = authority.rpartition("@")
    options = _options(query)
    if scheme == "etcd":
        _refuse_tls(options)
    address = EtcdAddress(
        endpoints=_endpoints(hosts),
        prefix=_prefix(path),
        tls=_tls(options) if scheme == "etcds" else None,
        user=_user(user, options),
        password=_password(options),
        compacts=_word(options, "compaction", "leave"),
    )
    _refuse_open_network(address, options)
    return address


def _word(options: Mapping[str, str], name: str, word: str) -> bool:
    """True where the option is not given; its only value is `word`."""
    if options.get(name, word) != word:
        raise ConfigError(f"--consensus: {name} can only be {word!r}")
    return name not in options


def _options(query: str) -> dict[str, str]:
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query), max_num_fields=16)
    except ValueError:
        raise ConfigError("--consensus: write options as ?name=value&name=value") from None
    for name, value in pairs:
        if name not in _OPTIONS:
            raise ConfigError(f"--consensus: no option {name!r}; there are {', '.join(_OPTIONS)}")
        if not value or [key for key, _ in pairs].count(name) > 1:
            raise ConfigError(f"--consensus: give {name} once, with a value")
    return dict(pairs)


def _endpoints(hosts: str) -> tuple[str, ...]:
    found = tuple(_endpoint(part) for part in hosts.split(","))
    if len(set(found)) < len(found) or len(found) > ENDPOINTS_MAX:
        raise ConfigError(f"--consensus: name each host once, {ENDPOINTS_MAX} at most")
    return found


def _endpoint(text: str) -> str:
    host, port = text, ""
    if not text.endswith("]") and ":" in text:
        host, _, port = text.rpartition(":")
    number = int(port) if port.isascii() and port.isdigit() else (DEFAULT_PORT if host == text else 0)
    if not _HOST.fullmatch(host) or not 0 < number < 65536 or not _valid_literal(host):
        raise ConfigError(f"--consensus: {text!r} is not host or host:port (IPv6 in brackets)")
    return f"{host}:{number}"


def _valid_literal(host: str) -> bool:
    if host.startswith("["):
        try:
            ip_address(host[1:-1])
        except ValueError:
            return False
    return True


def _prefix(path: str) -> str:
    prefix = path.strip("/") or DEFAULT_PREFIX
    if not _PREFIX.fullmatch(prefix) or len(prefix) > PREFIX_BYTES_MAX:
        raise ConfigError(
            "--consensus: the prefix has letters, digits, '.', '_', '-' and single '/', "
            f"{PREFIX_BYTES_MAX} characters at most"
        )
    return prefix


def _user(user: str, options: Mapping[str, str]) -> str:
    if ":" in user:
        raise ConfigError("--consensus: no password in the URL (every user sees it); give password-file=FILE")
    if bool(user) != ("password-file" in options):
        raise ConfigError("--consensus: user@ and password-file=FILE go together")
    return unquote(user)


def _password(options: Mapping[str, str]) -> str:
    if "password-file" not in options:
        return ""
    text = read_private(Path(options["password-file"]), "--consensus: password-file")
    try:
        return text.decode().strip("\r\n")
    except UnicodeDecodeError:
        raise ConfigError("--consensus: password-file: is not UTF-8 text") from None


def _tls(options: Mapping[str, str]) -> Tls:
    if ("cert" in options) != ("key" in options):
        raise ConfigError("--consensus: cert=FILE and key=FILE go together")
    key = options.get("key")
    return Tls(
        _pem(options, "ca"),
        _pem(options, "cert"),
        read_private(Path(key), "--consensus: key") if key else b"",
    )


def _refuse_tls(options: Mapping[str, str]) -> None:
    for name in ("ca", "cert", "key"):
        if name in options:
            raise ConfigError(f"--consensus: {name} is for TLS; write etcds://")


def _pem(options: Mapping[str, str], name: str) -> bytes:
    if name not in options:
        return b""
    try:
        with Path(options[name]).open("rb") as file:
            text = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigError(f"--consensus: {name}: {options[name]}: {error.strerror}") from error
    if b"-----BEGIN CERTIFICATE-----" not in text or len(text) > FILE_BYTES_MAX:
        raise ConfigError(f"--consensus: {name}: {options[name]}: is not a PEM file of certificates")
    return text


def _refuse_open_network(address: EtcdAddress, options: Mapping[str, str]) -> None:
    """The log carries the sealed key of the CA and digests of credentials; a password is in the clear."""
    refused = _word(options, "plaintext", "allow")
    if refused and address.tls is None and not all(map(_is_loopback, address.endpoints)):
        raise ConfigError(
            "--consensus: etcd:// is not encrypted and leaves this machine; "
            "write etcds://, or add plaintext=allow where the network is trusted"
        )


def _is_loopback(endpoint: str) -> bool:
    host = endpoint.rpartition(":")[0].strip("[]")
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
