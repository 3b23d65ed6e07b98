"""Sans-IO. May this caller call this service? Intentions, as Consul defines them.

The first rule that matches decides; the compiler sorted them by precedence. The answer depends on the
caller's proven identity and on nothing else, so a memo of it needs exactly (snapshot, SPIFFE id) as key.
"""

from collections.abc import Sequence
from typing import NamedTuple

from weft.spiffe import SpiffeId

from ..snapshot import Rule

ANY_SERVICE = "*"


class Verdict(NamedTuple):
    """`reason` is for logs, counters and the refused caller: it names the intention, never a secret."""

    allowed: bool
    reason: str


class Authorizer:
    """The intentions of one destination service at one catalog index."""

    __slots__ = ("_default", "_rules")

    def __init__(self, rules: Sequence[Rule], default_allow: bool) -> None:
        self._rules = tuple(rules)
        self._default = Verdict(default_allow, "default allow" if default_allow else "default deny")

    def decide(self, source: SpiffeId) -> Verdict:
        """The verdict on calls from `source`, an identity that was verified on the connection."""
        for rule in self._rules:
            if _matches(rule, source):
                return Verdict(rule.allow, f"intention {rule.id} {'allows' if rule.allow else 'denies'}")
        return self._default


def _matches(rule: Rule, source: SpiffeId) -> bool:
    if rule.trust_domain != source.trust_domain:
        return False
    if rule.datacenter and rule.datacenter != source.datacenter:
        return False
    # Intentions speak of the default namespace; only a wildcard covers the others.
    return rule.source == ANY_SERVICE or (rule.source == source.service and source.namespace == "default")
