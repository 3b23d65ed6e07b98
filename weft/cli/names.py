"""Names as options take them: datacenters and nodes, which end up in SPIFFE ids."""

import click


def datacenter_name(_context: click.Context, _option: click.Parameter, text: str) -> str:
    """The callback of an option that names a datacenter or a node; "" stays."""
    from ..spiffe import InvalidSpiffeId, SpiffeId

    try:
        return text and SpiffeId("trust-domain", text, "service").datacenter
    except InvalidSpiffeId:
        raise click.BadParameter("use 1 to 128 letters, digits, '.', '-', '_'") from None
