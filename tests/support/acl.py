"""Rows of the access control list for tests: one of each kind by a number, linked with one another."""

from registry.acl.model import (
    AuthMethod,
    BindingRule,
    Grants,
    NodeIdentity,
    Policy,
    Role,
    SealedSecret,
    ServiceIdentity,
    TemplatedPolicy,
    Token,
)
from registry.acl.templates import GLOBAL_MANAGEMENT_ID


def acl_id(n: int) -> str:
    return f"00000000-0000-4000-9000-{n:012d}"


def acl_rows(n: int, expires_ms: int = 0) -> list[Token | Policy | Role | AuthMethod | BindingRule]:
    """Valid together; `expires_ms` 0 or one minute to a day from the command's time."""
    grants = Grants(
        (acl_id(n),),
        (acl_id(n),),
        (ServiceIdentity("web", ("dc1",)),),
        (NodeIdentity("n1", "dc1"),),
        (TemplatedPolicy("builtin/service", "web"),),
    )
    return [
        Policy(acl_id(n), f"p{n}", "a policy", f'key "{n}" {{ policy = "read" }}', ("dc1",)),
        Role(acl_id(n), f"r{n}", grants=Grants((acl_id(n),))),
        AuthMethod(f"m{n}", "jwt", config_json=b"{}"),
        BindingRule(acl_id(n), f"m{n}", "service", "web", bind_vars={}),
        Token(acl_id(n), _secret(n), f"token {n}", grants, expires_ms=max(0, expires_ms)),
    ]


def acl_bootstrap(n: int) -> Token:
    return Token(acl_id(100 + n), _secret(100 + n), grants=Grants((GLOBAL_MANAGEMENT_ID,)))


def _secret(n: int) -> SealedSecret:
    return SealedSecret(n.to_bytes(32, "big"), "key", b"n" * 12, b"sealed")
