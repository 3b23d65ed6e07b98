"""Names for shell completion, asked of the registry. Whatever goes wrong completes nothing."""

from collections.abc import Iterable

import click

from ..errors import WeftError
from .consul_api import from_environment

PATIENCE_S = 1.0  # a person waits at the prompt


def services(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Names of services in the catalog."""
    return _beginning(incomplete, "/v1/catalog/services")


def instances(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Ids of what is registered on this node."""
    return _beginning(incomplete, "/v1/agent/services")


def _beginning(incomplete: str, path: str) -> list[str]:
    try:
        found: Iterable[str] = from_environment(timeout_s=PATIENCE_S).get(path)
    except (WeftError, click.ClickException, ValueError):
        return []
    return sorted(name for name in found if name.startswith(incomplete))
