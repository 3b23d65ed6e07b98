"""Who may do what here, as the servers say: the rules that a token leads to, asked for and remembered.

While servers answer, each is asked anew once what is known is older than `FRESH_S`: a changed policy is in
force here as soon as there. While none does, what was known last goes on to count (Consul's `extend-cache`),
until the token itself ends.
"""

import asyncio
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from weft.clock import Clock
from weft.errors import WeftError

from ..acl.authorizer import Authorizer
from ..acl.caller import EVERYBODY, Caller
from ..acl.model import ANONYMOUS_ACCESSOR
from ..acl.rules import Rules, parse_rules
from ..acl.templates import node_identity, service_identity, templated_policy
from ..catalog.state import State
from ..errors import NoServers
from ..identity.errors import TokenUnknown
from .servers import Servers, Told

FRESH_S = 0.05  # half of what a changed policy may take until it is in force
KEPT_MAX = 4096  # tokens in use on one machine; more are asked for again
SELF = "/v1/acl/token/self?expanded"
NEVER = float("inf")


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a token. `fingerprint` is another one when what it allows is another."""

    caller: Caller | None  # None: there is no such token
    fingerprint: str
    ends_at: float  # seconds since the Unix epoch
    asked_at: float  # on the monotonic clock


class RemoteCallers:
    """Asks `servers`. `datacenter` is the one whose policies count."""

    def __init__(self, servers: Servers, datacenter: str, clock: Clock) -> None:
        self.default_allow = False
        self._servers = servers
        self._datacenter = datacenter
        self._clock = clock
        self._known: dict[str, Known] = {}  # by secret
        self._asking: dict[str, asyncio.Lock] = {}

    async def ask(self, secret: str) -> None:
        """Brings what is known of the token up to date, as far as servers can be reached."""
        lock = self._asking.setdefault(secret, asyncio.Lock())
        try:
            async with lock:  # many requests with one token ask once
                known = self._known.get(secret)
                if known and self._clock.monotonic() - known.asked_at < FRESH_S:
                    return
                await self._refresh(secret)
        finally:
            if not lock.locked():
                self._asking.pop(secret, None)

    async def _refresh(self, secret: str) -> None:
        try:
            told = await self._servers.ask("GET", SELF, secret)
        except WeftError:
            return
        found = self._read(told)
        if found is None:
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
        """As `ask` left it. Raises TokenUnknown, and NoServers where nobody could be asked."""
        known = self._known.get(secret)
        if known is None:
            raise NoServers("No known Consul servers")
        if known.caller is None or known.ends_at <= self._clock.wall():
            raise TokenUnknown("ACL not found")
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
