"""The rule language: HCL or JSON text to rules.

key_prefix "app/" { policy = "write" }
service "web" { policy = "read" intentions = "write" }
operator = "read"
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from weft.hcl import InvalidText, Value, loads

from ..errors import InvalidCommand
from .access import LABELLED, PLAIN, Grant

RULES_BYTES_MAX = 64 * 1024  # of one policy; a thousand rules
RULES_MAX = 2048
LABEL_CHARS_MAX = 512  # the longest key that makes a sensible prefix

_PREFIX = "_prefix"
_ENTERPRISE = ("namespace", "namespace_prefix", "partition", "partition_prefix")
_WORDS = {"read": Grant.READ, "list": Grant.LIST, "write": Grant.WRITE, "deny": Grant.DENY}


class InvalidRules(InvalidCommand):
    """Expected. The text of a policy cannot be read; the message says which rule and how to mend it."""


class Rule(NamedTuple):
    """One rule about labelled things."""

    resource: str
    label: str
    is_prefix: bool
    grant: Grant
    intentions: Grant | None = None  # of services; None: what follows from `grant`


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of one policy."""

    labelled: tuple[Rule, ...] = ()
    plain: tuple[tuple[str, Grant], ...] = ()


def parse_rules(text: str) -> Rules:
    """Raises InvalidRules."""
    try:
        document = loads(text, "Rules", bytes_max=RULES_BYTES_MAX)
    except InvalidText as error:
        raise InvalidRules(str(error)) from None
    labelled: list[Rule] = []
    plain: list[tuple[str, Grant]] = []
    for key, value in document.items():
        if key in PLAIN:
            plain.append((key, _grant(key, value)))
        else:
            labelled += _labelled(key, value)
    if len(labelled) > RULES_MAX:
        raise InvalidRules(f"Rules: over {RULES_MAX} rules; make several policies of them")
    return Rules(tuple(labelled), tuple(plain))


def _labelled(key: str, value: Value) -> Iterator[Rule]:
    resource = key.removesuffix(_PREFIX)
    if key in _ENTERPRISE:
        raise InvalidRules(f"Rules: {key!r}: there are no namespaces and partitions here; remove the rule")
    if resource not in LABELLED:
        known = ", ".join(sorted((*PLAIN, *LABELLED, *(name + _PREFIX for name in LABELLED))))
        raise InvalidRules(f"Rules: {key[:40]!r} is no resource; use one of {known}")
    for group in _listed(value):
        if not isinstance(group, dict):
            raise InvalidRules(f'Rules: write {key} "<name>" {{ policy = "read" }}')
        for label, bodies in group.items():
            if len(label) > LABEL_CHARS_MAX:
                raise InvalidRules(f"Rules: a name of {key!r} is over {LABEL_CHARS_MAX} characters")
            for body in _listed(bodies):
                yield _rule(key, resource, label, body)


def _rule(key: str, resource: str, label: str, body: Value) -> Rule:
    where = f'{key} "{label[:60]}"'
    if not isinstance(body, dict):
        raise InvalidRules(f'Rules: {where}: write {{ policy = "read" }}')
    unknown = body.keys() - {"policy", "intentions"}
    if unknown or ("intentions" in body and resource != "service"):
        raise InvalidRules(f"Rules: {where}: {min(unknown or {'intentions'})[:40]!r} is not known here")
    grant = _grant(where, body.get("policy"), lists=resource == "key")
    intentions = _grant(f"{where}: intentions", body["intentions"]) if "intentions" in body else None
    return Rule(resource, label, key != resource, grant, intentions)


def _grant(where: str, value: Value, *, lists: bool = False) -> Grant:
    found = _WORDS.get(value) if isinstance(value, str) else None
    if found is None or (found is Grant.LIST and not lists):
        words = 'one of "read", "list", "write", "deny"' if lists else '"read", "write" or "deny"'
        raise InvalidRules(f"Rules: {where}: the policy must be {words}, not {str(value)[:40]!r}")
    return found


def _listed(value: Value) -> list[Value]:
    """Repeated blocks are a list of bodies, a single one is its body."""
    return value if isinstance(value, list) else [value]
