"""From a token to what it may do: every policy, role and identity that it leads to.

What was worked out for a set of rows serves as long as these rows are the ones in the tables: rows are
immutable, so a changed policy is another object. Nothing outlives a token (trap 26).
"""

from collections.abc import Iterator
from dataclasses import dataclass

from .authorizer import Authorizer
from .model import ANONYMOUS_ACCESSOR, ANONYMOUS_SECRET, Grants, Policy, Role, Token
from .rules import Rules, parse_rules
from .secrets import SecretBox
from .tables import AclTables
from .templates import node_identity, service_identity, templated_policy

KEPT_MAX = 4096  # resolved tokens; each some KiB. More than this in use at once are worked out anew


@dataclass(frozen=True, slots=True)
class Resolved:
    """A token, and the answers for it."""

    token: Token
    may: Authorizer
    is_anonymous: bool = False


@dataclass(frozen=True, slots=True)
class _Links:
    """The rows that a token leads to."""

    policies: tuple[Policy, ...]
    roles: tuple[Role, ...]


class Resolver:
    """Resolves the tokens of one server. `default_allow` decides where no rule does."""

    def __init__(self, datacenter: str, *, default_allow: bool) -> None:
        self._datacenter = datacenter
        self._default_allow = default_allow
        self._known: dict[str, tuple[Token, _Links, Resolved]] = {}  # by accessor id
        self._parsed: dict[str, tuple[Policy, Rules]] = {}  # by policy id

    def by_secret(self, tables: AclTables, box: SecretBox, secret: str, now_ms: int) -> Resolved | None:
        """None: no token has this secret, or it has expired. "" is the anonymous token's."""
        if secret in ("", ANONYMOUS_SECRET):
            return self.anonymous(tables)
        for code in box.codes(secret):
            if token := tables.tokens_by_code.get((code,)):
                return self.of(tables, token, now_ms)
        return None

    def anonymous(self, tables: AclTables) -> Resolved:
        token = tables.token(ANONYMOUS_ACCESSOR)
        assert token is not None
        return self._resolve(tables, token)

    def of(self, tables: AclTables, token: Token, now_ms: int) -> Resolved | None:
        """None when the token has expired."""
        if token.expires_ms and token.expires_ms <= now_ms:
            return None
        return self._resolve(tables, token)

    def _resolve(self, tables: AclTables, token: Token) -> Resolved:
        links = _links(tables, token.grants)
        known = self._known.get(token.accessor_id)
        if known and known[0] is token and _same(known[1], links):
            return known[2]
        rules = (*self._rules(links), *_identities(token.grants, links.roles, self._datacenter))
        may = Authorizer(rules, default_allow=self._default_allow)
        resolved = Resolved(token, may, token.accessor_id == ANONYMOUS_ACCESSOR)
        if len(self._known) >= KEPT_MAX:
            self._known.clear()
        self._known[token.accessor_id] = (token, links, resolved)
        return resolved

    def _rules(self, links: _Links) -> Iterator[Rules]:
        for row in links.policies:
            if _is_here(row.datacenters, self._datacenter):
                yield self._parse(row)

    def _parse(self, row: Policy) -> Rules:
        known = self._parsed.get(row.id)
        if known and known[0] is row:
            return known[1]
        rules = parse_rules(row.rules)
        if len(self._parsed) >= KEPT_MAX:
            self._parsed.clear()
        self._parsed[row.id] = (row, rules)
        return rules


def _links(tables: AclTables, grants: Grants) -> _Links:
    roles = tuple(role for role_id in grants.roles if (role := tables.role(role_id)))
    ids = dict.fromkeys((*grants.policies, *(it for role in roles for it in role.grants.policies)))
    return _Links(tuple(policy for it in ids if (policy := tables.policy(it))), roles)


def _same(one: _Links, other: _Links) -> bool:
    """Whether these are the very same rows."""
    before, now = (*one.policies, *one.roles), (*other.policies, *other.roles)
    return len(before) == len(now) and all(a is b for a, b in zip(before, now, strict=True))


def _identities(grants: Grants, roles: tuple[Role, ...], datacenter: str) -> Iterator[Rules]:
    for each in (grants, *(role.grants for role in roles)):
        for service in each.service_identities:
            if _is_here(service.datacenters, datacenter):
                yield service_identity(service.service_name)
        for node in each.node_identities:
            if node.datacenter == datacenter:
                yield node_identity(node.node_name)
        for templated in each.templated_policies:
            if _is_here(templated.datacenters, datacenter):
                yield templated_policy(templated.template_name, templated.name)


def _is_here(datacenters: tuple[str, ...], datacenter: str) -> bool:
    return not datacenters or datacenter in datacenters
