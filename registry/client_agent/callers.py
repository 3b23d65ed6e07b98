"""Who may do what here, as the servers say: the rules that a token leads to, asked for and remembered.

While servers answer, they are asked anew once what is known is older than `FRESH_S`: a changed policy is in
force here as soon as there. While none does, the down policy decides (Consul's `acl.down_policy`).
"""

import asyncio
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

from weft.aio import Tasks
from weft.clock import Clock
from weft.errors import WeftError

from ..acl.authorizer import Authorizer
from ..acl.caller import EVERYBODY, Caller, PermissionDenied
from ..acl.model import ANONYMOUS_ACCESSOR
from ..acl.rules import Rules, parse_rules
from ..acl.templates import node_identity, service_identity, templated_policy
from ..catalog.state import State
from ..errors import NoServers
from ..identity.errors import TokenUnknown
from .servers import Told

FRESH_S = 0.05  # half of what a changed policy may take until it is in force
RETRY_S = 1.0  # between attempts to ask, while no server answers: requests do not wait for each
KEPT_MAX = 4096  # tokens in use on one machine; more are asked for again
SELF = "/v1/acl/token/self?expanded"
NEVER = float("inf")


class DownPolicy(StrEnum):
    """What may be done while no server can say."""

    ALLOW = "allow"  # everything
    DENY = "deny"  # nothing
    EXTEND_CACHE = "extend-cache"  # what was known last, until the token ends; nothing by one never seen
    ASYNC_CACHE = "async-cache"  # as extend-cache; and what is known always counts while servers are asked


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a token. `fingerprint` is another one when what it allows is another."""

    caller: Caller | None  # None: there is no such token
    fingerprint: str
    ends_at: float  # seconds since the Unix epoch
    asked_at: float  # on the monotonic clock


class Asking(Protocol):
    """What of `Servers` is needed here."""

    async def ask(self, method: str, target: str, token: str) -> Told:
        """Raises NoServers, OutcomeUnknown."""


class RemoteCallers:
    """Asks `servers`. `datacenter` is the one whose policies count."""

    def __init__(
        self,
        servers: Asking,
        datacenter: str,
        clock: Clock,
        down_policy: DownPolicy = DownPolicy.EXTEND_CACHE,
    ) -> None:
        self.default_allow = False
        self._down_policy = down_policy
        self._is_cut_off = False
        self._failed_at = -RETRY_S
        self._tasks = Tasks()
        self._servers = servers
        self._datacenter = datacenter
        self._clock = clock
        self._known: dict[str, Known] = {}  # by secret
        self._asking: dict[str, asyncio.Lock] = {}

    async def close(self) -> None:
        await self._tasks.close()

    async def ask(self, secret: str) -> None:
        """Brings what is known of the token up to date, as far as servers can be reached."""
        known = self._known.get(secret)
        if self._is_fresh(known) or self._has_just_failed():
            return
        if known and self._down_policy is DownPolicy.ASYNC_CACHE:
            if secret not in self._asking:
                self._tasks.spawn(self._ask(secret), "token")
        else:
            await self._ask(secret)

    def _is_fresh(self, known: Known | None) -> bool:
        return known is not None and self._clock.monotonic() - known.asked_at < FRESH_S

    def _has_just_failed(self) -> bool:
        return self._is_cut_off and self._clock.monotonic() - self._failed_at < RETRY_S

    async def _ask(self, secret: str) -> None:
        lock = self._asking.setdefault(secret, asyncio.Lock())
        try:
            async with lock:  # many requests with one token ask once
                if not self._is_fresh(self._known.get(secret)) and not self._has_just_failed():
                    await self._refresh(secret)
        finally:
            if not lock.locked():
                self._asking.pop(secret, None)

    async def _refresh(self, secret: str) -> None:
        try:
            found = self._read(await self._servers.ask("GET", SELF, secret))
        except WeftError:
            found = None
        self._is_cut_off = found is None
        if found is None:
            self._failed_at = self._clock.monotonic()
            return
        if len(self._known) >= KEPT_MAX:
            self._known.clear()
        self._known[secret] = found

    def _read(self, told: Told) -> Known | None:
        """None where the server itself did not know."""
        now = self._clock.monotonic()
        self.default_allow = told.headers.get("X-Consul-Default-ACL-Policy") == "allow"
        if told.status == 401:
            return Known(EVERYBODY, "", NEVER, now)
        if told.status == 403:
            return Known(None, "", NEVER, now)
        if told.status != 200:
            return None
        shown = told.json()
        may = Authorizer(rules_of(shown, self._datacenter), default_allow=self.default_allow)
        accessor = str(shown["AccessorID"])
        fingerprint = hashlib.sha256(told.body + b"%d" % self.default_allow).hexdigest()
        return Known(Caller(may, accessor, accessor == ANONYMOUS_ACCESSOR), fingerprint, _ends_at(shown), now)

    def known(self, secret: str) -> Known:
        """As `ask` left it. Raises TokenUnknown; NoServers, PermissionDenied where nobody could be asked."""
        known = self._known.get(secret)
        if self._is_cut_off and not self._is_fresh(known):
            known = self._by_policy(known)
        if known is None:
            raise NoServers("No known Consul servers")
        if known.caller is None or known.ends_at <= self._clock.wall():
            raise TokenUnknown("ACL not found")
        return known

    def _by_policy(self, known: Known | None) -> Known | None:
        """Raises PermissionDenied."""
        if self._down_policy is DownPolicy.ALLOW:
            return Known(EVERYBODY, "down", NEVER, self._clock.monotonic())
        if self._down_policy is DownPolicy.DENY:
            raise PermissionDenied("Permission denied: no server can be asked (down policy: deny)")
        return known

    def caller(self, _state: State, secret: str) -> Caller:
        """As `known`."""
        caller = self.known(secret).caller
        assert caller is not None  # for the type checker
        return caller


def _ends_at(shown: dict[str, Any]) -> float:
    text = shown.get("ExpirationTime")
    return datetime.fromisoformat(text).timestamp() if text else NEVER


def rules_of(shown: dict[str, Any], datacenter: str) -> Iterator[Rules]:
    """Every policy and identity that a token leads to, from its expanded JSON."""
    for policy in shown["ExpandedPolicies"]:
        if _is_here(policy, datacenter):
            yield parse_rules(policy["Rules"])
    for grants in (shown, *shown["ExpandedRoles"]):
        for service in grants.get("ServiceIdentities") or ():
            if _is_here(service, datacenter):
                yield service_identity(service["ServiceName"])
        for node in grants.get("NodeIdentities") or ():
            if node["Datacenter"] == datacenter:
                yield node_identity(node["NodeName"])
        for templated in grants.get("TemplatedPolicies") or ():
            if _is_here(templated, datacenter):
                name = (templated.get("TemplateVariables") or {}).get("Name", "")
                yield templated_policy(templated["TemplateName"], name)


def _is_here(row: dict[str, Any], datacenter: str) -> bool:
    return datacenter in (row.get("Datacenters") or (datacenter,))
