"""What keeps the membership right without an operator: learners get their vote, addresses are current."""

import asyncio

import structlog

from weft.errors import WeftError

from ..raft.config import Change, ChangeKind
from ..raft.ready import Role
from . import limits
from .driver import Driver
from .leading import Leading
from .membership import Membership

log = structlog.get_logger(__name__)


async def keep_members(driver: Driver, leading: Leading, membership: Membership, address: str) -> None:
    """Runs until it is cancelled. `address` is where the others find this server now."""
    while True:
        await asyncio.sleep(limits.UPKEEP_EVERY_S)
        try:
            if driver.node.role is Role.LEADER:
                _promote(driver, leading)
            known = driver.node.config.get(driver.node.id)
            if known and known.address != address and driver.node.leader:
                log.info("this server has another address now", address=address)
                await membership.add(driver.node.id, address)
        except WeftError as error:
            log.warning("the membership could not be brought up to date", error=str(error))


def _promote(driver: Driver, leading: Leading) -> None:
    """Learners become voters as soon as they have caught up (thesis 4.2.1), one at a time."""
    for learner in sorted(driver.node.config.learners):
        try:
            leading.change(Change(ChangeKind.PROMOTE, learner))
        except WeftError:  # it is far behind yet, or another change is under way
            continue
        log.info("promoting a server", server=learner)
        return
