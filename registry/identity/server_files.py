"""A server's certificate, key and root from files: what it shows to other servers, sidecars and clients.

Files may be replaced while the server runs: the next handshake uses what is there then. Half-replaced or
damaged files are said in the log, and what was in use stays.
"""

import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import structlog
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import Encoding

from weft.clock import Clock
from weft.errors import WeftError
from weft.files import read_bounded, read_private
from weft.tls import https_server_context

from ..replica.peer_tls import PeerTls, dns_names
from .errors import ServerCertificateUnusable
from .server_tls import Pair, listener_credentials

log = structlog.get_logger(__name__)

RELOAD_AFTER_S = 1.0  # files are looked at no more often than this, however many handshakes there are
MEND = "make one with: weft tls cert create"


class ServerFiles:
    """Reads three files and keeps what is right. Raises ServerCertificateUnusable when they are not at first.

    `name` is the DNS name that a server's certificate of this datacenter bears.
    """

    def __init__(self, ca: Path, certificate: Path, key: Path, name: str, clock: Clock) -> None:
        self._paths = (ca, certificate, key)
        self._name = name
        self._clock = clock
        self._stamp = self._stamped()
        self._current = self._load()
        self._paired: tuple[PeerTls, Pair] | None = None
        self._look_at = clock.monotonic() + RELOAD_AFTER_S

    def current(self) -> PeerTls:
        """What the files say now, or what they last said that was usable."""
        if self._clock.monotonic() >= self._look_at:
            self._look_at = self._clock.monotonic() + RELOAD_AFTER_S
            stamp = self._stamped()
            if stamp != self._stamp:
                self._stamp = stamp
                self._reload()
        return self._current

    def _reload(self) -> None:
        try:
            self._current = self._load()
            log.info("server certificate is read anew", file=str(self._paths[1]))
        except WeftError as error:
            log.error("the new server certificate is not used", reason=str(error))

    def _stamped(self) -> tuple[tuple[int, int], ...]:
        """What changes when a file is replaced."""
        try:
            return tuple((found.st_mtime_ns, found.st_ino) for found in map(Path.stat, self._paths))
        except OSError:
            return ()  # one is gone: `_load` says which

    def _load(self) -> PeerTls:
        ca, certificate, key = self._paths
        found = PeerTls(
            read_bounded(ca, f"--tls-ca {ca}"),
            read_bounded(certificate, f"--tls-cert {certificate}"),
            read_private(key, "--tls-key"),
        )
        now = datetime.fromtimestamp(self._clock.wall(), UTC)
        try:
            check_material(found, self._name, now)
        except ServerCertificateUnusable as error:
            raise ServerCertificateUnusable(f"{certificate}: {error}") from None
        return found

    @property
    def root_pem(self) -> str:
        return self.current().roots_pem.decode("ascii", "replace")

    def credentials(self) -> grpc.ServerCredentials:
        """For the listener of sidecars, which prove themselves by credential and not by certificate."""
        return listener_credentials(self.pair)

    def pair(self) -> Pair:
        """The certificate in force with its key."""
        found = self.current()
        if self._paired is None or self._paired[0] is not found:
            self._paired = (found, (found.key_pem, _with_root(found)))
        return self._paired[1]

    def https_context(self) -> ssl.SSLContext:
        """For the HTTPS listener: TLS 1.3, no tickets; new handshakes use what the files then say."""
        sent = self.current()
        made = _https(sent)

        def renew(connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
            nonlocal sent, made
            if self.current() is not sent:
                sent = self.current()
                made = _https(sent)
            connection.context = made

        outer = _https(sent)
        outer.sni_callback = renew
        return outer


def _with_root(found: PeerTls) -> bytes:
    """The chain with the root that signed it, should the file not hold that already."""
    chain, roots = _certificates(found.chain_pem), _certificates(found.roots_pem)
    signers = [root for root in roots if _signed_by(chain[0], root) and root not in chain]
    return found.chain_pem + b"".join(b"\n" + root.public_bytes(Encoding.PEM) for root in signers[:1])


def _https(found: PeerTls) -> ssl.SSLContext:
    return https_server_context(_with_root(found), found.key_pem)


def check_material(found: PeerTls, name: str, now: datetime) -> None:
    """Raises ServerCertificateUnusable unless the three belong together, say `name`, and are valid now."""
    leaf, roots = _certificates(found.chain_pem)[0], _certificates(found.roots_pem)
    if not any(_signed_by(leaf, root) for root in roots):
        raise ServerCertificateUnusable("is not signed by the root in --tls-ca; give the root that signed it")
    if not leaf.not_valid_before_utc <= now < leaf.not_valid_after_utc:
        raise ServerCertificateUnusable(
            f"is valid from {leaf.not_valid_before_utc:%Y-%m-%dT%H:%M:%SZ} to "
            f"{leaf.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}, not now; {MEND}"
        )
    if name not in dns_names(leaf):
        raise ServerCertificateUnusable(f"does not bear the name {name} of a server; {MEND}")
    if _public(found.key_pem) != _spki(leaf.public_key()):
        raise ServerCertificateUnusable(
            "is not the certificate of the key in --tls-key; give the two of a pair"
        )


def _certificates(pem: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError:
        raise ServerCertificateUnusable(f"it, or the root in --tls-ca, is not PEM; {MEND}") from None


def _signed_by(leaf: x509.Certificate, root: x509.Certificate) -> bool:
    try:
        leaf.verify_directly_issued_by(root)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _public(key_pem: bytes) -> bytes:
    try:
        key = serialization.load_pem_private_key(key_pem, password=None)
    except (ValueError, TypeError):
        # The cause may quote the file, so it is not shown.
        raise ServerCertificateUnusable(f"the file in --tls-key is not a private key; {MEND}") from None
    return _spki(key.public_key())


def _spki(key: Any) -> bytes:
    der: bytes = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return der
