"""`weft tls`: the certificates by which registry servers know each other, and others know them."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import ConfigError
from .names import datacenter_name

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

CA_CERTIFICATE, CA_KEY = "weft-server-ca.pem", "weft-server-ca-key.pem"
CA_DAYS_DEFAULT = 3650
CERTIFICATE_DAYS_DEFAULT = 365  # replaced in place, without a restart; see `weft server --tls-cert`
ALWAYS_NAMED = ("localhost", "127.0.0.1", "::1")


@click.group()
def command() -> None:
    """Make certificates for registry servers.

    They are under a root of their own: no certificate of a service or of a sidecar opens a server's port.
    """


@command.group("ca")
def authority() -> None:
    """The root of all server certificates of a datacenter."""


@command.group("cert")
def certificate() -> None:
    """Certificates of single servers."""


def _directory(function: click.decorators.FC) -> click.decorators.FC:
    return click.option(
        "--directory",
        type=click.Path(path_type=Path, file_okay=False, exists=True),
        default=Path(),
        metavar="DIR",
        help="Where the files are written.  [default: here]",
    )(function)


_DATACENTER = click.option(
    "--datacenter", default="dc1", show_default=True, callback=datacenter_name, metavar="NAME"
)


@authority.command("create")
@_DATACENTER
@click.option("--days", type=click.IntRange(1, 36500), default=CA_DAYS_DEFAULT, show_default=True)
@_directory
def create_authority(datacenter: str, days: int, directory: Path) -> None:
    """Make the root and its key. Keep the key away from the servers: they do not need it."""
    from ca.provider import private_pem
    from ca.server_identity import new_server_root

    key = _new_key()
    root = new_server_root(datacenter, key, _serial(), _now(), timedelta(days=days))
    _write_new(directory / CA_KEY, private_pem(key))
    _write_new(directory / CA_CERTIFICATE, _pem(root))
    click.echo(
        f"Made {directory / CA_CERTIFICATE} (every server gets it) and {directory / CA_KEY} (none does)"
    )


@certificate.command("create")
@_DATACENTER
@click.option(
    "--ca", "ca_path", type=click.Path(path_type=Path), metavar="FILE", help=f"[default: {CA_CERTIFICATE}]"
)
@click.option(
    "--key", "key_path", type=click.Path(path_type=Path), metavar="FILE", help=f"[default: {CA_KEY}]"
)
@click.option(
    "--node", default="", callback=datacenter_name, metavar="NAME", help="Names the server, and its files."
)
@click.option(
    "--address",
    "addresses",
    multiple=True,
    metavar="HOST",
    help="A DNS name or IP address at which clients and sidecars reach this server. May be repeated; "
    "localhost is always in.",
)
@click.option("--days", type=click.IntRange(1, 366), default=CERTIFICATE_DAYS_DEFAULT, show_default=True)
@_directory
def create_certificate(
    datacenter: str,
    ca_path: Path | None,
    key_path: Path | None,
    node: str,
    addresses: tuple[str, ...],
    days: int,
    directory: Path,
) -> None:
    """Make a server's certificate and key, signed by the root of `weft tls ca create`.

    The certificate says that its owner is a server of the datacenter.
    """
    from ca.bundle import chain_to_pem
    from ca.provider import private_pem
    from ca.server_identity import issue_server
    from registry.replica.peer_tls import server_name

    root, root_key = _load(ca_path or directory / CA_CERTIFICATE, key_path or directory / CA_KEY)
    hosts = dict.fromkeys((server_name(datacenter), *ALWAYS_NAMED, *addresses))
    key = _new_key()
    made = issue_server(
        root, root_key, key.public_key(), list(hosts), _serial(), _now(), timedelta(days=days)
    )
    base = f"{datacenter}-server-{node}" if node else _free_name(directory, f"{datacenter}-server")
    _write_new(directory / f"{base}-key.pem", private_pem(key))
    _write_new(directory / f"{base}.pem", chain_to_pem([made.leaf_der]))
    click.echo(
        f"Made {directory / base}.pem and {directory / base}-key.pem for {', '.join(hosts)}; "
        f"valid until {made.not_after:%Y-%m-%d}"
    )


def _load(ca_path: Path, key_path: Path) -> "tuple[x509.Certificate, ec.EllipticCurvePrivateKey]":
    """Raises ConfigError, KeyUnusable."""
    from cryptography import x509

    from ca.provider import FileKey

    from ..files import read_bounded

    if not key_path.exists():
        raise ConfigError(f"{key_path}: is missing; make it with: weft tls ca create")
    try:
        root = x509.load_pem_x509_certificate(read_bounded(ca_path, f"--ca {ca_path}"))
    except ValueError:
        raise ConfigError(f"{ca_path}: not a certificate; make one with: weft tls ca create") from None
    key = FileKey(key_path).key()
    if root.public_key() != key.public_key():
        raise ConfigError(f"{key_path}: is not the key of {ca_path}; give the two that were made together")
    return root, key


def _free_name(directory: Path, prefix: str) -> str:
    """`dc1-server-0` and so on, as `consul tls cert create` counts."""
    number = 0
    while (directory / f"{prefix}-{number}.pem").exists() or (
        directory / f"{prefix}-{number}-key.pem"
    ).exists():
        number += 1
    return f"{prefix}-{number}"


def _write_new(path: Path, data: bytes) -> None:
    """All of these are written readable by their owner only; certificates may be opened up by hand."""
    from ..files import write_private

    if path.exists():
        raise ConfigError(f"{path}: exists already; remove it, or give another --directory")
    write_private(path, data)


def _new_key() -> "ec.EllipticCurvePrivateKey":
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.generate_private_key(ec.SECP256R1())


def _pem(found: "x509.Certificate") -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    return found.public_bytes(Encoding.PEM)


def _serial() -> int:
    import os

    from registry.identity.serial import new_serial

    return new_serial(os.urandom)


def _now() -> datetime:
    return datetime.now(UTC)
