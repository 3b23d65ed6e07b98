"""Sans-IO. May this caller call this service? Intentions, as Consul defines them.

The first rule that matches decides; the compiler sorted them by precedence. The verdict on a caller depends
on its proven identity and on nothing else, so a memo of it needs exactly (snapshot, SPIFFE id) as key. What a
rule asks of each request besides is its `Gate`.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from weft.spiffe import SpiffeId

from ..admission import Admission, JwtProvider
from ..snapshot import Rule
from .fields import ANY_SERVICE
from .gate import Gate
from .tokens import KeySet, Verifier, given_keys

_ASKS_NOTHING = Admission()


class Verdict(NamedTuple):
    """`allowed`: whether the caller may call anything at all. `reason` is for logs, counters and the refused
    caller: it names the intention, never a secret. `gate` is asked about each request, where there is one."""

    allowed: bool
    reason: str
    gate: Gate | None = None


class Authorizer:
    """The intentions of one destination service at one catalog index. `reads` are the header names that its
    gates read."""

    __slots__ = ("_default", "_rules", "reads", "verifiers")

    def __init__(
        self,
        rules: Sequence[Rule],
        default_allow: bool,
        admission: Admission = _ASKS_NOTHING,
        keys: Callable[[JwtProvider], KeySet] = given_keys,
    ) -> None:
        """`keys` of a provider. Raises InvalidResource where a key set cannot be read."""
        self.verifiers = {name: Verifier(it, keys(it)) for name, it in admission.providers.items()}
        self._rules = [(rule, self._verdict(rule, admission)) for rule in rules]
        self._default = Verdict(default_allow, "default allow" if default_allow else "default deny")
        if default_allow and admission.jwt:
            gate = Gate("default", True, (), (admission.jwt,), self.verifiers)
            self._default = self._default._replace(gate=gate)
        gates = [verdict.gate for _, verdict in self._rules] + [self._default.gate]
        self.reads: frozenset[bytes] = frozenset().union(*(gate.reads for gate in gates if gate is not None))

    def _verdict(self, rule: Rule, admission: Admission) -> Verdict:
        name = f"intention {rule.id}"
        if not (rule.permissions or (rule.allow and (rule.jwt or admission.jwt))):
            return Verdict(rule.allow, f"{name} {'allows' if rule.allow else 'denies'}")
        gate = Gate(name, rule.allow, rule.permissions, (admission.jwt, rule.jwt), self.verifiers)
        return Verdict(gate.passable, f"{name} {'has permissions' if gate.passable else 'denies'}", gate)

    def decide(self, source: SpiffeId) -> Verdict:
        """The verdict on calls from `source`, an identity that was verified on the connection."""
        for rule, verdict in self._rules:
            if _matches(rule, source):
                return verdict
        return self._default


def _matches(rule: Rule, source: SpiffeId) -> bool:
    if rule.trust_domain != source.trust_domain:
        return False
    if rule.datacenter and rule.datacenter != source.datacenter:
        return False
    # Intentions speak of the default namespace; only a wildcard covers the others.
    return rule.source == ANY_SERVICE or (rule.source == source.service and source.namespace == "default")
