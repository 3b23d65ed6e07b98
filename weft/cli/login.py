"""`weft login`: a token for what another system says of you."""

import contextlib
from pathlib import Path
from typing import Any

import click

from . import logins
from .consul_api import Api, Refused, takes_address
from .options import pair, read_given
from .tables import show_result, takes_format

BEARER_BYTES_MAX = 64 * 1024  # a JSON Web Token has some KiB
EPILOG = """
\b
With a token of your identity provider, by the auth method `corp`:
  weft login --method corp --bearer-token-file id.jwt
  weft catalog services
  weft logout

The token lies in ~/.local/state/weft/login.json (mode 0600; WEFT_LOGIN_FILE names another file), one for
each registry. --token, --token-file and their variables come before it.
"""


@click.command(epilog=EPILOG)
@click.option("--method", required=True, metavar="NAME", help="The auth method: weft acl, or who set it up.")
@click.option(
    "--bearer-token-file",
    "bearer",
    required=True,
    metavar="FILE",
    help="Where the other system's token is; - is standard input.",
)
@click.option("--meta", multiple=True, metavar="KEY=VALUE", help="Told to whoever lists tokens.")
@click.option(
    "--token-sink-file",
    "sink",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write the token here (mode 0600), and remember it nowhere else.",
)
@takes_address
@takes_format
def command(api: Api, form: str, method: str, bearer: str, meta: tuple[str, ...], sink: Path | None) -> None:
    """Log in by an auth method; commands to this registry then use the token."""
    body = {
        "AuthMethod": method,
        "BearerToken": _bearer(bearer),
        "Meta": dict(pair(it, "--meta", "KEY=VALUE") for it in meta),
    }
    before = "" if sink else logins.token_for(api.registry)
    token: dict[str, Any] = api.call("POST", "/v1/acl/login", None, body)
    if sink:
        _write(sink, token["SecretID"])
    else:
        logins.remember(api.registry, token["SecretID"])
        _end(api, before)
    until = f", until {token['ExpirationTime']}" if token.get("ExpirationTime") else ""
    told = {key: token.get(key) for key in ("AccessorID", "AuthMethod", "ExpirationTime")}
    text = f"Logged in to {api.registry} as token {token['AccessorID']}{until}"
    show_result(form, told | {"Registry": api.registry}, text)


def _bearer(name: str) -> str:
    """Raises ConfigError."""
    raw = read_given(name, "--bearer-token-file", BEARER_BYTES_MAX)
    return raw.decode("ascii", "replace").strip()


def _write(sink: Path, secret: str) -> None:
    from ..files import write_private

    write_private(sink, secret.encode())


def _end(api: Api, secret: str) -> None:
    """The token of an earlier login is of no use any more."""
    if secret:
        with contextlib.suppress(Refused):  # it has expired, or somebody has deleted it
            api.as_token(secret).call("POST", "/v1/acl/logout")
