"""All rows of the access control list, in the orders that they are looked up by."""

from dataclasses import dataclass, field, replace

from ..catalog.tree import Tree
from .model import ANONYMOUS_ACCESSOR, AuthMethod, BindingRule, Policy, Role, Token
from .templates import BUILT_IN

ANONYMOUS = Token(ANONYMOUS_ACCESSOR, description="Anonymous Token")
BUILT_IN_POLICIES = {it.id: Policy(it.id, it.name, it.description, it.rules) for it in BUILT_IN}
_BUILT_IN_NAMES = {row.name: row for row in BUILT_IN_POLICIES.values()}


@dataclass(frozen=True, slots=True)
class AclTables:
    """The comment at each table says its key. `bootstrap_index` is 0 before the first management token."""

    bootstrap_index: int = 0
    tokens: Tree[Token] = field(default_factory=Tree)  # accessor id
    tokens_by_code: Tree[Token] = field(default_factory=Tree)  # code of the secret
    tokens_by_expiry: Tree[Token] = field(default_factory=Tree)  # expires_ms, accessor id
    policies: Tree[Policy] = field(default_factory=Tree)  # id
    policies_by_name: Tree[Policy] = field(default_factory=Tree)  # name
    roles: Tree[Role] = field(default_factory=Tree)  # id
    roles_by_name: Tree[Role] = field(default_factory=Tree)  # name
    auth_methods: Tree[AuthMethod] = field(default_factory=Tree)  # name
    binding_rules: Tree[BindingRule] = field(default_factory=Tree)  # id

    def token(self, accessor_id: str) -> Token | None:
        """The anonymous token is always there."""
        found = self.tokens.get((accessor_id,))
        return ANONYMOUS if found is None and accessor_id == ANONYMOUS_ACCESSOR else found

    def policy(self, policy_id: str) -> Policy | None:
        """The built-in policies are always there."""
        return BUILT_IN_POLICIES.get(policy_id) or self.policies.get((policy_id,))

    def policy_named(self, name: str) -> Policy | None:
        return _BUILT_IN_NAMES.get(name) or self.policies_by_name.get((name,))

    def all_policies(self) -> list[Policy]:
        """The built-in ones first, then by id."""
        return [*BUILT_IN_POLICIES.values(), *self.policies.values()]

    def role(self, role_id: str) -> Role | None:
        return self.roles.get((role_id,))

    def role_named(self, name: str) -> Role | None:
        return self.roles_by_name.get((name,))

    # Changes, each of which answers other tables

    def with_token(self, row: Token) -> "AclTables":
        tables = self.without_token(row.accessor_id)
        by_expiry = tables.tokens_by_expiry
        if row.expires_ms:
            by_expiry = by_expiry.put((row.expires_ms, row.accessor_id), row)
        by_code = tables.tokens_by_code
        if row.secret.code:
            by_code = by_code.put((row.secret.code,), row)
        tokens = tables.tokens.put((row.accessor_id,), row)
        return replace(tables, tokens=tokens, tokens_by_code=by_code, tokens_by_expiry=by_expiry)

    def without_token(self, accessor_id: str) -> "AclTables":
        old = self.tokens.get((accessor_id,))
        if old is None:
            return self
        by_expiry = self.tokens_by_expiry
        if old.expires_ms:
            by_expiry = by_expiry.without((old.expires_ms, old.accessor_id))
        by_code = self.tokens_by_code
        if old.secret.code:
            by_code = by_code.without((old.secret.code,))
        tokens = self.tokens.without((accessor_id,))
        return replace(self, tokens=tokens, tokens_by_code=by_code, tokens_by_expiry=by_expiry)

    def with_policy(self, row: Policy) -> "AclTables":
        tables = self.without_policy(row.id)
        return replace(
            tables,
            policies=tables.policies.put((row.id,), row),
            policies_by_name=tables.policies_by_name.put((row.name,), row),
        )

    def without_policy(self, policy_id: str) -> "AclTables":
        old = self.policies.get((policy_id,))
        if old is None:
            return self
        by_name = self.policies_by_name.without((old.name,))
        return replace(self, policies=self.policies.without((policy_id,)), policies_by_name=by_name)

    def with_role(self, row: Role) -> "AclTables":
        tables = self.without_role(row.id)
        return replace(
            tables,
            roles=tables.roles.put((row.id,), row),
            roles_by_name=tables.roles_by_name.put((row.name,), row),
        )

    def without_role(self, role_id: str) -> "AclTables":
        old = self.roles.get((role_id,))
        if old is None:
            return self
        by_name = self.roles_by_name.without((old.name,))
        return replace(self, roles=self.roles.without((role_id,)), roles_by_name=by_name)

    def with_auth_method(self, row: AuthMethod) -> "AclTables":
        return replace(self, auth_methods=self.auth_methods.put((row.name,), row))

    def without_auth_method(self, name: str) -> "AclTables":
        """Its binding rules, and the tokens that were made by it, go too."""
        tables = replace(self, auth_methods=self.auth_methods.without((name,)))
        for rule in [it for it in self.binding_rules.values() if it.auth_method == name]:
            tables = tables.without_binding_rule(rule.id)
        for token in [it for it in self.tokens.values() if it.auth_method == name]:
            tables = tables.without_token(token.accessor_id)
        return tables

    def with_binding_rule(self, row: BindingRule) -> "AclTables":
        return replace(self, binding_rules=self.binding_rules.put((row.id,), row))

    def without_binding_rule(self, rule_id: str) -> "AclTables":
        return replace(self, binding_rules=self.binding_rules.without((rule_id,)))
