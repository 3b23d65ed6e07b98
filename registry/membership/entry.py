"""From a data directory, and a join token where there is one, to a membership."""

from collections.abc import Callable, Sequence
from pathlib import Path

import structlog

from weft.clock import Clock

from ..identity.join_text import JoinText
from .files import Membership, MembershipFiles
from .joining import Joiner

log = structlog.get_logger(__name__)


async def enter(
    directory: Path,
    join_token: str,
    servers: Sequence[str],
    node: str,
    datacenter: str,
    clock: Clock,
    draw: Callable[[], float],
) -> Membership | None:
    """The membership that is kept in `directory`, or a new one by the token; None without either.

    A token is only used where it is needed, so it may stay in the agent's configuration. Joining waits until
    a server answers. Raises JoinRefused, MembershipDamaged, ConfigError, EnvironmentProblem.
    """
    files = MembershipFiles(directory)
    known = files.load(node)
    if known is not None and (clock.wall() < known.not_after_s or not join_token):
        if clock.wall() >= known.not_after_s:
            log.error("the agent's certificate has ended: join anew, with another --join-token")
        return known
    if not join_token:
        return None
    return await Joiner(servers, JoinText.parse(join_token), node, datacenter, files, draw).join()
