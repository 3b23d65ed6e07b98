"""registry.acl.login: which bearers are believed, and what they get."""

import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from registry.acl.login import Bearer, LoginRefused, bind, prove, read_config, read_rule
from registry.acl.model import (
    AuthMethod,
    BindingRule,
    Grants,
    NodeIdentity,
    Policy,
    Role,
    ServiceIdentity,
    TemplatedPolicy,
)
from registry.acl.tables import AclTables
from registry.errors import InvalidCommand

RSA, OTHER = (rsa.generate_private_key(65537, 2048) for _ in range(2))
EC, ED = ec.generate_private_key(ec.SECP256R1()), ed25519.Ed25519PrivateKey.generate()
NOW = 1_000_000.0
CLAIMS = {"exp": NOW + 60, "iss": "us", "aud": ["weft"], "sub": "web", "org": {"groups": ["a", "b"]}, "n": 5}


def pem(key: Any) -> str:
    octets: bytes = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return octets.decode()


def method(*keys: Any, **config: Any) -> AuthMethod:
    return AuthMethod(
        "m",
        "jwt",
        config_json=json.dumps({"JWTValidationPubKeys": [pem(k) for k in keys], **config}).encode(),
    )


def proven(token: str, now_s: float = NOW, **config: Any) -> Bearer:
    keys = config.pop("keys", (RSA,))
    return prove(token, read_config(method(*keys, **config)), now_s)


def signed(key: Any = RSA, algorithm: str = "RS256", **claims: Any) -> str:
    content = {name: value for name, value in (CLAIMS | claims).items() if value is not None}
    return jwt.encode(content, key, algorithm=algorithm)


def test_claims_become_values_and_lists() -> None:
    found = proven(
        signed(),
        ClaimMappings={"sub": "name", "/org/groups/1": "second", "n": "n", "gone": "gone"},
        ListClaimMappings={"/org/groups": "groups", "aud": "aud", "gone": "none"},
    )
    assert found.value == {"name": "web", "second": "b", "n": "5"}
    assert found.list == {"groups": ("a", "b"), "aud": ("weft",), "none": ()}


@pytest.mark.parametrize(("key", "algorithm"), [(RSA, "RS512"), (RSA, "PS256"), (EC, "ES256"), (ED, "EdDSA")])
def test_each_kind_of_key_signs_by_its_own_algorithms(key: Any, algorithm: str) -> None:
    proven(signed(key, algorithm), keys=(OTHER, EC, ED, RSA), JWTSupportedAlgs=[algorithm])


@pytest.mark.parametrize(
    ("token", "config", "says"),
    [
        (signed(OTHER), {}, "not signed by a key"),
        (signed(RSA, "RS512"), {}, "not signed by a key"),  # RS256 alone unless said otherwise
        (signed()[:-4] + "AAAA", {}, "not signed by a key"),
        ("not.a.token", {}, "not signed by a key"),
        ("", {}, "not signed by a key"),
        ("x" * 20_000, {}, "too long"),
        (signed(exp=NOW - 61), {}, "has expired"),
        (signed(exp=None), {}, "must say when it expires"),
        (signed(exp="soon"), {}, "must say when it expires"),
        (signed(nbf=NOW + 61), {}, "not valid yet"),
        (signed(), {"BoundIssuer": "them"}, "another issuer"),
        (signed(), {"BoundAudiences": ["others"]}, "another audience"),
        (signed(aud=None), {"BoundAudiences": ["weft"]}, "another audience"),
        (signed(sub={"a": 1}), {"ClaimMappings": {"sub": "name"}}, "no short text"),
        (signed(sub="x" * 600), {"ClaimMappings": {"sub": "name"}}, "no short text"),
        (signed(), {"ListClaimMappings": {"n": "n"}}, "no list of texts"),
    ],
)
def test_what_is_not_believed(token: str, config: dict[str, Any], says: str) -> None:
    with pytest.raises(LoginRefused, match=says):
        proven(token, **config)


def test_a_public_key_is_never_taken_for_a_shared_secret_and_none_for_no_algorithm() -> None:
    """RFC 8725 section 3.1: the confusions that other libraries have had."""
    header = jwt.utils.base64url_encode(b'{"alg":"none","typ":"JWT"}').decode()
    body = jwt.utils.base64url_encode(json.dumps(CLAIMS).encode()).decode()
    with pytest.raises(LoginRefused):
        proven(f"{header}.{body}.")
    mac = jwt.utils.base64url_encode(b'{"alg":"HS256","typ":"JWT"}').decode()
    import hmac

    code = hmac.digest(pem(RSA).encode(), f"{mac}.{body}".encode(), "sha256")
    with pytest.raises(LoginRefused):
        proven(f"{mac}.{body}.{jwt.utils.base64url_encode(code).decode()}")


def test_skew_is_allowed_for_as_configured() -> None:
    proven(signed(exp=NOW - 59))
    with pytest.raises(LoginRefused, match="expired"):
        proven(signed(exp=NOW - 1), ClockSkewLeeway=-1)
    proven(signed(exp=NOW - 100), ClockSkewLeeway="2m")


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"JWTValidationPubKeys": []}, "exactly one of"),
        ({"JWTValidationPubKeys": ["x"]}, "JWTValidationPubKeys.0.: is not a public key"),
        ({"JWTValidationPubKeys": "x"}, "must be a list"),
        ({"JWTSupportedAlgs": ["HS256"]}, "JWTSupportedAlgs: 'HS256'"),
        ({"JWKSURL": "https://a/"}, "exactly one of"),
        ({"JWTValidationPubKeys": [], "JWKSURL": "http://a"}, "JWKSURL: must be an https"),
        ({"JWTValidationPubKeys": [], "OIDCDiscoveryURL": "https://"}, "OIDCDiscoveryURL: must be"),
        ({"JWTValidationPubKeys": [], "JWKSURL": "https://u:p@a/"}, "JWKSURL: must be an https"),
        (
            {"JWTValidationPubKeys": [], "JWKSURL": "https://a/", "JWKSCACert": "x"},
            "JWKSCACert: is no certificate",
        ),
        ({"JWKSCACert": "x"}, "JWKSCACert: is of JWKSURL only"),
        ({"JWTValidationPubKeys": [], "JWKSURL": "https://a/", "OIDCDiscoveryURL": "https://a"}, "exactly"),
        ({"Nothing": 1}, "Config.Nothing: there is no such setting"),
        ({"ClaimMappings": {"a": "b c"}}, "ClaimMappings.a"),
        ({"ClockSkewLeeway": "long"}, "ClockSkewLeeway"),
        ({"BoundIssuer": 5}, "BoundIssuer: must be a string"),
    ],
)
def test_a_configuration_that_could_not_be_used_is_refused(config: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidCommand, match=says):
        read_config(method(RSA, **config))


def rule(bind_type: str, name: str, selector: str = "", **variables: str) -> BindingRule:
    return BindingRule("id", "m", bind_type, name, selector=selector, bind_vars=variables)


TABLES = AclTables().with_policy(Policy("p1", "reader")).with_role(Role("r1", "dev"))
BEARER = Bearer({"name": "web", "env": "prod"}, {"groups": ("dev", "ops")})


def test_rules_that_match_are_put_together() -> None:
    rules = [
        rule("service", "${value.name}", 'value.env == "prod"'),
        rule("service", "never", 'value.env == "test"'),
        rule("node", "n-${ value.name }"),
        rule("role", "dev", '"dev" in list.groups'),
        rule("policy", "reader", '"ops" in list.groups and value.env != "test"'),
        rule("policy", "gone"),
        rule("templated-policy", "builtin/service", Name="${value.name}"),
    ]
    for each in rules:
        read_rule(each)
    assert bind(rules, BEARER, TABLES, "dc1") == Grants(
        ("p1",),
        ("r1",),
        (ServiceIdentity("web"),),
        (NodeIdentity("n-web", "dc1"),),
        (TemplatedPolicy("builtin/service", "web"),),
    )


def test_who_gets_nothing_gets_no_token() -> None:
    for rules in ([], [rule("role", "gone")], [rule("service", "x", 'value.env == "test"')]):
        with pytest.raises(LoginRefused, match=r"no binding rule grants anything"):
            bind(rules, BEARER, TABLES, "dc1")
    with pytest.raises(LoginRefused, match=r"has no claim for value\.other"):
        bind([rule("service", "${value.other}")], BEARER, TABLES, "dc1")


def test_a_claim_can_say_nothing_but_a_name() -> None:
    evil = Bearer({"name": 'x" { policy = "write" } key_prefix "'}, {})
    with pytest.raises(InvalidCommand, match="lower-case letters"):
        bind([rule("service", "${value.name}")], evil, TABLES, "dc1")


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (rule("service", "x", "value.env =="), "Selector"),
        (rule("service", "x", 'Node == "a"'), "Selector"),
        (rule("service", "${list.groups}"), "BindName"),
        (rule("service", "${value.a-b}"), "BindName"),
    ],
)
def test_rules_that_could_not_be_followed_are_refused(row: BindingRule, says: str) -> None:
    with pytest.raises(InvalidCommand, match=says):
        read_rule(row)
