"""`weft logout`: the end of a token of `weft login`."""

import click

from . import logins
from .consul_api import Api, Refused, takes_address
from .tables import show_result, takes_format


@click.command()
@takes_address
@takes_format
def command(api: Api, form: str) -> None:
    """End the token that `weft login` has made for this registry, here and there."""
    if not api.token:
        raise click.ClickException(f"not logged in to {api.registry}; see: weft login --help")
    text = f"Logged out of {api.registry}"
    try:
        api.call("POST", "/v1/acl/logout")
    except Refused as refusal:
        if "ACL not found" not in refusal.text:
            raise
        text += " (the token had ended already)"
    if api.token == logins.token_for(api.registry):
        logins.forget(api.registry)
    show_result(form, {"Registry": api.registry}, text)
